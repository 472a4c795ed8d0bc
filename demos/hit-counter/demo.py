"""The hit counter: the Django site, the two programs whose clones hit it, and the load test. Start reading here."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Optional

from counting import Counter
from stage.performance import Options, perform
from stage.programs import Programs, programs
from stage.vms import FOLDER, Machines
from web import site

from gridcentric import _paths

HERE = Path(__file__).resolve().parent
DESCRIPTION = """a Django page counts the hits of clones: of a Python program that clones itself and becomes a client, and of a
shell script whose curl loop goes on in every clone. A load test by clones stands beside hey."""
MOST = {"python": 60, "shell": 30}  # clones of each program


def main(arguments: list[str]) -> int:
    options = Options(DESCRIPTION)
    options.number("clones", 8, "clones of the Python program", high=MOST["python"])
    options.number("shells", 4, "clones of the shell script", high=MOST["shell"])
    options.number("rate", 5, "hits a second of each", high=50)
    options.number("target", 200, "hits a second of the load test", high=5000)
    options.number("seconds", 5, "length of the load test", high=600)
    options.choice("hypervisor", ("process", "qemu"), "what makes the clones")
    options.flag("once", "run the load test beside the clients, print its report, and end")
    given = options.parse(arguments)
    return perform(lambda: run(given))


class Clients:
    """How the programs of this folder are started: as processes, or in VMs."""

    def __init__(self, started: Programs, machines: Optional[Machines]) -> None:
        self._started, self._machines = started, machines

    async def start(self, file: str, *arguments: str) -> asyncio.subprocess.Process:
        if self._machines:
            language = "bash" if file.endswith(".sh") else "python3"
            command = [language, f"{FOLDER}/{file}", *arguments]
            return await self._machines.start(HERE, *command, stdout=asyncio.subprocess.PIPE)
        runner = [str(_paths.GC), "run", "--", "bash"] if file.endswith(".sh") else [sys.executable]
        return await self._started.start(*runner, str(HERE / file), *arguments, stdout=asyncio.subprocess.PIPE)

    async def finished(self, file: str, *arguments: str) -> str:
        return await self._started.output(await self.start(file, *arguments), file)


class Families:
    """The two programs and their clones."""

    def __init__(self, started: Programs, clients: Clients, counter: Counter, url: str, rate: int) -> None:
        self._started, self._clients, self._counter, self._url, self._rate = started, clients, counter, url, rate
        self._masters: dict[str, asyncio.subprocess.Process] = {}
        self.shown: dict[str, Any] = {}

    async def start(self, form: str, clones: int) -> None:
        """Starts the program anew; returns when it has cloned itself."""
        if form not in MOST or not 1 <= clones <= MOST[form]:
            raise ValueError(f"{clones} clones of '{form}', expected 1 to {MOST.get(form, 60)} of {' or '.join(MOST)}")
        await self.stop(form)
        file = "client.py" if form == "python" else "client.sh"
        master = await self._clients.start(file, self._url, str(clones), str(self._rate))
        self._masters[form] = master
        assert master.stdout is not None
        said = (await master.stdout.readline()).split()
        if said[:1] != [b"cloned"]:
            raise ValueError(f"the program '{form}' did not clone itself: exit code {await self._started.end(master)}")
        self.shown[form] = {"clones": clones, "ms": float(said[1]) if said[1:] else None}

    async def stop(self, form: str) -> None:
        master = self._masters.pop(form, None)
        if master:
            await self._started.end(master)
        self._counter.forget(form)
        self.shown.pop(form, None)


def report_of_hey(text: str) -> dict[str, Any]:
    """hey's own figures, in ms."""
    at = {percent: float(value) * 1e3 for percent, value in re.findall(r"^ +(\d+)% in ([\d.]+) secs", text, re.M)}
    statuses = {status: int(count) for status, count in re.findall(r"^ +\[(\d{3})\]\s+(\d+) responses", text, re.M)}
    failed = sum(
        int(count) for count in re.findall(r"^ +\[(\d+)\]\s+(?!\d+ responses)", text.partition("Error distribution:")[2], re.M)
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    slowest = re.search(r"Slowest:\s+([\d.]+) secs", text)
    if not rate or not slowest or "50" not in at:
        raise ValueError(f"hey answered no request:\n{text}")
    errors = failed + sum(statuses.values()) - statuses.get("200", 0)
    requests = failed + sum(statuses.values())
    # Of less than 100 requests it names no 99th percentile, which then is the slowest.
    p95, p99 = (at.get(percent, float(slowest[1]) * 1e3) for percent in ("95", "99"))
    return {"requests": requests, "rate": float(rate[1]), "p50": at["50"], "p95": p95, "p99": p99, "errors": errors}


async def load_test(started: Programs, clients: Clients, url: str, target: int, seconds: int) -> dict[str, Any]:
    """The clones' report, then that of hey with the same target, length and number of connections."""
    clones = min(10, target)
    mine = await clients.finished("load.py", url, str(clones), str(target), str(seconds))
    result: dict[str, Any] = {"target": target, "seconds": seconds, "clones": clones, "by": {"clones": json.loads(mine)}}
    hey = shutil.which("hey")
    if hey:
        rate = ["-z", f"{seconds}s", "-c", str(clones), "-q", str(target / clones)]
        result["by"]["hey"] = report_of_hey(await started.finished(hey, *rate, f"{url}/hit?form=load&vmid=0"))
    return result


def lines(result: dict[str, Any]) -> str:
    head = f"load test: {result['target']} hits a second for {result['seconds']} s over {result['clones']} connections"
    rows = [f"{'':8}{'hits':>8}{'a second':>10}{'p50':>9}{'p95':>9}{'p99':>9}  errors"]
    for name, one in result["by"].items():
        times = "".join(f"{one[key]:6.1f} ms" for key in ("p50", "p95", "p99"))
        rows.append(f"{name:8}{one['requests']:8}{one['rate']:10.1f}{times}{one['errors']:8}")
    if "hey" not in result["by"]:
        rows.append("hey is missing, to compare with: apt-get install hey")
    return "\n".join([head, *rows])


async def run(given: argparse.Namespace) -> int:
    loop, counter, url = asyncio.get_running_loop(), Counter(), f"http://127.0.0.1:{given.port}"
    testing: Optional[asyncio.Task[Any]] = None
    one_at_a_time = asyncio.Lock()

    async def act(action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        nonlocal testing
        if action == "clone":
            async with one_at_a_time:
                await families.start(str(arguments["form"]), int(arguments["clones"]))
        elif action == "stop":
            async with one_at_a_time:
                await families.stop(str(arguments["form"]))
        elif action == "load":
            if testing is None or testing.done():
                testing = asyncio.create_task(test())
            await asyncio.shield(testing)
        else:
            raise ValueError(f"there is no action '{action}'")
        return {}

    def do(action: str, arguments: dict[str, Any]) -> Any:
        """Called by the site's threads."""
        called: Coroutine[Any, Any, Any] = act(action, arguments)
        return asyncio.run_coroutine_threadsafe(called, loop).result()

    async def test() -> None:
        more["testing"] = True
        try:
            more["load"] = await load_test(started, clients, url, given.target, given.seconds)
            print(lines(more["load"]), flush=True)
        finally:
            more["testing"] = False
            counter.forget("load")

    async with programs() as started:
        machines = Machines(started, [given.port]) if given.hypervisor == "qemu" else None
        clients = Clients(started, machines)
        families = Families(started, clients, counter, url, given.rate)
        more: dict[str, Any] = {"families": families.shown, "testing": False, "load": None, "most": MOST}
        more["given"] = {"python": given.clones, "shell": given.shells, "target": given.target, "seconds": given.seconds}
        served = site(given.port, counter, more, do)
        try:
            print(f"the page: http://localhost:{given.port}", flush=True)
            await asyncio.gather(families.start("python", given.clones), families.start("shell", given.shells))
            if given.once:
                await test()
                return int(any(one["errors"] for one in more["load"]["by"].values()))
            await loop.create_future()
        finally:
            await started.end_all()  # before that which they hit
            served.close()
            if machines:
                machines.close()
    return 0
