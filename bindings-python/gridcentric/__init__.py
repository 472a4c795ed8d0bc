"""VM fork as a library: a running program clones itself. Start with `gridcentric.guest` (or `gridcentric.aio` to await).

The errors are defined here. Each is a gridcentric.Error with a `code` (the name that all languages share), an `errno` (that of
the C API) and an `exit_code` (that of the gc command). Everything is loaded on first use, so that gridcentric.reference also
runs where nothing has been compiled.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gridcentric import aio as aio
    from gridcentric import guest as guest
    from gridcentric._arguments import WrongArgumentType as WrongArgumentType
    from gridcentric._native import BarrierBroken as BarrierBroken
    from gridcentric._native import CloneFailed as CloneFailed
    from gridcentric._native import Error as Error
    from gridcentric._native import HostUnreachable as HostUnreachable
    from gridcentric._native import InterruptedByClone as InterruptedByClone
    from gridcentric._native import InvalidArgument as InvalidArgument
    from gridcentric._native import NoSuchDomain as NoSuchDomain
    from gridcentric._native import NoSuchTicket as NoSuchTicket
    from gridcentric._native import NotInDomain as NotInDomain
    from gridcentric._native import NotSupported as NotSupported
    from gridcentric._native import NotYourTicket as NotYourTicket
    from gridcentric._native import ProtocolError as ProtocolError
    from gridcentric._native import TicketUsed as TicketUsed
    from gridcentric._native import TimedOut as TimedOut
    from gridcentric._native import TooLarge as TooLarge
    from gridcentric._native import __version__ as __version__
    from gridcentric.guest import before_clone as before_clone
    from gridcentric.guest import explain as explain
    from gridcentric.guest import on_clone as on_clone
    from gridcentric.guest import serve as serve

# name -> the module it lives in; "" if it is a module itself
_HOMES = {
    "aio": "",
    "guest": "",
    "before_clone": "guest",
    "explain": "guest",
    "on_clone": "guest",
    "serve": "guest",
    "WrongArgumentType": "_arguments",
    **dict.fromkeys(
        (
            "BarrierBroken", "CloneFailed", "Error", "HostUnreachable", "InterruptedByClone", "InvalidArgument",
            "NoSuchDomain", "NoSuchTicket", "NotInDomain", "NotSupported", "NotYourTicket", "ProtocolError",
            "TicketUsed", "TimedOut", "TooLarge", "__version__",
        ),
        "_native",
    ),
}  # fmt: skip

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gridcentric' has no attribute '{name}'")
    module = importlib.import_module(f"gridcentric.{home or name}")
    value = getattr(module, name) if home else module
    globals()[name] = value  # so that the next access bypasses this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
