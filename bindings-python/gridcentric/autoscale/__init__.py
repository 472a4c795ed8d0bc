"""Turns an HTTP server in this process into a service that clones itself. docs/autoscale.md describes it.

    loop.call_later(3, autoscale.setup, 8080, PORT)

Needs aiohttp (the extra `autoscale` of the package). Start reading at autoscaler.py.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from gridcentric._advice import install

try:
    import aiohttp as _  # noqa: F401
except ImportError as error:
    raise ImportError(f"gridcentric.autoscale needs aiohttp, which is not installed: {install('autoscale')}") from error

from gridcentric.autoscale.autoscaler import Autoscaler
from gridcentric.autoscale.options import from_environment, read_options

__all__ = ["Autoscaler", "setup"]


def setup(listen_port: int, app_port: int, **options: Any) -> Autoscaler:
    """Make this process the master of a family: a proxy on listen_port that routes each user to a clone of the app on app_port.

    Call it in the thread of the running event loop. docs/autoscale.md describes the options. Raises ValueError naming the
    invalid argument, and RuntimeError if no event loop is running. Returns at once; await .ready for the proxy to listen,
    .close() to end it when what is under way has ended, at most `end_limit` ms later.
    """
    given = {"listen_port": listen_port, "app_port": app_port, **options, **from_environment()}
    read = read_options(given.pop("listen_port"), given.pop("app_port"), given)
    asyncio.get_running_loop()
    # Without the proxy clones have no users, so they end with the master, however it ends.
    os.environ.setdefault("GRIDCENTRIC_ON_MASTER_EXIT", "end")
    return Autoscaler(read)
