"""What must be made right in a clone before its Python code goes on: run(vmid) is called by the native module in each clone,
in the thread that called clone(), with the GIL held.

A clone has the master's memory, so a generator of random numbers would draw the same in every clone; and no fork handler
has run, as all threads live on (os.register_at_fork and pthread_atfork assume that they do not).
What needs nothing: locks, logging, concurrent.futures (their threads are there), os.urandom and so secrets, uuid4 and
SystemRandom (the kernel draws), os.getpid (a system call), sys.stdout (flushed by the caller of clone).
It must not know what a ticket or a host is. Generators of the user's own making can't be found: on_clone() is for them.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Callable

from gridcentric import _native

handlers: list[Callable[[int], object]] = []  # the user's, in the order of registration


def run(vmid: int) -> None:
    _native.call_handler(_threads, vmid)
    _native.call_handler(_libraries, vmid)
    for name, make_right in BUILT_IN.items():
        module = sys.modules.get(name)  # what is not loaded has no state yet
        if module is not None:
            _native.call_handler(make_right, module)
    for handler in handlers:
        _native.call_handler(handler, vmid)


def _threads(_: int) -> None:
    """Plain mode: the pid and the thread ids have changed, also for the running event loops."""
    for ident, native_id in _native.adopt_threads().items():
        thread = threading._active.get(ident)  # type: ignore[attr-defined]
        if thread is not None:
            thread._native_id = native_id


def _libraries(_: int) -> None:
    """Generators of C libraries that look for a changed pid, in vain where the clone keeps its pid."""
    _native.reseed_libraries()


def _random(random: Any) -> None:
    random.seed()


def _numpy(numpy_random: Any) -> None:
    numpy_random.seed()  # the legacy global; instances of default_rng() are the user's


def _ssl(ssl: Any) -> None:
    """An OpenSSL inside the extension module, where _libraries() can't see it."""
    ssl.RAND_add(os.urandom(64), 64.0)


def _uuid(uuid: Any) -> None:
    """uuid1: libuuid keeps a clock sequence per thread that all clones would share; a clone is a machine of its own, so it
    gets a node of its own (random, with the multicast bit, RFC 4122 section 4.5) and draws the sequence anew.
    """
    uuid._generate_time_safe = None
    uuid._node = int.from_bytes(os.urandom(6), "big") | 1 << 40
    uuid._last_timestamp = None


def _tempfile(tempfile: Any) -> None:
    tempfile._name_sequence = None  # its generator looks for a changed pid


def _multiprocessing(process: Any) -> None:
    """The master's children are not the clone's: nobody here may wait for them or end them at exit."""
    process._children.clear()


def _finalizers(util: Any) -> None:
    """The same after a fork: each finalizer compares its pid, which the clone may have kept."""
    for finalizer in util._finalizer_registry.values():
        finalizer._pid = 0  # nobody's


BUILT_IN: dict[str, Callable[[Any], None]] = {
    "random": _random,
    "numpy.random": _numpy,
    "ssl": _ssl,
    "uuid": _uuid,
    "tempfile": _tempfile,
    "multiprocessing.process": _multiprocessing,
    "multiprocessing.util": _finalizers,
}
