"""One connection's conversation: the handshake, then requests and their replies (docs/protocol.md).

Bytes come in as lines and go out through a `Wire`; nothing here knows sockets. What the verbs do is in verbs.py (domains and
observers) and control.py (tests).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Optional, Protocol, Union

from . import control, verbs
from .checks import check_range, check_uuid
from .errors import INVALID_ARGUMENT, NO_SUCH_DOMAIN, NOT_IN_DOMAIN, NOT_SUPPORTED, PROTOCOL, TOO_LARGE, Refused
from .host import Host
from .wire import GREETING, MAX_NAME, read_id, read_name, read_number, read_text, read_tokens

MAX_OPEN_CALLS = 1024


class Wire(Protocol):
    """Where lines go."""

    def send(self, lines: Iterable[str]) -> None:
        """All of these lines, or the connection is closed."""
        ...

    def close(self) -> None:
        """After what was sent."""
        ...


@dataclass(frozen=True)
class Peer:
    """The process at the other end."""

    pid: int
    uid: int


class Session:
    """A conversation. `line` for each line that came, `gone` when the connection has ended."""

    def __init__(self, host: Host, peer: Peer, wire: Wire) -> None:
        self.host = host
        self.peer = peer
        self.role = ""  # until the handshake
        self.domain = 0  # the key of the domain it speaks for; 0: none
        self.is_domains_process = False  # and not a child of it
        self.open: dict[str, Optional[int]] = {}  # ID -> the call's number (None: an await)
        self._wire = wire
        self._over = False

    # --- what comes in -----------------------------------------------------------------------------------------------

    def line(self, line: bytes) -> None:
        if self._over:
            return
        if self.role:
            self._request(line)
        else:
            self._handshake(line)
        self.host.run()

    def refuse_line(self, refused: Refused) -> None:
        """A line that cannot be taken at all: the conversation is over."""
        self._send(f"{'0' if self.role else GREETING} error {refused.code} {refused.text}")
        self.close()

    def gone(self) -> None:
        """Its open calls are taken back."""
        self._over = True
        self.host.take_back(*(call for call in self.open.values() if call is not None))
        self.open.clear()
        self.host.end_session(self, self.domain)
        self.host.run()

    # --- the handshake -----------------------------------------------------------------------------------------------

    def _handshake(self, line: bytes) -> None:
        try:
            greeting, *rest = read_tokens(read_text(line))
            if greeting != GREETING:
                raise Refused(PROTOCOL, f"the guest says '{greeting[:64]}', this host speaks {GREETING}: say '{GREETING} ROLE'")
            answer = self._take_role(*rest)
        except Refused as refused:
            self.refuse_line(refused)
            return
        self.host.begin_session(self, self.domain)
        self._send(f"{GREETING} ok {answer} {self.host.hypervisor.name}")

    def _take_role(self, role: str = "", *rest: str) -> str:
        """Become who the guest says it is. FAMILY VMID IP PARENT of the answer."""
        if role not in _ROLES:
            raise Refused(PROTOCOL, f"the role is '{role[:64]}', it must be one of {', '.join(_ROLES)}")
        if role in ("as", "control") and not self.host.control:
            raise Refused(NOT_SUPPORTED, f"'{role}' is for tests: start the host with --control")
        count = _ROLES[role].arguments
        if len(rest) < count:
            raise Refused(PROTOCOL, f"role {role} has {count} arguments, {len(rest)} were given")
        keys = _read_keys(role, rest[count:])
        if role == "as":
            self.domain, self.is_domains_process = self._named_domain(*rest[:count]), True
        elif role == "lifeline":
            check_uuid("family", rest[0])
        elif role in ("attach", "ask"):
            pid = int(keys.get("pid", self.peer.pid))
            self.domain = self.host.domain_of(pid)
            if not self.domain and role == "ask":
                raise Refused(NOT_IN_DOMAIN, f"process {pid} is in no domain: start it with 'gc run'")
            self.domain = self.domain or self._new_master()
            self.is_domains_process = self.host.is_domain(self.peer.pid)
        self.role = role
        if not self.domain:
            return "- - - -"
        domain = self.host.domain(self.domain)
        if self.is_domains_process:
            if domain.is_master:
                domain.family.on_exit = keys.get("on_exit", domain.family.on_exit)
            if "name" in keys:
                domain.name = read_name("name", keys["name"], MAX_NAME)
        parent = "-" if domain.parent is None else domain.parent
        return f"{domain.family.id} {domain.vmid} {self.host.hypervisor.address_of(domain.key)} {parent}"

    def _named_domain(self, family: str, vmid: str) -> int:
        check_uuid("family", family)
        number = read_number("vmid", vmid)
        check_range("vmid", number, 0, 2**31 - 1)
        domain = self.host.rules.registry.find(family, number)
        if domain is None:
            raise Refused(NO_SUCH_DOMAIN, f"family {family} has no vmid {number}, or it has ended already")
        return domain.key

    def _new_master(self) -> int:
        try:
            return self.host.adopt(self.peer.pid)
        except ProcessLookupError:
            raise Refused(NO_SUCH_DOMAIN, f"process {self.peer.pid} has ended already") from None

    # --- requests ----------------------------------------------------------------------------------------------------

    def _request(self, line: bytes) -> None:
        call_id = read_id(line)
        if call_id is None:
            self._send(f"0 error {PROTOCOL} a request begins with its ID, a number of 1 to 9 digits, and a space")
            return
        try:
            verb, known, arguments = self._read_request(call_id, read_text(line))
        except Refused as refused:
            self._send(f"{call_id} error {refused.code} {refused.text}")
            return
        try:
            reply = known.run(self, call_id, arguments)
        except Refused as refused:
            self.refuse(call_id, verb, refused)
            return
        if reply is not None:
            self.answer(call_id, verb, reply.items, reply.fields)

    def _read_request(self, call_id: str, text: str) -> tuple[str, verbs.Verb, list[str]]:
        """The verb, what it does, and its arguments. Whether the verb is there is said first."""
        verb = text.split(" ")[1] if " " in text else ""
        table = _ROLES[self.role].verbs
        if verb not in table:
            if self.role == "observe" and verb in verbs.OF_DOMAINS:
                raise Refused(NOT_IN_DOMAIN, f"{verb} is for domains, an observer is in none: start it with 'gc run'")
            raise Refused(PROTOCOL, f"there is no verb '{verb[:64]}' for role {self.role}, but {' '.join(table) or 'none'}")
        arguments = read_tokens(text)[2:]
        least, most = table[verb].arguments
        if not least <= len(arguments) <= most:
            or_more = "" if least == most else " or more"
            raise Refused(PROTOCOL, f"{verb} takes {least} arguments{or_more}, not {len(arguments)}")
        if call_id in self.open:
            raise Refused(PROTOCOL, f"the call of ID {call_id} is still open: choose another ID")
        return verb, table[verb], arguments

    def open_call(self, call_id: str, verb: str, ask: Callable[[int], None]) -> None:
        """A call that waits: `ask` hands it to the rules under the number it is given."""
        self.check_room()
        number = self.host.open_call(self, call_id, verb)
        self.open[call_id] = number
        try:
            ask(number)
        except Refused:
            del self.open[call_id], self.host.open_calls[number]
            raise

    def check_room(self) -> None:
        if len(self.open) >= MAX_OPEN_CALLS:
            raise Refused(TOO_LARGE, f"{MAX_OPEN_CALLS} calls are open on this connection: wait for some or open another")

    # --- what goes out -----------------------------------------------------------------------------------------------

    def answer(self, call_id: str, verb: str, items: Iterable[str], fields: str) -> None:
        """`ID item ...` for each, then `ID ok FIELDS`."""
        self._reply(verb, [f"{call_id} item {item}" for item in items], f"{call_id} ok {fields}".rstrip())
        self.open.pop(call_id, None)

    def refuse(self, call_id: str, verb: str, refused: Refused) -> None:
        self._reply(verb, [], f"{call_id} error {refused.code} {refused.text}")
        self.open.pop(call_id, None)

    def tell(self, line: str) -> None:
        """A line that answers no request."""
        self._send(line)

    def drop(self, call_id: str) -> None:
        """The call gets no answer."""
        self.open.pop(call_id, None)

    def _reply(self, verb: str, items: list[str], last: str) -> None:
        control = self.host.control
        if control and self.role != "control" and control.dropped_replies[verb]:
            control.dropped_replies[verb] -= 1
            self.close()
        else:
            self._send(*items, last)

    def _send(self, *lines: str) -> None:
        if not self._over:
            self._wire.send(lines)

    def close(self) -> None:
        """The conversation is over, from the host's side."""
        if not self._over:
            self._over = True
            self._wire.close()


