"""Checks the options of autoscale.setup() against the table that both languages share, autoscale/options.json.

The table has the names, the defaults and the accepted values. bindings-node/lib/autoscale/options.js is this file's twin.
Knows nothing of sockets or clones.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from gridcentric.autoscale.shared import shared

Rule = tuple[Callable[[Any], bool], str]


def _python_name(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


_TABLE: dict[str, dict[str, Any]] = {_python_name(name): row for name, row in json.loads(shared("options.json")).items()}


def _log(text: str) -> None:
    print(f"gridcentric: {text}", file=sys.stderr, flush=True)


# Defaults that only this language can express.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "on_scale": lambda event: None,
    "log": _log,
    "clock": lambda: time.monotonic() * 1000,
    "random": random.random,
}

# The words of the table that are not themselves values.
_KINDS: dict[str, Rule] = {
    "true": (lambda value: value is True, "True"),
    "false": (lambda value: value is False, "False"),
    "a function": (callable, "a function"),
    "an address to listen on": (lambda value: isinstance(value, str), "an address to listen on"),
}


def _rule(taken: Any) -> Rule:
    """One kind of value that an option takes: a check, and its description."""
    if isinstance(taken, str):
        return _KINDS.get(taken) or (lambda value: isinstance(value, str) and value == taken[1:-1], taken)
    if "whole" in taken:
        low, high = taken["whole"]
        return (
            lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
            f"a whole number from {low} to {high}",
        )
    key, least, text = taken["record"]

    def holds(value: Any) -> bool:
        return isinstance(value, dict) and list(value) == [key] and isinstance(value[key], str) and len(value[key]) >= least

    return holds, f"{{{key!r}: {text}}}"


_RULES: dict[str, list[Rule]] = {name: [_rule(taken) for taken in row["takes"]] for name, row in _TABLE.items()}


def _check(name: str, value: Any) -> None:
    if not any(holds(value) for holds, _ in _RULES[name]):
        *others, last = (text for _, text in _RULES[name])
        expected = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"autoscale: {name} is {repr(value)[:80]}, expected {expected}")


@dataclass(frozen=True)
class Options:
    """All options, checked. read_options() makes them."""

    listen_port: int
    app_port: int
    users_per_clone: int
    min_clones: int
    max_clones: int
    interval: int
    strategy: Union[str, Callable[[list[dict[str, Any]], str], Any]]
    cooldown: int
    drain: Union[int, bool]
    user_timeout: int
    hold_timeout: int
    max_held: int
    request_timeout: int
    end_limit: int
    max_connections: int
    users: Union[str, dict[str, str], Callable[[Any], Any]]
    trust_proxy: bool
    on_scale: Callable[[dict[str, Any]], Any]
    host: Optional[str]
    dashboard: Union[bool, dict[str, str], Callable[[Any], Any]]
    signals: bool
    log: Callable[[str], Any]
    clock: Callable[[], float]
    random: Callable[[], float]


def from_environment() -> dict[str, Any]:
    """The contents of GRIDCENTRIC_AUTOSCALE: a JSON object of options.

    It may include listenPort and appPort. The names are Node's (usersPerClone), so that one text serves both languages. It
    overrides the program's own options. Raises ValueError if it is not such an object.
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
    return {_python_name(name): value for name, value in value.items()}


def read_options(listen_port: int, app_port: int, given: dict[str, Any]) -> Options:
    """All options with their defaults. Raises ValueError naming an invalid option, what was given and what was expected."""
    read: dict[str, Any] = {name: row.get("default", _FUNCTIONS.get(name)) for name, row in _TABLE.items()}
    for name, value in {"listen_port": listen_port, "app_port": app_port, **given}.items():
        if name not in _TABLE:
            raise ValueError(f"autoscale: unknown option '{name}'; the options are {', '.join(list(_TABLE)[2:])}")
        if value is None and read[name] is None and name not in ("listen_port", "app_port"):
            continue
        _check(name, value)
        read[name] = value
    options = Options(**read)
    if listen_port == app_port:
        raise ValueError(
            f"autoscale: listen_port and app_port are both {app_port}; the app needs its own port behind the proxy"
        )
    if options.min_clones > options.max_clones:
        raise ValueError(f"autoscale: min_clones ({options.min_clones}) is above max_clones ({options.max_clones})")
    return options
