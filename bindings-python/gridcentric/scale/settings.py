"""The settings of `gc scale`: those of a TOML file, and over them those of the command line. docs/scale.md has the table.

Knows files and values; nothing of programs, clones or traffic.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Optional

from gridcentric.autoscale.options import Options, read_options
from gridcentric.autoscale.policy import STRATEGIES
from gridcentric.scale import schedule as schedules
from gridcentric.scale import values

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_CLONES = 1024
NO_LIMIT = 1_000_000  # users of a clone, where something else says when there is no more room
SIGNALS = ("users", "connections", "requests", "cpu", "latency")
COUNTED = ("users", "connections", "requests")


class Wrong(ValueError):
    """The settings are not as they must be. The text says which, what was given, what was expected."""


# Each setting: how its value is read, and what it is without one. `...`: it has to be given. None: see _complete().
_TABLE: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "command": (values.command, ...),
    "listen": (values.address, ...),
    "app": (values.port, ...),
    "protocol": (partial(values.one_of, ("http", "tcp")), "http"),
    "admin": (values.port, None),
    "by": (partial(values.one_of, SIGNALS), None),
    "per_clone": (partial(values.whole, 1, NO_LIMIT), None),
    "target": (values.percent_or_time, None),
    "min": (partial(values.whole, 0, MOST_CLONES), 1),
    "max": (partial(values.whole, 1, MOST_CLONES), 8),
    "schedule": (lambda value: value, []),
    "cooldown": (values.time, "0s"),
    "drain": (values.time_or_never, "60s"),
    "drain_limit": (values.time_or_never, "5m"),
    "interval": (values.time, "1s"),
    "window": (values.time, "10s"),
    "strategy": (partial(values.one_of, tuple(STRATEGIES)), "least-loaded"),
    "users": (values.users, "cookie"),
    "user_timeout": (values.time, "30s"),
    "hold_timeout": (values.time, "15s"),
    "max_held": (partial(values.whole, 0, 1_000_000), 1000),
    "request_timeout": (values.time, "60s"),
    "max_connections": (partial(values.whole, 1, 1_000_000), 10_000),
    "trust_proxy": (values.yes_or_no, False),
    "dashboard": (values.dashboard, True),
    "health": (values.path, None),
    "warm_up": (values.time, "0s"),
    "start_limit": (values.time, "60s"),
    "end_limit": (values.time, "5s"),
    "stop_limit": (values.time, "10s"),
    "logs": (partial(values.one_of, ("marked", "plain")), "marked"),
}
NAMES = tuple(_TABLE)
# These belong to what has been started already: another value needs a restart.
FIXED = (
    "command", "listen", "app", "protocol", "admin", "users", "request_timeout", "max_connections", "trust_proxy",
    "dashboard", "logs",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """All of them, checked; times in ms."""

    command: list[str]
    listen: tuple[Optional[str], int]
    app: int
    protocol: str
    admin: Optional[int]
    by: str
    per_clone: int
    target: int  # percent (cpu) or ms (latency)
    min: int
    max: int
    schedule: tuple[schedules.Entry, ...]
    cooldown: int
    drain: Optional[int]
    drain_limit: Optional[int]
    interval: int
    window: int
    strategy: str
    users: Any
    user_timeout: int
    hold_timeout: int
    max_held: int
    request_timeout: int
    max_connections: int
    trust_proxy: bool
    dashboard: Any
    health: Optional[str]
    warm_up: int
    start_limit: int
    end_limit: int
    stop_limit: int
    logs: str

    def options(self, **more: Any) -> Options:
        """Those that the autoscaler knows, in its words."""
        counts_users = self.by == "users" or (self.by == "connections" and self.protocol == "tcp")
        return read_options(self.listen[1], self.app, {
            "host": self.listen[0], "users_per_clone": self.per_clone if counts_users else NO_LIMIT,
            "min_clones": self.min, "max_clones": self.max, "interval": self.interval, "strategy": self.strategy,
            "cooldown": self.cooldown, "drain": False if self.drain is None else self.drain,
            "user_timeout": self.user_timeout, "hold_timeout": self.hold_timeout, "max_held": self.max_held,
            "request_timeout": self.request_timeout, "end_limit": self.end_limit, "max_connections": self.max_connections,
            "users": self.users, "trust_proxy": self.trust_proxy, "dashboard": self.dashboard, "signals": False, **more,
        })  # fmt: skip


def read_file(path: Path) -> dict[str, Any]:
    """What the file says. Raises Wrong."""
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return said
    except OSError as error:
        raise Wrong(f"cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise Wrong(f"{path}: not UTF-8, as a TOML file must be") from None
    except tomllib.TOMLDecodeError as error:
        raise Wrong(f"{path}: not TOML: {error}") from None


def read_settings(said: Mapping[str, Any], over: Mapping[str, Any], file: str = "") -> Settings:
    """said: the file's; over: the command line's, which win. Raises Wrong."""
    read: dict[str, Any] = {}
    for given, where, shown in ((said, f"{file}: " if file else "", str), (over, "", _as_option)):
        for name, value in given.items():
            if name not in _TABLE:
                raise Wrong(f"{where}unknown setting '{name}'{_nearest(name)}")
            try:
                read[name] = _TABLE[name][0](value)
            except ValueError as error:
                raise Wrong(f"{where}{shown(name)} is {str(value)[:80]!r}, expected {error}") from None
    try:
        return _complete(read)
    except Wrong as error:
        raise Wrong(f"{file}: {error}" if file else str(error)) from None


def changed(old: Settings, new: Settings) -> list[str]:
    return [field.name for field in fields(old) if getattr(old, field.name) != getattr(new, field.name)]


def _as_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, NAMES, 1, 0.5)
    return f": did you mean '{near[0]}'?" if near else f"; the settings are {', '.join(NAMES)}"


def _complete(read: dict[str, Any]) -> Settings:
    for name, (reads, otherwise) in _TABLE.items():
        if name not in read:
            if otherwise is ...:
                raise Wrong(f"{name} is missing{_MISSING[name]}")
            read[name] = otherwise if otherwise is None else reads(otherwise)
    tcp = read["protocol"] == "tcp"
    by = read["by"] = read["by"] or ("connections" if tcp else "users")
    if tcp and by in ("users", "requests", "latency"):
        raise Wrong(f"by is '{by}', which needs protocol = 'http'; over tcp the clones are scaled by connections or cpu")
    if tcp and read["health"]:
        raise Wrong("health is a path of HTTP, which needs protocol = 'http'")
    if read["admin"] and not tcp:
        raise Wrong("admin is for protocol = 'tcp'; over http the dashboard is at /_gridcentric of the port listen")
    _complete_target(by, read)
    if read["listen"][1] == read["app"]:
        raise Wrong(f"listen and app are both {read['app']}: the program needs a port of its own")
    if read["admin"] in (read["listen"][1], read["app"]):
        raise Wrong(f"admin is {read['admin']}, which is the port of listen or app: give it a port of its own")
    if read["min"] > read["max"]:
        raise Wrong(f"min ({read['min']}) is above max ({read['max']})")
    if read["interval"] < 10 or read["window"] < read["interval"]:
        raise Wrong(f"interval ({read['interval']} ms) must be at least 10ms, and window ({read['window']} ms) no shorter")
    for name in ("user_timeout", "hold_timeout", "request_timeout"):
        if read[name] < 1:
            raise Wrong(f"{name} is 0, expected a time above 0")
    try:
        read["schedule"] = schedules.read(read["schedule"], read["max"])
    except ValueError as error:
        raise Wrong(str(error)) from None
    return Settings(**read)


_MISSING = {
    "command": ": give the program after --, or command = ['redis-server', ...] in the file",
    "listen": ": the port for clients, --listen PORT or listen = PORT in the file",
    "app": ": the port on which the program listens, --app PORT or app = PORT in the file",
}


def _complete_target(by: str, read: dict[str, Any]) -> None:
    """per_clone for what is counted, target for what is measured."""
    needed, other = ("per_clone", "target") if by in COUNTED else ("target", "per_clone")
    example = {"cpu": "target = 70 (percent of one CPU)", "latency": "target = '200ms'"}.get(by, "per_clone = 50")
    if read[other] is not None:
        raise Wrong(f"{other} does not go with by = '{by}': expected {example}")
    if read[needed] is None:
        raise Wrong(f"{needed} is missing: by = '{by}' needs {example}")
    read[other] = 1
    if by == "latency" and not isinstance(read["target"], str):
        raise Wrong(f"target is {read['target']}, expected a time for by = 'latency', such as '200ms'")
    if by == "cpu" and isinstance(read["target"], str):
        raise Wrong(f"target is '{read['target']}', expected a number of percent for by = 'cpu', such as 70")
    if by == "latency":
        read["target"] = values.time(read["target"])
        if read["target"] < 1:
            raise Wrong("target is 0, expected a time above 0")
