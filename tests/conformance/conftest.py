"""Keeps one host a (host, language) alive over the cases, and prints the table at the end."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runner.cases import LANGUAGES
from runner.hosts import HOSTS, Host, Missing
from runner.languages import make_actor
from runner.play import MakeActor

RESULTS = pytest.StashKey[dict[tuple[str, str, str], dict[str, int]]]()
MARKS = {"passed": "passed", "failed": "FAILED", "not_applicable": "n/a", "missing": "missing"}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = defaultdict(lambda: defaultdict(int))


def missing(reason: Missing) -> None:
    """What is not built fails the run where it counts, and is skipped at a developer's desk."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))


class Hosts:
    """The hosts of a run, one a (host, language), each reset between cases and proven clean."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str], tuple[Host, list[str]]] = {}

    def get(self, kind: str, language: str) -> Host:
        known = self._hosts.get((kind, language))
        if known is None:
            host = Host(kind)
            self._hosts[kind, language] = (host, host.descriptors())
            return host
        return known[0]

    def after(self, kind: str, language: str) -> None:
        """Make it as new; a host that leaks descriptors, or cannot be reset, fails the case that made it so."""
        host, open_at_first = self._hosts[kind, language]
        if host.process.poll() is not None:  # a case has killed it
            self.drop(kind, language)
            return
        host.command("reset")
        now = host.descriptors()
        if now != open_at_first:
            self.drop(kind, language)
            raise AssertionError(f"the {kind} host keeps descriptors open: {now}; at first it had {open_at_first}")

    def drop(self, kind: str, language: str) -> None:
        self._hosts.pop((kind, language))[0].close()

    def stop(self) -> None:
        hosts = [host for host, _ in self._hosts.values()]
        self._hosts.clear()
        for host in hosts:
            host.stop()


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    yield made
    made.stop()


@pytest.fixture
def host(request: pytest.FixtureRequest, hosts: Hosts, host_kind: str, language: str) -> Iterator[Host]:
    try:
        made = hosts.get(host_kind, language)
    except Missing as reason:
        count(request, "missing")
        missing(reason)
    yield made
    if hasattr(request.node, "failed"):
        hosts.drop(host_kind, language)  # whatever it left there is not the next case's
    else:
        hosts.after(host_kind, language)


@pytest.fixture
def actors(request: pytest.FixtureRequest, language: str) -> MakeActor:
    try:
        return make_actor(language)
    except Missing as reason:
        count(request, "missing")
        missing(reason)
        raise AssertionError from reason


def count(request: pytest.FixtureRequest, mark: str) -> None:
    values = request.node.callspec.params
    results = request.config.stash[RESULTS]
    results[values["host_kind"], values["language"], values["case"].group][mark] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report = yield
    values = getattr(getattr(item, "callspec", None), "params", {})
    if "case" in values and "host_kind" in values:
        results = item.config.stash[RESULTS][values["host_kind"], values["language"], values["case"].group]
        if report.failed:
            item.failed = True  # type: ignore[attr-defined]
            results["failed"] += 1
        elif report.when == "call" and report.passed:
            results["passed"] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[RESULTS]
    if not results:
        return
    groups = sorted({group for _, _, group in results})
    rows = [["host", "language", *groups, "in all"]]
    for kind in HOSTS:
        for language in LANGUAGES:
            cells = [results.get((kind, language, group), {}) for group in groups]
            if any(cells):
                rows.append([kind, language, *map(cell, cells), cell(sum_up(cells))])
    widths = [max(map(len, column)) for column in zip(*rows)]
    terminalreporter.section("conformance: cases that hold, of those that apply (-: not applicable, !: failed)")
    for row in rows:
        terminalreporter.write_line("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def sum_up(cells: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for one in cells:
        for mark, number in one.items():
            total[mark] += number
    return total


def cell(marks: dict[str, int]) -> str:
    """12/12, 11/12! with a failure, ? where something is not built, + -3 not applicable."""
    applying = marks.get("passed", 0) + marks.get("failed", 0)
    text = f"{marks.get('passed', 0)}/{applying}" if applying else "?" if marks.get("missing") else ""
    return text + ("!" if marks.get("failed") else "") + (f" -{marks['not_applicable']}" if "not_applicable" in marks else "")
