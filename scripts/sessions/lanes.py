"""`make test` after the build: the other sessions in two lanes, side by side: together they keep two processors busy.

What a session says is shown when it has ended, so that the lanes' lines don't mix; until then it is in build/logs. It knows no
more of a session than its name.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import nox

from sessions.building import BUILD, PYTHON, ROOT

# Those with packages, whole systems and VMs bring what they test; the others test what `build` has made.
LANES = [
    ["lint", "core", "asan", "tsan", "fuzz", "reference", "python", "node", "shell", "tree", "private_files", "conformance",
     "java", "hypervisors", "live_clone", "denied"],
    ["packaging", "matrix-ci", "fresh", "qemu"],
]  # fmt: skip
LAST = ["autoscale", "zoo-ci", "demos", "soak-ci", "readme"]  # each for the lane that is free first: longest first
LOGS = BUILD / "logs"


def taken(names: collections.deque[str]) -> Iterator[str]:
    """Each of the names once, whichever lane asks."""
    with contextlib.suppress(IndexError):  # nothing is left
        while True:
            yield names.popleft()


class Lane(threading.Thread):
    """Plays its sessions one after the other, then those of `last` that no lane has taken, also if one fails."""

    printing = threading.Lock()

    def __init__(self, session: nox.Session, names: list[str], last: collections.deque[str]) -> None:
        super().__init__()
        self.failed: list[str] = []
        self._session = session
        self._names = itertools.chain(names, taken(last))
        self._running: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self) -> None:
        for name in self._names:
            if self._ended:
                return
            self._session.log(f"session {name} begins")
            begin = time.monotonic()
            log = LOGS / f"{name}.log"
            with log.open("wb") as output:
                self._running = subprocess.Popen(
                    [PYTHON, "-m", "nox", "-s", name], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
                if self._ended:  # meanwhile
                    self.end()
                code = self._running.wait()
            with self.printing:
                print(log.read_text(errors="replace"), flush=True)
                self._session.log(f"session {name} {'failed' if code else 'passed'} in {time.monotonic() - begin:.0f} s")
            if code:
                self.failed.append(name)

    def end(self) -> None:
        """Ends the session that is running, with all that it has started, and begins no more."""
        self._ended = True
        if self._running and self._running.poll() is None:
            self._running.send_signal(signal.SIGTERM)


@nox.session
def others(session: nox.Session) -> None:
    """The sessions of `make test` after the build, two at a time."""
    LOGS.mkdir(parents=True, exist_ok=True)
    last = collections.deque(LAST)
    lanes = [Lane(session, names, last) for names in LANES]
    try:
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    except KeyboardInterrupt:
        for lane in lanes:
            lane.end()
        raise
    if failed := [name for lane in lanes for name in lane.failed]:
        session.error(f"failed: {', '.join(failed)}; build/logs has what they said")
