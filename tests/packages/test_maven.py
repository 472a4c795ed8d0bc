"""What Maven makes of bindings-java/pom.xml: the jars that Maven Central asks for, of which the first is that of `nox -s jar`.

The plugins are Debian's, in place of the versions that the pom names, so that nothing is fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = Path("/usr/share/maven-repo")
PLUGINS = ("maven-source-plugin", "maven-javadoc-plugin")


def versions() -> dict[str, str]:
    """The versions of the plugins that Debian has."""
    found = {}
    for plugin in PLUGINS:
        made = sorted(path.parent.name for path in REPOSITORY.glob(f"org/apache/maven/plugins/{plugin}/*/*.pom"))
        if not made or not shutil.which("mvn"):
            packages = ["maven", *(f"lib{plugin}-java" for plugin in PLUGINS)]
            pytest.skip(f"no Maven, or no {plugin}: apt-get install -y --no-install-recommends {' '.join(packages)}")
        found[plugin] = made[-1]
    return found


def classes_and_native_files(jar: zipfile.ZipFile) -> dict[str, int]:
    return {entry.filename: entry.CRC for entry in jar.infolist() if entry.filename.startswith("ca/") and not entry.is_dir()}


def test_the_jars_for_maven_central(jar: Path, tmp_path: Path) -> None:
    project, native = tmp_path / "bindings-java", tmp_path / "native"
    shutil.copytree(ROOT / "bindings-java", project)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    with zipfile.ZipFile(jar) as ours:
        ours.extractall(native, [name for name in ours.namelist() if "/native/" in name])
        wanted = classes_and_native_files(ours)
    command = ["mvn", "-B", "-q", "-o", f"-Dmaven.repo.local={REPOSITORY}"]
    command += [f"-D{plugin}.version={version}" for plugin, version in versions().items()]
    command += [f"-Dgridcentric.native={native}", "-P", "release", "package"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

    version = (ROOT / "VERSION").read_text().strip()
    with zipfile.ZipFile(project / "target" / f"gridcentric-{version}.jar") as made:
        assert classes_and_native_files(made).keys() == wanted.keys()
        manifest = made.read("META-INF/MANIFEST.MF").decode()
        assert "Automatic-Module-Name: ca.gridcentric.guest" in manifest
        assert f"Implementation-Version: {version}" in manifest
        assert made.read("META-INF/LICENSE") == (ROOT / "LICENSE").read_bytes()
    with zipfile.ZipFile(project / "target" / f"gridcentric-{version}-sources.jar") as made:
        sources = {str(path.relative_to(ROOT / "bindings-java/src/main/java")) for path in ROOT.glob("bindings-java/**/*.java")}
        assert sources <= set(made.namelist())
    with zipfile.ZipFile(project / "target" / f"gridcentric-{version}-javadoc.jar") as made:
        assert "ca.gridcentric.guest/ca/gridcentric/guest/API.html" in made.namelist()

    # It works, by the listing of 2010.
    library = project / "target" / f"gridcentric-{version}.jar"
    listing = ROOT / "demos" / "fork" / "VMFork.java"
    subprocess.run(["javac", "-cp", str(library), "-d", str(tmp_path), str(listing)], check=True)
    env = os.environ | {"GRIDCENTRIC_ON_MASTER_EXIT": "keep", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ["java", "-cp", f"{library}:{tmp_path}", "VMFork"]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert sorted(said.split()) == ["0", "1"]
