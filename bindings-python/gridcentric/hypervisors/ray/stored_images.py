"""Images by content: how one gets from one computer's store into another's. Knows the store; nothing of VMs or Ray."""

from __future__ import annotations

import mmap
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcentric.hypervisors.qemu import images, leftovers
from gridcentric.hypervisors.qemu.building import BUILDING, store
from gridcentric.hypervisors.qemu.images import ABOUT, Image


@dataclass
class PackedImage:
    digest: str
    files: dict[str, Any]  # name -> what has a buffer


def pack_image(image: Image) -> PackedImage:
    """Nothing is copied yet."""
    files = {}
    for path in (image.root, image.kernel, image.initrd, image.folder / ABOUT):
        with path.open("rb") as file:
            files[path.name] = pickle.PickleBuffer(mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ))
    return PackedImage(image.digest, files)


def store_image(packed: PackedImage) -> None:
    """Does nothing where it is already. It is known by its digest alone: another image may have its name here."""
    if images.find(packed.digest) is not None:
        return
    store().mkdir(parents=True, exist_ok=True)
    with leftovers.own_folder([store()], BUILDING) as work:
        done = work / "done"
        done.mkdir()
        for name, content in packed.files.items():
            data = memoryview(content)
            if name == ABOUT:
                data = memoryview(images.named_by_digest(bytes(data)))
            (done / Path(name).name).write_bytes(data)
        try:
            done.rename(store() / packed.digest)
        except OSError:
            if not (store() / packed.digest).is_dir():  # else somebody else has stored it meanwhile
                raise
