"""Images of VMs: how they are built, where they are kept. Knows nothing of running them.

An image is a folder named by the digest of what it was made from:

    root.img     a disk of two partitions, read-only: the base (bases.py) and what lies over it (layer.py). Each VM writes to a
                 tmpfs over both
    vmlinuz      Debian's kernel
    initrd.img   gc-agent as /init and the modules it needs
    about.json   name, digest, what it was made from
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import struct
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gridcentric.hypervisors.qemu import bases, layer, leftovers
from gridcentric.hypervisors.qemu.building import BUILDING, ImageError, Progress, discard, need, only_builder, store
from gridcentric.hypervisors.qemu.cpio import write_cpio

DEFAULT = "default"
ABOUT = "about.json"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_SECTOR = 512
_ALIGNMENT = 1 << 20  # of partitions

__all__ = ["DEFAULT", "Image", "ImageError", "build", "ensure", "find", "hold", "images", "remove", "remove_bases"]


@dataclass(frozen=True)
class Image:
    name: str
    digest: str
    made_from: str
    packages: tuple[str, ...]
    base: str  # its digest; images are whole without it
    size: int = 0  # bytes of all files
    folder: Path = field(default=Path(), compare=False)

    @property
    def root(self) -> Path:
        return self.folder / "root.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def images() -> list[Image]:
    """All images in the store, by name."""
    return sorted(_stored()[0], key=lambda image: image.name)


def _stored() -> tuple[list[Image], list[Path]]:
    """The images, and the folders of images that another version of gridcentric made, which this one cannot use."""
    found, foreign = [], []
    for about in sorted(store().glob(f"[!.]*/{ABOUT}")):
        try:
            fields = json.loads(about.read_text())
            fields["packages"] = tuple(fields["packages"])
            found.append(Image(**fields, folder=about.parent))
        except FileNotFoundError:
            continue  # it has just been removed
        except (KeyError, TypeError):
            foreign.append(about.parent)
        except ValueError as error:
            raise ImageError(f"{about} is not as gc wrote it ({error}): remove {about.parent}") from error
    return found, foreign


def find(name: str) -> Image | None:
    return next((image for image in images() if name in (image.name, image.digest)), None)


def hold(image: Image) -> None:
    """Nobody removes the image while this process lives: its clones open it anew. Raises ImageError when it has just gone."""
    try:
        _lock(image.folder, fcntl.LOCK_SH)  # stays open on purpose
    except OSError as error:
        raise ImageError(f"the image {image.name} has just been removed: {error}") from error


def _lock(folder: Path, how: int) -> int:
    """An image's about.json, locked (flock(2)). Raises OSError, FileNotFoundError: it is gone, or went while this waited."""
    fd = os.open(folder / ABOUT, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, how)
        if not os.path.samestat(os.fstat(fd), (folder / ABOUT).stat()):
            raise FileNotFoundError(f"{folder} is another one now")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _remove(folder: Path) -> bool:
    """False: a machine runs from that image."""
    try:
        fd = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True  # somebody else has removed it
    try:
        discard(folder)
    finally:
        os.close(fd)
    return True


def remove(name: str, progress: Progress) -> None:
    """And its base, when no other image is made on it. Raises ImageError: no such image, or a machine runs from it."""
    image = find(name)
    if image is None:
        raise ImageError(f"there is no image {name!r}; there are: {_known()}")
    if not _remove(image.folder):
        raise ImageError(f"the image {name!r} is in use: end the machines that run from it first (gc ps)")
    with only_builder(progress):
        _remove_unneeded_bases()


def remove_bases(progress: Progress) -> list[bases.Base]:
    """All of them, so that the next build takes Debian's packages of its day. Images stay. Returns what was removed."""
    with only_builder(progress):
        found = bases.bases()
        for base in found:
            bases.remove(base)
    return found


def _remove_unneeded_bases() -> list[bases.Base]:
    needed = {image.base for image in images()}
    unneeded = [base for base in bases.bases() if base.digest not in needed]
    for base in unneeded:
        bases.remove(base)
    return unneeded


def _known() -> str:
    return ", ".join(i.name for i in images()) or "none"


def named_by_digest(about: bytes) -> bytes:
    """An image's about.json without the name that its user gave it."""
    fields = json.loads(about)
    return (json.dumps({**fields, "name": fields["digest"]}, indent=2) + "\n").encode()


def _replace(old: Image) -> None:
    """The name has moved on. While machines run from the old image it is there, by its digest alone."""
    if not _remove(old.folder):
        new = old.folder / f"{ABOUT}.new"
        new.write_bytes(named_by_digest((old.folder / ABOUT).read_bytes()))
        new.rename(old.folder / ABOUT)


