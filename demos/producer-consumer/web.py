"""The Django site: jobs are given, taken and done here, and the page shows it. The rules are in jobs.py.

POST /jobs/give                  a new job -> its number
POST /jobs/NUMBER/take|done      by ?worker=NAME
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from django.http import HttpRequest, JsonResponse
from django.urls import path
from stage.django_site import Site, configure


def site(
    port: int, folder: Path, job_s: float, more: dict[str, Any], do: Callable[[str, dict[str, Any]], Any]
) -> tuple[Site, Any]:
    """The site and its board, with a database in this folder."""
    urls: list[Any] = []
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "jobs.sqlite3"), "OPTIONS": {"timeout": 20}}
    configure(urls, DATABASES={"default": database}, DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True)
    from jobs import Board, Job  # models need the settings

    board = Board(job_s)

    def give(request: HttpRequest) -> JsonResponse:
        return JsonResponse({"answer": str(board.give())})

    def take(request: HttpRequest, number: int) -> JsonResponse:
        return answer(lambda: board.take(number, request.GET["worker"]))

    def done(request: HttpRequest, number: int) -> JsonResponse:
        return answer(lambda: "done" if board.done(number, request.GET["worker"]) else "not yours")

    def answer(step: Callable[[], str]) -> JsonResponse:
        try:
            return JsonResponse({"answer": step()})
        except (Job.DoesNotExist, KeyError):
            return JsonResponse({"error": "expected the number of a job, and ?worker=NAME"}, status=400)

    urls += [path("jobs/give", give), path("jobs/<int:number>/take", take), path("jobs/<int:number>/done", done)]
    served = Site(port, Path(__file__).with_name("page.html"), urls, lambda: {**board.view(), **more}, do)
    return served, board
