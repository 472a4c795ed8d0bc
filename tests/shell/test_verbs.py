"""The verbs of gc, as far as a shell makes them different: help, words that are wrong, exit codes, JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from in_domain import GC, VERBS, Shell, gc

ROOT = Path(__file__).resolve().parents[2]
EXITS = dict(
    re.findall(r"^GC_ERROR\((\w+), \w+, (\d+),", (ROOT / "core/include/gridcentric/errors.def").read_text(), re.MULTILINE)
)
NOWHERE = "00000000-0000-4000-8000-000000000000"


def exit_of(name: str) -> int:
    return int(EXITS[name])


# -- help


def test_the_overview_names_every_verb_of_the_design() -> None:
    assert {"rt", "lt", "clone", "vmid", "ismaster", "my-ip", "ld", "sync", "join", "wait", "kill"} <= set(VERBS)
    assert {"run", "host", "top", "ti", "release", "ps", "check", "end", "completion"} <= set(VERBS)
    assert gc("help").stdout == gc("--help").stdout == gc("-h").stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str) -> None:
    asked = gc(verb, "--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    usage, _, summary, *rest = asked.stdout.splitlines()
    assert usage.startswith(f"usage: gc {verb}")
    assert re.search(rf"^  gc {verb} +{re.escape(summary)}$", gc("--help").stdout, re.MULTILINE)
    assert ("[OPTION ...]" in usage) == any(line.startswith("  --") for line in rest)
    assert max(map(len, asked.stdout.splitlines())) <= 130
    assert gc(verb, "-h").stdout == gc("help", verb).stdout == asked.stdout


# -- words that are wrong


def test_without_words() -> None:
    said = gc()
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == gc("--help").stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["clon"], "unknown verb 'clon': did you mean 'clone'?"),
        (["frobnicate"], "unknown verb 'frobnicate'; 'gc --help' lists the verbs"),
        ([""], "unknown verb ''"),
        (["help", "nothing"], "unknown verb 'nothing'"),
        (["rt", "1", "1", "1"], "too few arguments: 3 given, expected at least 4"),
        (["rt"], "too few arguments: 0 given, expected at least 4"),
        (["vmid", "1"], "unexpected argument '1'"),
        (["lt", "--what"], "unknown option '--what'"),
        (["lt", "--json=1"], "--json takes no value"),
        (["lt", "--json", "--json"], "--json is given twice"),
        (["join", "--report"], "--report needs a value: --report TEXT"),
        (["join", "report"], "'report' is not 'noreport'"),
        (["join", "noreport", "--report", "x"], "noreport and a report exclude each other"),
        (["join", "--report", "x", "--file", "-"], "--report and --file exclude each other"),
        (["join", "--file", "/nowhere/at/all"], "cannot read the report from '/nowhere/at/all'"),
        (["join", "--file", "/"], "cannot read the report from '/'"),
        (["completion", "tcsh"], "the shell is 'tcsh', expected bash, zsh or fish"),
        (["host", "--hypervisor", "xen"], "--hypervisor is 'xen', expected process, qemu or fake"),
        (["host", "--cpus", "0"], "--cpus is 0, expected at least 1"),
        (["host", "--json"], "--json goes with --info"),
        (["run"], "too few arguments: 0 given, expected at least 1"),
        (["run", "--memory", "1G", "--", "true"], "--memory goes with --hypervisor qemu"),
        (["run", "--hypervisor", "xen", "--", "true"], "--hypervisor is 'xen', expected process or qemu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words(words: list[str], text: str) -> None:
    said = gc(*words)
    assert (said.returncode, said.stdout) == (2, "")
    assert text in said.stderr
    if words[0] in VERBS:
        assert f"usage: gc {words[0]}" in said.stderr


NUMBERS = ["", "x", "1.5", "NaN", "inf", "1e3", "0x10", "+1", "01", " 1", "1 ", "true"]
TOO_LARGE = [str(2**31), str(-(2**31) - 1), str(2**63), str(-(2**63) - 1), str(2**64), "9" * 4000]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["rt", "?", "1", "1", "0"], "MAXCPUS"),
        (["rt", "1", "?", "1", "0"], "MINVMS"),
        (["rt", "1", "1", "?", "0"], "MINCPUSPERVM"),
        (["rt", "1", "1", "1", "?"], "TIMEOUT"),
        (["sync", NOWHERE, "?"], "TIMEOUT"),
        (["wait", NOWHERE, "?"], "TIMEOUT"),
        (["kill", "?"], "VMID"),
        (["check", "?"], "PID"),
        (["host", "--cpus", "?"], "--cpus"),
        (["host", "--seed", "?"], "--seed"),
        (["run", "--cpus", "?", "--", "true"], "--cpus"),
    ],
    ids=lambda word: word if isinstance(word, str) else word[0],
)
def test_wrong_numbers(words: list[str], name: str) -> None:
    """Before a host is asked: there is none."""
    for number in [*NUMBERS, *TOO_LARGE]:
        said = gc(*[number if word == "?" else word for word in words])
        assert (said.returncode, said.stdout) == (2, ""), (number, said)
        assert f"{name} is '{number}'" in said.stderr, (number, said)


# -- what the host refuses


def test_in_no_domain() -> None:
    for verb, *words in (["vmid"], ["lt"], ["rt", "1", "1", "1", "0"], ["join"], ["wait", NOWHERE]):
        said = gc(verb, *words)
        assert (said.returncode, said.stdout) == (exit_of("NOT_IN_DOMAIN"), "")
        assert "gc run -- COMMAND" in said.stderr


def test_no_host(tmp_path: Path) -> None:
    for address, text in ((f"unix:{tmp_path}/none.sock", "no host listens on"), ("here", "expected unix:/path/of/socket")):
        said = gc("lt", GRIDCENTRIC_HOST=address)
        assert (said.returncode, said.stdout) == (exit_of("HOST_UNREACHABLE"), "")
        assert text in said.stderr


@pytest.mark.parametrize("verb", ["ti", "release", "clone", "wait", "sync"])
def test_tickets_that_are_none(shell: Shell, verb: str) -> None:
    for ticket in ("", "x", NOWHERE[:-1], NOWHERE + "0", NOWHERE.replace("-", ""), "g" + NOWHERE[1:], "x" * 10_000):
        said = shell.gc(verb, ticket)
        assert (said.returncode, said.stdout) == (exit_of("INVALID_ARGUMENT"), ""), (ticket, said)
        assert ticket[:30] in said.stderr
    said = shell.gc(verb, NOWHERE)
    assert (said.returncode, said.stdout) == (exit_of("NO_SUCH_TICKET"), "")
    assert NOWHERE in said.stderr


def test_exit_codes(shell: Shell) -> None:
    ticket = shell.ticket(1)
    for words, error in (
        (["rt", "0", "1", "1", "0"], "INVALID_ARGUMENT"),
        (["rt", str(2**31 - 1), "1", str(2**31 - 1), "0"], "INVALID_ARGUMENT"),
        (["clone", ticket], "TICKET_USED"),
        (["release", ticket], "TICKET_USED"),
        (["wait", ticket, "0"], "TIMED_OUT"),
        (["kill", "7"], "NO_SUCH_DOMAIN"),
        (["kill", "0"], "INVALID_ARGUMENT"),
        (["join"], "INVALID_ARGUMENT"),
    ):
        said = shell.gc(*words)
        assert (said.returncode, said.stdout) == (exit_of(error), ""), (words, said)
        assert said.stderr.startswith(f"gc {words[0]}: ")
    assert shell.gc("wait", ticket, "0", clone=1).returncode == exit_of("NOT_YOUR_TICKET")
    assert shell.gc("sync", "-", "0", clone=1).returncode == exit_of("TIMED_OUT")
    assert shell.gc("ismaster").returncode == 0
    assert shell.gc("ismaster", clone=1).returncode == 1


def test_a_ticket_is_taken_as_it_was_printed(shell: Shell) -> None:
    label, ticket = shell.text("rt", "1", "1", "1", "0").split()
    line = f"ticket {ticket} reserved 1 1 1"
    assert label == "ticket"
    assert shell.text("ti", ticket) == shell.text("ti", f"ticket {ticket}") == shell.text("ti", "ticket", ticket) == line
    assert shell.text("release", "ticket", ticket) == ""


def test_an_answer_that_nobody_takes(shell: Shell) -> None:
    env = {"GRIDCENTRIC_HOST": shell.host.address}
    with Path("/dev/full").open("w") as full:
        said = subprocess.run([GC, "lt"], env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert said.returncode == 1
    assert "cannot write the answer" in said.stderr


# -- JSON


def test_json(shell: Shell, tmp_path: Path) -> None:
    """Each verb that has something to say says it in JSON too."""
    said: dict[str, Any] = {}

    def ask(verb: str, *words: str, clone: int | None = None) -> Any:
        said[verb] = shell.json(verb, *words, clone=clone)
        return said[verb]

    (own,) = ask("lt")
    ticket = ask("rt", "4", "3", "1", "0")["ticket"]
    row = {"id": ticket, "status": "reserved", "cpus": 4, "vms": 4, "mincpuspervm": 1}
    assert ask("ti", ticket) == row
    assert ask("lt") == [own, row]
    assert own["status"] == "active"
    assert ask("clone", ticket) == {"vmid": 0}
    assert ask("vmid", clone=2) == {"vmid": 2}
    assert ask("ismaster") == {"ismaster": True}
    assert json.loads(shell.gc("ismaster", "--json", clone=1).stdout) == {"ismaster": False}
    ip = ask("my-ip", clone=3)["ip"]
    domains = ask("ld", clone=1)
    assert [domain["vmid"] for domain in domains] == [0, 1, 2, 3, 4]
    assert domains[0]["parent"] is None
    assert domains[3] == {"vmid": 3, "parent": 0, "ip": ip, "ticket": ticket, "state": "running"}
    assert [d["vmid"] for d in ask("ps") if d["family"] == shell.family] == [0, 1, 2, 3, 4]
    shell.text("join", "--report", 'say "ü" \\ \x01\n', clone=1)
    binary = tmp_path / "report"
    binary.write_bytes(b"\xff\0")
    shell.text("join", "--file", str(binary), clone=2)
    shell.text("join", "noreport", clone=3)
    shell.text("join", "--file", "-", clone=4)
    assert ask("wait", ticket) == [
        {"vmid": 1, "how": "joined", "status": 0, "report": 'say "ü" \\ \x01\n', "report_base64": "c2F5ICLDvCIgXCABCg=="},
        {"vmid": 2, "how": "joined", "status": 0, "report": None, "report_base64": "/wA="},
        {"vmid": 3, "how": "joined", "status": 0, "report": None, "report_base64": None},
        {"vmid": 4, "how": "joined", "status": 0, "report": "", "report_base64": ""},
    ]
    (info,) = shell.json("host", "--info")
    assert info["host"] == shell.host.address
    assert info["hypervisor"] == "fake"
    said["host"] = info
    said["check"] = json.loads(gc("check", "--json", "1").stdout)
    have_it = {verb for verb in VERBS if re.search(r"^  --json ", gc(verb, "--help").stdout, re.MULTILINE)}
    elsewhere = {"diff", "image", "selftest"}  # they need more: tests/private_files, tests/qemu, tests/hypervisors
    assert have_it - elsewhere == set(said), "every verb with --json is tried here"


def test_check_looks_at_every_descriptor() -> None:
    """Also at those whose numbers gc itself uses for reading."""
    started = ["bash", "-c", "exec 3< <(sleep 60) 4<&3 5<&3; echo; exec sleep 60"]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            said = gc("check", str(process.pid))
            assert said.returncode == 0
            assert "descriptor 3: a pipe to the outside stays the master's" in said.stdout, said
        finally:
            os.killpg(process.pid, signal.SIGKILL)
