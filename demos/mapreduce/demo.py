"""MapReduce: makes the text, plays measure.sh and shows what it prints. Start reading here, then at harness.sh."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import bars
import words
from stage.page import Page
from stage.performance import Options, perform
from stage.programs import Programs, programs

from gridcentric import _paths

HERE = Path(__file__).resolve().parent
DESCRIPTION = """a small MapReduce counts the words of a generated text. A shell script clones itself into the workers;
another plays 1 to 10 of them, five times each, and draws how long each stage took."""
IN_VM = "/root/mapreduce"


def main(arguments: list[str]) -> int:
    options = Options(DESCRIPTION)
    options.number("workers", 10, "the largest number of workers", high=64)
    options.number("runs", 5, "how often each number of workers is played", high=100)
    options.number("megabytes", 28, "size of the text", high=1000)
    options.choice("hypervisor", ("process", "qemu"), "what makes the clones")
    options.flag("once", "end when all has been played, with exit code 1 if a result was wrong")
    given = options.parse(arguments)
    return perform(lambda: run(given))


class Show:
    """What the page shows, made from the lines that the harness prints."""

    def __init__(self, page: Page, plan: tuple[int, int], plain: str, cores: int) -> None:
        self._page, self._plan, self._plain, self._cores = page, plan, plain, cores
        self.runs: list[dict[str, Any]] = []
        self.wrong = 0

    def line(self, line: dict[str, Any]) -> None:
        if "port" in line:
            played = len(self.runs)
            self._now = {"workers": played % self._plan[0] + 1, "run": played // self._plan[0] + 1, "map": [], "reduce": []}
        elif "what" in line:
            done = self._now[line["what"]]
            done.extend([0] * (line["of"] - len(done)))
            done[line["task"]] = line["worker"]
        elif "digest" in line:
            self._right = line["digest"] == self._plain
            self.wrong += not self._right
            self._page.show(top=line["top"], words=line["words"], different=line["different"])
        else:
            self.runs.append(line)
            rows = bars.medians(self.runs)
            self._page.show(table=rows, bars=bars.svg(rows, self._cores), played=len(self.runs), wrong=self.wrong)
            times = ", ".join(f"{bars.NAMES[stage]} {line[stage]:,.1f} ms" for stage in bars.STAGES)
            right = "as the plain count" if self._right else "NOT as the plain count"
            print(f"{line['workers']} worker{'s' * (line['workers'] != 1)}: {times}; {right}", flush=True)
        self._page.show(now=self._now)


def command(given: argparse.Namespace, started: Programs, text: Path) -> tuple[list[str], dict[str, str]]:
    """How measure.sh is started, and its environment."""
    env = {"PYTHON": sys.executable, "RUN_IN": f"{_paths.GC} run --", "PYTHONDONTWRITEBYTECODE": "1"}
    if given.hypervisor == "qemu":
        copied = f"--copy {HERE}:{IN_VM} --copy {text}:{IN_VM}/text.txt"
        env |= {
            "PYTHON": "python3",
            "RUN_IN": f"{_paths.GC} run --hypervisor qemu {copied} --",
            "HARNESS": f"{IN_VM}/harness.sh",
        }
        text = Path(f"{IN_VM}/text.txt")
    return ["bash", str(HERE / "measure.sh"), str(text), str(started.folder), str(given.workers), str(given.runs)], env


async def run(given: argparse.Namespace) -> int:
    cores, whole = len(os.sched_getaffinity(0)), given.workers * given.runs
    async with programs() as started, Page(HERE / "page.html", given.port) as page:
        page.show(cores=cores, whole=whole, runs=given.runs, megabytes=given.megabytes, hypervisor=given.hypervisor)
        print(f"the page: {page.url}\nmaking {given.megabytes} MB of text", flush=True)
        text = started.folder / "text.txt"
        await started.finished(sys.executable, str(HERE / "words.py"), str(text), str(given.megabytes * 1_000_000))
        plain = words.digest(words.count(text.read_text()))
        show = Show(page, (given.workers, given.runs), plain, cores)
        arguments, env = command(given, started, text)
        measuring = await started.start(*arguments, env=env, stdout=asyncio.subprocess.PIPE)
        assert measuring.stdout is not None
        async for line in measuring.stdout:
            show.line(json.loads(line))
        code = await measuring.wait()
        right = len(show.runs) - show.wrong
        summary = f"{right} of {whole} results as the plain count"
        print(summary, flush=True)
        page.show(over=True, failed=None if right == whole else summary)
        if given.once:
            return int(code != 0 or right != whole)
        await asyncio.get_running_loop().create_future()
    return 0
