"""The tree of sandboxes: starts the session, lets the agent fork it, shows the tree. Start reading here, then at agent.py."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agent import Agent, Node
from stage.page import Page
from stage.performance import Options, Refused, perform
from stage.programs import Programs, programs, required

from sessions import Desk

HERE = Path(__file__).resolve().parent
DESCRIPTION = """a shell session with a server and files is forked ten ways; each branch tries another change and runs the tests
against its own server, with its own files. The best branch is forked again, and its files are kept. The agent is a script: it
needs no key and no model."""


def main(arguments: list[str]) -> int:
    options = Options(DESCRIPTION)
    options.number("ways", 10, "how many changes are tried at once, at most", high=10)
    options.number("megabytes", 12, "size of the text whose words the session's server counts when it starts", high=1000)
    options.text("keep", "FOLDER", "where the best branch's files go (default: a new folder)")
    options.choice("hypervisor", ("process", "qemu"), "what makes the clones")
    options.flag("once", "end when the files are kept, with exit code 1 if a test fails with them")
    given = options.parse(arguments)
    return perform(lambda: run(given))


def digest(folder: Path) -> str:
    """The same as long as nobody changes a file there."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{path} {path.stat().st_size} ".encode() + path.read_bytes())
    return whole.hexdigest()


async def project(started: Programs, megabytes: int) -> Path:
    """The program to be improved, in a folder of the demo's."""
    folder = started.folder / "project"
    shutil.copytree(HERE / "project", folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = str(megabytes * 1_000_000)
    await started.finished(sys.executable, str(HERE.parent / "mapreduce" / "words.py"), str(folder / "text.txt"), text)
    return folder


def place(given: str) -> Path:
    """The folder for the files that are kept, where they can be written."""
    folder = Path(given).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise Refused(f"--keep {given}: no files can be written there: {error}") from None
    return folder


class Show:
    """One agent's climbs, on the page and in the terminal."""

    def __init__(self, page: Page, given: argparse.Namespace, folder: Path, agent_of: Any) -> None:
        self._page, self._given, self._folder = page, given, folder
        self._before = digest(folder)
        self._agent: Agent = agent_of(self._changed)
        self._keep: Path | None = given.keep
        self.again = asyncio.Event()

    def _changed(self) -> None:
        self._page.show(nodes=[node.view() for node in self._agent.nodes])

    async def climb(self) -> bool:
        """Whether the files that were kept pass all tests, and the real folder is as it was."""
        self._page.show(running=True, kept=None)
        if not self._agent.root.tests:
            await self._agent.begin()
            self._say(self._agent.root, "before any change")
        best = await self._agent.climb(self._given.ways)
        for node in self._agent.nodes:
            if node.fork:
                ways, of = sum(other.parent is node for other in self._agent.nodes), node.session.vmid
                cloned, answered = node.fork["clone_ms"], node.fork["answered_ms"]
                ms = f"{answered:.0f} ms until all have answered, {cloned:.0f} ms of them gc clone"
                print(f"session {of} forked {ways} ways: {ms}", flush=True)
        self._say(best, best.title)
        if self._keep is None:
            self._keep = Path(tempfile.mkdtemp(prefix="gridcentric-sandbox-tree-"))
        files = await self._agent.keep(best, self._keep)
        unchanged = digest(self._folder) == self._before
        real = "unchanged" if unchanged else "CHANGED"
        print(f"kept: {self._keep} ({len(files)} files); the real folder is {real}", flush=True)
        text = (self._keep / "suggest.py").read_text()
        kept = {"folder": str(self._keep), "files": files, "text": text, "vmid": best.session.vmid, "unchanged": unchanged}
        self._page.show(running=False, kept=kept)
        return unchanged and best.passed == len(best.tests)

    def _say(self, node: Node, what: str) -> None:
        print(f"session {node.session.vmid}, {what}: {node.passed} of {len(node.tests)} tests pass", flush=True)

    async def go(self) -> dict[str, Any]:
        """The page's button."""
        self.again.set()
        return {}


async def run(given: argparse.Namespace) -> int:
    required("patch", "patch")
    given.keep = place(given.keep) if given.keep else None
    started_at = time.perf_counter()

    async def again() -> dict[str, Any]:
        if show is None:
            raise ValueError("the session has not started yet")
        return await show.go()

    show: Show | None = None
    async with (
        programs() as started,
        Page(HERE / "page.html", given.port, {"again": again}) as page,
        Desk(started, given.hypervisor) as desk,
    ):
        page.show(nodes=[], running=True, kept=None, hypervisor=given.hypervisor)
        print(f"the page: {page.url}", flush=True)
        folder = await project(started, given.megabytes)
        started_at = time.perf_counter()
        session = await desk.start(folder)
        await session.answers()
        page.show(start_ms=(time.perf_counter() - started_at) * 1e3, project=str(folder))
        show = Show(page, given, folder, lambda changed: Agent(session, folder, changed))
        while True:
            show.again.clear()
            right = await show.climb()
            if given.once:
                return 0 if right else 1
            print("Ctrl-C ends the demo; the page's button plays it again", flush=True)
            await show.again.wait()
