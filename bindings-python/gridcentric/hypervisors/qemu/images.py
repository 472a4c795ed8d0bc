"""Images of VMs: what they are made of, how they are built, where they are kept. Knows nothing of running them.

An image is a folder named by the digest of what it was made from:

    root.erofs   the file system, read-only; each VM writes to a tmpfs overlay
    vmlinuz      Debian's kernel
    initrd.img   gc-agent as /init and the modules it needs
    about.json   name, digest, what it was made from

Built without root where the host allows user namespaces (mmdebstrap's unshare mode).
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gridcentric.hypervisors.qemu import leftovers
from gridcentric.hypervisors.qemu.cpio import write_cpio

DEFAULT = "default"
PACKAGES = ("nodejs", "python3", "procps", "iproute2", "curl")
SUITE = "bookworm"
# What gc-agent needs before it has a root file system, and the network and channel it then uses. (libcrc32c asks for the
# crc32c algorithm by name when it is loaded: modules.dep does not know of it.)
MODULES = (
    "crc32c_generic", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "erofs", "overlay", "tcp_diag",
)  # fmt: skip
ABOUT = "about.json"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
BUILDING = ".building-"
EPOCH = "1700000000"  # all times of files in an image, so that the same input gives the same bytes

# What a guest has no use for: what Node's build leaves behind and the packed core, and this very package.
NOT_INTO_IMAGES = re.compile(
    r"__pycache__|nodejs/gridcentric/(build/(?!Release(/[^/]*)?$)|node_modules/\.cache|core/)|gridcentric/hypervisors/qemu"
)

Progress = Callable[[str], None]


class ImageError(Exception):
    """An image can't be built or found; the text says what is missing and what to do."""


@dataclass(frozen=True)
class Image:
    name: str
    digest: str
    made_from: str
    packages: tuple[str, ...]
    size: int = 0  # bytes of all files
    folder: Path = field(default=Path(), compare=False)

    @property
    def root(self) -> Path:
        return self.folder / "root.erofs"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def store() -> Path:
    """The user's image folder: $XDG_DATA_HOME/gridcentric/images."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "gridcentric" / "images"


def images() -> list[Image]:
    """All images in the store, by name."""
    found = []
    for about in sorted(store().glob(f"[!.]*/{ABOUT}")):
        try:
            fields = json.loads(about.read_text())
            fields["packages"] = tuple(fields["packages"])
            found.append(Image(**fields, folder=about.parent))
        except FileNotFoundError:
            continue  # it has just been removed
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{about} is not as gc wrote it ({error}): remove {about.parent}") from error
    return sorted(found, key=lambda image: image.name)


def find(name: str) -> Image | None:
    return next((image for image in images() if name in (image.name, image.digest)), None)


def hold(image: Image) -> None:
    """Nobody removes the image while this process lives: its clones open it anew. Raises ImageError when it has just gone."""
    try:
        fd = os.open(image.folder / ABOUT, os.O_RDONLY | os.O_CLOEXEC)  # stays open on purpose
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError as error:
        raise ImageError(f"the image {image.name} has just been removed: {error}") from error


def _remove(image: Image) -> bool:
    """False: a machine runs from it."""
    with (image.folder / ABOUT).open() as about:
        try:
            fcntl.flock(about, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        shutil.rmtree(image.folder)
    return True


def remove(name: str) -> None:
    """Raises ImageError: there is no such image, or a machine runs from it."""
    image = find(name)
    if image is None:
        raise ImageError(f"there is no image {name!r}; there are: {_known()}")
    if not _remove(image):
        raise ImageError(f"the image {name!r} is in use: end the machines that run from it first (gc ps)")


def _known() -> str:
    return ", ".join(i.name for i in images()) or "none"


def _replace(old: Image) -> None:
    """The name has moved on. While machines run from the old image it is there, by its digest alone."""
    if not _remove(old):
        about = {**json.loads((old.folder / ABOUT).read_text()), "name": old.digest}
        (old.folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def remove_leftovers() -> list[str]:
    """Remove what killed builds have left, and replaced images that nobody runs from any more; their paths."""
    if not store().is_dir():
        return []
    removed = leftovers.remove([store()], BUILDING)
    for image in images():
        if image.name == image.digest and _remove(image):
            removed.append(str(image.folder))
    return removed


def _need(*commands: tuple[str, str]) -> None:
    missing = [package for command, package in commands if shutil.which(command) is None]
    if missing:
        raise ImageError(f"building an image needs Debian's {' and '.join(missing)}: apt-get install {' '.join(missing)}")


def _agent() -> Path:
    import gridcentric

    path = Path(gridcentric.__file__).parent / "bin" / "gc-agent"
    if not path.exists():
        raise ImageError(f"this installation has no {path}: it was built without the agent of the VMs")
    return path


def _own_files() -> Iterator[tuple[Path, str]]:
    """This project's packages, (from, to in the image): import gridcentric, require('gridcentric') and gc."""
    import gridcentric

    package = Path(gridcentric.__file__).parent
    if f"{sys.version_info.major}.{sys.version_info.minor}" == "3.11":  # the Python of SUITE
        yield package, "/usr/lib/python3/dist-packages/gridcentric"
    yield package / "bin" / "gc", "/usr/bin/gc"
    named = os.environ.get("GRIDCENTRIC_NODE_MODULE")
    # Not the working directory's: the default image must not change with it.
    modules = (Path(sys.prefix).parent / "node_modules", Path("/usr/local/lib/node_modules"), Path("/usr/lib/node_modules"))
    for folder in (*([Path(named)] if named else []), *(module / "gridcentric" for module in modules)):
        if (folder / "package.json").exists():
            yield from _node_packages(folder)
            page = folder.resolve().parent / "dashboard"  # of a checkout; in a package it is inside
            if page.is_dir():
                yield page, "/usr/share/nodejs/gridcentric/dashboard"
            break


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


