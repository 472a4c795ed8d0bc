"""gc diff: what a domain has changed, compared with the real folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from sandboxes import HANG_GUARD_S, Sandbox

# Changes things, clones itself once, changes more in the clone, says so, and waits to be ended.
SCRIPT = r"""
rm gone; echo more >> changed; chmod 600 rights; : >> touched
rm -r again; mkdir again; echo x > again/fresh; mkdir -p made/below; echo y > made/below/file
printf '' > "$(printf 'bad\033[2Jname\nline')"
ticket=$(gc rt 1 1 1 5000); vmid=$(gc clone $ticket)
if [ $vmid = 1 ]; then rm made/below/file; echo z > only; fi
if gc ismaster; then gc sync $ticket; echo ready; else gc sync; fi
read nothing < never
"""


@pytest.fixture
def pids(sandbox: Sandbox, mode: str) -> Iterator[dict[int, int]]:
    """Of a family, by vmid."""
    for name in ("again", "kept"):
        (sandbox.folder / name).mkdir()
        (sandbox.folder / name / "old").write_text("old")
    sandbox.has(gone="", changed="", rights="", touched="", script=SCRIPT)
    os.mkfifo(sandbox.folder / "never")
    master = sandbox.start("bash", "script", mode=mode)
    assert master.stdout
    assert master.stdout.readline() == "ready\n"
    rows = json.loads(sandbox.gc("ps", "--json").stdout)
    (family,) = {row["family"] for row in rows if row["pid"] == master.pid}
    yield {row["vmid"]: row["pid"] for row in rows if row["family"] == family}
    sandbox.gc("end", "--pid", str(master.pid))
    master.communicate(timeout=HANG_GUARD_S)


COMMON = {
    ("D", "again/old"), ("A", "again/fresh"), ("A", "bad\x1b[2Jname\nline"), ("C", "changed"), ("D", "gone"), ("A", "made"),
    ("A", "made/below"), ("C", "rights"),
}  # fmt: skip


def test_changes(pids: dict[int, int], sandbox: Sandbox) -> None:
    expected = {0: COMMON | {("A", "made/below/file")}, 1: COMMON | {("A", "only")}}
    for vmid, pid in pids.items():
        said = sandbox.gc("diff", "--json", str(pid))
        assert (said.returncode, said.stderr) == (0, "")
        changes = [(row["kind"], os.path.relpath(row["path"], sandbox.folder)) for row in json.loads(said.stdout)]
        assert set(changes) == expected[vmid]
        assert [path for _, path in changes] == sorted(path for _, path in changes)


def test_hostile_names_stay_on_their_line(pids: dict[int, int], sandbox: Sandbox) -> None:
    said = sandbox.gc("diff", str(pids[1])).stdout
    assert "\x1b" not in said
    assert f"A {sandbox.folder}/bad?[2Jname line\n" in said


def test_what_cannot_be_listed(pids: dict[int, int], sandbox: Sandbox) -> None:
    def refused(word: str) -> tuple[int, str]:
        said = sandbox.gc("diff", word)
        assert said.stdout == ""
        return said.returncode, said.stderr

    assert refused("x")[0] == 2
    code, text = refused("999999999")
    assert (code, "neither the vmid nor the pid" in text) == (27, True)
    assert sandbox.gc("end", "--pid", str(pids[1])).returncode == 0
    code, text = refused(str(pids[1]))
    assert (code, "goes with it when it ends" in text) == (27, True)


def test_a_family_without_private_folders(sandbox: Sandbox, mode: str) -> None:
    master = sandbox.start("bash", "-c", "gc vmid; exec sleep 1000", mode=mode, private="--cpus=4")
    assert master.stdout
    master.stdout.readline()
    said = sandbox.gc("diff", str(master.pid))
    sandbox.gc("end", "--pid", str(master.pid))
    master.communicate(timeout=HANG_GUARD_S)
    assert (said.returncode, "has no private folders" in said.stderr) == (24, True)


def test_inside_the_family(mode: str, sandbox: Sandbox) -> None:
    sandbox.has(
        script="""
ticket=$(gc rt 2 2 1 5000); vmid=$(gc clone $ticket); echo $vmid > own$vmid
if gc ismaster; then gc sync $ticket; for vmid in 0 1 2; do gc diff $vmid; done; gc sync $ticket; gc wait $ticket > /dev/null
else gc sync; gc diff $vmid > /dev/null || echo not its own; gc sync; gc join noreport; fi
"""
    )
    said = sandbox.run("bash", "script", mode=mode)
    assert (said.stdout, said.stderr) == ("".join(f"A {sandbox.folder}/own{vmid}\n" for vmid in range(3)), "")
