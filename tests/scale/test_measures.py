"""What is measured over a window, and how Prometheus is told. Pure: the time is passed in."""

from __future__ import annotations

import pytest

from gridcentric.scale.measures import MOST_SAMPLES, Cpu, Requests, percentile
from gridcentric.scale.metrics import Histogram, Page


def test_the_rate_is_of_the_window() -> None:
    requests = Requests(1000)
    for now in range(0, 2000, 10):
        requests.arrived(now)
    assert requests.rate(1999) == pytest.approx(100, rel=0.01)
    assert requests.rate(2500) == 50
    assert requests.rate(10_000) == 0


def test_the_percentile() -> None:
    assert percentile([], 0.95) == 0
    assert percentile([7.0], 0.95) == 7
    assert percentile([float(n) for n in range(100, 0, -1)], 0.95) == 95


def test_latency_counts_from_the_last_step_and_for_a_whole_window() -> None:
    requests = Requests(1000)
    requests.answered(0, 500)
    requests.scaled(100)
    assert requests.p95(1099) is None
    for number in range(20):
        requests.answered(500 + number, number)
    assert requests.p95(1100) == 18
    assert requests.p95(2000) == 0  # nobody asks any more


def test_many_requests_take_little_memory() -> None:
    requests = Requests(1_000_000)
    for number in range(10 * MOST_SAMPLES):
        requests.answered(number, number % 100)
    assert len(requests._times) <= MOST_SAMPLES
    assert requests.p95(10 * MOST_SAMPLES) == pytest.approx(95, abs=2)


def test_cpu_is_the_average_of_clones_that_were_there_all_the_time() -> None:
    cpu = Cpu(1000)
    cpu.note(0, {1: 100.0, 2: 0.0})
    assert cpu.average() is None
    cpu.note(500, {1: 400.0, 2: 0.0})
    assert cpu.average() is None
    cpu.note(1000, {1: 700.0, 2: 200.0, 3: 900.0})
    assert cpu.average() == 40  # 60 and 20 percent
    cpu.note(1500, {1: 700.0, 3: 900.0})
    assert cpu.average() == 30  # clone 1, of the last second
    cpu.scaled(1500)
    assert cpu.average() is None
    cpu.note(2000, {})
    cpu.note(3000, {})
    assert cpu.average() is None


def test_the_page() -> None:
    page, durations = Page(), Histogram()
    for seconds in (0.004, 0.2, 60):
        durations.add(seconds)
    page.add("a", "gauge", "What it is.", {(("vmid", "1"), ("state", "x")): 2})
    page.add("b_total", "counter", "More.", 3)
    page.add("c", "histogram", "Times.", durations)
    lines = page.text().splitlines()
    assert lines[:6] == [
        "# HELP a What it is.", "# TYPE a gauge", 'a{vmid="1",state="x"} 2', "# HELP b_total More.", "# TYPE b_total counter",
        "b_total 3",
    ]  # fmt: skip
    assert 'c_bucket{le="0.005"} 1' in lines
    assert 'c_bucket{le="0.25"} 2' in lines
    assert lines[-3:] == ['c_bucket{le="+Inf"} 3', "c_sum 60.204", "c_count 3"]
