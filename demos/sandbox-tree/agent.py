"""The agent, which is a script: it forks a session, tries another change in each clone, runs the tests, forks the best clone
again. Knows no page."""

from __future__ import annotations

import asyncio
import difflib
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from stage.performance import Failed

from sessions import Session

CHANGES = Path(__file__).resolve().parent / "changes"
LEVELS = 2
MOST_BYTES = 20_000  # of a file whose text is compared with what it was


@dataclass
class Node:
    """A session in the tree, and what has become of it."""

    session: Session
    title: str
    parent: Optional[Node] = None
    state: str = "forked"  # trying, tested, best, kept, ended
    tests: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, str]] = field(default_factory=list)  # what it has changed, its parent's changes included
    texts: dict[str, str] = field(default_factory=dict)  # of changed files
    diff: list[str] = field(default_factory=list)  # compared with its parent
    fork: Optional[dict[str, float]] = None  # how long it took to fork it

    @property
    def passed(self) -> int:
        return sum(test["ok"] for test in self.tests)

    def view(self) -> dict[str, Any]:
        parent = self.parent.session.vmid if self.parent else None
        shown = {"vmid": self.session.vmid, "parent": parent, "url": self.session.url, "fork": self.fork, "passed": self.passed}
        return {**shown, **{name: getattr(self, name) for name in ("title", "state", "tests", "files", "diff")}}


def changes(level: int, ways: int) -> list[Path]:
    """The first that many of a level: patches and scripts."""
    return sorted((CHANGES / str(level)).iterdir())[:ways]


def title(change: Path) -> str:
    return change.read_text().splitlines()[0].removeprefix("# ")


async def patched(text: str, patch: Path) -> str:
    """What a patch makes of the text of the file that it changes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        file.write_text(text)
        command = ["patch", "-s", "-i", str(patch), str(file)]
        pipe, to = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=to)
        said, _ = await process.communicate()
        if process.returncode:
            raise Failed(f"{patch.name} cannot be applied: {said.decode().strip()}")
        return file.read_text()


class Agent:
    """`changed` is called whenever there is news."""

    def __init__(self, root: Session, project: Path, changed: Callable[[], None]) -> None:
        self._changed, self._original = changed, (project / "suggest.py").read_text()
        self.root = Node(root, "The session")
        self.nodes = [self.root]

    async def begin(self) -> None:
        """How many tests the program passes as it is."""
        await self._test(self.root)
        self.root.state = "tested"
        self._changed()

    async def climb(self, ways: int) -> Node:
        """Forks and tries, twice; returns the best. All others but the root have ended then."""
        for node in self.nodes[1:]:
            node.session.end()
        self.nodes, best = [self.root], self.root
        for level in range(1, LEVELS + 1):
            tried = changes(level, ways)
            clones, best.fork = await best.session.fork(len(tried))
            branches = [Node(clone, title(change), best) for clone, change in zip(clones, tried)]
            self.nodes += branches
            self._changed()
            await asyncio.gather(*(self._try(node, change) for node, change in zip(branches, tried)))
            best = self._choose(branches)
        return best

    def _choose(self, branches: list[Node]) -> Node:
        """The branch that passes most tests; it goes on, the others end, and so does the branch that it came from."""
        best = max(branches, key=lambda node: node.passed)
        for node in self.nodes[1:]:
            if node is not best and node.state != "ended":
                node.session.end()
                node.state = "ended"
        best.state = "best"
        self._changed()
        return best

    async def _try(self, node: Node, change: Path) -> None:
        node.state = "trying"
        self._changed()
        try:
            if change.suffix == ".sh":
                await node.session.script(change.read_text())
            else:
                await node.session.write("suggest.py", await patched(self._before(node)["suggest.py"], change))
            await self._test(node)
            await self._compare(node)
        except Failed as failed:
            node.tests.append({"name": "the session", "ok": False, "why": str(failed)})
        node.state = "tested"
        self._changed()

    async def _test(self, node: Node) -> None:
        def said(line: str) -> None:
            word, _, rest = line.partition(" ")
            name, _, why = rest.partition(": ")
            if word in ("ok", "failed"):
                node.tests.append({"name": name, "ok": word == "ok", "why": why})
                self._changed()

        node.tests = []
        await node.session.run('"$python" check.py "http://$address:$port"', said)

    async def _compare(self, node: Node) -> None:
        """What it has changed, and how the texts differ from its parent's."""
        node.files = await node.session.changed()
        for file in node.files:
            if file["kind"] != "D":
                name = shlex.quote(file["path"])
                status, text = await node.session.run(f"(($(wc -c < {name}) <= {MOST_BYTES})) && cat {name}")
                if status == 0:
                    node.texts[file["path"]] = text
        before = self._before(node)
        for path, text in node.texts.items():
            lines = (before.get(path, "").splitlines(), text.splitlines())
            node.diff += difflib.unified_diff(*lines, f"before/{path}", f"after/{path}", lineterm="")

    def _before(self, node: Node) -> dict[str, str]:
        """The texts that its parent had."""
        assert node.parent is not None
        return {"suggest.py": self._original, **node.parent.texts}

    async def keep(self, node: Node, folder: Path) -> list[str]:
        """Copies the session's files to a folder outside; returns their names."""
        names = await node.session.files()
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(await node.session.read(name))
        node.state = "kept"
        self._changed()
        return names