def _own_members() -> Iterator[tuple[Path, str]]:
    """The same, each file and folder by itself."""
    for source, target in _own_files():
        yield from ((path, name) for path, name in _members(source, target) if not NOT_INTO_IMAGES.search(name))


def _members(source: Path, target: str) -> Iterator[tuple[Path, str]]:
    """A file, or a folder and all that is in it, each by itself: (from, to)."""
    for path in (source, *sorted(source.rglob("*"))):
        yield path, target if path == source else f"{target}/{path.relative_to(source)}"


def _digest(name: str, made_from: str, packages: tuple[str, ...]) -> str:
    """Of all that an image is made of. Debian's packages count by their names: a build takes their versions of that day."""
    sum_ = hashlib.sha256(json.dumps([name, made_from, packages, SUITE, MODULES, EPOCH, _HOOK, _PACK]).encode())
    laid_over = () if made_from == "debian" else _members(Path(made_from), "/")
    for path, target in (*_own_members(), (_agent(), "/init"), *laid_over):
        content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        sum_.update(f"{target}\0{path.lstat().st_mode:o}\0".encode() + hashlib.sha256(content).digest())
    return sum_.hexdigest()[:16]


def _run(command: list[str], progress: Progress, what: str, env: dict[str, str] | None = None) -> None:
    progress(what)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=os.environ | (env or {})
    )
    assert process.stdout is not None
    last: list[str] = []
    try:
        for line in process.stdout:
            last = [*last[-14:], line.rstrip()]
            if match := re.match(r"I: (.*)", line):
                progress(f"{what}: {match[1]}")
    except BaseException:  # Ctrl-C: it cleans up after itself
        process.terminate()
        process.wait()
        raise
    if process.wait() != 0:
        raise ImageError(f"{what} failed: {' '.join(command[:3])} ... ended with {process.returncode}:\n  " + "\n  ".join(last))


_HOOK = """set -eu
root="$1"
# The kernel's own package, without what would install it: only its files are wanted.
kernel=$(chroot "$root" apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n 1)
chroot "$root" sh -c "cd /tmp && apt-get -q -o APT::Sandbox::User=root download $kernel"
mkdir -p "$root/kernel"
dpkg-deb -x "$root"/tmp/linux-image-*.deb "$root/kernel"
rm -f "$root"/tmp/linux-image-*.deb
version=$(ls "$root/kernel/lib/modules")
depmod -b "$root/kernel" "$version"
tar -C "$root/kernel" -cf "$OUT/kernel.tar" .
rm -rf "$root/kernel"
"""

_PACK = """set -eu
root="$1"
tar -C "$root" -xf "$OUT/own.tar"
mkdir -p "$root/image" "$root/changes" "$root/root" "$root/dev/pts"
printf 'nameserver 10.77.0.1\\n' > "$root/etc/resolv.conf"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/tmp/*
# While hooks run, the chroot has the host's /proc, /sys and /dev mounted.
mkfs.erofs --quiet -x-1 '--exclude-regex=^(proc|sys|dev)/' -T "$EPOCH" -U 00000000-0000-4000-8000-000000000000 -z lz4 \\
  "$OUT/root.erofs" "$root" >/dev/null
"""


