"""VM fork for Python: request a ticket, clone the running program, meet at a barrier, end with a report.

    from gridcentric import guest

    ticket = guest.request_ticket(4, 4, 1, 1000)
    vmid = guest.clone(ticket)          # 0 in the master, 1..4 in the clones
    if vmid:
        guest.join(f"hello from {vmid}")
    print(guest.wait(ticket))

Times are milliseconds: 0 tries once, a negative time waits forever. Every function may be called from any thread. A call
that waits releases the GIL; in the main thread Ctrl-C interrupts it, which cancels the call on the host. Errors are subclasses
of gridcentric.Error, and each is also the nearest built-in exception: TimedOut is a TimeoutError, InvalidArgument a ValueError
(for an argument of the wrong type, also a TypeError: WrongArgumentType). Any call that asks the host may raise
HostUnreachable, InterruptedByClone (another thread cloned the domain while the call was open; only in the clones) and
ProtocolError. `gridcentric.aio` has the same functions as coroutines.

A clone has all threads of its master. docs/live-clone.md says what it lacks and what Python programs must know. The
generators of `random`, `numpy.random`, torch, OpenSSL and others (docs/random-numbers.md) are reseeded in each clone. Your own
instances (random.Random(), numpy's default_rng()) repeat: reseed them in a handler of on_clone(). explain() names loaded
libraries whose numbers repeat; if GRIDCENTRIC_STRICT is set, clone() refuses them.

Child processes stay with the master. In a clone, the handles of subprocess, asyncio and multiprocessing report that each was
ended by SIGKILL, and process pools fail with an error that says why: make new ones. Data buffered by an open file other than
sys.stdout and sys.stderr is written by every clone, as after fork(): flush it in a handler of before_clone().
os.register_at_fork() handlers do not run.

Free-threaded builds: importing this module enables the GIL. Subinterpreters: the import is refused; only the main interpreter
can clone.
"""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from gridcentric import _after_clone, _arguments, _before_clone, _calls, _native
from gridcentric._calls import Report, Ticket
from gridcentric._native import ismaster, my_ip, vmid
from gridcentric.results import Domain, Explanation, Result, TicketInfo

__all__ = [
    "Domain", "Explanation", "Result", "TicketInfo",
    "before_clone", "clone", "clone_of", "explain", "ismaster", "join", "kill", "list_domains", "list_tickets", "my_ip",
    "on_clone", "prepare", "release_ticket", "request_ticket", "serve", "sync", "ticket_info", "vmid", "wait",
]  # fmt: skip

Handler = TypeVar("Handler", bound=Callable[[int], object])
BeforeHandler = TypeVar("BeforeHandler", bound=Callable[[], object])


def request_ticket(maxcpus: int, minvms: int, mincpuspervm: int, timeout: int) -> str:
    """Reserve CPUs for clones and return the ticket's UUID.

    Grants the largest multiple of `mincpuspervm` that is free and at most `maxcpus`, as soon as it is enough for `minvms`
    clones. Until then the request waits in line, first come, first served, for `timeout` milliseconds.
    Raises InvalidArgument (a count below 1, or more than the host has in total), TimedOut, CloneFailed (too few descriptors).
    """
    return _calls.request_ticket(_native.Call(), maxcpus, minvms, mincpuspervm, timeout)


def release_ticket(ticket: Ticket) -> None:
    """Give back an unused ticket. Raises NoSuchTicket, NotYourTicket, TicketUsed."""
    _calls.release_ticket(_native.Call(), ticket)


def prepare(timeout: int = -1) -> int:
    """Shorten the pause of the next clone() of a program with hundreds of megabytes: move its memory into huge pages, for at
    most `timeout` milliseconds. Returns how many MiB are in huge pages.

    The program goes on meanwhile; calls of other threads that map memory may wait for 1 ms, or longer if the computer is busy.
    It costs about 0.5 ms of CPU for each MiB. Returns 0 where it is not possible: before Linux 6.1, if transparent_hugepage is
    set to never, and in a VM, which is cloned as a whole. Returns early when another thread clones. With GRIDCENTRIC_PREPARE=1
    in the environment a thread of the library does the same whenever request_ticket() has returned a ticket.
    """
    return _calls.prepare(_native.Call(), timeout)


def list_tickets() -> list[TicketInfo]:
    """The family's tickets in order of request; the first is the one that the master was born with."""
    return _calls.list_tickets(_native.Call())


def ticket_info(ticket: Ticket) -> TicketInfo:
    """One ticket of the family. Raises NoSuchTicket, NotYourTicket (another family's)."""
    return _calls.ticket_info(_native.Call(), ticket)


