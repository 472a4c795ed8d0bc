"""The store of images when something goes wrong in it. None is built for that: those here are folders with a description."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from gridcentric.hypervisors.qemu import bases, images, layer
from gridcentric.hypervisors.qemu.building import ImageError, need, run, store

DIGEST = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for folder, about in (
        (store() / DIGEST, {"name": "one", "made_from": "debian", "base": DIGEST}),
        (store() / "bases" / DIGEST, {}),
    ):
        folder.mkdir(parents=True)
        (folder / "root.img").touch()
        (folder / "about.json").write_text(json.dumps({"digest": DIGEST, "packages": [], "size": 0, **about}))


def left() -> list[str]:
    return sorted(str(path.relative_to(store())) for path in store().rglob("*") if path.name != ".lock")


@pytest.mark.parametrize("what", ["one", "--bases"])
def test_an_interrupted_removal_leaves_no_half(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, ignore_errors: bool = False) -> None:
        for name in ("root.img", "about.json"):
            if (folder / name).exists():
                (folder / name).unlink()
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            images.remove_bases(print) if what == "--bases" else images.remove(what, print)
    assert (images.find("one") is None) == (what == "one")
    assert (not bases.bases()) == (what == "--bases")
    images.remove_leftovers()
    kept = "bases/" + DIGEST if what == "one" else DIGEST
    assert left() == sorted(["bases", kept, f"{kept}/about.json", f"{kept}/root.img"])


def between_opening_and_locking(patch: pytest.MonkeyPatch, what: Any) -> None:
    lock = fcntl.flock

    def late(fd: int, how: int) -> None:
        patch.undo()
        what()
        lock(fd, how)

    patch.setattr(fcntl, "flock", late)


def test_an_image_that_goes_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    (image,) = images.images()
    with monkeypatch.context() as patch, pytest.raises(ImageError, match="the image one has just been removed"):
        between_opening_and_locking(patch, lambda: images.remove("one", print))
        images.hold(image)


def test_two_remove_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        between_opening_and_locking(patch, lambda: images.remove("one", print))
        images.remove("one", print)
    assert not images.images()


def test_a_tool_that_fails_is_named() -> None:
    with pytest.raises(ImageError) as failed:
        run(["sh", "-c", "echo its last word; exit 3"], print, "image x")
    assert str(failed.value) == "image x failed: sh ended with 3:\n  its last word"


def test_tools_that_are_not_on_the_path_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's PATH of an ordinary user: kmod is installed there, and depmod is not found."""
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    assert shutil.which("ldconfig") is None
    need(("ldconfig", "libc-bin"))
    run(["ldconfig", "--version"], print, "looking")


def test_a_kernel_that_can_not_be_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Debian gave is broken, or the disk is full."""
    (tmp_path / "mmdebstrap").write_text("""#!/bin/sh
for argument; do case $argument in *copy-out*) eval "work=${argument##* }";; esac; done
echo no tar > "$work/kernel.tar"
""")
    (tmp_path / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ImageError, match="tar ended with 2"):
        bases.ensure(("no such package",), print, "image x")


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are built, of nothing."""
    (made,) = bases.bases()
    for name in ("root.erofs", "vmlinuz", "modules.img"):
        (made.folder / name).touch()
    (tmp_path / "layer").touch()
    monkeypatch.setattr(bases, "ensure", lambda *_: made)
    monkeypatch.setattr(layer, "build", lambda *_: tmp_path / "layer")


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as copy_file_range(2) and write(2), which know no names

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ImageError, match=re.escape(f"image two can't be built in {store()}: ")):
        images.build("two")
    assert [image.name for image in images.images()] == ["one"]


@pytest.mark.usefixtures("quick")
def test_an_image_that_is_replaced_as_it_is_done() -> None:
    def another_builds(text: str) -> None:
        if "done" in text:
            images.remove("two", print)

    assert images.build("two", progress=another_builds).name == "two"
