"""The schedule: a minimum of clones by day and time of day. Pure: the time is passed in, as local time."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_KEYS = {"from", "to", "days", "min"}
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Entry:
    """From `start` until before `end`, in minutes of the day. One that ends no later than it starts ends on the next day, and
    belongs to the day on which it starts."""

    start: int
    end: int
    days: frozenset[int]
    minimum: int

    def holds(self, now: datetime.datetime) -> bool:
        minute, day = now.hour * 60 + now.minute, now.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        return (day in self.days and minute >= self.start) or ((day - 1) % 7 in self.days and minute < self.end)


def minimum(entries: Sequence[Entry], otherwise: int, now: datetime.datetime) -> int:
    """The largest of those that hold now; `otherwise` where none does."""
    return max((entry.minimum for entry in entries if entry.holds(now)), default=otherwise)


def read(value: Any, most: int) -> tuple[Entry, ...]:
    """Raises ValueError with what is wrong. most: the largest minimum."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("schedule is not a list of tables: write [[schedule]] above each of its entries")
    return tuple(_entry(number, entry, most) for number, entry in enumerate(value, 1))


def _entry(number: int, entry: dict[str, Any], most: int) -> Entry:
    where = f"schedule, entry {number}"
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        raise ValueError(f"{where}: unknown setting '{unknown[0]}', expected from, to, days and min")
    for key in ("from", "to", "min"):
        if key not in entry:
            raise ValueError(f"{where}: '{key}' is missing: from = '08:00', to = '20:00', min = 4")
    days = entry.get("days", list(DAYS))
    if not isinstance(days, list) or not days or not all(day in DAYS for day in days):
        raise ValueError(f"{where}: days is {str(days)[:80]!r}, expected a list of {', '.join(DAYS)}")
    least = entry["min"]
    if not isinstance(least, int) or isinstance(least, bool) or not 0 <= least <= most:
        raise ValueError(f"{where}: min is {str(least)[:80]!r}, expected a whole number from 0 to {most} (max)")
    start, end = (_minutes(where, key, entry[key]) for key in ("from", "to"))
    return Entry(start, end, frozenset(DAYS.index(day) for day in days), least)


def _minutes(where: str, key: str, value: Any) -> int:
    if isinstance(value, datetime.time):  # as TOML has times of day
        return value.hour * 60 + value.minute
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", value) if isinstance(value, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else _DAY_MINUTES + 1
    if minutes > _DAY_MINUTES:
        raise ValueError(f"{where}: {key} is {str(value)[:80]!r}, expected a time of day such as '08:00'")
    return minutes
