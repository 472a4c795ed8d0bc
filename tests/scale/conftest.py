"""The helpers of this folder are importable. `scale(*words)` runs `gc scale`; at the end nothing of it is left."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scaled import PROGRAMS, Scaled, free_ports

Scale = Callable[..., Scaled]


@pytest.fixture
def scale(tmp_path: Path) -> Iterator[Scale]:
    started: list[Scaled] = []

    def start(*words: str, **more: object) -> Scaled:
        started.append(Scaled(tmp_path, *words, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGTERM)


class Service:
    """A program of this folder behind `gc scale`, with its own ports."""

    def __init__(self, scale: Scale, folder: Path, program: str, *words: str, settings: str = "") -> None:
        """words: for gc scale, but --deaf, which is for the program. settings: more lines of its file."""
        file = folder / "scale.toml"
        at_once = "" if "end_limit" in settings else 'end_limit = "0s"\n'
        file.write_text(f'interval = "100ms"\n{at_once}{settings}')
        self.listen, self.app, self.admin = free_ports(3)
        admin = ["--admin", str(self.admin)] if "tcp" in words else []
        own, deaf = [word for word in words if word != "--deaf"], ["deaf"] if "--deaf" in words else []
        self.scaled: Scaled = scale(
            str(file), "--listen", str(self.listen), "--app", str(self.app), *admin, *own,
            "--", sys.executable, "-u", str(PROGRAMS / program), str(self.app), *deaf,
        )  # fmt: skip


@pytest.fixture
def service(scale: Scale, tmp_path: Path) -> Callable[..., Service]:
    return functools.partial(Service, scale, tmp_path)
