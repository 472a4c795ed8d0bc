"""The options of autoscale.setup(): their defaults, what each may be, and the error when it is something else.

docs/autoscale.md holds the same table in words; bindings-node/lib/autoscale/options.js is its twin.
Knows nothing of sockets or clones.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from dataclasses import dataclass, field, fields
from typing import Any, Callable, Optional, Union

STRATEGIES = ("latest", "round-robin", "least-loaded", "random")
MAX_MS = 2**31 - 1


def _log(text: str) -> None:
    print(f"gridcentric: {text}", file=sys.stderr, flush=True)


def _whole(low: int, high: int) -> tuple[Callable[[Any], bool], str]:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return holds, f"a whole number from {low} to {high}"


def _strategy(value: Any) -> bool:
    return callable(value) or (isinstance(value, str) and value in STRATEGIES)


def _one_text(value: Any, key: str, least: int) -> bool:
    return isinstance(value, dict) and list(value) == [key] and isinstance(value[key], str) and len(value[key]) >= least


def _users(value: Any) -> bool:
    return value in ("cookie", "address") or callable(value) or _one_text(value, "header", 1)


def _dashboard(value: Any) -> bool:
    return isinstance(value, bool) or callable(value) or _one_text(value, "token", 16)


_PORT = _whole(1, 65535)
_FUNCTION = (callable, "a function")
_BOOLEAN = (lambda value: isinstance(value, bool), "True or False")
_DRAIN = _whole(0, MAX_MS)

_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "listen_port": _PORT,
    "app_port": _PORT,
    "users_per_clone": _whole(1, 10**6),
    "min_clones": _whole(0, 1024),
    "max_clones": _whole(1, 1024),
    "interval": _whole(10, MAX_MS),
    "strategy": (_strategy, f"one of {', '.join(STRATEGIES)}, or a function"),
    "cooldown": _whole(0, MAX_MS),
    "drain": (lambda value: value is False or _DRAIN[0](value), f"{_DRAIN[1]}, or False"),
    "user_timeout": _whole(1, MAX_MS),
    "hold_timeout": _whole(1, MAX_MS),
    "max_held": _whole(0, 10**6),
    "request_timeout": _whole(1, MAX_MS),
    "max_connections": _whole(1, 10**6),
    "users": (_users, "'cookie', 'address', {'header': NAME} or a function"),
    "trust_proxy": _BOOLEAN,
    "host": (lambda value: value is None or isinstance(value, str), "an address to listen on"),
    "dashboard": (_dashboard, "True, False, {'token': TEXT of at least 16 characters} or a function"),
    "signals": _BOOLEAN,
    "on_scale": _FUNCTION,
    "log": _FUNCTION,
    "clock": _FUNCTION,
    "random": _FUNCTION,
}


@dataclass(frozen=True)
class Options:
    """All options with their defaults. A wrong one raises ValueError naming it, what was given and what was expected."""

    listen_port: int
    app_port: int
    users_per_clone: int = 2
    min_clones: int = 0
    max_clones: int = 32
    interval: int = 1000
    strategy: Union[str, Callable[[list[dict[str, Any]], str], Any]] = "latest"
    cooldown: int = 0
    drain: Union[int, bool] = 60000
    user_timeout: int = 30000
    hold_timeout: int = 15000
    max_held: int = 1000
    request_timeout: int = 60000
    max_connections: int = 10000
    users: Union[str, dict[str, str], Callable[[Any], Any]] = "cookie"
    trust_proxy: bool = False
    host: Optional[str] = None
    dashboard: Union[bool, dict[str, str], Callable[[Any], Any]] = True
    signals: bool = True
    on_scale: Callable[[dict[str, Any]], Any] = lambda event: None
    log: Callable[[str], Any] = _log
    # What tests put in the place of the world.
    clock: Callable[[], float] = field(default=lambda: time.monotonic() * 1000)
    random: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        for name, (holds, expected) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise ValueError(f"autoscale: {name} is {repr(value)[:80]}, expected {expected}")
        if self.listen_port == self.app_port:
            raise ValueError(
                f"autoscale: listen_port and app_port are both {self.app_port}; "
                "the app needs a port of its own behind the proxy"
            )
        if self.min_clones > self.max_clones:
            raise ValueError(f"autoscale: min_clones ({self.min_clones}) is above max_clones ({self.max_clones})")


def from_environment() -> dict[str, Any]:
    """What GRIDCENTRIC_AUTOSCALE says: a JSON object of options that a program is started with.

    listenPort and appPort may be among them. The names are those of Node (usersPerClone), so that one text serves both
    languages. It goes before what the program itself says. Raises ValueError: it is no such object.
    """
    text = os.environ.get("GRIDCENTRIC_AUTOSCALE")
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"autoscale: GRIDCENTRIC_AUTOSCALE is {text[:80]!r}, expected a JSON object of options")
    return {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name): value for name, value in value.items()}


def read_options(listen_port: int, app_port: int, given: dict[str, Any]) -> Options:
    """The options, or ValueError."""
    known = [option.name for option in fields(Options)][2:]
    for name in given:
        if name not in known:
            raise ValueError(f"autoscale: there is no option '{name}'; there are {', '.join(known)}")
    return Options(listen_port, app_port, **given)
