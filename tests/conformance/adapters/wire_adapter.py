"""The adapter that speaks the protocol itself: the reference for the others, and the only one that can misbehave.

Reads calls as JSON lines on stdin, writes replies as JSON lines on stdout (README.md). It must not know what a
call means: it makes lines of arguments and values of fields.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from runner.wire import Closed, Connection, Refused


def host():
    return os.environ["GRIDCENTRIC_HOST"].removeprefix("unix:")


def number(text):
    return None if text == "-" else int(text)


def optional(text):
    return None if text == "-" else text


# What the items or fields of a reply are in the form that all languages give them.
VALUES = {
    "request_ticket": lambda items, fields: fields[0],
    "list_tickets": lambda items, fields: [ticket(row) for row in items],
    "ticket_info": lambda items, fields: ticket(fields),
    "clone": lambda items, fields: int(fields[0]),
    "list_domains": lambda items, fields: domains(items),
    "clone_of": lambda items, fields: domains(items),
    "wait": lambda items, fields: results(items),
    "wait_forget": lambda items, fields: results(items),
}


def domains(items):
    return [[int(r[0]), number(r[1]), *r[2:]] for r in items]


def results(items):
    return [[int(r[0]), r[1], int(r[2]), report(r[3])] for r in items]


def ticket(row):
    return [row[0], row[1], *map(int, row[2:])]


def report(token):
    return None if token == "-" else "" if token == "=" else token


def answer(call, **reply):
    sys.stdout.write(json.dumps({"id": call, **reply}) + "\n")
    sys.stdout.flush()


def exchange(lines):
    """Say raw lines on a separate connection; the reply to each, and "closed" when the host ends it."""
    replies = []
    with Connection(host(), None) as connection:
        try:
            for line in lines:
                with contextlib.suppress(Closed):  # it may have answered before it closed
                    connection.send_line(line)
                replies.append(connection.read_line())
                while " item " in replies[-1]:
                    replies.append(connection.read_line())
        except Closed:
            replies.append("closed")
    return replies


def burst(count, *lines):
    """Say all lines at once; the first `count` replies."""
    with Connection(host(), None) as connection:
        connection.send_line("\n".join(lines))
        return [connection.read_line() for _ in range(count)]


def exchange_in_a_child(lines):
    """As exchange(), said by a child of this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, json.dumps(exchange(lines)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    replies = json.loads(os.read(reading, 1 << 16))
    os.close(reading)
    os.close(writing)
    return replies


def leave_a_process():
    """For the runner's self-test: something that outlives this adapter."""
    null = subprocess.DEVNULL
    subprocess.Popen(["sleep", "1000"], stdin=null, stdout=null, stderr=null)


RAW = {
    "leave_a_process": leave_a_process,
    "exchange": lambda *lines: exchange(lines),
    "burst": burst,
    "exchange_in_a_child": lambda *lines: exchange_in_a_child(lines),
}


class Adapter:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self.read_steps)
        self.connection = None
        self.status = 0  # to end with
        self.open = {}  # ID on the wire -> (ID of the step, verb)
        self.to_forget = {}  # ID of a wait_forget -> its ticket
        self.buffer = b""

    def read_steps(self):
        data = os.read(sys.stdin.fileno(), 1 << 20)
        if not data:
            if self.connection and self.identity[1] == "0":
                self.bye()
            os._exit(self.status)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            step = json.loads(line)
            self.do(step["id"], step["call"], step["args"])

    def bye(self):
        """A normal end of the program: what a guest library does at exit."""
        with contextlib.suppress(Closed, Refused):  # the host or the domain is gone already
            self.connection.call("bye")

    def do(self, step, verb, args):
        try:
            if verb == "attach":
                self.attach(*args)
                answer(step, ok=int(self.identity[1]))
            elif verb == "break":
                self.status = args[0]
                answer(step, ok=None)
            elif verb in RAW:
                answer(step, ok=RAW[verb](*args))
            elif verb in ("vmid", "ismaster", "my_ip"):  # from memory: no host is asked
                vmid = int(self.identity[1])
                answer(step, ok={"vmid": vmid, "ismaster": vmid == 0, "my_ip": self.identity[2]}[verb])
            elif self.connection is None:
                raise Closed("the host has closed the connection")
            elif verb == "cancel":
                self.cancel(step, args[0])
            else:
                self.send(step, verb, args)
        except Refused as error:
            answer(step, error=error.code, text=error.text)
        except Closed as error:
            answer(step, error="host_unreachable", text=str(error))

    def attach(self, domain):
        hello = f"as {domain.replace('/', ' ')}" if domain else "attach"
        on_exit = os.environ.get("GRIDCENTRIC_ON_MASTER_EXIT")
        if on_exit and not domain:
            hello += f" on_exit={on_exit}"
        self.connection = Connection(host(), hello)
        self.identity = self.connection.identity
        self.selector.register(self.connection, selectors.EVENT_READ, self.read_replies)

    def send(self, step, verb, args):
        if verb == "join":
            args = [args[0] or "="]
        elif verb == "noreport":
            verb, args = "join", ["-"]
        elif verb == "sync" and args[0] is None:
            args = ["-", args[1]]
        elif verb == "wait_forget":
            self.to_forget[step] = args[0]
        self.open[self.connection.start(verb.removesuffix("_forget"), *args)] = (step, verb)

    def cancel(self, step, which):
        for call, (asked, _) in self.open.items():
            if asked == which:
                self.connection.call("cancel", call)
                del self.open[call]
                answer(which, error="cancelled", text="")
                break
        answer(step, ok=None)

    def read_replies(self):
        try:
            for line in self.connection.receive():
                if line.startswith("order "):
                    self.obey(*line.split())
                    continue
                call = self.connection.take(line)
                if call in self.open:
                    self.complete(call)
        except Closed as error:
            self.selector.unregister(self.connection)
            self.connection = None
            for step, _ in self.open.values():
                answer(step, error="host_unreachable", text=str(error))
            self.open.clear()

    def obey(self, _order, order, _clone, ticket, _pid):
        """What a library does: clone, and say how that went."""
        cloning = self.connection.start("clone", ticket)
        self.open[cloning] = (int(order), "ordered")

    def answer_order(self, order, error=None):
        code, text = (error.code, quote(error.text)) if error else (None, None)
        said = ["declined", order, code, text] if error else ["carried_out", order]
        self.open[self.connection.start(*said)] = (order, "answered")

    def complete(self, call):
        step, verb = self.open.pop(call)
        try:
            items, fields = self.connection.result(call)
        except Refused as error:
            self.to_forget.pop(step, None)
            if verb == "ordered":
                self.answer_order(step, error)
                return
            answer(step, error=error.code, text=error.text)
            return
        if verb == "ordered":
            self.answer_order(step)
        if verb in ("ordered", "answered"):
            return
        if verb == "join":
            os._exit(0)
        if step in self.to_forget:
            self.connection.call("forget", self.to_forget.pop(step))  # what a library does when the results are there
        answer(step, ok=VALUES[verb](items, fields) if verb in VALUES else None)


def main():
    adapter = Adapter()
    while True:
        for key, _ in adapter.selector.select():
            key.data()
