"""HTTP in front of a real program: users, latency, CPU, requests a second, the dashboard's rule for the metrics."""

from __future__ import annotations

import concurrent.futures
import urllib.error
import urllib.request
from typing import Any

import pytest
from scaled import HERE, metrics, read, state, until

SERVING = 'gridcentric_clones{state="serving"}'


def crowd(port: int, path: str, times: int) -> list[str]:
    """Each of them is a different user."""
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: read(port, path), range(times)))


def test_users_get_clones_of_their_own(service: Any) -> None:
    made = service("web.py", "--per-clone", "2", "--max", "3", settings='users = {header = "X-User"}\n')
    made.scaled.ready()
    homes = [read(made.listen, "/", {"X-User": name}) for name in "aabbccddeeff"]
    assert homes[::2] == homes[1::2]
    assert sorted(homes.count(home) for home in set(homes)) == [4, 4, 4]
    shown = metrics(made.listen)
    assert shown[SERVING] == 3
    assert shown["gridcentric_users"] == 6
    assert shown['gridcentric_requests_total{status="2xx"}'] == 12
    assert shown["gridcentric_answer_seconds_count"] == 12
    assert state(made.listen)["options"]["scaledBy"] == "2 users a clone"


@pytest.mark.parametrize(("words", "path"), [
    (("--by", "latency", "--target", "100ms"), "/slow"),
    (("--by", "cpu", "--target", "1"), "/busy"),
    (("--by", "requests", "--per-clone", "1"), "/"),
    (("--by", "connections", "--per-clone", "1"), "/slow"),
], ids=["latency", "cpu", "requests", "connections"])  # fmt: skip
def test_load_makes_clones(service: Any, words: tuple[str, ...], path: str) -> None:
    made = service("web.py", *words, "--max", "2", settings='window = "500ms"\n')
    made.scaled.ready()

    def two() -> bool:
        crowd(made.listen, path, 2)
        return metrics(made.listen)[SERVING] == 2

    until(two, "a second clone")
    assert made.scaled.end() == 0


def test_the_metrics_are_for_those_who_may_see_the_dashboard(service: Any) -> None:
    made = service("web.py", "--per-clone", "2")
    made.scaled.ready()
    request = urllib.request.Request(
        f"http://{HERE}:{made.listen}/_gridcentric/metrics", headers={"X-Forwarded-For": "1.2.3.4"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=100)
    assert refused.value.code == 403
    with urllib.request.urlopen(f"http://{HERE}:{made.listen}/_gridcentric/metrics", timeout=100) as page:
        assert page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_clone_that_is_not_well_is_replaced(service: Any) -> None:
    made = service("web.py", "--per-clone", "2", settings='health = "/broken"\n')
    made.scaled.ready()
    made.scaled.said("clone 1 did not answer 3 health checks: it is ended")
    made.scaled.said("clone 2 in ")
