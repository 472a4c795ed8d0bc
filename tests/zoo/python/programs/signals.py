"""Signals and timers: handlers, setitimer and a thread in sigwait go on in each clone, with its own signals."""

import os
import signal
import threading

from harness import background, family, until

ticks, received, waited = [0], [], []
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})


def tick(*_: object) -> None:
    ticks[0] += 1


def wait_for_signals() -> None:
    while True:
        waited.append(signal.sigwait({signal.SIGUSR2}))


signal.signal(signal.SIGALRM, tick)
signal.signal(signal.SIGUSR1, lambda *_: received.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
thread = background(wait_for_signals)
until(lambda: ticks[0] > 2, "ticks")


def work(vmid: int) -> list[int]:
    before = ticks[0]
    until(lambda: ticks[0] > before + 3, "ticks")
    for _ in range(vmid):
        seen = len(received)
        os.kill(os.getpid(), signal.SIGUSR1)
        until(lambda seen=seen: len(received) > seen, "the signal")
    signal.pthread_kill(thread.ident, signal.SIGUSR2)
    until(lambda: waited, "the signal that a thread waits for")
    return [len(received), len(waited), threading.active_count()]


master, clones = family(work)
assert [master, *clones] == [[vmid, 1, 2] for vmid in range(4)], (master, clones)
signal.setitimer(signal.ITIMER_REAL, 0)
