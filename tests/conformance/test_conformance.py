"""Every language does the same against every host: host x language x case.

Start reading at README.md; what is right stands in cases/.
"""

from __future__ import annotations

import pytest
from conftest import RESULTS
from runner.cases import LANGUAGES, Case, load
from runner.hosts import HOSTS, Host
from runner.play import MakeActor, play

CASES = load()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Sorted by host and language, so that each pair's host serves its cases one after the other."""
    if "case" in metafunc.fixturenames:
        chosen = [
            pytest.param(kind, language, case, id=f"{kind}-{language}-{case.id}")
            for kind in HOSTS
            for language in LANGUAGES
            for case in CASES
            if case.applies_to(language)
        ]
        metafunc.parametrize(["host_kind", "language", "case"], chosen)


def test_case(host: Host, actors: MakeActor, case: Case) -> None:
    play(case, host, actors)


def test_enough_cases_and_languages_that_do_not_apply_say_why(request: pytest.FixtureRequest) -> None:
    common = [case for case in CASES if not case.only]
    assert len(common) >= 80
    for language in LANGUAGES:
        for case in CASES:
            if not case.applies_to(language):
                assert case.only or case.not_applicable[language]
                for kind in HOSTS:
                    request.config.stash[RESULTS][kind, language, case.group]["not_applicable"] += 1
