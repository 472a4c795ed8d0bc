"""The adapter for Python: main("guest") makes each call in a thread, main("aio") each in a task.

Reads calls as JSON lines on stdin, writes replies as JSON lines on stdout (README.md). It must not know what a call
means: it hands arguments on and puts results into the form that all languages share.
"""

import asyncio
import base64
import json
import os
import sys
import threading

import gridcentric
import gridcentric.aio
import gridcentric.guest

api = gridcentric.guest


def plain(result):
    """Named tuples as lists, bytes as base64: what JSON can say."""
    if isinstance(result, bytes):
        return base64.b64encode(result).decode()
    if isinstance(result, (tuple, list)):
        return [plain(part) for part in result]
    return result


def argument(value):
    return float(value["float"]) if isinstance(value, dict) else value


def begin(call, args):
    """Make the call: its result, or under aio something to await."""
    args = [argument(value) for value in args]
    if call == "attach":
        if args[0]:
            os.environ["GRIDCENTRIC_ATTACH"] = args[0]
        return api.vmid()
    if call == "join" and isinstance(args[0], str):
        return api.join(base64.b64decode(args[0]))
    if call == "noreport":
        return api.join()
    return getattr(api, call)(*args)


def failure(error):
    if isinstance(error, gridcentric.Error):
        return {"error": error.code, "text": str(error)}
    if isinstance(error, asyncio.CancelledError):
        return {"error": "cancelled", "text": ""}
    return {"error": f"unexpected_{type(error).__name__.lower()}", "text": str(error)}


def answer(call, reply):
    os.write(1, json.dumps({"id": call, **reply}).encode() + b"\n")


def in_a_thread(call, verb, args):
    try:
        reply = {"ok": plain(begin(verb, args))}
    except BaseException as error:
        reply = failure(error)
    answer(call, reply)


def threads():
    for line in sys.stdin:
        step = json.loads(line)
        threading.Thread(target=in_a_thread, args=(step["id"], step["call"], step["args"]), daemon=True).start()


async def in_a_task(call, verb, args):
    try:
        reply = {"ok": plain(await begin(verb, args))}
    except BaseException as error:
        reply = failure(error)
    answer(call, reply)


async def tasks():
    loop, open_tasks = asyncio.get_running_loop(), {}
    lines = asyncio.StreamReader(limit=1 << 22)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        step = json.loads(line)
        if step["call"] == "cancel":
            open_tasks[step["args"][0]].cancel()
            answer(step["id"], {"ok": None})
        else:
            open_tasks[step["id"]] = loop.create_task(in_a_task(step["id"], step["call"], step["args"]))


def main(module):
    global api
    api = getattr(gridcentric, module)
    if module == "aio":
        asyncio.run(tasks())
    else:
        threads()
