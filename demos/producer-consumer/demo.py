"""Producer and consumer: starts RabbitMQ, the site, the producer and one worker, and clones the worker. Start reading here; the
rules by which no job is lost or done twice are in jobs.py."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Optional

import pika
from broker import Broker, parameters
from consuming import QUEUE
from stage.performance import Failed, Options, perform
from stage.programs import Programs, programs
from stage.vms import FOLDER, Machines
from web import site

from gridcentric import _paths

HERE = Path(__file__).resolve().parent
MOST = 24  # workers
PIKA = Path(pika.__file__).parent
DESCRIPTION = """a producer submits jobs faster than one worker can do them; the running worker is cloned, by hand or by the
rule "backlog above N". Counts at the end that no job was lost or done twice: otherwise the exit code is 1."""


def main(arguments: list[str]) -> int:
    options = Options(DESCRIPTION)
    options.choice("form", ("handler", "classic"), "the worker: with an on_clone handler, or that of 2010")
    options.number("rate", 2, "jobs a second", high=50)
    options.number("length", 5000, "of a job, in ms", high=60_000)
    options.number("backlog", 0, "clone the worker when that many jobs wait; 0: only by hand", low=0)
    options.choice("hypervisor", ("process", "qemu"), "what makes the clones")
    options.number("jobs", 0, "end when that many have been submitted and done; 0: go on", low=0)
    given = options.parse(arguments)
    return perform(lambda: run(given))


def parent_of(pid: int) -> int:
    """0 if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Workers:
    """One worker and its clones, and others that were started as processes."""

    def __init__(self, started: Programs, machines: Optional[Machines], board: Any, form: str, arguments: list[str]) -> None:
        self._started, self._machines, self._board, self._form = started, machines, board, form
        self._arguments = arguments
        self._first: Optional[asyncio.subprocess.Process] = None
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._clones: dict[str, int] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def count(self) -> int:
        return 1 + len(self._clones) + len(self._processes)

    async def _start(self, prefix: str) -> asyncio.subprocess.Process:
        arguments = [*self._arguments, prefix]
        if self._machines:
            program = ["bash", f"{FOLDER}/classic.sh"] if self._form == "classic" else ["python3", f"{FOLDER}/worker.py"]
            return await self._machines.start(HERE, *program, *arguments, folders=[PIKA])
        if self._form == "classic":
            command = [str(_paths.GC), "run", "--", "bash", str(HERE / "classic.sh"), *arguments]
        else:
            command = [sys.executable, str(HERE / "worker.py"), *arguments]
        return await self._started.start(*command, env={"PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"})

    async def start(self) -> None:
        self._first = await self._start("w")

    async def process(self) -> None:
        """Starts another one from the beginning, to compare with."""
        at, prefix = time.time(), f"p{len(self._processes) + 1}."
        self._processes[prefix] = await self._start(prefix)
        await asyncio.to_thread(self._board.asked, f"{prefix}0", "process", at)

    async def clone(self, count: int) -> None:
        async with self._one_at_a_time:
            if not 1 <= count <= MOST - self.count:
                raise ValueError(f"{count} more workers would be {self.count + count}, expected at most {MOST}")
            assert self._first is not None
            at = time.time()
            of = self._first.pid if self._machines is None else (await self._master())["pid"]
            said = await self._started.finished(str(_paths.GC), "clone", "--of", str(of), "-n", str(count))
            for line in said.splitlines():
                vmid = int(line.split()[1])
                self._clones[f"w{vmid}"] = vmid
                await asyncio.to_thread(self._board.asked, f"w{vmid}", "clone", at)

    async def _master(self) -> dict[str, Any]:
        """What gc says about the first worker. Its pid is that of the program that was started or, of a VM, of its QEMU."""
        assert self._first is not None
        for domain in json.loads(await self._started.finished(str(_paths.GC), "ps", "--json")):
            if domain["vmid"] == 0 and self._first.pid in (domain["pid"], parent_of(domain["pid"])):
                found: dict[str, Any] = domain
                return found
        raise ValueError("the first worker is not there yet")

    async def kill(self) -> str:
        """Kills the newest clone in the middle of its work."""
        async with self._one_at_a_time:
            if not self._clones:
                raise ValueError("there is no clone to kill: clone the worker first")
            name, vmid = self._clones.popitem()
            await self._started.finished(str(_paths.GC), "end", (await self._master())["family"], str(vmid))
            await asyncio.to_thread(self._board.ended, name)
            return name

    async def end(self) -> None:
        for process in (*self._processes.values(), *([self._first] if self._first else [])):
            await self._started.end(process)


def waiting(port: int) -> set[int]:
    """The jobs that are in the queue; takes them out."""
    connection = pika.BlockingConnection(parameters(port))
    channel, found = connection.channel(), set()
    channel.queue_declare(QUEUE, durable=True)
    while True:
        method, _, body = channel.basic_get(QUEUE, auto_ack=True)
        if method is None:
            break
        found.add(int(json.loads(body)["job"]))
    connection.close()
    return found


