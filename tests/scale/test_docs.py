"""docs/scale.md: its examples run as they are, on other ports; its tables are complete."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from scaled import CALM, GC, HERE, Client, free_ports, metrics, state, until

from gridcentric.scale.command_line import OPTIONS
from gridcentric.scale.settings import FIXED, NAMES

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()


def write(folder: Path, *names: str) -> list[int]:
    """The examples of these names, with free ports in place of theirs."""
    ports = free_ports(3)
    for name in names:
        text = next(text for text in re.findall(r"^```\w+\n(.*?)^```", PAGE, re.S | re.M) if text.startswith(f"# {name}\n"))
        for number, port in zip((8080, 8081, 8082), ports):
            text = text.replace(str(number), str(port))
        (folder / name).write_text(text.replace('"-p", "."', f'"-p", "{folder}"'))
    return ports


@pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")
def test_redis(scale: Any, tmp_path: Path) -> None:
    listen, _, admin = write(tmp_path, "redis.toml")
    file = tmp_path / "redis.toml"
    file.write_text(file.read_text() + "min = 3\n")
    scaled = scale(str(file))
    scaled.ready()
    clients = [Client(listen) for _ in range(3)]
    for number, client in enumerate(clients):
        assert client.ask(f"RPUSH notes {number}") == ":1"  # each has its own
    assert len({clone["ip"] for clone in state(admin)["clones"]}) == 3
    assert metrics(admin)['gridcentric_bytes_total{to="clients"}'] == 12
    for client in clients:
        client.close()
    assert scaled.end(signal.SIGINT) == 0
    assert "Ready to accept connections" in scaled.out


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_nginx(scale: Any, tmp_path: Path) -> None:
    listen, *_ = write(tmp_path, "nginx.toml", "nginx.conf")
    scaled = scale(str(tmp_path / "nginx.toml"))
    scaled.ready()
    until(lambda: len(state(listen)["clones"]) in (2, 4), "its minimum, by the time of day")
    with urllib.request.urlopen(f"http://{HERE}:{listen}/", timeout=100) as answer:
        assert int(answer.headers["X-Gridcentric-Vmid"]) > 0
        assert answer.read() == b"hello\n"
    assert scaled.end() == 0


def test_the_tables_are_complete() -> None:
    rows = re.search(r"\| setting \|.*?\n\n", PAGE, re.S)
    assert rows
    named = [name for row in rows[0].splitlines()[2:-1] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(NAMES)
    assert [name.replace("_", "-") for name in named[: len(OPTIONS)]] == list(OPTIONS)
    shown = subprocess.run([GC, "scale", "--help"], env=CALM, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  --([a-z-]+)", shown, re.M) == list(OPTIONS)
    sentence = re.search(r"Settings that cannot change.*?\. A file", PAGE, re.S)
    assert sentence
    assert re.findall(r"`(\w+)`", sentence[0]) == list(FIXED)
