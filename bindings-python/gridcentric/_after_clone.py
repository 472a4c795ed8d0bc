"""The user's handlers of on_clone(). run(vmid) is called by the native module in each clone, in the thread that called clone(),
when what CPython and its modules remember of the master has been made right (src/make_right.cpp).
"""

from __future__ import annotations

from typing import Callable

from gridcentric import _children, _native

handlers: list[Callable[[int], object]] = []  # in the order of registration


def run(vmid: int) -> None:
    _children.run()
    for handler in handlers:
        _native.call_handler(handler, vmid)
