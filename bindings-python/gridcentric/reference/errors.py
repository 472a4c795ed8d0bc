"""The words a call can be refused with. They are the names in core/include/gridcentric/errors.def, in lower case."""

from __future__ import annotations

INVALID_ARGUMENT = "invalid_argument"
NO_SUCH_TICKET = "no_such_ticket"
NOT_YOUR_TICKET = "not_your_ticket"
TICKET_USED = "ticket_used"
TIMED_OUT = "timed_out"
BARRIER_BROKEN = "barrier_broken"
TOO_LARGE = "too_large"
CLONE_FAILED = "clone_failed"
NOT_SUPPORTED = "not_supported"
PROTOCOL = "protocol"
NO_SUCH_DOMAIN = "no_such_domain"
NOT_IN_DOMAIN = "not_in_domain"

# Also those that only guests give.
CODES = frozenset(
    [
        INVALID_ARGUMENT, NO_SUCH_TICKET, NOT_YOUR_TICKET, TICKET_USED, TIMED_OUT, BARRIER_BROKEN, TOO_LARGE, CLONE_FAILED,
        NOT_SUPPORTED, PROTOCOL, NO_SUCH_DOMAIN, NOT_IN_DOMAIN, "interrupted_by_clone", "host_unreachable",
    ]
)  # fmt: skip


class Refused(Exception):
    """A call was refused: `code` is one of the words above, `text` says what was given, what was expected, what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