def clone(ticket: Ticket) -> int:
    """Make the ticket's clones of this program, all or none. Returns 0 in the caller, the positive vmid in each clone.

    First the handlers of before_clone() run, and sys.stdout, sys.stderr and logging are flushed. In each clone the handlers of
    on_clone() have run when this returns. An exception in a handler of before_clone() is raised here.
    Raises NoSuchTicket, NotYourTicket, TicketUsed, CloneFailed, NotSupported (see explain()); after the last two the ticket
    is still reserved and no clone exists. If Ctrl-C cancels the call, no clone exists and the ticket is released.
    """
    _arguments.ticket_of(ticket)
    _before_clone.run()
    return _calls.clone(_native.Call(), ticket)


def clone_of(vmid: int, ticket: Ticket) -> list[Domain]:
    """Order another domain of the family (0: the master) to clone itself with this ticket. Returns the clones once they exist.

    The ticket is one that this domain has requested; it becomes the other domain's, which is then the one that can wait for
    the clones. That domain must listen for orders, see serve(). Ctrl-C ends the call but not an order that has been given.
    Raises NoSuchDomain, NotSupported (the domain does not listen), and what clone() raises in that domain; then the ticket is
    this domain's again, if it has not been used.
    """
    return _calls.clone_of(_native.Call(), vmid, ticket)


def serve() -> None:
    """Listen for orders from now on, here and in this domain's clones: those of clone_of() and of `gc clone --of`.

    A thread of the library carries them out one after the other by clone(), so that handlers run as usual; aio.serve() does so
    in the event loop. GRIDCENTRIC_SERVE=1 has the same effect once the program makes its first call. Calling it again does
    nothing. Raises InvalidArgument in a child process of the domain.
    """
    _calls.serve(_native.Call())


def list_domains() -> list[Domain]:
    """The family's living domains, ordered by vmid."""
    return _calls.list_domains(_native.Call())


def sync(ticket: Optional[Ticket] = None, timeout: int = -1) -> None:
    """Wait at the barrier of a ticket's clones and the domain that cloned them; a clone may omit its own ticket.

    Raises TimedOut (this caller's timeout expired), BarrierBroken (another's did, or a member has ended), NoSuchTicket,
    NotYourTicket, InvalidArgument (not cloned yet, or the master without a ticket).
    """
    _calls.sync(_native.Call(), ticket, timeout)


def join(report: Report = None) -> None:
    """End this clone and pass `report` (bytes, or text as UTF-8; at most 1 MiB) to the domain that made it.

    sys.stdout and sys.stderr are flushed; exit handlers and `finally` blocks do not run. Does not return.
    Raises InvalidArgument (in the master), TooLarge (also when reports of 128 MiB wait in the family to be read).
    """
    _calls.join(_native.Call(), report)


def wait(ticket: Ticket, timeout: int = -1, *, forget: bool = False) -> list[Result]:
    """Wait until all clones of the ticket have ended. Returns how each ended, with its report, ordered by vmid.

    With `forget` the host forgets the ticket and the reports it kept once the results are here: for a program that clones for a
    long time. Otherwise a family's last 1,000 closed tickets are kept, and at most 128 MiB of reports.
    Raises TimedOut, NoSuchTicket, NotYourTicket, InvalidArgument (not cloned yet).
    """
    return _calls.wait(_native.Call(), ticket, timeout, forget)


def kill(vmid: int) -> None:
    """End a clone of the family. Raises InvalidArgument (0: the master), NoSuchDomain."""
    _calls.kill(_native.Call(), vmid)


def before_clone(handler: BeforeHandler) -> BeforeHandler:
    """Run handler() in the thread that calls clone(), before the host is asked and any thread stopped; usable as a decorator.

    Use it for what every clone would repeat or must not have: flush a file, finish a transaction, close a connection. Handlers
    run in order of registration. If one raises, clone() raises its exception, the others don't run, no clone is made and the
    ticket can be used again. An asynchronous handler needs gridcentric.aio.clone(), which awaits it in its event loop. While
    handlers run, another clone(), even from a handler, raises CloneFailed. A handler cannot be removed.
    """
    _arguments.handler_of(handler, "no argument")
    _before_clone.handlers.append(handler)
    return handler


def on_clone(handler: Handler) -> Handler:
    """Run handler(vmid) in each clone before clone() returns there, in order of registration; usable as a decorator.

    It runs in the thread that called clone(), after the random number generators have been reseeded. Other threads of the clone
    run meanwhile, whenever CPython switches threads. If a handler raises, the exception goes to sys.unraisablehook and the
    clone continues. A handler cannot be removed.
    """
    _arguments.handler_of(handler, "the vmid")
    _after_clone.handlers.append(handler)
    return handler


def explain() -> Explanation:
    """Whether this process can be cloned here, what prevents it, and what repeats or is missing in clones. Stops and changes
    nothing. The first call reads the files of the loaded libraries."""
    return _calls.explain()


_native.carry_out_orders_with(clone)
