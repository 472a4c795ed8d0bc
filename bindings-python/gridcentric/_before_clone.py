"""What happens in the caller before a clone is requested: run the user's before_clone() handlers, then flush what Python has
buffered, because every clone would write it again. At this point no thread is stopped and the host has not been contacted.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, Callable

from gridcentric import _native
from gridcentric._arguments import WrongArgumentType

LISTENER_S = 1.0  # how long a logging listener may take: it might wait for something that the caller holds

handlers: list[Callable[[], object]] = []  # in order of registration
_running = threading.Lock()


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    if not handlers:
        yield
        return
    if not _running.acquire(blocking=False):
        raise _native.CloneFailed(
            "the handlers of before_clone() are running for another clone of this process, possibly the one that made this call"
        )
    try:
        yield
    finally:
        _running.release()


def run() -> None:
    """For a caller that cannot await."""
    with _one_at_a_time():
        for handler in list(handlers):
            result = handler()
            if not isinstance(result, Awaitable):
                continue
            if isinstance(result, Coroutine):
                result.close()
            raise WrongArgumentType(
                f"{handler!r} of before_clone() is asynchronous: clone with gridcentric.aio.clone(), which awaits it, or "
                "register a plain function"
            )


async def run_and_await() -> None:
    with _one_at_a_time():
        for handler in list(handlers):
            result = handler()
            if isinstance(result, Awaitable):
                await result


def flush_streams() -> None:
    """Flush sys.stdout and sys.stderr."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # pythonw, daemons
            try:
                stream.flush()
            except (OSError, ValueError):  # nobody reads it, or it is closed: then nothing is written twice
                continue


def flush_logging() -> None:
    """Flush what logging holds back: in a MemoryHandler, and in the queue of a running listener."""
    handlers_of_logging = sys.modules.get("logging.handlers")
    if handlers_of_logging is None:
        return
    for thread in threading.enumerate():
        listener = getattr(getattr(thread, "_target", None), "__self__", None)
        if isinstance(listener, handlers_of_logging.QueueListener) and thread is not threading.current_thread():
            _drain(listener.queue)
    for reference in list(sys.modules["logging"]._handlerList):
        handler = reference()
        if isinstance(handler, handlers_of_logging.MemoryHandler) and handler.target is not None:
            with contextlib.suppress(OSError, ValueError):
                handler.flush()


def _drain(queue: Any) -> None:
    """Wait until everything in the queue has been processed, if the queue can tell."""
    done = getattr(queue, "all_tasks_done", None)
    if done is not None:
        with done:
            done.wait_for(lambda: not queue.unfinished_tasks, LISTENER_S)
