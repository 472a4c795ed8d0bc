"""Serves suggestions. It counts the words of text.txt when it starts, which takes a while; suggest.py can be loaded again.

    server.py PORT LIMIT_S

GET /suggest?start=LETTERS&limit=N   {words, looked}: how many words it looked at for that
GET /words?start=LETTERS             {word: count} of all that begin so, to check with
GET /reload                          loads suggest.py again
GET /                                {started}: a number that this start alone has
"""

import importlib
import json
import secrets
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import suggest
from index import Index

LIMIT_S = float(sys.argv[2])  # of the processor's time, for a request
STARTED = secrets.token_hex(8)


def too_long(number, frame):
    raise TimeoutError(f"took more than {LIMIT_S:g} s of the processor's time")


def answer(index, path, given):
    if path == "/suggest":
        index.looked = 0
        words = suggest.suggest(index, given.get("start", ""), int(given.get("limit", 5)))
        return {"words": words, "looked": index.looked}
    if path == "/words":
        return {word: index.count(word) for word in index if word.startswith(given["start"])}
    if path == "/reload":
        importlib.reload(suggest)
        return {"reloaded": True}
    return {"started": STARTED}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        given = {name: values[-1] for name, values in parse_qs(url.query).items()}
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        try:
            status, said = 200, answer(self.server.index, url.path, given)
        except Exception as error:
            status, said = 500, {"error": f"{type(error).__name__}: {error}"}
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """A line per request would be no pleasure."""


signal.signal(signal.SIGVTALRM, too_long)
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.index = Index("text.txt")
server.serve_forever()
