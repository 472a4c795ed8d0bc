"""The demos that run in VMs, small: their clones are VMs then."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "demos"))
from demo_harness import demo
from playing import START

HITS = ["--clones", "2", "--shells", "1", "--rate", "1", "--target", "6", "--seconds", "2"]
JOBS = ["--jobs", "30", "--rate", "2", "--length", "1000", "--backlog", "2"]
ALL_DONE = "30 jobs: 30 done, 0 waiting, 0 lost, 0 done twice"
TREE = ["--once", "--ways", "4", "--megabytes", "1"]
BEST = "session 7, Both of these: 9 of 9 tests pass"
MORE_S = 600  # for booting VMs, without KVM, beside other tests


@pytest.mark.full
@pytest.mark.usefixtures("vms")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("hit-counter", ["--once", *HITS], ["load test: 6 hits a second for 2 s over 6 connections"]),
        ("mapreduce", ["--once", "--workers", "2", "--runs", "1", "--megabytes", "1"], ["2 of 2 results as the plain count"]),
        ("producer-consumer", [*JOBS, "--form", "handler"], [ALL_DONE, "to its first job, by clone: "]),
        ("producer-consumer", [*JOBS, "--form", "classic"], [ALL_DONE, "to its first job, by clone: "]),
        ("sandbox-tree", TREE, ["session 0 forked 4 ways: ", "session 4 forked 4 ways: ", BEST]),
        ("test-track", ["--once", "--accelerate", "2", "--corner", "2"], ["1 → 2 machines: ", "A on 2, all ended, B on 2: "]),
    ],
    ids=["hit-counter", "mapreduce", "producer-consumer", "classic", "sandbox-tree", "test-track"],
)
def test_a_demo_in_vms(name: str, options: list[str], said: list[str]) -> None:
    async def main(folder: Path) -> None:
        async with demo(folder, MORE_S) as played:
            await played.start([*START, name, "--port", str(played.port), "--hypervisor", "qemu", *options])
            code = await played.process.wait()
            text = played.log.read_text()
            assert code == 0, text
            assert "gc: booting " in text and all(words in text for words in said), text
            await played.nothing_left()

    with tempfile.TemporaryDirectory(prefix="gcq-") as folder:  # not tmp_path: the path of a socket is short
        asyncio.run(main(Path(folder)))