@dataclass(frozen=True)
class _Role:
    arguments: int
    verbs: dict[str, verbs.Verb]


_ROLES = {
    "attach": _Role(0, verbs.OF_DOMAINS),
    "ask": _Role(0, verbs.OF_DOMAINS),
    "observe": _Role(0, verbs.OF_OBSERVERS),
    "as": _Role(2, verbs.OF_DOMAINS),
    "control": _Role(0, control.VERBS),
    "lifeline": _Role(1, {}),
}


def _read_keys(role: str, tokens: Union[list[str], tuple[str, ...]]) -> dict[str, str]:
    """KEY=VALUE of a handshake."""
    keys: dict[str, str] = {}
    for token in tokens:
        key, equals, value = token.partition("=")
        known = {"on_exit", "name", "mode", "why"} | ({"pid"} if role == "ask" else set())
        if not equals or key not in known or role == "control":
            raise Refused(PROTOCOL, f"'{token[:64]}' is not a key of role {role}: expected {'=, '.join(sorted(known))}=")
        keys[key] = value
    for key, allowed in (("on_exit", ("end", "keep")), ("mode", ("pidns", "plain"))):
        if key in keys and keys[key] not in allowed:
            raise Refused(INVALID_ARGUMENT, f"{key} is '{keys[key][:64]}', it must be {' or '.join(allowed)}")
    if "pid" in keys:
        check_range("pid", read_number("pid", keys["pid"]), 1, 2**31 - 1)
    for key, limit in (("name", MAX_NAME), ("why", None)):
        if key in keys:
            read_name(key, keys[key], limit)
    return keys
