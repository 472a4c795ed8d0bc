"""The jar in a VM, whose JVM clones the whole machine: the listing of 2010, and a testee of tests/java."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
JAR = Path(sys.prefix) / "share" / "gridcentric" / "gridcentric.jar"
TESTEES = ROOT / "tests" / "java" / "testees"
SOURCES = [ROOT / "demos" / "fork" / "VMFork.java", TESTEES / "Family.java", TESTEES / "RandomNumbers.java"]


@pytest.mark.full
@pytest.mark.usefixtures("vms")
@pytest.mark.skipif(shutil.which("javac") is None or not JAR.exists(), reason="there is no JDK, or no jar: make build")
def test_a_jvm_clones_its_vm(gc: Any, tmp_path: Path) -> None:
    image = gc.image("test-java", "openjdk-17-jre-headless")
    subprocess.run(["javac", "--release", "17", "-cp", JAR, "-d", tmp_path / "classes", *SOURCES], check=True)
    machine = ["run", "--hypervisor", "qemu", "--image", image, "--memory", "512M"]
    copies = ["--copy", f"{JAR}:/root/gridcentric.jar", "--copy", f"{tmp_path}/classes:/root/classes"]
    for program, says in (("VMFork", ["0", "1"]), ("RandomNumbers", [])):
        done = gc(*machine, *copies, "--", "java", "-cp", "gridcentric.jar:classes", program)
        assert (done.returncode, sorted(done.stdout.split())) == (0, says), done.stderr
