"""A machine's console: what it says is kept as far as it may be needed, and no further."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from vms import Family, Vms

from gridcentric.hypervisors.qemu import console
from gridcentric.hypervisors.qemu.family import FamilyError
from gridcentric.hypervisors.qemu.machine import MachineError, Shape

LINE = "flood " * 20


def test_a_flood_fills_nothing(machines: Vms, family: Family) -> None:
    """A machine that writes to its console for ever is cloned like any other, and its host keeps the end of it."""
    flood = family.start("bash", "-c", f"yes '{LINE}' > /dev/console")
    written = 4 * console.KEPT

    def seen() -> int:
        ticks = family.run("sh", "-c", "awk '/serial/ { print $2 }' /proc/interrupts; cat /proc/tty/driver/serial")
        words = [word for word in ticks.master.output.decode().split() if word.startswith("tx:")]
        return int(words[0].removeprefix("tx:"))

    while seen() < written:
        continue
    family.run("bash", "-c", "ticket=$(gc rt 2 2 1 10000); gc clone $ticket; gc ismaster && gc wait $ticket || gc join")
    kept = machines.call(_lines(family))
    assert kept.count(LINE.strip()) > 10
    assert sum(len(line) + 1 for line in kept) <= console.KEPT
    folder = machines.host.machines.folder
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 4096
    assert flood.master.code is None
    family.run("pkill", "yes")
    family.until(lambda: flood.master.code is not None)


async def _lines(family: Family) -> list[str]:
    return [line.strip() for line in family.master.machine.console.lines()]


def test_the_last_words_of_a_machine_that_does_not_come_up(machines: Vms, tmp_path: Path) -> None:
    """Its QEMU is gone by then."""
    for name in ("vmlinuz", "root.img"):
        (tmp_path / name).symlink_to(machines.image.folder / name)
    shutil.copyfile("/dev/null", tmp_path / "initrd.img")  # and so there is no /init

    async def boot() -> None:
        host = machines.host
        master = await host.new_family(Family(machines), "test", "")
        await host.boot(master, Shape(replace(machines.image, folder=tmp_path), 192))

    with pytest.raises(FamilyError, match=r"did not come up: .*; its console: .*Kernel panic"):
        machines.call(boot())


def test_the_last_words_of_a_qemu_that_does_not_start(machines: Vms, tmp_path: Path) -> None:
    (tmp_path / "root.img").symlink_to(machines.image.folder / "root.img")  # and there is no kernel

    async def boot() -> None:
        host = machines.host
        master = await host.new_family(Family(machines), "test", "")
        await host.boot(master, Shape(replace(machines.image, folder=tmp_path), 192))

    with pytest.raises(MachineError, match=r"could not open kernel file '.*/vmlinuz': No such file or directory"):
        machines.call(boot())
