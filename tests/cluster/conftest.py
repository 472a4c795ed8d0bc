"""Clusters for the tests: one that they share, and others for those that end theirs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from computers import Cluster, what_is_missing


@pytest.fixture(scope="session")
def make_cluster() -> Callable[..., Cluster]:
    """What makes one, of as many computers as it is told, which is to be closed."""
    if reason := what_is_missing():
        pytest.skip(reason)
    return Cluster


@pytest.fixture(scope="session")
def cluster(make_cluster: Callable[..., Cluster]) -> Iterator[Cluster]:
    cluster = make_cluster()
    yield cluster
    cluster.close()
