"""The verbs with which tests drive the host (docs/protocol.md, "Control"): the clock, scripted faults, endings, dumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .calls import WAITING_VERBS
from .checks import MAX_INT, check_range, check_uuid
from .errors import INVALID_ARGUMENT, NO_SUCH_DOMAIN, PROTOCOL, Refused
from .host import MAX_CLOCK, Await, Control
from .registry import EXITED, KILLED, LOST, Domain
from .verbs import OF_DOMAINS, OF_OBSERVERS, Reply, Verb, listing
from .wire import read_number

if TYPE_CHECKING:
    from .session import Session

ANY = 2**31


def _control(session: Session) -> Control:
    """Nobody has the role `control` on a host without it."""
    assert session.host.control is not None
    return session.host.control


def _number(name: str, text: str, low: int, high: int) -> int:
    value = read_number(name, text)
    check_range(name, value, low, high)
    return value


def _one_of(name: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise Refused(INVALID_ARGUMENT, f"{name} is '{text[:64]}', it must be one of {', '.join(allowed)}")
    return text


def _domain(session: Session, family: str, vmid: str) -> Domain:
    check_uuid("family", family)
    domain = session.host.rules.registry.find(family, _number("vmid", vmid, 0, MAX_INT))
    if domain is None:
        raise Refused(NO_SUCH_DOMAIN, f"family {family} has no vmid {vmid}, or it has ended already")
    return domain


# --- the clock -------------------------------------------------------------------------------------------------------


def _now(session: Session, call_id: str, arguments: list[str]) -> Reply:
    return Reply(str(session.host.now()))


def _advance(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.advance(_control(session), _number("ms", arguments[0], 0, MAX_CLOCK))
    return Reply(str(session.host.now()))


def _await(session: Session, call_id: str, arguments: list[str]) -> None:
    verb = _one_of("verb", arguments[0], WAITING_VERBS)
    count = _number("count", arguments[1], 0, MAX_INT)
    session.check_room()
    session.open[call_id] = None
    _control(session).awaits.append(Await(session, call_id, verb, count))


def _latency(session: Session, call_id: str, arguments: list[str]) -> Reply:
    _one_of("verb", arguments[0], ("clone",))
    _control(session).script.set_latency(_number("ms", arguments[1], 0, MAX_CLOCK))
    return Reply()


# --- faults ----------------------------------------------------------------------------------------------------------


def _fault(session: Session, call_id: str, arguments: list[str]) -> Reply:
    name = _one_of("fault", arguments[0], tuple(_FAULTS))
    least, most = _FAULTS[name].arguments
    if not least <= len(arguments) - 1 <= most:
        raise Refused(PROTOCOL, f"fault {name} takes {least} arguments{'' if least == most else ' or more'}")
    return _FAULTS[name].run(session, call_id, arguments[1:]) or Reply()


def _clone_fails(session: Session, call_id: str, arguments: list[str]) -> None:
    at = _number("k", arguments[0], 1, MAX_INT)
    _control(session).script.script_failure(at, " ".join(arguments[1:]))


def _host_full(session: Session, call_id: str, arguments: list[str]) -> None:
    _control(session).script.script_failure(0, " ".join(arguments))


def _clone_dies(session: Session, call_id: str, arguments: list[str]) -> None:
    _control(session).script.script_death(_number("k", arguments[0], 1, MAX_INT))


def _drop_reply(session: Session, call_id: str, arguments: list[str]) -> None:
    _control(session).dropped_replies[_one_of("verb", arguments[0], (*OF_DOMAINS, *OF_OBSERVERS))] += 1


def _restart(session: Session, call_id: str, arguments: list[str]) -> None:
    _close_others(session, control_too=True)
    session.host.restart(_control(session))


def _close_others(session: Session, control_too: bool) -> None:
    for sessions in list(session.host.sessions.values()):
        for other in list(sessions):
            if other is not session and (control_too or getattr(other, "role", "") != "control"):
                other.close()


_FAULTS = {
    "clone_fails": Verb((2, ANY), _clone_fails),
    "host_full": Verb((1, ANY), _host_full),
    "clone_dies": Verb((1, 1), _clone_dies),
    "drop_reply": Verb((1, 1), _drop_reply),
    "restart": Verb((0, 0), _restart),
}


# --- domains ---------------------------------------------------------------------------------------------------------


def _end(session: Session, call_id: str, arguments: list[str]) -> Reply:
    domain = _domain(session, arguments[0], arguments[1])
    how = _one_of("how", arguments[2], (EXITED, KILLED, LOST))
    session.host.hypervisor.end(domain.key, how, _number("status", arguments[3], 0, 255))
    return Reply()


def _bye(session: Session, call_id: str, arguments: list[str]) -> Reply:
    session.host.rules.bye(_domain(session, arguments[0], arguments[1]).key)
    return Reply()


def _domain_items(session: Session) -> list[str]:
    host = session.host
    return [f"{domain.family.id} {host.describe(domain)}" for domain in host.rules.registry.all_domains()]


def _domains(session: Session, call_id: str, arguments: list[str]) -> Reply:
    return listing(*_domain_items(session))


def _dump(session: Session, call_id: str, arguments: list[str]) -> Reply:
    rules = session.host.rules
    tickets = (
        f"ticket {family.id} {t.id} {t.status} {t.cpus} {t.vms} {t.want.mincpuspervm} {t.owner.vmid}"
        for family, t in rules.registry.all_tickets()
    )
    callers = ((rules.registry.domains[call.domain], call.verb) for call in rules.calls.values())
    return listing(
        f"cpus {rules.ledger.cpus} {rules.ledger.free}",
        f"queue {len(rules.ledger.line)}",
        *tickets,
        *(f"domain {item}" for item in _domain_items(session)),
        *(f"call {domain.family.id} {domain.vmid} {verb}" for domain, verb in callers),
    )


def _reset(session: Session, call_id: str, arguments: list[str]) -> Reply:
    _close_others(session, control_too=False)
    session.host.reset(_control(session))
    return Reply()


VERBS = {
    "now": Verb((0, 0), _now),
    "advance": Verb((1, 1), _advance),
    "await": Verb((2, 2), _await),
    "latency": Verb((2, 2), _latency),
    "fault": Verb((1, ANY), _fault),
    "end": Verb((4, 4), _end),
    "bye": Verb((2, 2), _bye),
    "domains": Verb((0, 0), _domains),
    "dump": Verb((0, 0), _dump),
    "reset": Verb((0, 0), _reset),
}
