"""Hypervisors outside the core: Python classes on the driver contract (core/include/gridcentric/hypervisor.hpp)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Listener(Protocol):
    """What a driver tells its host. Thread-safe."""

    def ended(self, domain: int, how: str, status: int) -> None:
        """A domain is gone: joined, exited, killed or lost. Once for each domain."""

    def new_family(self, name: str, on_exit: str, done: Callable[[int, str], None]) -> None:
        """A domain that the driver is about to make is the master of a new family; for drivers whose masters can't say hello
        to the host before they are there. name: of its program, at most 64 bytes; on_exit: "end", "keep" or "". done(key,
        family) is called on the host's thread. Raises RuntimeError when the host has ended."""

    def bye(self, master: int, done: Callable[[], None]) -> None:
        """That master is about to end normally; done() is called on the host's thread when the host knows."""

    def room(self) -> None:
        """What `reserve` has answered with `later` may be granted now: it is asked for again."""


class Answer(Protocol):
    """What a driver says to `reserve`: one of these, once, at once or later and from any thread."""

    def granted(self, vms: int) -> None:
        """There is room for that many VMs, `least` to `most`, and it is kept until `release`."""

    def refused(self, reason: str) -> None:
        """There never will be room; the reason is said to the guest."""

    def later(self, reason: str) -> None:
        """There is no room yet: the request stays at the head of the line. A request that does not wait gets the reason."""


class Cloning(Protocol):
    """What `clone` is asked for. Its methods may be called from any thread."""

    @property
    def parent(self) -> int: ...
    @property
    def ticket(self) -> str: ...
    @property
    def clones(self) -> Sequence[tuple[int, int]]:
        """(key, vmid) of each, by vmid."""

    @property
    def cpus_per_vm(self) -> int: ...
    @property
    def pid(self) -> int:
        """Of the process that asked, and its uid."""

    @property
    def uid(self) -> int: ...
    @property
    def mode(self) -> str:
        """How that process said it can be cloned: "pidns", "plain" or ""."""

    def order(self, mode: str, clones: list[tuple[int, str]], on_answer: Callable[[str, object], None]) -> None:
        """Tell the process that asked to clone itself; clones: (vmid, address) each. What it answers comes as on_answer(kind,
        value) on the host's thread: "held" with pidfds (yours to close) of clones that wait at their gate, "bound" with (is
        TCP, is IPv6, port) of a socket that each clone has, "forked" with the number of clones, or "failed" with (errno,
        reason). After that the clones wait for made()."""

    def made(self, then: Callable[[], None] | None = None) -> None:
        """All clones are there. then() is called on the host's thread when the host knows them."""

    def failed(self, reason: str, not_supported: bool = False, then: Callable[[], None] | None = None) -> None:
        """Nothing of them is left; not_supported: it would be the same next time. The reason is said to the guest."""


class Driver(Protocol):
    """The driver contract in Python. A domain is named by its key, the host's number for it.

    All methods are called on the host's thread, which waits meanwhile: none may block. An exception is a refusal in
    adopt(), reserve() and clone() (its text is said to the guest) and a bug anywhere else.
    """

    name: str
    descriptors_a_clone: int
    """How many descriptors of the host's process it keeps open for each clone. The host grants no more clones than it has
    descriptors for. A driver without this attribute is not counted."""

    def attach(self, listener: Listener) -> None:
        """The host is there; comes first."""

    def capabilities(self) -> dict[str, object]:
        """clone, clone_of_clone, whole_machine: bool; mode, why: str (see hypervisor.hpp)."""

    def adopt(self, domain: int, pid: int, uid: int) -> str:
        """A program said hello and is the master of a new family; its address."""

    def reserve(self, ticket: str, domain: int, least: int, most: int, cpus_per_vm: int, answer: Answer) -> None:
        """Can this ticket be granted? Asked before it is, one at a time and in the order of the line, which waits for the
        answer. An exception is a refusal. A driver without this method grants all and hears of no `release`."""

    def release(self, ticket: str) -> None:
        """The ticket is over: given back, or all its clones have ended. Once for each that was granted; also of one that is
        not answered yet, or was answered with `later`: its asker has gone, and a further answer is ignored."""

    def clone(self, cloning: Cloning) -> None:
        """Make clones, all or none; cloning.made() or cloning.failed() says how it went. An exception is a failure, a
        NotImplementedError (as gridcentric.NotSupported) one that will be the same next time."""

    def cancel_clone(self, parent: int) -> None:
        """The asker is gone: undo what was begun; cloning.failed() is still called, when nothing is left."""

    def expect(self, domain: int, clones: int) -> None:
        """A hint that a driver may ignore: the unused tickets that the domain holds are for this many clones in total
        (see hypervisor.hpp). It comes after the clone() that makes the number fall."""

    def end(self, domain: int) -> None:
        """End a domain; listener.ended follows."""

    def joined(self, domain: int) -> None:
        """The domain said join; make sure that it ends. listener.ended follows."""

    def address_of(self, domain: int) -> str: ...

    def pid_of(self, domain: int) -> int: ...

    def domain_of(self, pid: int) -> int: ...
