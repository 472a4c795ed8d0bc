"""The Django site: a page that counts hits and updates itself. The whole project is this file; counting.py counts.

GET  /hit?form=FORM&vmid=N&ms=LATENCY   counts one -> the number of hits
GET  /                                  the page
GET  /events                            what it shows, as server-sent events
POST /do/ACTION                         its buttons
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import django
from counting import Counter
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.crypto import get_random_string
from stage.page import HERE as STAGE
from stage.performance import in_use

HERE = Path(__file__).resolve().parent
FILES = {"": HERE / "page.html", "stage.css": STAGE / "stage.css", "stage.js": STAGE / "stage.js"}
INTERVAL_S = 0.2  # between two states of the page
FORMS = ("python", "shell", "load", "other")


logging.getLogger("django.request").setLevel(logging.ERROR)  # what a request lacked is in the answer


class Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # head and body are separate writes: the second would wait 40 ms for an acknowledgement

    def log_message(self, *_: Any) -> None:
        """A line per hit would be no pleasure."""


class Server(ThreadedWSGIServer):
    daemon_threads = True
    request_queue_size = 512
    allow_reuse_address = True


class Site:
    """The site, served by threads of this process. `more` is what the page shows beside the counts, `do` carries out an
    action."""

    def __init__(self, port: int, counter: Counter, more: dict[str, Any], do: Callable[[str, dict[str, Any]], Any]) -> None:
        self._counter, self._more, self._do, self._open = counter, more, do, True
        urls = [path(name, self._file, {"file": file}) for name, file in FILES.items()]
        urls += [path("hit", self._hit), path("events", self._events), path("do/<str:action>", self._action)]
        settings.configure(
            ALLOWED_HOSTS=["localhost", "127.0.0.1"],  # no name from elsewhere that has come to mean this computer
            SECRET_KEY=get_random_string(50),
            ROOT_URLCONF=tuple(urls),
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup()
        try:
            self._server = Server(("127.0.0.1", port), Handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise in_use(port) from None
        self._server.set_app(get_wsgi_application())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._open = False
        self._server.shutdown()
        self._server.server_close()

    def _file(self, request: HttpRequest, file: Path) -> HttpResponseBase:
        return FileResponse(file.open("rb"), headers={"Cache-Control": "no-store"})

    def _hit(self, request: HttpRequest) -> HttpResponseBase:
        given = request.GET
        try:
            form = given.get("form", "other")
            vmid, ms = int(given.get("vmid", "0")), float(given["ms"]) if given.get("ms") else None
        except ValueError:
            return HttpResponse("expected /hit?form=FORM&vmid=NUMBER&ms=NUMBER\n", status=400)
        if form not in FORMS or not 0 <= vmid < 10_000:
            return HttpResponse(f"expected a form of {', '.join(FORMS)} and a vmid below 10,000\n", status=400)
        return HttpResponse(f"{self._counter.hit(form, vmid, ms)}\n", content_type="text/plain")

    def _events(self, request: HttpRequest) -> HttpResponseBase:
        def states() -> Iterator[bytes]:
            while self._open:
                yield b"data: " + json.dumps({**self._counter.view(), **self._more}).encode() + b"\n\n"
                time.sleep(INTERVAL_S)

        return StreamingHttpResponse(states(), content_type="text/event-stream", headers={"Cache-Control": "no-store"})

    def _action(self, request: HttpRequest, action: str) -> HttpResponseBase:
        # Another site's page could send a plain form, but not this type.
        if request.method != "POST" or request.content_type != "application/json":
            return JsonResponse({"error": "expected POST with application/json"}, status=415)
        try:
            return JsonResponse(self._do(action, json.loads(request.body)), safe=False)
        except (TypeError, ValueError) as error:
            return JsonResponse({"error": str(error)}, status=400)
