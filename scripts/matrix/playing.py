"""Tests a cell: runs the programs of tests/platform on its system, with its languages, in its mode."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import dataclass, field

from sessions.building import ROOT, VENV

from . import runtimes, suites
from .cells import NODES, SUITES, Cell
from .places import Here, NotCompiled, Ran, System, enter
from .record import FAILED, NOT_TRIED, PASSED, REFUSED, Record
from .runtimes import Missing

SMOKE = ROOT / "tests" / "platform"
# versions() reads its output.
PROBE = """
import os, platform
print("Linux", ".".join(platform.release().split(".")[:2]))
print(os.confstr("CS_GNU_LIBC_VERSION"))
print("Python", platform.python_version())
"""


class Wrong(Exception):
    """A program did not end as expected."""


def checks(cell: Cell, program: str, ran: Ran) -> int:
    """How many checks passed. Raises Wrong unless the program ran to its end in the expected mode."""
    lines = ran.output.splitlines()
    if ran.status != 0:
        raise Wrong(f"{program}: {reason(ran)}")
    passed = sum(line.startswith("ok ") for line in lines)
    if not passed or lines[-1] != f"{passed} passed":
        raise Wrong(f"{program}: the last line is {lines[-1:]}, with {passed} checks")
    mode = next((line.split()[1] for line in lines if line.startswith("mode ")), "")
    if mode not in ("none", cell.seen_mode):
        raise Wrong(f"{program}: cloned in mode {mode}, expected {cell.seen_mode}")
    return passed


def reason(ran: Ran) -> str:
    """The most informative line, without this computer's paths."""
    lines = [line.strip() for line in ran.errors.splitlines() if line.strip() and not line.startswith("ok ")]
    telling = [
        line for line in lines if re.search(r"(?i)error|cannot|can't|not so|signal|fault|limit|did not|refus|support", line)
    ]
    text = (telling or lines or [f"exit status {ran.status} without output"])[0]
    return f"{scrubbed(text)[:240]} (exit status {ran.status})"


def scrubbed(text: str) -> str:
    """The text without this computer's folders."""
    return re.sub(r"(?:/[\w.@+-]+)+/([\w.@+-]+)", r"\1", text)


@dataclass
class Program:
    language: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)


def program(language: str, cell: Cell, system: System, own: tuple[str, str]) -> Program:
    """What to run on the system for a language; own is the Python there and its version."""
    smoke = system.put(SMOKE)
    if language == "node":
        node, modules = system.put(runtimes.node(cell.node)), system.put(runtimes.node_package())
        return Program(language, [node, f"{smoke}/smoke.js"], {"NODE_PATH": modules})
    if language == "python":
        packages = [runtimes.python_package(own[1]), *([runtimes.uvloop(cell.uvloop)] if cell.uvloop else [])]
        env = {"PYTHONPATH": ":".join(map(system.put, packages)), "PYTHONDONTWRITEBYTECODE": "1"}
        return Program(language, [own[0], f"{smoke}/smoke.py"], env | ({"SMOKE_UVLOOP": "1"} if cell.uvloop else {}))
    if language == "java":
        native = ["-XX:+IgnoreUnrecognizedVMOptions", "--enable-native-access=ALL-UNNAMED"]  # Java 17 does not know it
        return Program(language, [str(runtimes.java(cell.java)), *native, "-cp", runtimes.java_program(), "Smoke"])
    package = f"{system.put(runtimes.any_python_package())}/gridcentric"
    if language == "c":
        return Program(language, [system.compile(f"{smoke}/smoke.c", package)])
    run = [f"{package}/bin/gc", "run", "--", "sh", "-c", 'PATH="$1:$PATH" sh "$2"', "sh", f"{package}/bin"]
    return Program(language, [*run, f"{smoke}/smoke.sh"])


def python_there(cell: Cell, system: System) -> tuple[str, str]:
    """The Python to use, by its name on the system, and its version."""
    if cell.place.debian:
        (asked,) = system.run_all([(["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], {})])
        if cell.python not in ("", asked.output.strip()):
            raise Missing(f"python3 of Debian {cell.place.debian} is {asked.output.strip()}")
        return "python3", asked.output.strip()
    own = str(runtimes.python(cell.python) if cell.python else VENV / "bin" / "python")
    return own, cell.python or runtimes.python_version(own)


def versions(cell: Cell, played: set[str], output: str) -> dict[str, str]:
    """The probe's output: the kernel and the C library, and the languages tested."""
    found = dict(re.findall(r"^(Linux|glibc|Python) ([\w.]+)$", output, re.MULTILINE))
    if "node" in played:
        found["Node"] = NODES[cell.node]
    if "java" in played:
        found["Java"] = runtimes.java_version(str(runtimes.java(cell.java)))
    if cell.uvloop:
        found["uvloop"] = cell.uvloop
    if "python" not in played:
        found.pop("Python", None)
    return found


def play(cell: Cell) -> Record:
    begun, date = time.monotonic(), datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    if cell.plays == SUITES:
        return play_suites(cell, begun, date)
    todo: list[Program] = []
    whys: list[str] = []
    outcome = PASSED
    try:
        with enter(cell.place) as system:
            own = python_there(cell, system)
            for language in cell.plays:
                try:
                    todo.append(program(language, cell, system, own))
                except Missing as error:
                    whys.append(f"{language} not tried: {scrubbed(str(error))}")
                except NotCompiled as error:
                    outcome = FAILED
                    whys.append(f"{language} does not compile: {scrubbed(str(error))[:240]}")
            mode = {"GRIDCENTRIC_CLONE_MODE": cell.mode} if cell.mode else {}
            commands = [([own[0], "-c", PROBE], {}), *((one.command, one.env | mode) for one in todo)]
            probed, *ended = system.run_all(commands)
            if probed.status or not (todo or outcome == FAILED):
                raise Missing("; ".join(whys) or reason(probed))
    except Missing as error:
        return Record(NOT_TRIED, why=scrubbed(str(error)), date=date)
    seen = versions(cell, {one.language for one in todo}, probed.output)
    record = Record(outcome, versions=seen, date=date, seconds=round(time.monotonic() - begun, 1))
    record.package = runtimes.what_is_tried(*cell.plays, python=own[1])
    for one, ran in zip(todo, ended):
        try:
            record.passed[one.language] = checks(cell, one.language, ran)
        except Wrong as wrong:
            refusal = bool(cell.may_say and re.search(cell.may_say, str(wrong)))
            record.outcome = REFUSED if refusal and record.outcome != FAILED else FAILED
            whys.append(str(wrong))
    record.why = "; ".join(whys)
    return record


def play_suites(cell: Cell, begun: float, date: str) -> Record:
    """A suite passes if all of its tests passed."""
    record, whys = Record(PASSED, date=date, package="build of the checkout"), []
    try:
        record.versions = versions(cell, {"node"}, Here([]).run([str(VENV / "bin" / "python"), "-c", PROBE], {}).output)
        for name in cell.plays:
            record.passed[name], ran = suites.play(name, cell.node, cell.mode)
            if not record.passed[name]:
                record.outcome = FAILED
                whys.append(f"{name}: {', '.join(suites.failed(ran)) or reason(ran)}")
    except Missing as error:
        return Record(NOT_TRIED, why=scrubbed(str(error)), date=date)
    record.seconds, record.why = round(time.monotonic() - begun, 1), "; ".join(whys)
    return record
