"""The runner is able to fail: each deliberately wrong case fails, and the message says where and how."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
from runner.actors import Actor
from runner.cases import FOLDER, Case, check, load
from runner.hosts import FAKE_HOSTS, Host, group_of
from runner.languages import make_actor
from runner.play import Failure, Play
from runner.real import RealPlay
from runner.unbuilt import Missing, without

WRONG = load("selftest")


@pytest.fixture(scope="module")
def selftest_host() -> Host:
    """The first host that is built; the runner is under test here, not the host."""
    for kind in reversed(FAKE_HOSTS):
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
        Play(case, selftest_host, make).run()
    assert case.must_fail_with in str(failure.value)
    assert case.id in str(failure.value)
    for actor in made:
        assert not group_of(actor.pid), "a failed case leaves no process"
    selftest_host.command("reset")


def test_a_wrong_case_fails_where_clones_are_real() -> None:
    try:
        host = Host("process-pidns")
    except Missing as reason:
        without(reason)
    ticket = [{"master": ["request_ticket", 2, 2, 1, 0], "ok": "$t"}, {"master": ["clone", "$t"], "ok": 0}]
    for steps, must_say in [
        ([{"clone1": ["vmid"], "ok": 2}], "gave 1; expected 2"),
        ([{"clone3": ["vmid"]}], "clone3 has not been born"),
        ([{"clone1": ["join", {"text": "a"}], "error": "timed_out"}], "expected the error timed_out"),
    ]:
        case = Case("wrong", "real", [*ticket, *steps], hypervisor="process")
        made: list[Actor] = []

        def make(*args: object) -> Actor:
            made.append(make_actor("c")(*args))  # type: ignore[arg-type]  # noqa: B023
            return made[-1]  # noqa: B023

        with pytest.raises(Failure) as failure:
            RealPlay(case, host, make, True).run()
        assert must_say in str(failure.value)
        assert not group_of(made[0].pid), "a failed case leaves no process, no clone either"
    host.stop()


def test_a_hung_actor_is_ended_by_the_guard(selftest_host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.actors.HANG_GUARD_S", 0.5)
    hangs = Case("wrong", "hangs", [{"master": ["request_ticket", 8, 8, 1, 0]}, {"master": ["request_ticket", 1, 1, 1, -1]}])
    with pytest.raises(Failure, match=r"step 2 .*has not answered"):
        Play(hangs, selftest_host, make_actor("wire")).run()
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


def test_what_the_schema_cannot_say_is_checked() -> None:
    with pytest.raises(ValueError, match=r"started \['s'\], but finished or abandoned \[\]"):
        check(Case("g", "n", [{"master": ["vmid"], "start": "s"}]))
    with pytest.raises(ValueError, match="g/n: needs: fake clock is missing, but the steps have"):
        check(Case("g", "n", [{"control": ["advance", 1]}]))
    with pytest.raises(ValueError, match="g/n: needs: scripted faults is there, but the steps have"):
        check(Case("g", "n", [{"master": ["vmid"]}], needs=["scripted faults"]))
    with pytest.raises(ValueError, match="hypervisor: real or process is missing"):
        check(Case("g", "n", [{"gone": "clone1"}]))
    with pytest.raises(ValueError, match="a host that is frozen must be killed"):
        check(Case("g", "n", [{"host": "freeze"}]))
    with pytest.raises(ValueError, match="step 1: one of an actor or"):
        check(Case("g", "n", [{"ok": 1}]))
