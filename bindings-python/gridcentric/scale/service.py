"""One run of `gc scale`: starts the program, then the scaler in front of it; sees to it that nothing is left at the end."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from typing import Any, Optional

from gridcentric import Error, HostUnreachable
from gridcentric.scale.family import OrderedFamily
from gridcentric.scale.lines import Lines
from gridcentric.scale.owners import Owners
from gridcentric.scale.program import CannotStart, Program, check_port
from gridcentric.scale.scaler import ADMIN_HOST, Scaler
from gridcentric.scale.settings import Settings, Wrong
from gridcentric.scale.source import Source

# How often the settings' file is looked at.
FILE_EVERY_S = 0.5
FAILED = 1


def say(text: str) -> None:
    """A line of `gc scale` itself. Standard error may be closed."""
    with contextlib.suppress(OSError):
        print(f"gc scale: {text}", file=sys.stderr, flush=True)


class Service:
    def __init__(self, source: Source, settings: Settings) -> None:
        self.source, self.settings = source, settings
        self.program = Program(settings.command, settings.app)
        self.family = OrderedFamily(settings.app, lambda: self.settings.health)
        self._name = f"'{settings.command[0]}'"
        self.scaler: Optional[Scaler] = None
        self.lines: Optional[Lines] = None

    async def run(self) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        self._asked: asyncio.Future[None] = loop.create_future()
        self._hang_up = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end_asked)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up.set)
        try:
            self._check()
            await self._start()
            if not await self._wait_for_program():
                return await self._not_listening()
            await self.family.attach(self.program.host_path, self.program.pid)
            self.scaler = Scaler(self.settings, self.family, say)
            await self._first_of(self.scaler.ready, self.program.ended, self._asked)
            if self.scaler.ready.done():
                self.scaler.ready.result()
                where = ":".join(str(part) for part in self.settings.listen if part)
                say(f"{self.settings.protocol} on {where} goes to clones of {self._name} (process {self.program.pid})")
            return await self._watch(self.scaler)
        except CannotStart as error:
            say(str(error))
            return error.exit_code
        except Error as error:
            say(str(error))
            return int(error.exit_code)
        except OSError as error:  # a port that was free a moment ago
            say(str(error))
            return FAILED
        finally:
            await self._end()

    def _check(self) -> None:
        """What can be known before anything is started. Raises CannotStart."""
        self.program.check()
        host, port = self.settings.listen
        check_port("listen", host, port, "choose another with --listen, or end what listens there")
        if self.settings.admin:
            check_port("admin", ADMIN_HOST, self.settings.admin, "choose another with --admin, or end what listens there")

    async def _start(self) -> None:
        if self.settings.logs == "marked":
            self.lines = Lines(Owners(self.family).domain_of)
        await self.program.start(*(self.lines.streams if self.lines else (None, None)))
        if self.lines:
            self.lines.start()
        # Each connection of a client takes two descriptors. The program has its limit already.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def _wait_for_program(self) -> bool:
        """Whether it is ready to be cloned."""
        listening = asyncio.ensure_future(self.program.listens(self.settings.start_limit))
        await self._first_of(listening, self._asked)
        if not listening.done() or not listening.result():
            listening.cancel()
            return False
        await self._first_of(self.program.ended, self._asked, timeout=self.settings.warm_up / 1000)
        return not self.program.ended.done() and not self._asked.done()

    async def _not_listening(self) -> int:
        if self._asked.done():
            return 0
        if self.program.ended.done():
            code = self.program.ended.result()
            await self._all_shown()
            say(f"{self._name} has ended with exit code {code} before it could be cloned")
            return code or FAILED
        say(f"{self._name} does not listen on port {self.settings.app} after {self.settings.start_limit} ms: "
            "is that the port of the program (app)? A program that takes longer needs a larger start_limit")  # fmt: skip
        return FAILED

    async def _watch(self, scaler: Scaler) -> int:
        """Until something ends."""
        loop = asyncio.get_running_loop()
        look = loop.time() + FILE_EVERY_S
        while True:
            hang_up = asyncio.ensure_future(self._hang_up.wait())
            left = max(0.0, look - loop.time())
            await self._first_of(self._asked, self.program.ended, scaler.lost_host, hang_up, timeout=left)
            hang_up.cancel()
            if self._asked.done():
                await self._first_of(scaler.close(), self.program.ended, scaler.lost_host)
                return 0
            if self.program.ended.done():
                code = self.program.ended.result()
                await self._all_shown()
                say(f"{self._name} has ended with exit code {code}, and its clones with it")
                return code
            if scaler.lost_host.done():
                say("the host has ended, and all clones with it: the program is ended too")
                return int(HostUnreachable("").exit_code)
            if self._hang_up.is_set() or self.source.has_changed():
                self._hang_up.clear()
                self._read_again(scaler)
            if loop.time() >= look:
                look = loop.time() + FILE_EVERY_S

    def _read_again(self, scaler: Scaler) -> None:
        if self.source.file is None:
            say("no settings to read again: they came from the command line, not from a file")
            return
        try:
            settings = self.source.read()
            if not scaler.apply(settings):
                say(f"{self.source.file}: nothing new")
            self.settings = settings
        except Wrong as error:
            say(f"keeping the current settings: {error}")

    async def _end(self) -> None:
        """Nothing is left: no clone, no program, no private host."""
        try:
            if self.scaler:
                self.scaler.cut_off()
                await self.scaler.close()
            await self.family.close()
            await self.program.end(self.settings.stop_limit)
        finally:
            self.program.abandon()
            await self._all_shown()

    async def _all_shown(self) -> None:
        """What the program has printed comes before what is said of its end."""
        if self.lines:
            await asyncio.get_running_loop().run_in_executor(None, self.lines.end)

    def _end_asked(self) -> None:
        """Once more: what is under way is not waited for. And again: nor is the program."""
        if not self._asked.done():
            self._asked.set_result(None)
        elif not (self.scaler and self.scaler.cut_off()):
            self.program.kill()

    @staticmethod
    async def _first_of(*awaited: asyncio.Future[Any], timeout: Optional[float] = None) -> None:
        await asyncio.wait(set(awaited), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
