"""In a clone, the handles of the master's child processes: subprocess, asyncio, gevent, multiprocessing, pools of processes.

Those processes stay the master's. In the clone each has ended as if by SIGKILL, under a pid that no process has, so that
nobody waits for one, takes it for a success or signals what has its number by now: the master's own, in plain mode, or a
process of the clone.

What is defined here src/children.cpp puts in its place in each clone, in one step: a thread that runs between two of its
bytecodes would see a handle that is still the master's. run() is the part that may come later.
"""

from __future__ import annotations

import contextlib
import functools  # noqa: F401  for src/children.cpp
import signal
import sys
from typing import Any, Optional

ENDED = -signal.SIGKILL
NO_PID = 2**31 - 1  # more than the largest that Linux gives: kill() says that there is no such process

POOL_STAYED = (
    "this pool of processes was made before the clone, and its processes stayed the master's: make a new one in the clone"
)
_MARK = "_gridcentric_clone"

here = object()  # stands for this domain; another object in each clone
pools: list[Any] = []  # the inherited ones of multiprocessing
managers: list[Any] = []  # the threads that manage inherited executors
watchers: set[int] = set()  # the threads that were there at the clone


def _is_masters(attributes: dict[str, Any]) -> bool:
    """Of the attributes of a Popen: it was running when this domain was cloned."""
    return attributes.get("returncode", ENDED) is None and attributes.get(_MARK) is not here


class _OfChild:
    """An attribute of subprocess.Popen, in a clone: of the master's children `inherited`, of others what it was set to."""

    def __init__(self, name: str, inherited: int) -> None:
        self.name = name
        self.inherited = inherited

    def __get__(self, popen: Any, owner: Optional[type] = None) -> Any:
        if popen is None:
            raise AttributeError(f"type object '{getattr(owner, '__name__', 'Popen')}' has no attribute '{self.name}'")
        attributes = vars(popen)
        if _is_masters(attributes):
            return self.inherited
        try:
            return attributes[self.name]
        except KeyError:
            raise AttributeError(f"'{type(popen).__name__}' object has no attribute '{self.name}'") from None

    def __set__(self, popen: Any, value: Any) -> None:
        attributes = vars(popen)
        if self.name not in attributes:  # Popen.__init__() of a child of this domain
            attributes.setdefault(_MARK, here)
        if not _is_masters(attributes):
            attributes[self.name] = value


returncode = _OfChild("returncode", ENDED)
pid = _OfChild("pid", NO_PID)


def process_exited(transport: Any, status: int) -> None:
    """BaseSubprocessTransport._process_exited() of asyncio: its watchers give 255 for a child that is not theirs."""
    known = transport._proc.returncode
    _process_exited(transport, status if known is None else known)


def _process_exited(transport: Any, status: int) -> None:
    raise NotImplementedError  # asyncio's own is put here


def is_news(record: Any) -> bool:
    """A filter of asyncio's log: what its watchers of the master's children say in a clone is not worth saying."""
    return "will report returncode 255" not in str(record.msg) or record.thread not in watchers


def break_executor(manager: Any, _cause: object) -> None:
    """terminate_broken() of the thread that manages an inherited executor, of concurrent.futures or loky."""
    error = sys.modules[type(manager).__module__].BrokenProcessPool(POOL_STAYED)
    pending = list(manager.pending_work_items.values())
    manager.pending_work_items.clear()
    for item in pending:
        if not item.future.cancelled():
            item.future.set_exception(error)
    executor = manager.executor_reference()
    if executor is not None and not hasattr(manager, "executor_flags"):
        executor._broken = POOL_STAYED
        executor._shutdown_thread = True
    manager.executor_reference = lambda: None  # its own text would take the place of ours
    type(manager).terminate_broken(manager, error if hasattr(manager, "executor_flags") else None)


def _refuse() -> None:
    raise ValueError(POOL_STAYED)


def _nothing(*_: object) -> None:
    """What an inherited pool does at close(), terminate() and join(): its processes may hold the locks that those take."""


def _break_pool(pool: Any) -> None:
    """An inherited pool of multiprocessing: nobody works on what it was given."""
    from multiprocessing import ProcessError

    pool._check_running = _refuse
    pool.close = pool.terminate = pool.join = _nothing
    failure = (False, ProcessError(POOL_STAYED))
    for job in list(pool._cache.values()):
        if hasattr(job, "_cond"):  # of imap()
            with job._cond:
                job._set = job._set_length = _nothing
                job._items.append(failure)
                job._length = job._index
                job._cond.notify_all()
            continue
        if hasattr(job, "_number_left"):  # of map(): it ends with its last part
            job._number_left = 1
        with contextlib.suppress(KeyError):  # its result has just been read
            job._set(0, failure)
    # The threads that hand tasks over and read results end, maybe within one.
    pool._inqueue._reader.close()
    pool._outqueue._writer.close()


class _EndedChild:
    """What gevent's functions ask a watcher of a child that has ended."""

    rstatus = signal.SIGKILL

    def __init__(self, watcher: Any) -> None:
        self.pid, self.stop, self.close = watcher.pid, watcher.stop, watcher.close


def _end_child_of_gevent(watcher: Any) -> None:
    if watcher.callback is not None:  # not ended meanwhile
        watcher.callback(_EndedChild(watcher), *watcher.args[1:])


def run() -> None:
    """In a clone, before the program's own handlers."""
    for watcher in list(getattr(sys.modules.get("gevent.os"), "_watched_children", {}).values()):
        if not isinstance(watcher, tuple):  # of one that has ended
            watcher.loop.run_callback_threadsafe(_end_child_of_gevent, watcher)
    while pools:
        _break_pool(pools.pop())
    while managers:
        # At the end of the results it looks at its processes; otherwise it might wait for the rest of a result for ever.
        with contextlib.suppress(OSError):  # closed already, by a thread that has seen the end of the processes
            managers.pop().result_queue._writer.close()
