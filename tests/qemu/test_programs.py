"""Programs in a VM that clone it: who every process of a clone is, what goes on in it, what is drawn anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from vms import PROGRAMS, Family

FORK = Path(__file__).resolve().parents[2] / "demos" / "fork"


def asked(option: str) -> str:
    command = [sys.executable, "-m", "gridcentric", option]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_python_and_a_worker_that_never_cloned(family: Family) -> None:
    for name in ("family.py", "worker.py"):
        family.copy(PROGRAMS / name, f"/root/{name}")
    done = family.run("python3", "family.py")
    *results, own = [line.split(" ", 2) for line in done.master.lines]
    assert [how for _, how, _ in results] == ["joined", "joined"], done.text()
    master = json.loads(own[2])
    (alone,) = [r for r in (json.loads(text) for _, _, text in results) if isinstance(r, dict)]
    ((grandchild, parent),) = [r for r in (json.loads(text) for _, _, text in results) if isinstance(r, list)]
    for lineage in ([master], [master, alone], [master, parent], [master, parent, grandchild]):
        report, vmids = lineage[-1], [r["vmid"] for r in lineage]
        assert vmids == sorted(set(vmids))
        assert report["handled"] == vmids[1:]
        assert report["ticked"], "its event loop went on"
        assert report["interrupted"] == (report["vmid"] != 0)
        worker = report["worker"]
        assert worker["looks"] > 0
        assert worker["wrong"] == []
        assert worker["seen"] == [[r["vmid"], r["ip"]] for r in lineage]
        assert worker["handled"] == [[vmid, vmid] for vmid in vmids[1:]]
    reports = [master, alone, parent, grandchild]
    assert len({r["ip"] for r in reports}) == 4
    drawn = [r["random"] for r in reports] + [r["worker"]["random"] for r in reports] + [r["worker"]["uuid"] for r in reports]
    assert len(set(drawn)) == 12
    (maker,) = [c for c in done.clones() if c.vmid == parent["vmid"]]
    assert maker.lines == ["my clone joined"]


@pytest.mark.full
def test_node_and_a_worker_that_never_cloned(family: Family) -> None:
    for name in ("family.js", "worker.js"):
        family.copy(PROGRAMS / name, f"/root/{name}")
    done = family.run("node", "family.js")
    said = json.loads(done.master.lines[-1])
    reports = said["reports"]
    vmids = [report["vmid"] for report in reports]
    assert (vmids[0], len(vmids)) == (0, 4)
    assert said["answers"] == [[vmid, str(vmid)] for vmid in vmids], "its server answers on the address of each"
    master, *clones = reports
    assert (master["handled"], master["worker"]["handled"], master["lost"]) == ([], [], False)
    for clone in clones:
        vmid = clone["vmid"]
        assert clone["handled"] == [vmid]
        assert clone["worker"]["handled"] == [[vmid, vmid]]
        assert clone["worker"]["seen"] == [[0, master["ip"]], [vmid, clone["ip"]]]
        assert clone["lost"]
    for report in reports:
        assert report["self"] == str(report["vmid"])
        assert report["worker"]["wrong"] == []
    drawn = [value for report in reports for value in report["drawn"] + report["worker"]["drawn"]]
    assert len(set(drawn)) == 4 * 8


@pytest.mark.full
def test_programs_with_an_environment_of_their_own(family: Family) -> None:
    """What su, cron or sshd start knows the machine it is in as well as what was started from outside."""
    asks = {
        "gc": "env -i $(which gc) vmid",
        "python3": "env -i /usr/bin/python3 -c 'from gridcentric import guest; print(guest.vmid())'",
        "node": "env -i /usr/bin/node -e 'console.log(require(`gridcentric`).vmid())'",
        "su": "su - nobody -s /bin/sh -c 'gc vmid'",
    }
    script = "ticket=$(env -i $(which gc) rt 1 1 1 10000); gc clone $ticket;"
    script += " ".join(f"echo {name} $({ask});" for name, ask in asks.items())
    script += "echo process $(gc run -- sh -c 'gc vmid; gc ismaster && echo master');"
    done = family.run("bash", "-c", script + "gc ismaster && gc wait $ticket || gc join")
    (clone,) = done.clones()
    for copy, vmid in ((done.master, 0), (clone, clone.vmid)):
        answers = dict(line.split(" ", 1) for line in copy.lines if line.split(" ", 1)[0] in (*asks, "process"))
        assert answers == {**{name: str(vmid) for name in asks}, "process": "0 master"}, done.text()


@pytest.mark.parametrize("source", ["hello.c", "hello.py", "hello.js", "hello.sh"])
def test_the_examples(family: Family, tmp_path: Path, source: str) -> None:
    """demos/fork, as they are."""
    program = FORK / source
    if source == "hello.c":
        program = tmp_path / "hello"
        flags = [*asked("--cflags").split(), *asked("--libs").split()]
        flags += ["-Wl,-rpath,/usr/lib/python3/dist-packages/gridcentric/lib"]
        subprocess.run(["gcc", "-std=c99", str(FORK / source), *flags, "-o", str(program)], check=True)
    family.copy(program, f"/root/{program.name}")
    how = {".py": ["python3"], ".js": ["node"]}.get(program.suffix, [])
    done = family.run(*how, f"/root/{program.name}")
    *clones, master = done.master.lines
    assert master == "hello, I am the master of 3"
    numbers = [int(line.removeprefix("hello, I am ")) for line in clones]
    assert len(numbers) == 3
    assert numbers == list(range(numbers[0], numbers[0] + 3))