class Play:
    """What goes on while the demo runs: the page's actions, the rule, the counts at the end."""

    def __init__(self, given: argparse.Namespace, started: Programs) -> None:
        self._given, self._started = given, started
        self.broker = Broker(started)
        self.more: dict[str, Any] = {"form": given.form, "most": MOST, "rate": given.rate, "length": given.length}
        self.more.update(broker="starting", rule=given.backlog, firsts={}, cloned=[])
        self._loop = asyncio.get_running_loop()

    def do(self, action: str, arguments: dict[str, Any]) -> Any:
        """Called by the site's threads."""
        return asyncio.run_coroutine_threadsafe(self._act(action, arguments), self._loop).result()

    async def _act(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if action == "clone":
            await self.workers.clone(int(arguments["count"]))
        elif action == "process":
            await self.workers.process()
        elif action == "kill":
            return {"killed": await self.workers.kill()}
        elif action == "restart":
            self.more["broker"] = "restarting"
            await self.broker.restart()
            self.more["broker"] = "running"
        elif action == "rule":
            self.more["rule"] = max(0, int(arguments["backlog"]))
        else:
            raise ValueError(f"there is no action '{action}'")
        return {}

    async def __aenter__(self) -> Play:
        given = self._given
        # Django's database is used by threads, never by the event loop's.
        self._site, self._board = await asyncio.to_thread(
            site, given.port, self._started.folder, given.length / 1e3, self.more, self.do
        )
        arguments = [str(given.port), str(self.broker.port), str(given.length / 1e3)]
        self.machines = Machines(self._started, [given.port, self.broker.port]) if given.hypervisor == "qemu" else None
        self.workers = Workers(self._started, self.machines, self._board, given.form, arguments)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._site.close()
        if self.machines:
            self.machines.close()

    async def start(self) -> None:
        await self.broker.start()
        self.more["broker"] = "running"
        await self.workers.start()
        arguments = [str(self._given.port), str(self.broker.port), str(self._given.rate), str(self._given.jobs)]
        self._producer = await self._started.start(sys.executable, str(HERE / "producer.py"), *arguments)

    async def go_on(self) -> None:
        """Until as many jobs as wanted have been done, or for ever."""
        while True:
            await asyncio.sleep(0.2)
            submitted, done = await asyncio.to_thread(self._board.counts)
            for how in ("clone", "process"):
                firsts = await asyncio.to_thread(self._board.firsts, how)
                if firsts:
                    self.more["firsts"][how] = {"ms": statistics.median(firsts), "of": len(firsts)}
            if self._given.jobs and submitted == done == self._given.jobs:
                return
            if self._producer.returncode:
                raise Failed(f"the producer ended with exit code {self._producer.returncode}")
            rule = self.more["rule"]
            # The first worker has begun: until then it may not listen for orders.
            if rule and done and self.workers.count < MOST and await asyncio.to_thread(self._board.backlog) > rule:
                await self.workers.clone(1)
                await asyncio.sleep(1)  # the new worker has its first job before the next look

    def _counted(self) -> tuple[int, int, int, int, int]:
        """Submitted, done, waiting in the queue, lost, done twice."""
        found: set[int] = set()
        # What the workers had returns to the queue when the broker notices that their connections have gone.
        for _ in range(50):
            found |= waiting(self.broker.port)
            if self._board.unfinished() <= found:
                break
            time.sleep(0.1)
        unfinished = self._board.unfinished()
        return *self._board.counts(), len(found & unfinished), len(unfinished - found), self._board.twice()

    async def count(self) -> int:
        """The exit code, 1 if a job was lost or done twice. Ends the producer and the workers."""
        await self._started.end(self._producer)
        await self.workers.end()
        submitted, done, waits, lost, twice = await asyncio.to_thread(self._counted)
        print(f"{submitted} jobs: {done} done, {waits} waiting, {lost} lost, {twice} done twice", flush=True)
        for how, one in self.more["firsts"].items():
            print(
                f"from asking for a worker to its first job, by {how}: {one['ms']:.0f} ms (median of {one['of']})", flush=True
            )
        return int(bool(lost or twice))


async def run(given: argparse.Namespace) -> int:
    cancelled: Optional[asyncio.CancelledError] = None
    async with programs() as started, Play(given, started) as play:
        print(f"the page: http://localhost:{given.port}\nstarting RabbitMQ", flush=True)
        await play.start()
        print(f"jobs are submitted and done; workers: {given.form}", flush=True)
        try:
            await play.go_on()
        except asyncio.CancelledError as error:
            cancelled = error
        code = await play.count()
    if cancelled and code == 0:
        raise cancelled
    return code
