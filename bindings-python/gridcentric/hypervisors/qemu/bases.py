"""The Debian that images are made on: built once for the same packages and kept, as it takes a minute and rarely changes.

A base is a folder in `bases`, in the folder of images, named by the digest of its recipe:

    root.erofs   the file system
    vmlinuz      Debian's kernel
    modules.img  the part of an initramfs with the modules that gc-agent loads before it has a root file system
    about.json   digest, packages, size

An image has copies of all that: a base can be removed at any time, and is built anew when an image is. Built without root
where the host allows user namespaces (mmdebstrap's unshare mode).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from gridcentric.hypervisors.qemu import leftovers
from gridcentric.hypervisors.qemu.building import BUILDING, MKFS, ImageError, Progress, discard, need, run, store
from gridcentric.hypervisors.qemu.cpio import write_cpio

PACKAGES = ("nodejs", "python3", "procps", "iproute2", "curl", "kmod")
SUITE = "bookworm"
PYTHON = "3.11"  # of SUITE
# What gc-agent needs before it has a root file system, and the network and channel it then uses. (libcrc32c asks for the
# crc32c algorithm by name when it is loaded: modules.dep does not know of it.)
MODULES = (
    "crc32c_generic", "virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "erofs", "overlay", "tcp_diag",
)  # fmt: skip
DISK_MODULES = ("ext4",)  # for a VM that has a disk (disk.py)
ABOUT = "about.json"

# Hooks of mmdebstrap. What they make is in /.made, which mmdebstrap carries out: without root a hook is another user, who
# can't write where this one builds. While hooks run, the chroot has the host's /proc, /sys and /dev mounted, and in its /tmp is
# mmdebstrap's configuration of apt: without it the package lists that mmdebstrap removes in the end would be the host's.
# Alternatives (of java, editors, ...) have man pages: without the folders of these, the configuration of such a package fails.
_FOLDERS = """set -eu
mkdir -p "$1/usr/share/man/man1" "$1/usr/share/man/man8"
"""
_KERNEL = """set -eu
root="$1"
# The kernel's own package, without what would install it: only its files are wanted.
kernel=$(chroot "$root" apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n 1)
chroot "$root" sh -c "cd /tmp && apt-get -q -o APT::Sandbox::User=root download $kernel"
mkdir -p "$root/.made/kernel"
dpkg-deb -x "$root"/tmp/linux-image-*.deb "$root/.made/kernel"
depmod -b "$root/.made/kernel" "$(ls "$root/.made/kernel/lib/modules")"
tar -C "$root/.made/kernel" -cf "$root/.made/kernel.tar" .
"""
_PACK = f"""set -eu
root="$1"
mkdir -p "$root/root" "$root/dev/pts"
printf 'nameserver 10.77.0.1\\n' > "$root/etc/resolv.conf"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log
{MKFS} '--exclude-regex=^(proc|sys|dev|tmp|\\.made)/' "$root/.made/root.erofs" "$root" >/dev/null
"""


@dataclass(frozen=True)
class Base:
    digest: str
    packages: tuple[str, ...]
    size: int = 0  # bytes of all files
    folder: Path = field(default=Path(), compare=False)


def wanted(packages: tuple[str, ...]) -> tuple[str, ...]:
    """The packages of a base that was asked for these."""
    return tuple(sorted({*PACKAGES, *packages}))


def digest(packages: tuple[str, ...]) -> str:
    """Debian's packages count by their names: a build takes their versions of that day."""
    recipe = [wanted(packages), SUITE, MODULES, DISK_MODULES, _FOLDERS, _KERNEL, _PACK]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def _store() -> Path:
    return store() / "bases"


def bases() -> list[Base]:
    """All bases there are."""
    found = []
    for about in sorted(_store().glob(f"[!.]*/{ABOUT}")):
        try:
            fields = json.loads(about.read_text())
            found.append(Base(fields["digest"], tuple(fields["packages"]), fields["size"], about.parent))
        except FileNotFoundError:
            continue  # it has just been removed
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{about} is not as gc wrote it ({error}): remove {about.parent}") from error
    return found


def remove(base: Base) -> None:
    """By the only builder (building.only_builder)."""
    discard(base.folder)


def remove_leftovers() -> list[str]:
    return leftovers.remove([_store()], BUILDING) if _store().is_dir() else []


def ensure(packages: tuple[str, ...], progress: Progress, what: str) -> Base:
    """The base with these packages besides PACKAGES; built when it is not there. By the only builder. Raises ImageError."""
    name = digest(packages)
    if (_store() / name / ABOUT).exists():
        return next(base for base in bases() if base.digest == name)
    need(("mmdebstrap", "mmdebstrap"), ("mkfs.erofs", "erofs-utils"), ("depmod", "kmod"))
    _store().mkdir(parents=True, exist_ok=True)
    with leftovers.own_folder([_store()], BUILDING) as work:
        (work / "done").mkdir()
        hooks = [f"--setup-hook={_FOLDERS}", *(f"--customize-hook={script}" for script in (_KERNEL, _PACK))]
        hooks.append(f'--customize-hook=copy-out /.made/kernel.tar /.made/root.erofs "{work}"')
        command = [
            "mmdebstrap", "--variant=minbase", f"--include={','.join(wanted(packages))}", "--format=null",
            *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("man", "doc", "locale", "info")), *hooks, SUITE,
        ]  # fmt: skip
        run(command, progress, f"{what}: Debian {SUITE}")
        kernel, done = work / "kernel", work / "done"
        kernel.mkdir()
        run(["tar", "-C", str(kernel), "-xf", str(work / "kernel.tar")], progress, f"{what}: kernel and its modules")
        shutil.copyfile(next((kernel / "boot").glob("vmlinuz-*")), done / "vmlinuz")
        _write_modules(kernel, done / "modules.img")
        (work / "root.erofs").rename(done / "root.erofs")
        size = sum(path.stat().st_size for path in done.iterdir())
        about = {"digest": name, "packages": wanted(packages), "size": size}
        (done / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
        done.rename(_store() / name)
    return Base(name, wanted(packages), size, _store() / name)


def _write_modules(kernel: Path, target: Path) -> None:
    """MODULES and DISK_MODULES, each after those it depends on (modules.dep(5)); in `order` and `disk`, how to load them."""
    folder = next((kernel / "lib" / "modules").iterdir())
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        module, _, others = line.partition(":")
        needs[module] = others.split()
    by_name = {Path(m).name.split(".")[0].replace("-", "_"): m for m in needs}
    taken: list[str] = []
    files = []
    for kind, names in (("order", MODULES), ("disk", DISK_MODULES)):
        order: list[str] = []
        for name in names:
            if name not in by_name:
                continue  # built into the kernel
            order += [m for m in (*reversed(needs[by_name[name]]), by_name[name]) if m not in taken + order]
        files.append((f"modules/{kind}", "".join(f"{Path(m).name}\n" for m in order).encode(), 0o644))
        taken += order
    files += [(f"modules/{Path(m).name}", (folder / m).read_bytes(), 0o644) for m in taken]
    with target.open("wb") as out, gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=6) as packed:
        write_cpio(packed, ["modules"], files)
