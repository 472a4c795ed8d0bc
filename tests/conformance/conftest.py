"""Keeps one host a (host, language) alive over the cases, and prints the table at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Union

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runner import table
from runner.hosts import REAL_HOSTS, VM_HOSTS, Host, wait_until
from runner.languages import make_actor
from runner.play import MakeActor
from runner.unbuilt import Missing, without
from runner.vms import VmActor, VmHost, close_nurseries


class Hosts:
    """The hosts of a run, one a (host, language), each reset between cases and proven clean."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[str, str], tuple[Union[Host, VmHost], list[str]]] = {}

    def get(self, kind: str, language: str) -> Union[Host, VmHost]:
        known = self._hosts.get((kind, language))
        if known is None:
            host = VmHost(kind, language) if kind in VM_HOSTS else Host(kind)
            self._hosts[kind, language] = (host, host.descriptors())
            return host
        return known[0]

    def after(self, kind: str, language: str) -> None:
        """Make it as new; a host that leaks descriptors, or cannot be reset, fails the case that made it so."""
        host, open_at_first = self._hosts[kind, language]
        if host.is_dead():  # a case has killed it
            self.drop(kind, language)
            return
        if kind in REAL_HOSTS:  # it is empty, but may still be closing what has just ended
            lease = sorted([*open_at_first, "socket"])  # of addresses: kept from the first cloning on
            clean = wait_until(lambda: host.descriptors() in (open_at_first, lease))
        else:
            host.command("reset")
            clean = host.descriptors() == open_at_first
        if not clean:
            now = host.descriptors()
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
    close_nurseries()


@pytest.fixture
def host(request: pytest.FixtureRequest, hosts: Hosts, host_kind: str, language: str) -> Iterator[Union[Host, VmHost]]:
    try:
        made = hosts.get(host_kind, language)
    except Missing as reason:
        request.node.missing = True
        without(reason)
    yield made
    if hasattr(request.node, "failed"):
        hosts.drop(host_kind, language)  # whatever it left there is not the next case's
    else:
        hosts.after(host_kind, language)


@pytest.fixture
def actors(request: pytest.FixtureRequest, language: str, host: Union[Host, VmHost]) -> MakeActor:
    if isinstance(host, VmHost):
        return lambda name, clone, env: VmActor(name, host, env)
    try:
        return make_actor(language)
    except Missing as reason:
        request.node.missing = True
        without(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """The report carries what the table is to count to the process that prints it: there may be several workers."""
    report = yield
    values = getattr(getattr(item, "callspec", None), "params", {})
    if "case" in values and "host_kind" in values:
        if report.failed:
            item.failed = True  # type: ignore[attr-defined]
        mark = "failed" if report.failed else "passed" if report.when == "call" and report.passed else ""
        if hasattr(item, "missing"):
            mark = "missing" if report.when == "setup" else ""
        report.conformance = [values["host_kind"], values["language"], values["case"].group, mark]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    *cell, mark = getattr(report, "conformance", [""])
    if mark:
        table.count(*cell, mark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = table.lines()
    if lines:
        terminalreporter.section("conformance: cases that hold, of those that apply")
        for line in lines:
            terminalreporter.write_line(line)