def remove_leftovers() -> list[str]:
    """Remove what killed builds and other versions have left, and replaced images that nobody runs from; their paths."""
    if not store().is_dir():
        return []
    removed = [*leftovers.remove([store()], BUILDING), *bases.remove_leftovers()]
    stored, foreign = _stored()
    replaced = [image.folder for image in stored if image.name == image.digest]
    return [*removed, *(str(folder) for folder in (*replaced, *foreign) if _remove(folder))]


def _digest(name: str, made_from: Path | None, base: str) -> str:
    """Of all that an image is made of."""
    agent = hashlib.sha256(layer.agent().read_bytes()).hexdigest()
    parts = [name, base, layer.digest(made_from, bases.PYTHON), agent]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _write_initrd(base: bases.Base, target: Path) -> None:
    """Two archives, one after the other (Linux, buffer-format.rst): that of the agent, and that of its modules."""
    with target.open("wb") as out:
        with gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as packed:
            write_cpio(packed, ["dev", "proc", "sys"], [("init", layer.agent().read_bytes(), 0o755)])
        out.write(b"\0" * (-out.tell() % 4))
        out.write((base.folder / "modules.img").read_bytes())


def _write_disk(parts: tuple[Path, ...], target: Path) -> None:
    """The file systems as the partitions of a disk (a master boot record): a second disk would cost every VM a device."""
    entries = b""
    with target.open("wb") as disk:
        for part in parts:
            start = disk.seek(-(-max(disk.tell(), 1) // _ALIGNMENT) * _ALIGNMENT)
            with part.open("rb") as content:
                shutil.copyfileobj(content, disk, 1 << 20)
            size = -(-(disk.tell() - start) // _SECTOR)
            disk.truncate(start + size * _SECTOR)
            entries += struct.pack("<B3sB3sII", 0, b"\0" * 3, 0x83, b"\0" * 3, start // _SECTOR, size)
        disk.seek(_SECTOR - 2 - 4 * 16)
        disk.write(entries.ljust(4 * 16, b"\0") + b"\x55\xaa")


def build(
    name: str = DEFAULT, made_from: str = "debian", packages: tuple[str, ...] = (), progress: Progress = lambda text: None
) -> Image:
    """Build an image, or give the one that was built of the same things before.

    made_from: "debian", a folder or a tar file with a root file system. packages: Debian packages besides bases.PACKAGES.
    Raises ImageError. Takes about a minute when there is no base with these packages, seconds otherwise; progress is told
    what happens.
    """
    if not re.fullmatch(NAME, name):
        raise ImageError(f"--name {name}: expected letters, digits, and . _ - within, at most 64")
    over = None if made_from == "debian" else Path(made_from)
    if over is not None and not over.exists():
        raise ImageError(f"--from {made_from}: expected debian, a folder or a tar file; there is no such file")
    digest = _digest(name, over, bases.digest(packages))
    target = store() / digest
    if image := find(digest):
        return image
    need(("mkfs.erofs", "erofs-utils"), *([] if os.geteuid() == 0 else [("mmdebstrap", "mmdebstrap")]))
    try:
        remove_leftovers()
        with only_builder(progress), leftovers.own_folder([store()], BUILDING) as work:
            if image := find(digest):  # somebody else has built it meanwhile
                return image
            base = bases.ensure(packages, progress, f"image {name}")
            done = work / "done"
            done.mkdir()
            over_base = layer.build(over, bases.PYTHON, work, progress, f"image {name}: gridcentric")
            _write_disk((base.folder / "root.erofs", over_base), done / "root.img")
            shutil.copyfile(base.folder / "vmlinuz", done / "vmlinuz")
            _write_initrd(base, done / "initrd.img")
            size = sum(p.stat().st_size for p in done.iterdir())
            image = Image(name, digest, made_from, bases.wanted(packages), base.digest, size)
            about = asdict(image)
            del about["folder"]
            (done / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
            for old in images():
                if old.name == name:  # the name moves on to the new image
                    _replace(old)
            done.rename(target)
            _remove_unneeded_bases()
    except OSError as error:  # a disk that is full, above all
        raise ImageError(f"image {name} can't be built in {store()}: {error}") from error
    progress(f"image {name}: done, {size >> 20} MiB in {target}")
    return replace(image, folder=target)


def ensure(name: str, progress: Progress) -> Image:
    """The image of this name; the default one is built when it is not there."""
    image = find(name)
    if image is not None and name != DEFAULT:
        return image
    if name != DEFAULT:
        raise ImageError(f"there is no image {name!r} (there are: {_known()}); build it: gc image build --name {name}")
    if image is None:
        progress("the default image is built on first use, about a minute")
    return build(progress=progress)