def _write_own_tar(path: Path) -> None:
    """This project's files as they lie in the image, owned by root, with fixed times."""
    import tarfile

    with tarfile.open(path, "w") as tar:
        for source, name in _own_members():
            info = tar.gettarinfo(source, "." + name)
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mtime = int(EPOCH)
            if info.isreg():
                with source.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)


def _write_initrd(kernel: Path, agent: Path, target: Path) -> None:
    """gc-agent and the modules of MODULES, each after those it depends on (modules.dep(5))."""
    folder = next((kernel / "lib" / "modules").iterdir())
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    by_name = {Path(m).name.split(".")[0].replace("-", "_"): m for m in needs}
    order: list[str] = []
    for name in MODULES:
        if name not in by_name:
            continue  # built into the kernel
        for module in (*reversed(needs[by_name[name]]), by_name[name]):
            if module not in order:
                order.append(module)
    files = [("init", agent.read_bytes(), 0o755)]
    files.append(("modules/order", "".join(f"{Path(m).name}\n" for m in order).encode(), 0o644))
    files += [(f"modules/{Path(m).name}", (folder / m).read_bytes(), 0o644) for m in order]
    with target.open("wb") as out, gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as packed:
        write_cpio(packed, ["dev", "proc", "sys", "modules"], files)


@contextlib.contextmanager
def _only_builder(progress: Progress) -> Iterator[None]:
    """One build at a time: two that need the same image would do the same work."""
    with (store() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress("waiting for another build of an image to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(
    name: str = DEFAULT, made_from: str = "debian", packages: tuple[str, ...] = (), progress: Progress = lambda text: None
) -> Image:
    """Build an image, or give the one that was built of the same things before.

    made_from: "debian", a folder or a tar file with a root file system. packages: Debian packages besides PACKAGES.
    Raises ImageError. Takes about a minute; progress is told what happens.
    """
    if not re.fullmatch(NAME, name):
        raise ImageError(f"--name {name}: expected letters, digits, and . _ - within, at most 64")
    if made_from != "debian" and not Path(made_from).exists():
        raise ImageError(f"--from {made_from}: expected debian, a folder or a tar file; there is no such file")
    wanted = tuple(sorted({*PACKAGES, *packages}))
    digest = _digest(name, made_from, wanted)
    target = store() / digest
    if image := find(digest):
        return image
    _need(("mmdebstrap", "mmdebstrap"), ("mkfs.erofs", "erofs-utils"), ("depmod", "kmod"))
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers()
    with _only_builder(progress), leftovers.own_folder([target.parent], BUILDING) as work:
        if image := find(digest):  # somebody else has built it meanwhile
            return image
        _write_own_tar(work / "own.tar")
        (work / "kernel.sh").write_text(_HOOK)
        (work / "pack.sh").write_text(_PACK)
        env = {"OUT": str(work), "EPOCH": EPOCH, "SOURCE_DATE_EPOCH": EPOCH}
        hooks = [f'--customize-hook=sh {work}/kernel.sh "$1"', f'--customize-hook=sh {work}/pack.sh "$1"']
        if made_from != "debian":
            source = shlex.quote(str(Path(made_from).resolve()))
            copy = f'tar -C {source} -cf - . | tar -C "$1" -xf -' if Path(made_from).is_dir() else f'tar -C "$1" -xf {source}'
            hooks.insert(1, f"--customize-hook={copy}")
        command = [
            "mmdebstrap", "--variant=minbase", f"--include={','.join(wanted)},kmod", "--format=null",
            *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "doc", "locale", "info")), *hooks, SUITE,
        ]  # fmt: skip
        _run(command, progress, f"image {name}: Debian {SUITE}", env)
        progress(f"image {name}: kernel and initramfs")
        kernel = work / "kernel"
        kernel.mkdir()
        subprocess.run(["tar", "-C", str(kernel), "-xf", str(work / "kernel.tar")], check=True)
        done = work / "done"
        done.mkdir()
        shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), done / "vmlinuz")
        _write_initrd(kernel, _agent(), done / "initrd.img")
        (work / "root.erofs").rename(done / "root.erofs")
        size = sum(p.stat().st_size for p in done.iterdir())
        about = asdict(Image(name, digest, made_from, wanted, size))
        del about["folder"]
        (done / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
        for old in images():
            if old.name == name:  # the name moves on to the new image
                _replace(old)
        done.rename(target)
    progress(f"image {name}: done, {size >> 20} MiB in {target}")
    return next(image for image in images() if image.digest == digest)


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
