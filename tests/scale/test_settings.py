"""What a settings file and the command line may say, and what is said of what they may not."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from gridcentric.scale import command_line, schedule
from gridcentric.scale.settings import Wrong, changed, read_file, read_settings
from gridcentric.scale.source import Source

BASE = {"command": ["program"], "listen": 8080, "app": 8081, "per_clone": 5}


def test_the_defaults() -> None:
    settings = read_settings(BASE, {})
    assert (settings.protocol, settings.by, settings.min, settings.max, settings.logs) == ("http", "users", 1, 8, "marked")
    assert (settings.drain, settings.drain_limit, settings.interval, settings.listen) == (60_000, 300_000, 1000, (None, 8080))
    options = settings.options()
    assert (options.users_per_clone, options.strategy, options.signals, options.drain) == (5, "least-loaded", False, 60_000)
    assert read_settings({**BASE, "protocol": "tcp"}, {}).by == "connections"


@pytest.mark.parametrize(("given", "said"), [
    ({"mx": 3}, "unknown setting 'mx': did you mean 'max'?"),
    ({"per_clones": 3}, "unknown setting 'per_clones': did you mean 'per_clone'?"),
    ({"zzz": 3}, "unknown setting 'zzz'; the settings are command, listen, app"),
    ({"listen": "here"}, "listen is 'here', expected a port, or an address and a port such as '127.0.0.1:8080'"),
    ({"listen": 70000}, "listen is '70000', expected a port"),
    ({"app": True}, "app is 'True', expected a whole number from 1 to 65535"),
    ({"drain": 60}, "drain is '60', expected a time with its unit, such as '500ms', '30s', '5m' or '2h'"),
    ({"drain": "1d"}, "or 'never'"),
    ({"command": "redis-server"}, "command is 'redis-server', expected a list of words"),
    ({"protocol": "udp"}, "protocol is 'udp', expected 'http' or 'tcp'"),
    ({"by": "memory"}, "by is 'memory', expected 'users', 'connections', 'requests', 'cpu' or 'latency'"),
    ({"app": 8080}, "listen and app are both 8080"),
    ({"min": 9}, "min (9) is above max (8)"),
    ({"by": "cpu"}, "per_clone does not go with by = 'cpu': expected target = 70"),
    ({"by": "cpu", "per_clone": None}, "per_clone is 'None'"),
    ({"protocol": "tcp", "by": "requests"}, "by is 'requests', which needs protocol = 'http'"),
    ({"protocol": "tcp", "by": "latency"}, "by is 'latency', which needs protocol = 'http'"),
    ({"protocol": "tcp", "health": "/x"}, "health is a path of HTTP"),
    ({"admin": 9000}, "admin is for protocol = 'tcp'"),
    ({"protocol": "tcp", "admin": 8081}, "admin is 8081, which is the port of listen or app"),
    ({"interval": "1ms"}, "interval (1 ms) must be at least 10ms"),
    ({"window": "500ms"}, "window (500 ms) no shorter"),
    ({"hold_timeout": "0s"}, "hold_timeout is 0, expected a time above 0"),
    ({"users": {"head": "x"}}, "expected 'cookie', 'address' or {header = 'NAME'}"),
    ({"dashboard": {"token": "short"}}, "at least 16 characters"),
    ({"schedule": {"from": "8:00"}}, "schedule is not a list of tables: write [[schedule]]"),
    ({"schedule": [{"from": "8:00", "to": "25:00", "min": 1}]}, "schedule, entry 1: to is '25:00', expected a time of day"),
    ({"schedule": [{"from": "8:00", "to": "9:00", "min": 9}]}, "min is '9', expected a whole number from 0 to 8 (max)"),
    ({"schedule": [{"from": "8:00", "to": "9:00", "min": 1, "days": ["monday"]}]}, "expected a list of mon, tue"),
    ({"schedule": [{"from": "8:00", "min": 1}]}, "schedule, entry 1: 'to' is missing"),
    ({"schedule": [{"form": "8:00"}]}, "schedule, entry 1: unknown setting 'form'"),
])  # fmt: skip
def test_what_is_wrong_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Wrong) as wrong:
        read_settings({**BASE, **given}, {}, "scale.toml")
    assert str(wrong.value).startswith("scale.toml: ")
    assert said in str(wrong.value)


@pytest.mark.parametrize("name", ["command", "listen", "app", "per_clone"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(Wrong, match=rf"^{name} is missing: "):
        read_settings({key: value for key, value in BASE.items() if key != name}, {})


def test_targets() -> None:
    base = {key: value for key, value in BASE.items() if key != "per_clone"}
    assert read_settings({**base, "by": "cpu", "target": 70}, {}).target == 70
    assert read_settings({**base, "by": "latency", "target": "0.2s"}, {}).target == 200
    for by, target, said in (("cpu", "200ms", "expected a number of percent"), ("latency", 200, "expected a time")):
        with pytest.raises(Wrong, match=said):
            read_settings({**base, "by": by, "target": target}, {})
    with pytest.raises(Wrong, match="target is missing: by = 'cpu' needs target = 70"):
        read_settings({**base, "by": "cpu"}, {})


def test_the_command_line() -> None:
    words = ["--listen", "127.0.0.1:8080", "--app=8081", "--per-clone", "50", "--drain-limit", "never"]
    words += ["--", "redis-server", "--port", "8081"]
    file, given = command_line.read(words)
    settings = read_settings({}, given)
    assert (file, settings.command, settings.listen) == ("", ["redis-server", "--port", "8081"], ("127.0.0.1", 8080))
    assert (settings.app, settings.per_clone, settings.drain_limit) == (8081, 50, None)
    with pytest.raises(Wrong, match=r"^--per-clone is 'many', expected a whole number"):
        read_settings({}, {**given, "per_clone": "many"})
    for wrong, said in (
        (["--lisen", "1", "x"], "unrecognized arguments: --lisen"),
        (["--min"], "--min"),
        ([], "expected a file with settings"),
        (["a.toml", "--"], "no program after --"),
    ):
        with pytest.raises(Wrong, match=said):
            command_line.read(wrong)


def test_the_file_and_what_goes_before_it(tmp_path: Path) -> None:
    file = tmp_path / "scale.toml"
    text = 'command = ["x"]\nlisten = 8080\napp = 8081\nper_clone = 2\n[[schedule]]\nfrom = 08:00:00\nto = "20:00"\nmin = 4\n'
    file.write_text(text)
    source = Source(file, {"max": "4"})
    old = source.read()
    assert (old.max, old.per_clone, old.schedule[0].minimum) == (4, 2, 4)
    assert not source.has_changed()
    file.write_text(text.replace("per_clone = 2", "per_clone = 30"))
    assert source.has_changed()
    assert changed(old, source.read()) == ["per_clone"]
    assert not source.has_changed()
    file.unlink()
    assert not source.has_changed()  # an editor that replaces it
    with pytest.raises(Wrong, match=r"^cannot read '.*scale.toml': No such file"):
        source.read()


@pytest.mark.parametrize(("text", "said"), [(b"a = ", "not TOML: "), (b"\xff", "not UTF-8")])
def test_a_file_that_cannot_be_read(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "scale.toml"
    file.write_bytes(text)
    with pytest.raises(Wrong, match=said):
        read_file(file)


def test_the_schedule() -> None:
    entries = schedule.read([
        {"from": "08:00", "to": "20:00", "min": 4, "days": ["mon", "fri"]},
        {"from": "12:00", "to": "13:00", "min": 6},
        {"from": "22:00", "to": "06:00", "min": 2, "days": ["fri"]},
    ], 8)  # fmt: skip

    def at(day: int, hour: int, minute: int = 0) -> int:  # 1 June 2026 is a Monday
        return schedule.minimum(entries, 1, datetime.datetime(2026, 6, day, hour, minute))

    assert [at(1, 7, 59), at(1, 8), at(1, 12, 30), at(1, 13), at(1, 20)] == [1, 4, 6, 4, 1]
    assert [at(2, 9), at(2, 12), at(5, 21), at(5, 22), at(6, 5, 59), at(6, 6), at(6, 22)] == [1, 6, 1, 2, 2, 1, 1]
