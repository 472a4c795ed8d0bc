"""The adapter for Python: main("guest") makes each call in a thread, main("aio") each in a task.

Reads calls as JSON lines and writes replies as JSON lines, on stdin and stdout or on the channel that README.md describes.
It must not know what a call means: it hands arguments on and puts results into the form that all languages share.
"""

import asyncio
import base64
import contextlib
import inspect
import json
import os
import select
import socket
import sys
import threading

import gridcentric
import gridcentric.aio
import gridcentric.guest

api = gridcentric.guest
channel = None  # main() opens it


class Channel:
    """Where calls come from and replies go to. Where clones are real each domain has its own connection: that of the
    master is at its end in a clone, and who comes first there opens the clone's."""

    def __init__(self):
        self.path = os.environ.get("CONFORMANCE_CHANNEL")
        self.domain = None  # whose connection it is; None: of one that has not attached yet
        self.lock = threading.Lock()
        self.socket = None
        if self.path:
            self.connect()

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.path)
        self.socket.sendall(b'{"id":0,"ok":%s}\n' % json.dumps(self.domain).encode())

    def own(self):
        """The socket of the domain that this process is now; None: standard input and output."""
        with self.lock:
            if self.domain is not None and self.path and gridcentric.guest.vmid() != self.domain:
                self.domain = gridcentric.guest.vmid()
                self.connect()
        return self.socket

    def say(self, line):
        with contextlib.suppress(BrokenPipeError):  # what is answered while being cloned goes nowhere in the clone
            send_all(self.own(), line)


def send_all(connection, line):
    """Also where asyncio has made the socket non-blocking. None: standard output."""
    while line:
        try:
            line = line[os.write(connection.fileno() if connection else 1, line) :]
        except BlockingIOError:
            select.select([], [connection], [])


def plain(result):
    """Named tuples as lists, bytes as base64: what JSON can say."""
    if isinstance(result, bytes):
        return base64.b64encode(result).decode()
    if isinstance(result, (tuple, list)):
        return [plain(part) for part in result]
    return result


def argument(value):
    return float(value["float"]) if isinstance(value, dict) else value


prepared = []  # one for each time that a handler of before_clone() has run


def refuse(times):
    """Register a handler that refuses as many clones."""
    left = [gridcentric.CloneFailed("refused")] * times

    def handler():
        prepared.append(True)
        if left:
            raise left.pop()

    async def asynchronous():
        handler()

    api.before_clone(asynchronous if inspect.iscoroutinefunction(api.clone) else handler)


def at_once(result):
    """What api's functions give for a result that needs no waiting."""
    if not inspect.iscoroutinefunction(api.clone):
        return result
    return asyncio.sleep(0, result)


def begin(call, args):
    """Make the call: its result, or under aio something to await."""
    args = [argument(value) for value in args]
    if call == "attach":
        if args[0]:
            os.environ["GRIDCENTRIC_ATTACH"] = args[0]
        return api.vmid()
    if call == "refuse":
        return at_once(refuse(*args))
    if call == "prepared":
        return at_once(len(prepared))
    if call == "join" and isinstance(args[0], str):
        return api.join(base64.b64decode(args[0]))
    if call == "noreport":
        return api.join()
    if call == "wait_forget":
        return api.wait(*args, forget=True)
    return getattr(api, call)(*args)


def failure(error):
    if isinstance(error, gridcentric.Error):
        return {"error": error.code, "text": str(error)}
    if isinstance(error, asyncio.CancelledError):
        return {"error": "cancelled", "text": ""}
    return {"error": f"unexpected_{type(error).__name__.lower()}", "text": str(error)}


def result_of(verb, result):
    if verb == "attach":
        channel.domain = result
    return {"ok": plain(result)}


def answer(call, reply):
    channel.say(json.dumps({"id": call, **reply}).encode() + b"\n")


def in_a_thread(call, verb, args):
    try:
        reply = result_of(verb, begin(verb, args))
    except BaseException as error:
        reply = failure(error)
    answer(call, reply)


def end_if_told(step):
    """In the main thread, as only there an exit or an exception ends a program."""
    if step["call"] == "exit":
        sys.exit(step["args"][0])
    if step["call"] == "crash":
        raise RuntimeError("told to crash")


def threads():
    source = False
    while source is not (own := channel.own()):  # the end of the input in a clone is that of its master's
        source = own
        for line in own.makefile("rb") if own else sys.stdin:
            step = json.loads(line)
            end_if_told(step)
            threading.Thread(target=in_a_thread, args=(step["id"], step["call"], step["args"]), daemon=True).start()


async def in_a_task(call, verb, args):
    try:
        reply = result_of(verb, await begin(verb, args))
    except BaseException as error:
        reply = failure(error)
    answer(call, reply)


async def tasks():
    source, open_tasks = False, {}
    while source is not (own := channel.own()):
        source = own
        await read_steps(own or sys.stdin, open_tasks)


async def read_steps(source, open_tasks):
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), source)
    while line := await lines.readline():
        step = json.loads(line)
        end_if_told(step)
        if step["call"] == "cancel":
            open_tasks[step["args"][0]].cancel()
            answer(step["id"], {"ok": None})
        else:
            open_tasks[step["id"]] = loop.create_task(in_a_task(step["id"], step["call"], step["args"]))


def main(module):
    global api, channel
    api = getattr(gridcentric, module)
    channel = Channel()
    if module == "aio":
        asyncio.run(tasks())
    else:
        threads()
