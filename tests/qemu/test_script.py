"""A shell script that clones its machine, itself included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vms import Family, under_limit

GENERATIONS = """n=0
while [ $n -lt $1 ]; do
  ticket=$(gc rt 2 2 1 10000) && vmid=$(gc clone $ticket) || exit 9
  if [ $vmid = 0 ]; then gc wait $ticket; exit; fi
  n=$((n + 1)); echo "generation $n"
  [ $((vmid % 2)) = 1 ] || break  # one of the two goes on
done
gc join"""


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


@pytest.mark.usefixtures("vms")
def test_clones_of_clones_go_on_where_namespaces_end(gc: Any) -> None:
    """Linux nests them 32 deep; here there is one, which the first generation takes."""
    gc.prefix = under_limit("pid", 1)
    done = gc("run", "--hypervisor", "qemu", "--memory", "128M", "--", "bash", "-c", GENERATIONS, "-", "3")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert sorted(line for line in said if "generation" in line) == [f"generation {n}" for n in (1, 1, 2, 2, 3, 3)], done
    ends = sorted(line.split()[2] for line in said if line.startswith("result"))
    assert ends == ["exited"] * 2 + ["joined"] * 4  # who has cloned itself has waited for its clones
