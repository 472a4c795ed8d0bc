"""Images: the same input gives the same bytes, a base is built once and kept, what lies over it is there in a VM."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gridcentric.hypervisors.qemu import bases, layer
from gridcentric.hypervisors.qemu.building import ImageError


class Store:
    """A folder of images of the test's own, with the base of the default image in it."""

    def __init__(self, gc: Any, folder: Path) -> None:
        self._gc = gc
        self._environment = {"XDG_DATA_HOME": str(folder)}
        self.images = folder / "gridcentric" / "images"
        self.base = bases.digest(())
        (known,) = [base for base in bases.bases() if base.digest == self.base]
        shutil.copytree(known.folder, self.images / "bases" / self.base)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        done = self._gc(*words, **self._environment)
        return done.returncode, done.stdout, done.stderr

    def build(self, *words: str) -> Path:
        """Its folder. No base may be built for it: that would take a minute."""
        code, _, said = self("image", "build", *words)
        assert code == 0, said
        assert "Debian" not in said
        (folder,) = [Path(line.split(" in ")[1]) for line in said.splitlines() if "done" in line]
        return folder

    def bases(self) -> list[str]:
        return [folder.name for folder in (self.images / "bases").glob("*")]


@pytest.fixture
def store(gc: Any, vms: None, tmp_path: Path) -> Store:
    return Store(gc, tmp_path)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_same_input_gives_the_same_bytes(store: Store) -> None:
    folder = store.build("--name", "one")
    first = contents(folder)
    assert store("image", "build", "--name", "one") == (0, "", ""), "it is there"
    shutil.rmtree(folder)
    assert store.build("--name", "one") == folder
    assert contents(folder) == first


def test_a_base_goes_with_its_last_image(store: Store) -> None:
    one, two = store.build("--name", "one"), store.build("--name", "two")
    assert one != two
    listed = store("image", "ls")[1].splitlines()
    assert [line.split()[:2] for line in listed] == [["one", one.name], ["two", two.name], ["(base)", store.base]]
    assert store("image", "rm", "one") == (0, "", "")
    assert store.bases() == [store.base]
    assert store("image", "rm", "--bases") == (0, f"removed {store.images / 'bases' / store.base}\n", "")
    assert [line.split()[0] for line in store("image", "ls")[1].splitlines()] == ["two"], "it is whole without its base"


def test_nothing_is_left_of_the_last(store: Store) -> None:
    store.build("--name", "one")
    assert store("image", "rm", "one") == (0, "", "")
    assert sorted(path.name for path in store.images.rglob("*")) == [".lock", "bases"]
    assert store("image", "rm")[0] == 2
    assert store("image", "rm", "one", "--bases")[0] == 2


@pytest.mark.usefixtures("vms")
def test_another_python_is_told(tmp_path: Path) -> None:
    """Modules built for one Python are of no use to another: they are left out, and the build says so."""
    said: list[str] = []
    made = layer.build(None, "2.7", tmp_path, said.append, "image x")
    with_python = layer.digest(None, bases.PYTHON)
    assert made.stat().st_size > 0
    assert layer.digest(None, "2.7") != with_python
    assert any("without its Python package" in line and "the image has 2.7" in line for line in said)
    with tarfile.open(tmp_path / "layer.tar") as tar:
        names = tar.getnames()
    assert "./usr/bin/gc" in names
    assert not any("python" in name for name in names)


def test_files_over_debian(store: Store, tmp_path: Path) -> None:
    """From a folder and from a tar: they replace Debian's, with their modes; those of a tar with their owners."""
    given = tmp_path / "given"
    (given / "srv" / "sub").mkdir(parents=True)
    (given / "srv" / "program").write_text("#!/bin/sh\necho it runs\n")
    (given / "srv" / "program").chmod(0o750)
    (given / "srv" / "sub" / "link").symlink_to("../program")
    (given / "bin").mkdir()  # where Debian has a link
    (given / "bin" / "tool").write_text("#!/bin/sh\necho tool\n")
    (given / "bin" / "tool").chmod(0o755)
    (given / "etc").mkdir()
    (given / "etc" / "issue").write_text("mine\n")
    os.utime(given / "srv" / "program", (1, 1))
    store.build("--name", "folder", "--from", str(given))

    def owned(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid, info.gid = 1234, 100
        return info

    with tarfile.open(tmp_path / "given.tar.gz", "w:gz") as tar:
        tar.add(given, ".", filter=owned)
    store.build("--name", "tar", "--from", str(tmp_path / "given.tar.gz"))
    script = (
        "tool; cat /etc/issue /etc/debian_version; stat -c '%a %u %g' /srv/program; /srv/sub/link; stat -c '%a %u' / /etc;"
        "gc vmid"
    )
    for name, owner in (("folder", f"{os.getuid()} {os.getgid()}"), ("tar", "1234 100")):
        code, said, trouble = store("run", "--hypervisor", "qemu", "--image", name, "--", "sh", "-c", script)
        assert code == 0, trouble
        tool, mine, debian, program, runs, root, etc, vmid = said.splitlines()
        assert (tool, mine, program, runs, root, vmid) == ("tool", "mine", f"750 {owner}", "it runs", "755 0", "0")
        assert etc == f"755 {owner.split()[0]}"
        assert debian.startswith("12.")
    (tmp_path / "no.tar").write_text("no tar")
    code, _, said = store("image", "build", "--from", str(tmp_path / "no.tar"))
    assert code == 1
    assert said.endswith("no.tar: expected a whole tar file, as it is or packed with gzip, bzip2 or xz\n")


def laid_over(given: Path, work: Path) -> tarfile.TarFile:
    """What is in an image that is made from it."""
    layer.digest(given, bases.PYTHON)
    layer.build(given, bases.PYTHON, work, print, "image x")
    return tarfile.open(work / "layer.tar")


@pytest.mark.usefixtures("vms")
def test_a_socket_is_left_out(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(given / "socket"))
        names = laid_over(given, tmp_path).getnames()
    assert "./file" in names
    assert "./socket" not in names


@pytest.mark.usefixtures("vms")
def test_names_of_any_bytes(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    name = os.fsdecode(b"caf\xe9")  # Latin-1
    (given / name).touch()
    assert f"./{name}" in laid_over(given, tmp_path).getnames()


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("packing", ["", "gz", "bz2", "xz"])
def test_a_tar_that_is_cut_short(tmp_path: Path, packing: str) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    given = tmp_path / "given.tar"
    with tarfile.open(given, f"w:{packing}") as tar:
        tar.add(tmp_path / "file", "file")
    os.truncate(given, given.stat().st_size // 2)
    with pytest.raises(ImageError, match=re.escape(f"--from {given}: ")):
        laid_over(given, tmp_path)


@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize("kind", ["gnu", "posix"])
def test_a_tar_with_holes(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    with file.open("wb") as out:
        out.write(b"begin")
        out.truncate(8 << 20)
    given = tmp_path / "given.tar"
    subprocess.run(["tar", f"--format={kind}", "--sparse", "-C", str(tmp_path), "-cf", str(given), "./file"], check=True)
    assert given.stat().st_size < 1 << 20
    with laid_over(given, tmp_path) as tar:
        content = tar.extractfile("./file")
        assert content is not None
        assert content.read() == file.read_bytes()


@pytest.mark.usefixtures("vms")
@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root means the files to be root's in the VM")
def test_an_owner_counts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = layer.digest(tmp_path, bases.PYTHON)
    assert layer.digest(tmp_path, bases.PYTHON) == before
    os.chown(tmp_path / "file", 1234, 100)
    assert layer.digest(tmp_path, bases.PYTHON) != before
