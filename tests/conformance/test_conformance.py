"""Every language does the same against every host: host x language x case.

Start reading at README.md; what is right stands in cases/.
"""

from __future__ import annotations

import itertools

import pytest
from runner.cases import CLONABLE, LANGUAGES, ONCE_A_LANGUAGE, SECOND_FORMS, Case, load, one_of_each
from runner.hosts import HOSTS, REAL_HOSTS, VM_HOSTS, Host
from runner.play import MakeActor, Play
from runner.real import RealPlay
from runner.vms import VmPlay

CASES = load()


def marks(kind: str, language: str, case: Case, is_new: bool) -> list[pytest.MarkDecorator]:
    """vms: boots a VM; java: needs a JDK, and starts many JVMs; full: for those who have time. is_new: the case has an outcome
    of a call that no case before it has."""
    needed = []
    if kind in VM_HOSTS:
        needed, short = [pytest.mark.vms], case.representative and language in ONCE_A_LANGUAGE
    elif language == "java":
        needed, short = [pytest.mark.java], kind == "process-pidns" or case.representative
    elif language in SECOND_FORMS:  # calls the same client
        short = is_new and kind in ("core", "process-pidns")
    else:  # what the reference answers to any client, the wire and Python have shown
        short = is_new or kind != "reference" or language in ("wire", "python")
    return needed if short else [*needed, pytest.mark.full]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Sorted by host and language, so that each pair's host serves its cases one after the other."""
    if "case" in metafunc.fixturenames:
        chosen = []
        for kind, language in itertools.product(HOSTS, LANGUAGES):
            cases = [case for case in CASES if case.applies_on(kind, language)]
            new = one_of_each(cases)
            chosen += [
                pytest.param(
                    kind, language, case, id=f"{kind}-{language}-{case.id}", marks=marks(kind, language, case, case in new)
                )
                for case in cases
            ]
        metafunc.parametrize(["host_kind", "language", "case"], chosen)


def test_case(host: Host, actors: MakeActor, case: Case, language: str) -> None:
    if host.kind in VM_HOSTS:
        VmPlay(case, host, actors, can_clone=True).run()
    elif host.kind in REAL_HOSTS:
        RealPlay(case, host, actors, language in CLONABLE).run()
    else:
        Play(case, host, actors).run()


def test_there_are_enough_cases() -> None:
    assert len([case for case in CASES if not case.only]) >= 80


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_does_not_apply_is_little_and_says_why(language: str) -> None:
    common = [case for case in CASES if not case.only]
    applying = [case for case in common if case.applies_to(language)]
    assert len(applying) >= 0.85 * len(common)
    assert all(len(case.not_applicable[language]) >= 10 for case in common if not case.applies_to(language))
