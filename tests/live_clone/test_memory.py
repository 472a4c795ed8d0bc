"""The memory of clones, measured as `make bench ROWS=memory` does, but small; and what docs/memory.md says of gc.freeze()."""

from __future__ import annotations

import pytest

from bench.memory import AFTER_COLLECTION, Load, Way, of_clones, of_started

SMALL = Load(idle_s=(0,), requests=5)


@pytest.mark.parametrize("language", ["Node", "Python"])
def test_a_clone_that_has_answered_has_little_for_itself(language: str) -> None:
    way = Way(language, warm=5, objects=20_000)
    cloned, started = of_clones(way, 2, SMALL), of_started(way, 1, SMALL)
    assert list(cloned.pss) == list(started.pss) == ["after 0 s", "after 5 requests", AFTER_COLLECTION]
    assert cloned.private["after 0 s"] < started.private["after 0 s"] / 2


def test_collecting_frozen_objects_copies_none_of_their_pages() -> None:
    def growth(tidy: str) -> float:
        private = of_clones(Way("Python", tidy=tidy, warm=5, objects=20_000), 1, SMALL).private
        return private[AFTER_COLLECTION] - private["after 5 requests"]

    assert growth("/tidy?how=collect,freeze") < growth("/tidy?how=collect") / 4
