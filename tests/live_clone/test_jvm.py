"""A JVM survives a live clone with all its threads: jvm/Testee.java, in both modes.

Builds the testee with javac and gcc against the installed package; skipped without a JDK. A hang is reported with what every
thread waits for.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .test_testees import REPEAT, output_of

pytest.importorskip("gridcentric", reason="the package is not installed")
SOURCES = Path(__file__).parent / "jvm"
CLONES = 3
WORK = "counts locks monitors allocates sleeps scheduled"


def jdk() -> Path:
    """The JDK that the javac of JAVA_HOME or PATH belongs to."""
    javac = shutil.which("javac", path=f"{os.environ.get('JAVA_HOME', '')}/bin:{os.environ.get('PATH', '')}")
    if not javac:
        pytest.skip("there is no JDK: no javac")
    home = Path(javac).resolve().parents[1]
    if not (home / "include/jni.h").exists():
        pytest.skip(f"the JDK {home} has no jni.h")
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc")
    return home


@pytest.fixture(scope="module")
def testee(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    home = jdk()
    out = tmp_path_factory.mktemp("jvm")
    where = [sys.executable, "-m", "gridcentric", "--cflags", "--libs"]
    link = subprocess.run(where, capture_output=True, text=True, check=True).stdout.split()
    include = [f"-I{home}/include", f"-I{home}/include/linux"]
    library = str(out / "libtestee.so")
    c = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(SOURCES / "gridcentric.c")]
    subprocess.run([*c, "-o", library, *include, *link], check=True)
    subprocess.run([home / "bin/javac", "-d", out, SOURCES / "Testee.java"], check=True)
    return [str(home / "bin/java"), "-Xmx256m", "-cp", str(out), "Testee", library, str(CLONES)]


@pytest.mark.parametrize("repeat", range(REPEAT))
@pytest.mark.parametrize("mode", ["pidns", "plain"])
def test_every_thread_goes_on(testee: list[str], mode: str, repeat: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRIDCENTRIC_")}
    environment.update(GRIDCENTRIC_CLONE_MODE=mode, XDG_RUNTIME_DIR=str(tmp_path))
    process = subprocess.Popen(
        testee, cwd=tmp_path, env=environment, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output = output_of(process, f"the JVM in {mode} mode")
    assert process.returncode == 0, output
    found = [re.fullmatch(rf"vmid (\d) at ([\d.]+): {WORK} (\d+)", line) for line in output.splitlines()]
    assert [match and (match[1], match[3]) for match in found] == [(str(k), str(k + 40)) for k in range(CLONES + 1)], output
    assert len({match[2] for match in found if match}) == CLONES + 1, output
