"""VM fork for Python: ask for a ticket, clone the running program, meet at a barrier, end with a report.

    from gridcentric import guest

    ticket = guest.request_ticket(4, 4, 1, 1000)
    vmid = guest.clone(ticket)          # 0 in the master, 1..4 in the clones
    if vmid:
        guest.join(f"hello from {vmid}")
    print(guest.wait(ticket))

Times are milliseconds: 0 tries once, a negative one waits for ever. Every function may be called from any thread; a call
that waits does so without the GIL, and in the main thread Ctrl-C interrupts it (the call is then taken back on the host).
Errors are subclasses of gridcentric.Error; each is also the built-in exception nearest to it: TimedOut is a TimeoutError,
InvalidArgument a ValueError (and, for an argument of a wrong type, a TypeError as well: WrongArgumentType). Any call that
asks the host may raise HostUnreachable, InterruptedByClone (another thread cloned the domain while the call was open; only
in the clones) and ProtocolError. `gridcentric.aio` has the same functions to be awaited.

The clone carries all threads. What it does not carry, and what Python programs must know, is in docs/live-clone.md; the
random generators of `random`, `numpy.random`, torch, OpenSSL and others (docs/random-numbers.md) draw anew in each clone, your
own instances (random.Random(), numpy's default_rng()) repeat: reseed them in a handler of on_clone(). explain() names loaded
libraries whose numbers repeat; where GRIDCENTRIC_STRICT is set, clone() refuses them.

Child processes stay the master's: in a clone the handles that subprocess, asyncio and multiprocessing have of them say that
each has ended by SIGKILL, and pools of processes fail with an error that says why: make new ones. What an open file other
than sys.stdout and sys.stderr has buffered is written by every clone, as after fork(): flush it in a handler of
before_clone(). os.register_at_fork() handlers do not run.

Free-threaded builds: importing this turns the GIL on. Subinterpreters: the import is refused; only the main one may clone.
"""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from gridcentric import _after_clone, _arguments, _before_clone, _calls, _native
from gridcentric._calls import Report, Ticket
from gridcentric._native import ismaster, my_ip, vmid
from gridcentric.results import Domain, Explanation, Result, TicketInfo

__all__ = [
    "Domain", "Explanation", "Result", "TicketInfo",
    "before_clone", "clone", "explain", "ismaster", "join", "kill", "list_domains", "list_tickets", "my_ip", "on_clone",
    "release_ticket", "request_ticket", "sync", "ticket_info", "vmid", "wait",
]  # fmt: skip

Handler = TypeVar("Handler", bound=Callable[[int], object])
BeforeHandler = TypeVar("BeforeHandler", bound=Callable[[], object])


def request_ticket(maxcpus: int, minvms: int, mincpuspervm: int, timeout: int) -> str:
    """Reserve CPUs for clones and return the ticket's UUID.

    The largest multiple of `mincpuspervm` that is free and at most `maxcpus`, granted as soon as it is enough for `minvms`
    clones; until then the request waits in line, first come, first served, for `timeout` milliseconds.
    Raises InvalidArgument (a count below 1, more than the host has in all), TimedOut, CloneFailed (no descriptors for so many).
    """
    return _calls.request_ticket(_native.Call(), maxcpus, minvms, mincpuspervm, timeout)


def release_ticket(ticket: Ticket) -> None:
    """Give back a ticket that was not used. Raises NoSuchTicket, NotYourTicket, TicketUsed."""
    _calls.release_ticket(_native.Call(), ticket)


def list_tickets() -> list[TicketInfo]:
    """The family's tickets in the order of request; the first is the one the master was born with."""
    return _calls.list_tickets(_native.Call())


def ticket_info(ticket: Ticket) -> TicketInfo:
    """What a ticket of the family holds. Raises NoSuchTicket, NotYourTicket (of another family)."""
    return _calls.ticket_info(_native.Call(), ticket)


