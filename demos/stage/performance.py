"""Runs a demo: its options, which can also be given as variables such as PORT=9000, and its end. Knows no page and no clone."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, Callable

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Refused(Exception):
    """The demo cannot run as it was asked to; the text says why and what to do."""


class Failed(ValueError):
    """A program of the demo did not do what it should; the text says which."""


def in_use(port: int) -> Refused:
    other = 9000 if port != 9000 else 9001
    return Refused(f"port {port} is in use: choose another, such as PORT={other} or --port {other}")


class Options:
    """Options of a demo. Each has a variable of the same name, which `make demo` passes on: --port and PORT."""

    def __init__(self, description: str) -> None:
        name = os.environ.get("GRIDCENTRIC_DEMO_NAME", "demos/start")
        self.parser = argparse.ArgumentParser(prog=name, description=description, allow_abbrev=False)
        self.number("port", 8080, "the page's port, on 127.0.0.1 only", low=1, high=65535)

    def number(self, name: str, default: int, text: str, low: int = 1, high: int = 1_000_000) -> Options:
        def parsed(given: str) -> int:
            if not given.isascii() or not given.isdigit() or not low <= int(given) <= high:
                raise argparse.ArgumentTypeError(f"'{given}', expected a number from {low} to {high}")
            return int(given)

        self._add(name, type=parsed, default=default, help=f"{text} (default: {default})")
        return self

    def choice(self, name: str, choices: tuple[str, ...], text: str) -> Options:
        """The first choice is the default."""
        self._add(name, choices=choices, default=choices[0], help=f"{text}: {' or '.join(choices)} (default: {choices[0]})")
        return self

    def text(self, name: str, what: str, text: str) -> Options:
        self._add(name, what, default=None, help=text)
        return self

    def flag(self, name: str, text: str) -> Options:
        self.parser.add_argument(f"--{name}", action="store_true", help=text)
        return self

    def _add(self, name: str, what: str = "", **more: Any) -> None:
        # argparse checks a default that is a string as if it had been given.
        given = os.environ.get(name.upper().replace("-", "_"))
        if given:
            if "choices" in more and given not in more["choices"]:
                self.parser.error(f"{name.upper()} is '{given}', expected {' or '.join(more['choices'])}")
            more["default"] = given
        self.parser.add_argument(f"--{name}", metavar=what or name.upper(), **more)

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        return self.parser.parse_args(arguments)


def perform(demo: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Runs the demo until it ends or a signal ends it; returns the exit code, as a shell counts it. The demo's `finally` blocks
    end what it started."""
    name = os.environ.get("GRIDCENTRIC_DEMO_NAME", "demos/start")
    received: list[int] = []

    async def main() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def end(number: int) -> None:
            if not received:  # a second signal does not interrupt the cleaning up
                received.append(number)
                task.cancel()

        for number in ENDING:
            loop.add_signal_handler(number, end, number)
        return await demo()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        return 128 + received[0]
    except (Refused, Failed) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, Refused) else 1
