"""The user's handlers of on_clone(). In each clone the native module calls run(vmid) in the thread that called clone(), after
repairing what CPython and its modules remember of the master (src/make_right.cpp).
"""

from __future__ import annotations

from typing import Callable

from gridcentric import _children, _native

handlers: list[Callable[[int], object]] = []  # in order of registration


def run(vmid: int) -> None:
    _children.run()
    for handler in handlers:
        _native.call_handler(handler, vmid)