def clone(ticket: Ticket) -> int:
    """Make the ticket's clones of this program, all or none: 0 in the caller, the (positive) vmid in each clone.

    First the handlers of before_clone() run, and what sys.stdout, sys.stderr and logging have buffered goes out; in each clone
    the handlers of on_clone() have run when this returns. What a handler of before_clone() raises is raised here.
    Raises NoSuchTicket, NotYourTicket, TicketUsed, CloneFailed, NotSupported (see explain()); after the last two the ticket
    is reserved as before and nobody was cloned. Taken back by Ctrl-C: nobody was cloned, the ticket is released.
    """
    _arguments.ticket_of(ticket)
    _before_clone.run()
    return _calls.clone(_native.Call(), ticket)


def list_domains() -> list[Domain]:
    """The family's living domains, by vmid."""
    return _calls.list_domains(_native.Call())


def sync(ticket: Optional[Ticket] = None, timeout: int = -1) -> None:
    """Barrier of a ticket's clones and the domain that cloned them; a clone may leave out the ticket it was born of.

    Raises TimedOut (this caller's time ran out), BarrierBroken (another's did, or a member has ended), NoSuchTicket,
    NotYourTicket, InvalidArgument (not cloned yet, or the master without a ticket).
    """
    _calls.sync(_native.Call(), ticket, timeout)


def join(report: Report = None) -> None:
    """End this clone and hand `report` (bytes, or text as UTF-8; at most 1 MiB) to the domain that made it.

    sys.stdout and sys.stderr are flushed; exit handlers and `finally` blocks do not run. Does not return.
    Raises InvalidArgument (in the master), TooLarge (also when reports of 128 MiB wait in the family to be read).
    """
    _calls.join(_native.Call(), report)


def wait(ticket: Ticket, timeout: int = -1, *, forget: bool = False) -> list[Result]:
    """Wait until all clones of the ticket have ended; how each did, by vmid, with its report.

    With `forget` the host forgets the ticket and the reports it kept once the results are here: for a program that clones for a
    long time. Otherwise a family's last 1,000 closed tickets are kept, and at most 128 MiB of reports.
    Raises TimedOut, NoSuchTicket, NotYourTicket, InvalidArgument (not cloned yet).
    """
    return _calls.wait(_native.Call(), ticket, timeout, forget)


def kill(vmid: int) -> None:
    """End a clone of the family. Raises InvalidArgument (0: the master), NoSuchDomain."""
    _calls.kill(_native.Call(), vmid)


def before_clone(handler: BeforeHandler) -> BeforeHandler:
    """Run handler() in the thread that calls clone(), before the host is asked and anybody is stopped; usable as a decorator.

    For what every clone would do again, or must not have: flush a file, finish a transaction, close a connection. Handlers run
    in the order of registration. What one raises is raised by clone(): the others don't run, nobody is cloned and the ticket
    can be used again. One that is asynchronous needs gridcentric.aio.clone(), which awaits it in its event loop. While handlers
    run another clone(), of a handler too, raises CloneFailed. There is no way to take a handler back.
    """
    _arguments.handler_of(handler, "no argument")
    _before_clone.handlers.append(handler)
    return handler


def on_clone(handler: Handler) -> Handler:
    """Run handler(vmid) in each clone before clone() returns there, in the order of registration; usable as a decorator.

    It runs in the thread that called clone(), when the generators of random numbers differ already. Other threads of the clone
    go on meanwhile, whenever CPython switches threads.
    One that raises is reported through sys.unraisablehook; the clone goes on. There is no way to take a handler back.
    """
    _arguments.handler_of(handler, "the vmid")
    _after_clone.handlers.append(handler)
    return handler


def explain() -> Explanation:
    """Whether this process can be cloned here, what stands in the way, and what repeats or is missing in clones. Nothing is
    stopped or changed. Reads the files of the loaded libraries the first time."""
    return _calls.explain()
