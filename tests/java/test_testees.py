"""What a JVM's clone has: one testee a matter (testees/), on each JVM, in both modes. Each checks itself."""

from __future__ import annotations

import pytest
from jvms import GC, Java

MATTERS = ["Calls", "Children", "Network", "OpenFiles", "ProcessFacts", "RandomNumbers"]
COLLECTORS = ["G1GC", "ParallelGC", "SerialGC", "ZGC", "ShenandoahGC"]


@pytest.mark.parametrize("matter", MATTERS)
def test_matter(java: Java, matter: str) -> None:
    java.play(matter)


def test_nothing_repeats(java: Java) -> None:
    java.play("Strict", GRIDCENTRIC_STRICT="1")


@pytest.mark.parametrize("listens", ["gc run", "serve"])
def test_an_order_from_outside(java: Java, listens: str) -> None:
    if listens == "gc run":
        java.play_ordered("FromOutside", before=(str(GC), "run", "--"))
    else:
        java.play_ordered("FromOutside", "serve", before=())


@pytest.mark.parametrize("collector", COLLECTORS)
def test_collector(java: Java, collector: str) -> None:
    option = f"-XX:+Use{collector}"
    if not java.knows(option):
        pytest.skip(f"this JVM has no {collector}")
    java.play("Collectors", options=(option, "-Xmx256m"))


@pytest.mark.full
def test_a_large_heap(java: Java) -> None:
    java.play("Collectors", "1200", options=("-Xms2g", "-Xmx2g"))


@pytest.mark.full
@pytest.mark.parametrize("collector", ["G1GC", "ZGC"])
def test_churn(java: Java, collector: str) -> None:
    java.play("Churn", "200", options=(f"-XX:+Use{collector}", "-Xmx64m"))


@pytest.mark.parametrize("collector", ["G1GC", "ZGC"])
def test_a_little_churn(java: Java, collector: str) -> None:
    java.play("Churn", "5", options=(f"-XX:+Use{collector}", "-Xmx64m"))
