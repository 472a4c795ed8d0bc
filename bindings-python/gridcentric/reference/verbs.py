"""The verbs of guests: how arguments are read, which rule is asked, how its answer is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Optional

from .checks import check_range, check_uuid
from .errors import INVALID_ARGUMENT, Refused
from .registry import Ticket
from .wire import VERSION, read_id, read_number, read_report, write_name

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True)
class Reply:
    """What is answered at once: an `item` line for each of `items`, then `ok` with `fields`."""

    fields: str = ""
    items: tuple[str, ...] = ()


def listing(*items: str) -> Reply:
    return Reply(str(len(items)), items)


@dataclass(frozen=True)
class Verb:
    """`arguments`: the least and the most. `run` gets the session, the ID and the arguments; None: answered later."""

    arguments: tuple[int, int]
    run: Callable[[Session, str, list[str]], Optional[Reply]]


# --- tickets ---------------------------------------------------------------------------------------------------------


def _ticket_fields(ticket: Ticket) -> str:
    return f"{ticket.id} {ticket.status} {ticket.cpus} {ticket.vms} {ticket.want.mincpuspervm}"


def _request_ticket(session: Session, call_id: str, arguments: list[str]) -> None:
    names = ("maxcpus", "minvms", "mincpuspervm", "timeout")
    maxcpus, minvms, mincpuspervm, timeout = map(read_number, names, arguments)

    def ask(call: int) -> None:
        session.host.rules.request_ticket(call, session.domain, maxcpus, minvms, mincpuspervm, timeout)

    session.open_call(call_id, "request_ticket", ask)


def _release_ticket(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.rules.release_ticket(session.domain, arguments[0])
    return Reply()


def _forget(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.rules.forget_ticket(session.domain, arguments[0])
    return Reply()


def _list_tickets(session: Session, call_id: str, arguments: list[str]) -> Reply:
    return listing(*map(_ticket_fields, session.host.rules.list_tickets(session.domain)))


def _ticket_info(session: Session, call_id: str, arguments: list[str]) -> Reply:
    return Reply(_ticket_fields(session.host.rules.ticket_info(session.domain, arguments[0])))


# --- clones ----------------------------------------------------------------------------------------------------------


def _clone(session: Session, call_id: str, arguments: list[str]) -> None:
    session.open_call(call_id, "clone", lambda call: session.host.rules.clone(call, session.domain, arguments[0]))


def _clone_of(session: Session, call_id: str, arguments: list[str]) -> None:
    vmid, ticket = read_number("vmid", arguments[0]), arguments[1]

    def ask(call: int) -> None:
        session.host.orders.give(call, session.peer.pid, session.domain, vmid, ticket)

    session.open_call(call_id, "clone_of", ask)


def _serve(session: Session, call_id: str, arguments: list[str]) -> Reply:
    if not session.is_domains_process:
        raise Refused(INVALID_ARGUMENT, f"process {session.peer.pid} is a child of its domain, which alone takes orders")
    session.host.orders.listen(session, session.domain)
    return Reply()


def _carried_out(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.orders.carried_out(session, arguments[0])
    return Reply()


def _declined(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.orders.declined(session, *arguments)
    return Reply()


def _meet(verb: str, session: Session, call_id: str, arguments: list[str]) -> None:
    timeout = read_number("timeout", arguments[1])
    rule = session.host.rules.sync if verb == "sync" else session.host.rules.wait
    session.open_call(call_id, verb, lambda call: rule(call, session.domain, arguments[0], timeout))


def _join(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.rules.join(session.domain, read_report(arguments[0]))
    session.host.hypervisor.joined(session.domain)
    return Reply()


def _kill(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.rules.kill(session.domain, read_number("vmid", arguments[0]))
    return Reply()


# --- who am I, and the end --------------------------------------------------------------------------------------------


def _whoami(session: Session, call_id: str, arguments: list[str]) -> Reply:
    domain = session.host.rules.whoami(session.domain)
    vmid, parent, ip, ticket, state = session.host.describe(domain).split()
    return Reply(f"{domain.family.id} {vmid} {ip} {parent} {ticket} {state}")


def _list_domains(session: Session, call_id: str, arguments: list[str]) -> Reply:
    return listing(*map(session.host.describe, session.host.rules.list_domains(session.domain)))


def _bye(session: Session, call_id: str, arguments: list[str]) -> Reply:
    if not session.is_domains_process:
        raise Refused(INVALID_ARGUMENT, f"process {session.peer.pid} is a child of its domain: only the domain itself says bye")
    session.host.rules.bye(session.domain)
    return Reply()


def _cancel(session: Session, call_id: str, arguments: list[str]) -> Reply:
    if read_id(arguments[0].encode()) != arguments[0]:
        raise Refused(INVALID_ARGUMENT, f"the ID to cancel is '{arguments[0][:64]}', it must be a number of 1 to 9 digits")
    call = session.open.pop(arguments[0], None)
    if call is not None:
        session.host.take_back(call)
    return Reply()


# --- observers -------------------------------------------------------------------------------------------------------


def version() -> str:
    """The one version number: of the package, or of the checkout this file is in."""
    try:
        return metadata.version("gridcentric")
    except metadata.PackageNotFoundError:
        file = Path(__file__).resolve().parents[3] / "VERSION"
        return file.read_text().strip() if file.exists() else "unknown"


def _info(session: Session, call_id: str, arguments: list[str]) -> Reply:
    host = session.host
    facts = {
        "version": version(),
        "protocol": VERSION,
        "hypervisor": host.hypervisor.name,
        "mode": "-",
        "why": "-",
        "cpus": host.cpus,
        "cpus_free": host.rules.ledger.free,
        "families": len(host.rules.registry.families),
        "domains": len(host.rules.registry.domains),
        "pid": os.getpid(),
        "supports": "clone,clone_of_clone",
    }
    return listing(*(f"{key} {value}" for key, value in facts.items()))


def _list_all(session: Session, call_id: str, arguments: list[str]) -> Reply:
    host = session.host
    return listing(
        *(
            f"{domain.family.id} {host.describe(domain)} {host.pid_of(domain.key) or '-'} {host.now() - domain.born_ms} "
            f"{write_name(domain.name)}"
            for domain in host.rules.registry.all_domains()
        )
    )


def _kill_domain(session: Session, call_id: str, arguments: list[str]) -> Reply:
    check_uuid("family", arguments[0])
    vmid = read_number("vmid", arguments[1])
    check_range("vmid", vmid, 0, 2**31 - 1)
    session.host.rules.kill_domain(arguments[0], vmid)
    return Reply()


OF_DOMAINS = {
    "request_ticket": Verb((4, 4), _request_ticket),
    "release_ticket": Verb((1, 1), _release_ticket),
    "forget": Verb((1, 1), _forget),
    "list_tickets": Verb((0, 0), _list_tickets),
    "ticket_info": Verb((1, 1), _ticket_info),
    "clone": Verb((1, 1), _clone),
    "clone_of": Verb((2, 2), _clone_of),
    "serve": Verb((0, 0), _serve),
    "carried_out": Verb((1, 1), _carried_out),
    "declined": Verb((3, 3), _declined),
    "whoami": Verb((0, 0), _whoami),
    "list_domains": Verb((0, 0), _list_domains),
    "sync": Verb((2, 2), partial(_meet, "sync")),
    "join": Verb((1, 1), _join),
    "wait": Verb((2, 2), partial(_meet, "wait")),
    "kill": Verb((1, 1), _kill),
    "bye": Verb((0, 0), _bye),
    "cancel": Verb((1, 1), _cancel),
    "info": Verb((0, 0), _info),
}

OF_OBSERVERS = {
    "info": Verb((0, 0), _info),
    "list_all": Verb((0, 0), _list_all),
    "kill_domain": Verb((2, 2), _kill_domain),
}
