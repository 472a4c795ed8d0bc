"""Packages with binaries, for every Linux with glibc 2.31 or newer: wheels, the npm tarball and the jar, and their tests.

One compiler builds all: that of PyPI's ziglang, which includes the C library's symbols of each version and its own C++
library, linked statically. So a package does not depend on the computer it was built on, and building it does not need root.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import nox

from sessions import java
from sessions.building import BUILD, PYTHON, ROOT, SIDE_BY_SIDE, environment, needs, pytest, run
from sessions.languages import pythons_here

WORK = BUILD / "packages"
TOOLS = WORK / "tools"
REQUIREMENTS = ROOT / "scripts" / "requirements-packages.txt"
DIST = ROOT / "dist"
MACHINE = platform.machine()
GLIBC = "2.31"
PLATFORM = f"manylinux_{GLIBC.replace('.', '_')}_{MACHINE}"
LARGEST = 6_000_000  # maximum bytes of a package
# gc-agent is static, and zig's glibc can't be linked statically.
STATIC = f"GC_STATIC_FLAGS=-target;{MACHINE}-linux-musl"
# In CI, those that `build` has made: zig would first compile another C library and another C++ library, for minutes.
STATIC_AS_BUILT = f"GC_STATIC_FROM={BUILD / 'python'}"
BUILD_TYPE = "Release"  # debug information would be stripped
# The Debian release whose python3 has a version, for Pythons that are not on this computer.
DEBIAN_WITH = {"3.9": "bullseye", "3.11": "bookworm", "3.13": "trixie", "3.14": "sid"}
NODE_ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


def tools(session: nox.Session) -> dict[str, str]:
    """The environment of a build with zig, which this installs."""
    stamp = TOOLS / "requirements"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        run(session, PYTHON, "-m", "venv", "--clear", str(TOOLS))
        run(session, str(TOOLS / "bin" / "python"), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS))
        stamp.write_text(REQUIREMENTS.read_text())
    (zig,) = TOOLS.glob("lib/python*/site-packages/ziglang/zig")
    programs = {name: write_program(TOOLS / "bin" / name.lower(), command) for name, command in compilers(str(zig)).items()}
    path = f"{TOOLS / 'bin'}:{environment()['PATH']}"
    # Without optimization, as CMake tries the compiler, zig would compile its libraries a second time, for debugging.
    flags = {"CFLAGS": "-O2", "CXXFLAGS": "-O2"}
    return environment() | programs | flags | {"PATH": path, "CCACHE_COMPILERTYPE": "clang"}


def compilers(zig: str) -> dict[str, str]:
    target = f"-target {MACHINE}-linux-gnu.{GLIBC}"
    return {"CC": f"{zig} cc {target}", "CXX": f"{zig} c++ {target}"}


def write_program(path: Path, command: str) -> str:
    """The command as a separate program: ccache takes no compiler that begins with words. Unchanged if it is there, as ccache
    knows a compiler by its time."""
    text = f'#!/bin/sh\nexec {command} "$@"\n'
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)
    return str(path)


def newest_glibc(file: Path) -> tuple[int, ...]:
    """The newest version of the C library that the file requires."""
    listed = subprocess.run(["readelf", "--version-info", "--wide", str(file)], capture_output=True, text=True, check=True)
    return max((tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", listed.stdout)), default=(0,))


def check_glibc(session: nox.Session, files: Iterable[Path]) -> None:
    for file in files:
        if newest_glibc(file) > tuple(map(int, GLIBC.split("."))):
            session.error(f"{file} needs glibc {'.'.join(map(str, newest_glibc(file)))}, expected at most {GLIBC}")


def check_size(session: nox.Session, package: Path) -> Path:
    size = package.stat().st_size
    if size > LARGEST:
        session.error(f"{package} has {size} bytes, expected at most {LARGEST}")
    session.log(f"made {package.relative_to(ROOT)}: {size / 1e6:.1f} MB")
    return package


# Each Python has its own folder; the compiler's cache has what they share.
WHEEL_OPTIONS = ("--quiet", "--no-deps", "-Cbuild-dir=build/packages/{wheel_tag}", f"-Ccmake.build-type={BUILD_TYPE}")


def make_wheel(session: nox.Session, python: str, into: Path, static: str = STATIC) -> Path:
    raw = WORK / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    pip = [str(TOOLS / "bin" / "python"), "-m", "pip", "--python", python, "wheel"]
    options = [*WHEEL_OPTIONS, f"-Ccmake.define.{static}", "--wheel-dir", str(raw)]
    session.run(*pip, *options, str(ROOT), env=tools(session), external=True)
    return repair(session, raw, into)


def make_wheel_in_debian(session: nox.Session, suite: str, into: Path) -> Path:
    """Builds from the source distribution with a Debian release's Python, which need not run on this computer's C library."""
    sys.path.insert(0, str(ROOT / "tests"))
    from machines import Machine, root

    env, raw = tools(session), WORK / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    build = [str(TOOLS / "bin" / "python"), "-m", "build", "--sdist", "--outdir", str(raw)]
    session.run(*build, str(ROOT), env=env, external=True)
    (source,) = raw.iterdir()
    with Machine(root(suite, "binutils", "python3-dev", "python3-venv")) as machine:
        machine.put(source, f"/root/{source.name}")
        machine.put(REQUIREMENTS, "/root/requirements.txt")
        machine.run("python3", "-m", "venv", "tools")
        machine.run("tools/bin/pip", "install", "--quiet", "-r", "requirements.txt")
        (zig,) = machine.run("sh", "-c", "echo /root/tools/lib/python*/site-packages/ziglang/zig").stdout.split()
        pip = ["tools/bin/pip", "wheel", *WHEEL_OPTIONS, f"-Ccmake.define.{STATIC}", "--wheel-dir", "made"]
        # The compiler does not search Debian's own folders, to which Python's header refers.
        own = f"{MACHINE}-linux-gnu"
        machine.run("sh", "-c", f"mkdir -p include/{own} && ln -s /usr/include/{own}/python3.* include/{own}")
        machine.run(*pip, source.name, env=compilers(zig) | {"CXXFLAGS": "-isystem /root/include"})
        source.unlink()
        for name in machine.run("ls", "made").stdout.split():
            machine.get(f"/root/made/{name}", raw)
    return repair(session, raw, into)


def repair(session: nox.Session, raw: Path, into: Path) -> Path:
    """Refuses a wheel that needs a newer C library, and names it for the one it was made for."""
    (made,) = raw.iterdir()
    repairing = ["repair", "--only-plat", "--plat", PLATFORM, "--wheel-dir", str(into), str(made)]
    session.run(str(TOOLS / "bin" / "auditwheel"), *repairing, env=tools(session), external=True)
    tag = "-".join(made.name.removesuffix(".whl").split("-")[:4])
    (wheel,) = into.glob(f"{tag}-*.whl")
    return check_size(session, wheel)


def make_tarball(session: nox.Session, into: Path) -> Path:
    """The npm package as `npm pack` makes it, with prebuilt binaries."""
    env = tools(session)
    stage = WORK / "npm"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    (source,) = pack(session, ROOT / "bindings-node", stage, "--ignore-scripts=false")
    with tarfile.open(source) as archive:
        archive.extractall(stage, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    package = stage / "package"

    headers = stage / "headers"
    headers.mkdir()
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix", str(headers)]
    wanted = json.loads((package / "package.json").read_text())["dependencies"]["node-addon-api"]
    run(session, *npm, f"node-addon-api@{wanted}", "node-api-headers@1.9.0")
    modules = headers / "node_modules"
    copy_headers_of_libuv(session, headers / "uv")
    includes = f"{modules / 'node-api-headers' / 'include'};{modules / 'node-addon-api'};{headers / 'uv'}"

    folder = str(WORK / "node")
    configure = ["cmake", "-G", "Ninja", "-S", str(ROOT), "-B", folder, f"-DCMAKE_BUILD_TYPE={BUILD_TYPE}"]
    configure += [f"-DGC_NODE_INCLUDES={includes}", f"-D{STATIC}"]
    session.run(*configure, env=env, external=True)
    session.run("cmake", "--build", folder, "--target", "prebuilt", env=env, external=True)
    prebuilt = package / "prebuilds" / f"linux-{NODE_ARCHITECTURES[MACHINE]}"
    install = ["cmake", "--install", folder, "--component", "node", "--strip", "--prefix", str(prebuilt)]
    session.run(*install, env=env, external=True)
    check_glibc(session, prebuilt.iterdir())
    (tarball,) = pack(session, package, into, "--ignore-scripts")
    return check_size(session, tarball)


def copy_headers_of_libuv(session: nox.Session, folder: Path) -> None:
    """Collects Node's own headers, which come with it or with Debian's libnode-dev: npm has no package of them."""
    node = Path(shutil.which("node", path=environment()["PATH"]) or "/usr/bin/node").resolve()
    places = [node.parents[1] / "include" / "node", Path("/usr/include/node"), Path("/usr/include")]
    found = next((place for place in places if (place / "uv.h").exists()), None)
    if not found:
        session.error(f"uv.h is not in {' or '.join(map(str, places))}: apt-get install libuv1-dev")
    folder.mkdir()
    shutil.copy(found / "uv.h", folder)
    shutil.copytree(found / "uv", folder / "uv")


def pack(session: nox.Session, folder: Path, into: Path, scripts: str) -> Iterable[Path]:
    into.mkdir(parents=True, exist_ok=True)
    said = subprocess.run(
        ["npm", "pack", "--json", scripts, "--pack-destination", str(into)],
        cwd=folder, env={**os.environ, **environment()}, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if said.returncode:
        session.error(f"npm pack failed in {folder}")
    return [into / entry["filename"] for entry in json.loads(said.stdout)]


def make_jar(session: nox.Session, into: Path) -> Path:
    home = java.jdk()
    if home is None:
        session.error(f"no JDK {java.OLDEST} or newer: apt-get install {java.PACKAGE}")
    work = WORK / "java"
    made = java.build_jar(session, home, work, tools(session), f"-DCMAKE_BUILD_TYPE={BUILD_TYPE}", f"-D{STATIC}")
    check_glibc(session, (file for file in work.glob("native/**/*") if file.is_file() and file.name != "list"))
    return check_size(session, Path(shutil.copy(made, into)))


@nox.session
def wheels(session: nox.Session) -> None:
    """Builds a wheel for each supported CPython in dist/; -- VERSION ... for some of them, such as -- 3.9 3.13. Uses the
    CPythons installed here or, as root with mmdebstrap, that of a Debian release."""
    needs(session)
    DIST.mkdir(exist_ok=True)
    for version, python in pythons_here():
        if session.posargs and version not in session.posargs:
            continue
        if python:
            make_wheel(session, python, DIST)
        elif version in DEBIAN_WITH and os.geteuid() == 0 and shutil.which("mmdebstrap"):
            make_wheel_in_debian(session, DEBIAN_WITH[version], DIST)
        else:
            session.warn(f"CPython {version} is neither on PATH nor in pyenv: no wheel for it")


@nox.session
def prebuilds(session: nox.Session) -> None:
    """Builds the npm package with prebuilt binaries in dist/, and tests that it can be built from source."""
    needs(session, "dev", "python", "node")
    env = {"GC_TARBALL": str(make_tarball(session, DIST)), "GC_FROM_SOURCE": "1"}
    test = ["--test-timeout=600000", "--test-name-pattern=the tarball", "tests/node/packaging.test.js"]
    run(session, "node", "--test", *test, env=env)


@nox.session
def jar(session: nox.Session) -> None:
    """Builds the jar in dist/, for every Linux with glibc 2.31 or newer, and tests it there (as root) and beside Maven's."""
    needs(session, "dev", "python")
    DIST.mkdir(exist_ok=True)
    made = make_jar(session, DIST)
    java.needs_runtime(session)
    pytest(session, "tests/packages/test_jar.py", "tests/packages/test_maven.py", env={"GC_JAR": str(made)})


@nox.session
def packaging(session: nox.Session) -> None:
    """Tests the packages as users get them: the wheel of one Python and the npm tarball, installed without a compiler, and the
    wheel's sources built by any."""
    needs(session, "dev", "python", "node")
    made = WORK / "tested"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    env = {"GC_WHEEL": str(make_wheel(session, PYTHON, made, STATIC_AS_BUILT)), "GC_TARBALL": str(make_tarball(session, made))}
    # A file at a time each, as its tests share what they have installed.
    pytest(session, "tests/python/test_packaging.py", "tests/packages", *SIDE_BY_SIDE, "--dist=loadfile", env=env)
    run(session, "node", "--test", "--test-timeout=600000", "tests/node/packaging.test.js", env=env)
