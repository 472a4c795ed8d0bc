"""Turns an HTTP server in this process into a service that clones itself. docs/autoscale.md tells how.

    loop.call_later(3, autoscale.setup, 8080, PORT)

Needs aiohttp (the extra `autoscale` of the package). autoscaler.py is where to start reading.
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
    """Make this process the master of a family: a proxy on listen_port hands each user to a clone of the app on app_port.

    To be called in the thread of the running event loop. For the options see docs/autoscale.md. Raises ValueError for a
    wrong argument, by name, and RuntimeError where no event loop runs. Returns at once; await .ready to know that the
    proxy listens, .close() to end it.
    """
    given = {"listen_port": listen_port, "app_port": app_port, **options, **from_environment()}
    read = read_options(given.pop("listen_port"), given.pop("app_port"), given)
    asyncio.get_running_loop()
    # Clones have no users without the proxy: they end with the master however it ends.
    os.environ.setdefault("GRIDCENTRIC_ON_MASTER_EXIT", "end")
    return Autoscaler(read)
