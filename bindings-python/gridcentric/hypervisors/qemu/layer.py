"""What an image has over its base: files of the user's, and this project's packages. Knows nothing of bases and images."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from gridcentric import _node_package, _paths
from gridcentric.hypervisors.qemu.building import EPOCH, MKFS, ImageError, Progress, run

# What a guest has no use for: what builds leave behind, the packed core, and what only hosts need.
_NOT_INTO_IMAGES = re.compile(
    r"__pycache__|nodejs/gridcentric/(build/(?!Release(/[^/]*)?$)|node_modules/\.cache|core/)|\.a$"
    r"|gridcentric/hypervisors/[a-z]+(/|$)|gridcentric/(bin/gc-agent|bin/gc-launcher|lib/gridcentric/gc-machine-copy\.so)$"
)
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # that of this project's modules
# The tree is unpacked in a separate place: without root this is another user (mmdebstrap's unshare mode), who owns nothing
# here, and what comes and goes is its standard input and output. Debian's /bin is a link to /usr/bin, and so on: a folder of
# that name would hide all that is behind the link, as /bin/sh.
_PACK = f"""set -eu
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"
for name in bin sbin lib lib64; do
  mkdir -p "$work/tree/usr/$name"
  ln -s "usr/$name" "$work/tree/$name"
done
tar -C "$work/tree" --numeric-owner --keep-directory-symlink -xf -
{MKFS} "$work/layer.erofs" "$work/tree" >/dev/null
cat "$work/layer.erofs"
"""


def agent() -> Path:
    path = _paths.GC.with_name("gc-agent")
    if not path.exists():
        raise ImageError(f"this installation has no {path}: it was built without the agent of the VMs")
    return path


def _own_files(python: str) -> Iterator[tuple[Path, str]]:
    """This project's packages, (from, to in the image): import gridcentric, require('gridcentric') and gc."""
    package = _paths.PACKAGE
    if python == _PYTHON:
        yield package, "/usr/lib/python3/dist-packages/gridcentric"
        yield from _python_packages()
    for name in ("gc", "gc-reaper", "libgridcentric-run.so"):  # the library takes a gc of PATH only with its gc-reaper
        yield _paths.GC.with_name(name), f"/usr/bin/{name}"
    folder = _node_package.find()
    if folder is not None:
        yield from _node_packages(folder)
        shared = folder.resolve().parent / "autoscale"  # of a checkout; in a package it is inside
        if shared.is_dir():
            yield shared, "/usr/share/nodejs/gridcentric/autoscale"


def _python_packages() -> Iterator[tuple[Path, str]]:
    """What gridcentric[autoscale] requires, and that requires, as far as it is installed here."""
    found: set[str] = set()
    wanted = [text for text in metadata.requires("gridcentric") or [] if re.search(r"extra == .autoscale", text)]
    while wanted:
        requirement = wanted.pop()
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            wanted += [text for text in package.requires or [] if "extra ==" not in text]
            for top in sorted({file.parts[0] for file in package.files or () if ".." not in file.parts}):
                yield Path(str(package.locate_file(top))), f"/usr/lib/python3/dist-packages/{top}"


def _node_packages(folder: Path) -> Iterator[tuple[Path, str]]:
    """A package and all that it requires, side by side where Debian's Node looks."""
    found = {folder.name: folder}
    wanted = [folder.name]
    while wanted:
        name = wanted.pop()
        package = found[name]
        yield package.resolve(), f"/usr/share/nodejs/{name}"
        for name in sorted(json.loads((package / "package.json").read_text()).get("dependencies", {})):
            places = (package / "node_modules" / name, folder / "node_modules" / name, folder.parent / name)
            needed = next((place for place in places if (place / "package.json").exists()), None)
            if needed is not None and name not in found:
                found[name] = needed
                wanted.append(name)


def _own_members(python: str) -> Iterator[tuple[Path, str]]:
    """The same, each file and folder by itself."""
    for source, target in _own_files(python):
        yield from ((path, name) for path, name in _members(source, target) if not _NOT_INTO_IMAGES.search(name))


def _members(source: Path, target: str) -> Iterator[tuple[Path, str]]:
    """A file, or a folder and all that is in it, each by itself: (from, to)."""
    for path in (source, *sorted(source.rglob("*"))):
        yield path, target if path == source else f"{target}/{path.relative_to(source)}"


def digest(made_from: Path | None, python: str) -> str:
    """Of all that a layer is made of."""
    sum_ = hashlib.sha256(_PACK.encode())
    laid_over = () if made_from is None else _members(made_from, "")
    for path, target in (*laid_over, *_own_members(python)):
        content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        head = os.fsencode(target) + f"\0{path.lstat().st_mode:o}\0".encode()
        sum_.update(head + hashlib.sha256(content).digest())
    if made_from is not None and made_from.is_dir() and _owners_count():
        owners = ((path.lstat().st_uid, path.lstat().st_gid) for path, _ in _members(made_from, ""))
        sum_.update(json.dumps(list(owners)).encode())
    return sum_.hexdigest()


def _owners_count() -> bool:
    """A user other than root means the files of a folder to be root's in the VM."""
    return os.geteuid() == 0


def _add(tar: tarfile.TarFile, source: Path, name: str, *, owner: bool) -> None:
    """With fixed times; owned by root, unless its owner counts."""
    info = tar.gettarinfo(source, "." + name)
    if info is None:  # a socket, which is nothing without the process that listens on it
        return
    info.mtime = int(EPOCH)
    if not owner:
        info.uid = info.gid = 0
    info.uname = info.gname = ""
    if info.isreg():
        with source.open("rb") as content:
            tar.addfile(info, content)
    else:
        tar.addfile(info)


def _add_tar(tar: tarfile.TarFile, source: Path) -> None:
    try:
        with tarfile.open(source) as given:
            for info in given:
                content = given.extractfile(info) if info.isreg() else None
                if info.issparse():  # its holes are read as zeros: it is written as any other file
                    info.type = tarfile.REGTYPE
                    info.pax_headers = {key: value for key, value in info.pax_headers.items() if "GNU.sparse" not in key}
                tar.addfile(info, content)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:  # what is packed says so in its own way
        raise ImageError(f"--from {source}: expected a whole tar file, as it is or packed with gzip, bzip2 or xz") from error


def build(made_from: Path | None, python: str, work: Path, progress: Progress, what: str) -> Path:
    """Lay a folder's or a tar's files and this project's into a file system in `work`; its path. python: the version that is
    in the base. Raises ImageError."""
    with (work / "layer.tar").open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        if made_from is not None and made_from.is_dir():
            for path, name in list(_members(made_from, ""))[1:]:
                _add(tar, path, name, owner=_owners_count())
        elif made_from is not None:
            _add_tar(tar, made_from)
        for path, name in _own_members(python):
            _add(tar, path, name, owner=False)
    if python != _PYTHON:
        progress(
            f"{what}: without its Python package, which is built for Python {_PYTHON}, and the image has {python}: run gc with "
            f"Python {python}; gc, Node and C programs work in VMs"
        )
    command = [*([] if os.geteuid() == 0 else ["mmdebstrap", "--unshare-helper"]), "sh", "-c", _PACK]
    with (work / "layer.tar").open("rb") as given, (work / "layer.erofs").open("wb") as made:
        run(command, progress, what, given, made)
    return work / "layer.erofs"
