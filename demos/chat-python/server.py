"""The classic Node chat on aiohttp: one process, one room, everything in memory. The same calls and the same page.

POST /join {nick}      -> {id, nick, nicks, messages}     GET /who  -> {nicks}
GET  /recv?id=&since=  -> {messages}, once there are any  GET /     -> the page
POST /send {id, text}  -> {n}                             POST /part {id} -> {}
"""

import asyncio
import os
import re
import secrets
import time
from collections import deque
from importlib import import_module
from pathlib import Path

from aiohttp import web

PORT = int(os.environ.get("CHAT_PORT", "8081"))
HISTORY = 200  # messages kept
NICK = 30  # characters
TEXT = 500
BODY = 4096  # bytes
SESSIONS = 1000
IDLE_S = 60  # a user silent for this long has left
POLL_S = 25  # how long /recv waits for a message

PAGE = (Path(__file__).parent.parent / "chat-page" / "index.html").read_text()
CONTROLS = re.compile("[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e]+")
sessions = {}  # id -> {"nick", "seen"}
messages = deque(maxlen=HISTORY)
waiting = set()  # futures of readers
SWEEP = web.AppKey("sweep", asyncio.Task)
last = 0  # number of the newest message


class Wrong(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def say(kind, nick, text=""):
    global last
    last += 1
    message = {"n": last, "time": round(time.time() * 1000), "type": kind, "nick": nick, "text": text}
    messages.append(message)
    for reader in waiting:
        if not reader.done():
            reader.set_result([message])
    return message


def nicks():
    return [session["nick"] for session in sessions.values()]


def words(name, value, longest):
    """A text of 1 to `longest` characters, without control characters and surrounding space."""
    if not isinstance(value, str):
        raise Wrong(400, f"{name} is missing")
    text = CONTROLS.sub(" ", value).strip()
    if not text:
        raise Wrong(400, f"{name} is empty")
    if len(text) > longest:
        raise Wrong(400, f"{name} is longer than {longest} characters")
    return text


def session(id):
    found = sessions.get(id) if isinstance(id, str) else None
    if not found:
        raise Wrong(404, "you are not in the room: join first")
    found["seen"] = time.time()
    return found


async def body(request):
    if request.content_type != "application/json":
        raise Wrong(415, "expected application/json")
    try:
        value = await request.json()
    except web.HTTPRequestEntityTooLarge:
        raise Wrong(413, f"expected at most {BODY} bytes") from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Wrong(400, "expected a JSON object")
    return value


async def join(request):
    nick = words("nick", (await body(request)).get("nick"), NICK)
    if nick.lower() in (other.lower() for other in nicks()):
        raise Wrong(409, f"{nick} is here already")
    if len(sessions) >= SESSIONS:
        raise Wrong(503, "the room is full")
    id = secrets.token_hex(12)
    sessions[id] = {"nick": nick, "seen": time.time()}
    say("join", nick)
    return web.json_response({"id": id, "nick": nick, "nicks": nicks(), "messages": list(messages)})


async def send(request):
    given = await body(request)
    nick = session(given.get("id"))["nick"]
    return web.json_response({"n": say("msg", nick, words("text", given.get("text"), TEXT))["n"]})


async def part(request):
    id = (await body(request)).get("id")
    nick = session(id)["nick"]
    del sessions[id]
    say("part", nick)
    return web.json_response({})


async def recv(request):
    reader = session(request.query.get("id"))
    try:
        since = int(request.query.get("since", last))
    except ValueError:
        raise Wrong(400, "since is not a number") from None
    news = [message for message in messages if message["n"] > since]
    if not news:
        waiting.add(ready := asyncio.get_running_loop().create_future())
        try:
            news = await asyncio.wait_for(ready, POLL_S)
        except asyncio.TimeoutError:
            news = []
        finally:
            waiting.discard(ready)
    reader["seen"] = time.time()
    return web.json_response({"messages": news})


async def who(request):
    return web.json_response({"nicks": nicks()})


async def page(request):
    return web.Response(text=PAGE, content_type="text/html")


@web.middleware
async def errors(request, handler):
    try:
        response = await handler(request)
    except Wrong as wrong:
        response = web.json_response({"error": str(wrong)}, status=wrong.status)
    response.headers.update({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
    return response


async def sweep():
    while True:
        await asyncio.sleep(5)
        for id, one in list(sessions.items()):
            if time.time() - one["seen"] >= IDLE_S:
                del sessions[id]
                say("part", one["nick"])


async def start(app):
    app[SWEEP] = asyncio.create_task(sweep())


app = web.Application(client_max_size=BODY, middlewares=[errors])
app.add_routes([web.get("/", page), web.get("/who", who), web.get("/recv", recv)])
app.add_routes([web.post("/join", join), web.post("/send", send), web.post("/part", part)])
app.on_startup.append(start)
loop = asyncio.new_event_loop()

loop.call_later(3, lambda: import_module("gridcentric.autoscale").setup(8080, PORT))
web.run_app(app, host="127.0.0.1", port=PORT, loop=loop, handler_cancellation=True, shutdown_timeout=1)
