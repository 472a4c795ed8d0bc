"""The jar: what is in it, and how it loads its native library; and the listing of 2010."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from jvms import JAR, ROOT, Java, compile_java

LISTING = ROOT / "demos" / "fork" / "VMFork.java"
SOURCES = ROOT / "bindings-java" / "src" / "main" / "java"


def listing_prints(java: Java, classes: Path, **more: str) -> None:
    java.classes = classes
    done = java.run("VMFork", GRIDCENTRIC_ON_MASTER_EXIT="keep", **more)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["0", "1"]


def test_the_listing_of_2010(java: Java, tmp_path: Path) -> None:
    """GC_REPEAT=50 for as many times."""
    built = compile_java([LISTING], tmp_path / "classes")
    for _ in range(int(os.environ.get("GC_REPEAT", "1"))):
        listing_prints(java, built)


def test_what_is_in_it() -> None:
    with zipfile.ZipFile(JAR) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
        inside = jar.namelist()
    version = (ROOT / "VERSION").read_text().strip()
    assert "Automatic-Module-Name: ca.gridcentric.guest" in manifest
    assert f"Implementation-Version: {version}" in manifest
    native = f"ca/gridcentric/guest/native/linux-{os.uname().machine}/"
    assert {f"{native}{name}" for name in ("libgridcentric_java.so", "gc", "gc-reaper")} <= set(inside)
    assert "LICENSE" in inside
    assert f"<version>{version}</version>" in (ROOT / "bindings-java" / "pom.xml").read_text()


def test_its_library_shows_the_jvm_what_it_calls_and_nothing_else(tmp_path: Path) -> None:
    native = f"ca/gridcentric/guest/native/linux-{os.uname().machine}/libgridcentric_java.so"
    with zipfile.ZipFile(JAR) as jar:
        library = jar.extract(native, tmp_path)
    shown = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert all(re.match(r"(JNI_OnLoad|Java_ca_gridcentric_guest_Native_\w+)$", line.split()[-1]) for line in shown.splitlines())
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "libstdc++" not in needed


def test_it_is_unpacked_once_into_a_folder_of_this_user(java: Java, tmp_path: Path) -> None:
    built = compile_java([LISTING], tmp_path / "classes")
    cache = tmp_path / "cache"
    for _ in range(2):
        listing_prints(java, built, XDG_CACHE_HOME=str(cache))
    (folder,) = (cache / "gridcentric").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {file.name for file in folder.iterdir()} == {"libgridcentric_java.so", "gc", "gc-reaper"}
    # A file that was cut short is written again.
    library = folder / "libgridcentric_java.so"
    whole = library.read_bytes()
    library.write_bytes(whole[:1000])
    listing_prints(java, built, XDG_CACHE_HOME=str(cache))
    assert library.read_bytes() == whole
    folder.chmod(0o777)
    done = java.run("VMFork", XDG_CACHE_HOME=str(cache))
    assert done.returncode == 1
    assert f"{folder} is not a folder of this user alone" in done.stderr


def test_another_library_can_be_named(java: Java, tmp_path: Path) -> None:
    built = compile_java([LISTING], tmp_path / "classes")
    cache = tmp_path / "cache"
    listing_prints(java, built, XDG_CACHE_HOME=str(cache))
    (folder,) = (cache / "gridcentric").iterdir()
    moved = shutil.move(folder, tmp_path / "named")
    java.classes = built
    for option in (f"-Dgridcentric.library.path={moved}", f"-Djava.library.path={moved}"):
        done = java.run("VMFork", options=(option,), XDG_CACHE_HOME="/nowhere")
        assert (done.returncode, done.stderr) == (0, "")


def test_javadoc_is_complete(tmp_path: Path) -> None:
    javadoc = shutil.which("javadoc")
    if javadoc is None:
        pytest.skip("there is no javadoc")
    command = [javadoc, "-Xdoclint:all", "-Werror", "-quiet", "-d", str(tmp_path), *map(str, SOURCES.rglob("*.java"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_pom_is_valid() -> None:
    maven = shutil.which("mvn")
    if maven is None:
        pytest.skip("there is no Maven")
    pom = ROOT / "bindings-java" / "pom.xml"
    done = subprocess.run([maven, "-o", "-q", "-B", "-f", str(pom), "validate"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_names_are_those_of_the_other_languages() -> None:
    """Each call of gc-guest.h but for those that C alone needs has its method."""
    header = (ROOT / "core" / "include" / "gridcentric" / "gc-guest.h").read_text()
    calls = set(re.findall(r"^GC_API [\w *]+?\*?gc_(\w+)\(", header, re.M))
    only_c = {
        "error_text",
        "error_name",
        "version",
        "ticket_status_string",
        "call_new",
        "use_call",
        "cancel",
        "call_free",
        "free",
    }
    named = {"ismaster": "isMaster", "join_noreport": "joinNoReport", "wait": "waitFor", "wait_and_forget": "waitForAndForget"}
    source = (SOURCES / "ca" / "gridcentric" / "guest" / "API.java").read_text()
    methods = set(re.findall(r"^    public [\w<>]+ (\w+)\(", source, re.M))
    camel = {call: named.get(call, re.sub(r"_(\w)", lambda m: m[1].upper(), call)) for call in calls - only_c}
    assert not {call: name for call, name in camel.items() if name not in methods}, json.dumps(sorted(methods))


def test_without_a_jdk_the_build_says_how_to_get_one_and_goes_on(tmp_path: Path) -> None:
    """PATH has no javac: the session logs the command and makes nothing."""
    (tmp_path / "javac").write_text("#!/bin/sh\necho javac 11.0.2\n")
    (tmp_path / "javac").chmod(0o755)
    program = """
import sys
sys.path.insert(0, "scripts")
from sessions import java

class Session:
    warn = print

print(java.jdk(), java.make_jar(Session()))
"""
    for path in ("/nowhere", str(tmp_path)):
        asked = [sys.executable, "-c", program]
        done = subprocess.run(asked, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "apt-get install -y --no-install-recommends default-jdk-headless" in done.stdout
        assert done.stdout.splitlines()[-1] == "None False"
