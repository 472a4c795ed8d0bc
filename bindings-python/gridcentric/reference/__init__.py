"""The reference core: the rules of gridcentric, a fake hypervisor and a host, in plain Python.

It is the specification that can be read and run. Read in this order:

    errors      the words a call can be refused with
    ledger      CPUs, and the line of those who wait for some
    barrier     one barrier: who has arrived, when it passes, when it breaks
    registry    who is who: families, domains, tickets
    books       those together, and what all rules do with them
    line        what becomes of the request that a hypervisor was asked about
    rules       every call, and what happens when a domain ends
    hypervisor  what the host asks of a hypervisor, and what that reports
    fake        one in memory, with scripted delays and failures
    host        rules and hypervisor put together; the virtual clock
    wire        lines, numbers, UUIDs, bytes: how messages are written (docs/protocol.md)
    session     one connection's conversation: handshake, requests, replies
    control     the verbs with which tests drive the host
    server      sockets and processes, on asyncio
    __main__    python -m gridcentric.reference

`ledger` to `rules` are pure: the clock and the source of UUIDs are handed to them, and what the world has to do comes out
as a list of events. Nothing here needs a compiled module; nothing here was derived from the C++ core (core/model), which is
held against these rules step by step (tests/reference).
"""
