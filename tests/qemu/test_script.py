"""A shell script that clones its machine, itself included."""

from __future__ import annotations

from pathlib import Path

from vms import Family


def test_a_shell_script_clones_its_machine(family: Family) -> None:
    family.copy(Path(__file__).parent / "clone_me.sh", "/root/clone_me.sh")
    done = family.run("bash", "clone_me.sh")
    vmids = [clone.vmid for clone in done.clones()]
    assert len(vmids) == 3
    for clone in done.clones():
        (line,) = clone.lines
        assert line.startswith(f"clone {clone.vmid} at 10.77.0.")
        assert line.endswith(f": counter 42, host clone{clone.vmid}")
    assert done.master.lines == ["master: counter 42", *(f"result {vmid} joined 0 =" for vmid in vmids)]
