"""The Django site: a page that counts hits and updates itself. The whole project is this file; counting.py counts,
stage.django_site serves.

GET  /hit?form=FORM&vmid=N&ms=LATENCY   counts one -> the number of hits
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from counting import Counter
from django.http import HttpRequest, HttpResponse
from django.urls import path
from stage.django_site import Site, configure

FORMS = ("python", "shell", "load", "other")


def site(port: int, counter: Counter, more: dict[str, Any], do: Callable[[str, dict[str, Any]], Any]) -> Site:
    """The site. `more` is what the page shows beside the counts, `do` carries out an action."""

    def hit(request: HttpRequest) -> HttpResponse:
        given = request.GET
        try:
            form = given.get("form", "other")
            vmid, ms = int(given.get("vmid", "0")), float(given["ms"]) if given.get("ms") else None
        except ValueError:
            return HttpResponse("expected /hit?form=FORM&vmid=NUMBER&ms=NUMBER\n", status=400)
        if form not in FORMS or not 0 <= vmid < 10_000:
            return HttpResponse(f"expected a form of {', '.join(FORMS)} and a vmid below 10,000\n", status=400)
        return HttpResponse(f"{counter.hit(form, vmid, ms)}\n", content_type="text/plain")

    urls = [path("hit", hit)]
    configure(urls)
    return Site(port, Path(__file__).with_name("page.html"), urls, lambda: {**counter.view(), **more}, do)
