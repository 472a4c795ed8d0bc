"""Both hosts over their sockets: whatever guests and tests say, they answer the same and come to be in the same state.

UUIDs are compared by the order in which they appear, errors by their codes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from wires import HostUnderTest, Program

CPUS = 8
UNKNOWN = "00000000-0000-4000-8000-ffffffffffff"

# $F: a family, $T: a ticket (any UUID there was), $I: an ID used before, $N: a number that is often in range
NUMBERS = ["0", "1", "1", "2", "2", "3", "4", "-1", "9", "01", "-0", "+1", "1.5", "x", "2147483648", "9223372036854775808"]
REQUESTS = [
    *["request_ticket 2 1 1 0", "request_ticket 4 2 2 -1", "request_ticket 3 1 1 20", "request_ticket 8 8 1 10"],
    *["request_ticket $N $N $N $N", "request_ticket 1 1 1", "list_tickets", "list_domains", "whoami", "info", "bye"],
    *["clone $T", "clone $T", "clone $T", "clone x", "release_ticket $T", "ticket_info $T", "sync - 0", "sync - -1"],
    *["sync $T -1", "sync $T -1", "sync $T 20", "sync $T $N", "wait $T -1", "wait $T 0", "wait $T 30", "wait $T $N"],
    *["join -", "join =", "join AGRvbmU=", "join AGRvbmU", "join $N", "kill $N", "kill $N", "cancel $I", "cancel $N"],
    *["list_all", "kill_domain $F $N", "kill_domain $F 0", "nonsense", "sync  - 0", "join \t", "now", "fork"],
]
ORDERS = [
    *["advance 5", "advance 10", "advance 10", "advance $N", "advance 9007199254740993", "latency clone 10"],
    *["latency clone 0", "latency sync 1", "fault clone_fails $N no luck", "fault clone_fails 1", "fault host_full no room"],
    *["fault clone_dies $N", "fault drop_reply wait", "fault drop_reply whoami", "fault drop_reply fault", "fault nonsense"],
    *["end $F $N lost 0", "end $F $N exited 3", "end $F $N killed 9", "end $F $N joined 0", "end $F $N lost $N"],
    *["bye $F 0", "bye $F $N", "domains", "dump", "await sync $N", "await kill 1", "now", "fault restart", "whoami"],
]
GREETINGS = [
    *["attach", "attach", "ask", "observe", "as $F 0", "as $F 1", "as $F 2", "as $F 3", "as $F $N", "as $T 0", "control"],
    *["attach name=my%20program on_exit=keep", "attach on_exit=end", "attach on_exit=never", "attach name=%4", "attach x"],
    *["observe name=watcher", "control name=x", "lifeline $F", "lifeline x", "nonsense", "", "as $F", "attach mode=plain"],
]
RAW = [
    *[b"", b"x", b"5", b"5 ", b" 5 whoami", b"05 whoami", b"0 whoami", b"1234567890 whoami", b"5 whoami\r", b"-1 whoami"],
    *[b"6 whoami \xc3\xa9", b"6 \xff", b"7 whoami " + b"x" * 4100, b"7 join " + b"A" * 4096, b"8 " + b"x" * 4093],
]


class Talk:
    """One random session: lines are made of templates, with what there is at this moment."""

    def __init__(self, hosts: list[HostUnderTest], programs: list[Program], data: st.DataObject) -> None:
        self.hosts, self.programs, self.data = hosts, programs, data
        self.last_id = 0
        self.said: list[str] = []

    def draw(self, options: list[Any]) -> Any:
        return self.data.draw(st.sampled_from(options))

    def fill(self, template: str) -> str:
        """With names for UUIDs, which each host fills in by itself."""
        names = sorted(self.hosts[0].uuids, key=lambda name: int(name[1:])) or [UNKNOWN]
        families = [name for name in names if name != UNKNOWN][:1] * 3
        words = []
        for word in template.split(" "):
            if word == "$N":
                word = self.draw(NUMBERS)
            elif word == "$T":
                word = self.draw([*names, *names[-2:] * 3, UNKNOWN, UNKNOWN.upper()])
            elif word == "$F":
                word = self.draw([*names, *families])
            elif word == "$I":
                word = str(self.draw(range(1, max(2, self.last_id + 1))))
            words.append(word)
        return " ".join(words)

    def on_all(self, step: Any) -> None:
        first, *others = [step(host) for host in self.hosts]
        for other in others:
            for told, reference in zip(other, first):
                assert told == reference, f"gc host {told}, reference {reference}, after\n" + "\n".join(self.said)

    def step(self) -> None:
        open_wires = [i for i, wire in enumerate(self.hosts[0].wires) if not wire.closed and wire.greeted]
        kind = self.data.draw(st.integers(0, 19))
        if not open_wires or (kind < 4 and len(self.hosts[0].wires) < 12):
            program = self.draw(self.programs)
            greeting = self.fill(self.draw(GREETINGS)) if open_wires else "attach"
            self.said.append(f"connect: {greeting}")
            self.on_all(lambda host: host.connect(program, self.for_host(host, f"gridcentric/1 {greeting}".rstrip())))
        elif kind < 5:
            number = self.draw(open_wires)
            self.said.append(f"{number} hangs up")
            self.on_all(lambda host: host.hang_up(number))
        elif kind < 6:
            self.say_raw(self.draw(open_wires), self.draw(RAW))
        elif kind < 10:
            order = self.fill(self.draw(ORDERS))
            self.said.append(f"control: {order}")
            self.on_all(lambda host: [self.codes(host, order), *host.settle()])
        else:
            self.last_id += 1
            call = self.draw([self.last_id] * 15 + [max(1, self.last_id - 1)])
            number = self.draw(open_wires)
            is_control = self.hosts[0].wires[number].is_control
            request = self.draw([o for o in ORDERS if o != "fault restart"] if is_control else REQUESTS)
            self.say_raw(number, f"{call} {self.fill(request)}".encode())

    def codes(self, host: HostUnderTest, order: str) -> list[str]:
        """The reply to an order; an await that is not answered at once would block it, so it is asked elsewhere."""
        if order.startswith("await"):
            return []
        return [host._tell(line) for line in host.order(self.for_host(host, order).decode())]

    def say_raw(self, number: int, line: bytes) -> None:
        self.said.append(f"{number}: {line[:200]!r}")
        self.on_all(lambda host: host.say(number, self.for_host(host, line.decode("utf-8", "surrogateescape"))))

    def for_host(self, host: HostUnderTest, line: str) -> bytes:
        return " ".join(host.uuids.get(word, word) for word in line.split(" ")).encode("utf-8", "surrogateescape")


def find_gc() -> Path:
    from gridcentric import _paths

    return Path(_paths.GC)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[HostUnderTest]]:
    folder = tmp_path_factory.mktemp("hosts")
    if not find_gc().exists() and "CI" not in os.environ:  # in CI it must be there
        pytest.skip("gc is not built: pip install . builds it")
    commands = {
        "reference": [sys.executable, "-m", "gridcentric.reference"],
        "gc": [str(find_gc()), "host", "--hypervisor", "fake"],
    }
    with contextlib.ExitStack() as stack:
        started = []
        for name, command in commands.items():
            host = HostUnderTest(command, folder / f"{name}.sock", CPUS)
            stack.callback(host.close)
            started.append(host)
        yield started
    assert not list(folder.glob("*.sock")), "a host has left its socket behind"


@pytest.fixture(scope="module")
def programs() -> Iterator[list[Program]]:
    started = [Program() for _ in range(2)]
    yield started
    for program in started:
        program.close()


# What was said is in the message; making it shorter over sockets takes too long.
@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data(), steps=st.integers(5, 40))
def test_hosts_agree(hosts: list[HostUnderTest], programs: list[Program], data: st.DataObject, steps: int) -> None:
    for host in hosts:
        host.begin()
    talk = Talk(hosts, programs, data)
    for _ in range(steps):
        talk.step()


def test_the_end_of_a_connection_counts_before_what_came_later(hosts: list[HostUnderTest], programs: list[Program]) -> None:
    for host in hosts:
        host.begin()
        host.connect(programs[0], b"gridcentric/1 attach")
        host.say(0, f"1 request_ticket {CPUS} {CPUS} 1 0".encode())
        host.say(0, b"2 request_ticket 1 1 1 -1")
        assert [line for line in host.order("dump") if " item call " in line]
        assert not [line for line in host.hang_up_and_order(0, "dump") if " item call " in line]
