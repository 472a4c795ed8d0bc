"""A Django site with a demo's page: what page.py does for demos without a site, with the same paths. The urls are the demo's.

Served by threads of this process, on 127.0.0.1 only. It knows no demo."""

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
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.crypto import get_random_string

from stage.performance import in_use

HERE = Path(__file__).resolve().parent
INTERVAL_S = 0.2  # between two states of the page

logging.getLogger("django.request").setLevel(logging.ERROR)  # what a request lacked is in the answer


def configure(urls: list[Any], **more: Any) -> None:
    """Sets Django up; models can be defined afterwards. The urls may be extended until the site is made."""
    settings.configure(
        ALLOWED_HOSTS=["localhost", "127.0.0.1"],  # no name from elsewhere that has come to mean this computer
        SECRET_KEY=get_random_string(50),
        ROOT_URLCONF=type("Urls", (), {"urlpatterns": urls}),
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        LOGGING_CONFIG=None,
        **more,
    )
    django.setup()


class Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # head and body are separate writes: the second would wait 40 ms for an acknowledgement

    def log_message(self, *_: Any) -> None:
        """A line per request would be no pleasure."""


class Server(ThreadedWSGIServer):
    daemon_threads = True
    request_queue_size = 512


class Site:
    """The site. `state` returns what the page shows, `do` carries out an action of the page; both are called by threads."""

    def __init__(
        self,
        port: int,
        page: Path,
        urls: list[Any],
        state: Callable[[], dict[str, Any]],
        do: Callable[[str, dict[str, Any]], Any],
    ) -> None:
        self._state, self._do, self._open = state, do, True
        files = {"": page, "stage.css": HERE / "stage.css", "stage.js": HERE / "stage.js"}
        urls += [path(name, self._file, {"file": file}) for name, file in files.items()]
        urls += [path("events", self._events), path("do/<str:action>", self._action)]
        try:
            self._server = Server(("127.0.0.1", port), Handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise in_use(port) from None
        self._server.set_app(get_wsgi_application())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._open = False
        self._server.shutdown()
        self._server.server_close()

    def _file(self, request: HttpRequest, file: Path) -> HttpResponseBase:
        return FileResponse(file.open("rb"), headers={"Cache-Control": "no-store"})

    def _events(self, request: HttpRequest) -> HttpResponseBase:
        def states() -> Iterator[bytes]:
            while self._open:
                yield b"data: " + json.dumps(self._state()).encode() + b"\n\n"
                time.sleep(INTERVAL_S)

        return StreamingHttpResponse(states(), content_type="text/event-stream", headers={"Cache-Control": "no-store"})

    def _action(self, request: HttpRequest, action: str) -> HttpResponseBase:
        # Another site's page could send a plain form, but not this type.
        if request.method != "POST" or request.content_type != "application/json":
            return JsonResponse({"error": "expected POST with application/json"}, status=415)
        try:
            given = json.loads(request.body)
            if not isinstance(given, dict):
                raise ValueError("expected a JSON object")
            return JsonResponse(self._do(action, given), safe=False)
        except KeyError as missing:
            return JsonResponse({"error": f"{missing.args[0]} is missing"}, status=400)
        except (TypeError, ValueError) as error:
            return JsonResponse({"error": str(error)}, status=400)
