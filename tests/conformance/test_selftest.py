"""The runner is able to fail: each deliberately wrong case fails, and the message says where and how."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
from runner.cases import FOLDER, Case, check, load
from runner.hosts import HOSTS, Host, group_of
from runner.languages import make_actor
from runner.play import Failure, play
from runner.unbuilt import Missing, without

WRONG = load("selftest")


@pytest.fixture(scope="module")
def selftest_host() -> Host:
    """The first host that is built; the runner is under test here, not the host."""
    for kind in reversed(HOSTS):
        try:
            host = Host(kind)
        except Missing as reason:
            last = reason
            continue
        yield host
        host.stop()
        return
    without(last)


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_a_wrong_case_fails(case: Case, selftest_host: Host) -> None:
    made = []

    def make(*args: object) -> object:
        made.append(make_actor("wire")(*args))
        return made[-1]

    with pytest.raises(Failure) as failure:
        play(case, selftest_host, make)
    assert case.must_fail_with in str(failure.value)
    assert case.id in str(failure.value)
    for actor in made:
        assert not group_of(actor.pid), "a failed case leaves no process"
    selftest_host.command("reset")


def test_a_hung_actor_is_ended_by_the_guard(selftest_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.actors.HANG_GUARD_S", 0.5)
    hangs = Case("wrong", "hangs", [{"master": ["request_ticket", 8, 8, 1, 0]}, {"master": ["request_ticket", 1, 1, 1, -1]}])
    with pytest.raises(Failure, match=r"step 2 .*has not answered"):
        play(hangs, selftest_host, make_actor("wire"))
    selftest_host.command("reset")


def test_the_schema_refuses_what_it_does_not_know() -> None:
    schema = json.loads((FOLDER / "schema.json").read_text())
    good = {"group": "g", "about": "a", "cases": [{"name": "n", "steps": [{"master": ["vmid"], "ok": 0}]}]}
    jsonschema.validate(good, schema)
    for key, value in [("oK", 0), ("masters", ["vmid"]), ("error", "Not A Code"), ("text", ["without an error"])]:
        bad = copy.deepcopy(good)
        bad["cases"][0]["steps"][0][key] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    bad = copy.deepcopy(good)
    bad["cases"][0]["not_applicable"] = {"c": ""}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, schema)


def test_a_started_call_must_be_finished() -> None:
    with pytest.raises(ValueError, match=r"started \['s'\], but finished or abandoned \[\]"):
        check(Case("g", "n", [{"master": ["vmid"], "start": "s"}]))
    with pytest.raises(ValueError, match="step 1: one of an actor or"):
        check(Case("g", "n", [{"ok": 1}]))
