"""In a clone, the handles of the master's child processes: subprocess, asyncio, uvloop, gevent, multiprocessing, process pools.

Those processes stay with the master. In the clone each appears to have been ended by SIGKILL, under a pid that no process has,
so that nothing waits for one, takes it for a success or signals a process that now has its number: the master's own child, in
plain mode, or a process of the clone.

src/children.cpp installs the definitions below in each clone, in one step: a thread that ran between two bytecodes would
otherwise see a handle that is still the master's. run() is the part that may come later.
"""

from __future__ import annotations

import contextlib
import functools  # noqa: F401  for src/children.cpp
import signal
import sys
from typing import Any, Optional

from gridcentric import _native

ENDED = -signal.SIGKILL
NO_PID = 2**31 - 1  # above the largest pid on Linux: kill() fails with ESRCH

POOL_STAYED = (
    "this process pool was made before the clone, and its processes stayed with the master: make a new pool in the clone"
)
_MARK = "_gridcentric_clone"

here = object()  # stands for this domain; a different object in each clone
pools: list[Any] = []  # inherited pools of multiprocessing
crews: list[Any] = []  # their lists of processes
of_uvloop: list[tuple[Any, Any]] = []  # loops with their inherited transports of processes
managers: list[Any] = []  # the threads that manage inherited executors
watchers: set[int] = set()  # the threads that existed at the clone


def remove_folder(path: str) -> None:
    """Removes a temporary folder of this domain, when the program ends."""
    import shutil  # only here: it takes half as long to import as all of gridcentric

    shutil.rmtree(path, ignore_errors=True)


def _is_masters(attributes: dict[str, Any]) -> bool:
    """Whether the Popen with these attributes was running when this domain was cloned."""
    return attributes.get("returncode", ENDED) is None and attributes.get(_MARK) is not here


class _OfChild:
    """An attribute of subprocess.Popen in a clone: `inherited` for the master's children, its own value for others."""

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
        if self.name not in attributes:  # in Popen.__init__() of this domain's own child
            attributes.setdefault(_MARK, here)
        if not _is_masters(attributes):
            attributes[self.name] = value


returncode = _OfChild("returncode", ENDED)
pid = _OfChild("pid", NO_PID)


def process_exited(transport: Any, status: int) -> None:
    """Replaces asyncio's BaseSubprocessTransport._process_exited(): its watchers report 255 for a child that is not theirs."""
    known = transport._proc.returncode
    transport._pid = transport._proc.pid  # it is about to forget its Popen
    _process_exited(transport, status if known is None else known)


def _process_exited(transport: Any, status: int) -> None:
    raise NotImplementedError  # replaced by asyncio's original


def _pid_of_transport(transport: Any) -> Any:
    """BaseSubprocessTransport._pid, which asyncio remembers: the Popen's, whose pid is right."""
    return vars(transport)["_pid"] if transport._proc is None else transport._proc.pid


def _remember_pid(transport: Any, pid: Any) -> None:
    vars(transport)["_pid"] = pid


pid_of_transport = property(_pid_of_transport, _remember_pid)
# asyncio.subprocess.Process.pid, with asyncio's and uvloop's transports.
pid_of_process = property(lambda process: process._transport.get_pid(), lambda process, pid: None)


def is_news(record: Any) -> bool:
    """A filter for asyncio's log: drops what its watchers of the master's children say in a clone."""
    return "will report returncode 255" not in str(record.msg) or record.thread not in watchers


def break_executor(manager: Any, _cause: object) -> None:
    """Replaces terminate_broken() of the thread that manages an inherited executor of concurrent.futures or loky."""
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
    manager.executor_reference = lambda: None  # so that its message does not replace ours
    type(manager).terminate_broken(manager, error if hasattr(manager, "executor_flags") else None)


def _replace_workers(context: Any, process: Any, count: int, workers: Any, *more: Any) -> None:
    """Replaces Pool._repopulate_pool_static(): the thread of an inherited pool may be about to call it."""
    if not any(workers is crew for crew in crews):
        _original_replace_workers(context, process, count, workers, *more)


def _original_replace_workers(context: Any, process: Any, count: int, workers: Any, *more: Any) -> None:
    raise NotImplementedError  # replaced by that of multiprocessing


replace_workers = staticmethod(_replace_workers)


def _refuse() -> None:
    raise ValueError(POOL_STAYED)


def _nothing(*_: object) -> None:
    """Replaces an inherited pool's close(), terminate() and join(): its processes may hold the locks that those take."""


def _break_pool(pool: Any) -> None:
    """Make an inherited multiprocessing pool fail: nothing works on its tasks."""
    from multiprocessing import ProcessError

    pool._check_running = _refuse
    pool.close = pool.terminate = pool.join = _nothing
    failure = (False, ProcessError(POOL_STAYED))
    for job in list(pool._cache.values()):
        if hasattr(job, "_cond"):  # from imap()
            with job._cond:
                job._set = job._set_length = _nothing
                job._items.append(failure)
                job._length = job._index
                job._cond.notify_all()
            continue
        if hasattr(job, "_number_left"):  # from map(): it ends with its last part
            job._number_left = 1
        with contextlib.suppress(KeyError):  # its result has just been read
            job._set(0, failure)
    # This ends the threads that submit tasks and read results, perhaps in the middle of one.
    pool._inqueue._reader.close()
    pool._outqueue._writer.close()


class _EndedChild:
    """The attributes that gevent's functions read from the watcher of an ended child."""

    rstatus = signal.SIGKILL

    def __init__(self, watcher: Any) -> None:
        self.pid, self.stop, self.close = watcher.pid, watcher.stop, watcher.close


def _end_child_of_gevent(watcher: Any) -> None:
    if watcher.callback is not None:  # it has not ended meanwhile
        watcher.callback(_EndedChild(watcher), *watcher.args[1:])


def _end_child_of_uvloop(loop: Any, transport: Any) -> None:
    if loop.is_running() and sys.modules["asyncio"]._get_running_loop() is not loop:
        loop.call_soon_threadsafe(_native.end_child_of_uvloop, transport)
    else:
        _native.end_child_of_uvloop(transport)


def run() -> None:
    """Runs in a clone before the program's own handlers."""
    for loop, transport in of_uvloop:
        with contextlib.suppress(RuntimeError):  # the loop has just been closed, and the handle with it
            _end_child_of_uvloop(loop, transport)
    of_uvloop.clear()
    for watcher in list(getattr(sys.modules.get("gevent.os"), "_watched_children", {}).values()):
        if not isinstance(watcher, tuple):  # the status of an ended child
            watcher.loop.run_callback_threadsafe(_end_child_of_gevent, watcher)
    while pools:
        _break_pool(pools.pop())
    while managers:
        # At the end of its results the thread checks its processes; otherwise it might wait forever for the rest of a result.
        with contextlib.suppress(OSError):  # already closed, by a thread that has noticed the end of the processes
            managers.pop().result_queue._writer.close()
