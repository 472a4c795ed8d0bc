"""MapReduce, small: the MapReduce itself with good and bad workers, the text, the scripts, the demo and its page."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as xml
from collections import Counter
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from demo_harness import DEMOS, demo
from playing import START, answers, look, playing, states

sys.path.append(str(DEMOS / "mapreduce"))
import bars
import mincemeat
import words

HERE = DEMOS / "mapreduce"
SMALL = ("--workers", "2", "--runs", "2", "--megabytes", "1", "--once")
# Nothing waits this long unless it hangs.
HANG_GUARD_S = 120
TEXTS = {n: f"a b a c{n}" for n in range(12)}
COUNTS = Counter(" ".join(TEXTS.values()).split())


class Serving:
    """A server in a thread of this process."""

    def __init__(self, **functions: Any) -> None:
        self.server = mincemeat.Server()
        self.server.datasource = TEXTS
        self.server.mapfn, self.server.reducefn = by_word, total
        for name, value in functions.items():
            setattr(self.server, name, value)
        self.done: list[tuple[str, int, int]] = []
        self.server.progress = lambda what, task, worker, done, of: self.done.append((what, task, worker))
        ports: Queue[int] = Queue()
        self.server.listening = ports.put
        self.outcome: Any = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.port = ports.get(timeout=HANG_GUARD_S)

    def _serve(self) -> None:
        try:
            self.outcome = self.server.run_server(password="changeme", port=0)
        except mincemeat.Failed as failed:
            self.outcome = failed

    def result(self) -> Any:
        self._thread.join(HANG_GUARD_S)
        assert not self._thread.is_alive()
        return self.outcome


def by_word(key: int, text: str) -> Any:
    for word in text.split():
        yield word, 1


def total(key: str, values: list[int]) -> int:
    return sum(values)


def worker(port: int, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "mincemeat.py"), *options, "-P", str(port), "127.0.0.1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=HANG_GUARD_S)
    return process.returncode, out


@pytest.mark.parametrize("collectfn", [None, total], ids=["without collectfn", "with collectfn"])
def test_words_are_counted_by_workers(collectfn: Any) -> None:
    serving = Serving(collectfn=collectfn)
    workers = [worker(serving.port, "-p", "changeme") for _ in range(3)]
    assert (0, "") in [ended(one) for one in workers]  # one that came late found no server
    assert serving.result() == COUNTS
    assert sorted(task for what, task, _ in serving.done if what == "map") == list(range(12))


def test_what_a_lost_worker_had_is_given_to_another() -> None:
    serving = Serving()
    lost = mincemeat.Worker("127.0.0.1", serving.port, "changeme")
    assert lost._receive()["do"] == "map"
    lost._file.close()
    lost._socket.close()
    assert ended(worker(serving.port, "-p", "changeme")) == (0, "")
    assert serving.result() == COUNTS
    assert {number for _, _, number in serving.done} == {2}


def test_a_password_is_asked_of_both() -> None:
    serving = Serving()
    code, text = ended(worker(serving.port, "-p", "wrong"))
    assert (code, text) == (1, f"mincemeat.py: 127.0.0.1:{serving.port}: wrong password\n")
    assert ended(worker(serving.port, "-p", "changeme")) == (0, "")
    assert serving.result() == COUNTS

    with socket.create_server(("127.0.0.1", 0)) as imposter:
        misled = worker(imposter.getsockname()[1], "-p", "changeme")
        connection, _ = imposter.accept()
        connection.sendall(mincemeat.packed({"challenge": "x"}))
        code = "print('the server runs its code')"
        connection.sendall(mincemeat.packed({"proof": "y", "functions": {"mapfn": code}}))
        returned, text = ended(misled)
        connection.close()
    assert returned == 1 and text.endswith(": the server does not know the password\n")


def test_strangers_do_no_harm() -> None:
    serving = Serving()
    for message in (
        b"",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\0\0\0\2[]",
        b"\0\0\0\1x",
        b"\xff\xff\xff\xff",
        mincemeat.packed({"proof": "é"}),
    ):
        with socket.create_connection(("127.0.0.1", serving.port)) as stranger:
            stranger.sendall(message)
    assert ended(worker(serving.port, "-p", "changeme")) == (0, "")
    assert serving.result() == COUNTS


def test_a_function_that_fails_ends_the_work() -> None:
    def fails(key: int, text: str) -> Any:
        raise ValueError(f"cannot read {text}")

    serving = Serving(mapfn=fails)
    code, text = ended(worker(serving.port, "-p", "changeme"))
    assert code == 1 and "cannot read a b a c0" in text
    failed = serving.result()
    assert isinstance(failed, mincemeat.Failed) and str(failed) == "map failed in worker 1: ValueError: cannot read a b a c0"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    code, text = ended(worker(port, "-p", "changeme"))
    assert code == 1 and text.startswith(f"mincemeat.py: 127.0.0.1:{port}: ")


def test_the_same_seed_makes_the_same_text() -> None:
    text = words.text(200_000, 7)
    assert len(text) == 200_000 and text.isascii() and text == words.text(200_000, 7) != words.text(200_000, 8)
    # In every version of Python, and with the same size always the same beginning.
    assert words.digest(words.count(text)) == "a9096b174e393cc88f954727ff76f404ee5df9b25453f8ad726bba0498588fac"
    (_, first), (_, second), (_, third) = words.count(text).most_common(3)
    assert 1.8 < first / second < 2.2 and 2.7 < first / third < 3.3  # Zipf's law


def test_medians_and_bars() -> None:
    runs = [
        {"workers": n, "ticket": 1.0, "clone": 2.0, "sync": 3.0, "mapreduce": ms}
        for n, ms in ((1, 90.0), (1, 100.0), (1, 400.0), (2, 50.0))
    ]
    rows = bars.medians(runs)
    assert [(row["workers"], row["runs"], row["mapreduce"], row["speedup"]) for row in rows] == [
        (1, 3, 100.0, 1.0),
        (2, 1, 50.0, 2.0),
    ]
    drawing = xml.fromstring(bars.svg(rows, 2))
    stacked = [
        box for box in drawing.iter("{http://www.w3.org/2000/svg}rect") if float(box.get("x", 0)) > 0 and box.get("rx") is None
    ]
    assert len(stacked) == 2 * len(bars.STAGES)
    assert "on 2 cores" in "".join(drawing.itertext())


def test_the_demo(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            await played.start([*START, "mapreduce", "--port", str(played.port), *SMALL])
            assert await played.process.wait() == 0, played.log.read_text()
            runs = re.findall(
                r"^(\d) workers?: ticket .* ms, clone .* ms, sync .* ms, MapReduce .* ms; as the plain count$",
                played.log.read_text(),
                re.M,
            )
            assert runs == ["1", "2", "1", "2"]
            assert "4 of 4 results as the plain count" in played.log.read_text()
            await played.nothing_left()

    asyncio.run(main())


def test_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        pictures = os.environ.get("GC_SCREENSHOTS")
        small = ("--runs", "1", "--megabytes", "6") if pictures else SMALL[:-1]
        async with playing("mapreduce", tmp_path, *small) as played:
            read = {
                "top": "#words b",
                "check": "#check",
                "rows": "#table td:first-child",
                "bars": "#bars svg > text",
                "title": "#title",
            }
            done = {"mapped": "#mapped i.done", "undone": "#mapped i:not(.done)", "reduced": "#reduced i.done"}
            seen = await look(played, [["wait", '[data-over="yes"]']], {**read, **done}, "mapreduce")
            if pictures:
                return
            counts = words.count(words.text(1_000_000)).most_common(10)
            assert seen["top"] == [word for word, _ in counts]
            assert (seen["check"], seen["rows"]) == (["4 of 4 results as the plain count"], ["1", "2"])
            assert seen["title"] == ["Map: 2 workers, run 2 of 2"]
            assert (len(seen["mapped"]), len(seen["undone"])) == (4, 0) and seen["reduced"]
            assert "1.00\u00d7" in seen["bars"]

    asyncio.run(main())


def test_a_signal_ends_a_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            await played.start([*START, "mapreduce", "--port", str(played.port), "--megabytes", "8"])
            await answers(played)
            async for state in states(played):
                if state.get("now", {}).get("workers") == 2 and any(state["now"]["map"]):
                    break
            played.signal(signal.SIGTERM)
            await played.nothing_left()
            assert played.process.returncode == 128 + signal.SIGTERM

    asyncio.run(main())
