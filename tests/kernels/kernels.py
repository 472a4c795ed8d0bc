"""Gets kernels of Debian's releases: extracted from their packages once, kept in build/kernels."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from machines.configuration import apt_options, apt_sources

STORE = Path(__file__).resolve().parents[2] / "build" / "kernels"
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}
NEEDED = ("mmdebstrap", "qemu-system-x86_64")


def missing_tools() -> str:
    return ", ".join(name for name in NEEDED if not shutil.which(name))


def kernel(version: str) -> Path:
    """The path of a bootable kernel; fetched when it isn't there yet (a minute)."""
    image = STORE / f"vmlinuz-{version}"
    if not image.exists():
        STORE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=STORE) as scratch:
            fetched = _fetch(SUITES[version], Path(scratch))
            if not fetched.name.startswith(f"vmlinuz-{version}."):
                raise RuntimeError(f"Debian {SUITES[version]} has {fetched.name}: expected Linux {version}")
            fetched.rename(image)
    return image


def _fetch(suite: str, scratch: Path) -> Path:
    options, tar = scratch / "apt.conf", scratch / "kernel.tar"
    options.write_text(apt_options())
    done = subprocess.run(
        ["mmdebstrap", "--variant=extract", "--include=linux-image-cloud-amd64", f"--aptopt={options}", suite, str(tar),
         *apt_sources(suite)[:1]],  # the release itself: its updates name kernels that have gone from the mirrors
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the kernel of Debian {suite} can't be fetched:\n{done.stdout[-3000:]}")
    with tarfile.open(tar) as files:
        name = next(member for member in files if member.name.startswith("./boot/vmlinuz-"))
        content = files.extractfile(name)
        assert content
        image = scratch / Path(name.name).name
        image.write_bytes(content.read())
    return image
