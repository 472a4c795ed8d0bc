"""The jobs and who does them: Django models, and the rules by which a job is done exactly once.

The queue delivers a job at least once: again when its worker was lost or the broker restarted. So a worker must `take` a job
before it starts. That fails if the job is done, or while another worker that lives has it; only the worker that has a job can
finish it."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Optional

from django.db import connection, models

RECENT = 60  # seconds of the curve


class Job(models.Model):
    state = models.CharField(max_length=10, default="queued")  # queued, taken, done
    worker = models.CharField(max_length=40, default="")
    submitted = models.FloatField()
    taken_until = models.FloatField(default=0)
    finished = models.FloatField(default=0)
    takes = models.IntegerField(default=0)
    done = models.IntegerField(default=0)  # how often it has been done: 1 in the end

    class Meta:
        app_label = "jobs"


class Server(models.Model):
    """A worker: the process itself or a clone."""

    name = models.CharField(max_length=40, unique=True)
    asked = models.FloatField(default=0)  # when its making was asked for
    how = models.CharField(max_length=10, default="")  # "clone", "process"
    first_take = models.FloatField(default=0)
    job = models.IntegerField(default=0)  # the one it works on
    until = models.FloatField(default=0)
    done = models.IntegerField(default=0)
    ended = models.BooleanField(default=False)

    class Meta:
        app_label = "jobs"


def place(server: Server) -> tuple[bool, list[int]]:
    """Its place on the page: the first worker and its clones by vmid, whichever took a job first; then other processes."""
    return not server.name.startswith("w"), [int(number) for number in re.findall(r"\d+", server.name)]


class Board:
    """The rules. One lock makes each step atomic: all of them are called in this process."""

    def __init__(self, job_s: float) -> None:
        self._lock, self._job_s, self.refused = threading.Lock(), job_s, 0
        with connection.schema_editor() as editor:
            editor.create_model(Job)
            editor.create_model(Server)

    def give(self) -> int:
        """A new job, which its producer will put into the queue."""
        with self._lock:
            return int(Job.objects.create(submitted=time.time()).pk)

    def take(self, number: int, worker: str) -> str:
        """ "take" if the worker may do it now, "busy" if another has it, "done" if there is nothing left to do."""
        with self._lock:
            job, now = Job.objects.get(pk=number), time.time()
            if job.state == "done":
                return "done"
            if job.state == "taken" and job.worker != worker and now < job.taken_until:
                return "busy"
            job.state, job.worker, job.taken_until, job.takes = "taken", worker, now + self._job_s + 3, job.takes + 1
            job.save()
            server, _ = Server.objects.get_or_create(name=worker)
            server.first_take = server.first_take or now
            server.job, server.until = number, now + self._job_s
            server.save()
            return "take"

    def done(self, number: int, worker: str) -> bool:
        """False if the worker does not have it: a clone has its master's past, but not its job."""
        with self._lock:
            job = Job.objects.get(pk=number)
            if job.state != "taken" or job.worker != worker:
                self.refused += 1
                return False
            job.state, job.finished, job.done = "done", time.time(), job.done + 1
            job.save()
            Server.objects.filter(name=worker).update(job=0, done=models.F("done") + 1)
            return True

    def asked(self, name: str, how: str, at: float) -> None:
        """A worker is being made."""
        with self._lock:
            server, _ = Server.objects.get_or_create(name=name)
            server.asked, server.how = at, how
            server.save()

    def ended(self, name: str) -> None:
        """A worker has ended: others may take what it had."""
        with self._lock:
            Server.objects.filter(name=name).update(ended=True, job=0)
            Job.objects.filter(worker=name, state="taken").update(taken_until=0)

    def backlog(self) -> int:
        return Job.objects.filter(state="queued").count()

    def unfinished(self) -> set[int]:
        return set(Job.objects.exclude(state="done").values_list("pk", flat=True))

    def twice(self) -> int:
        return Job.objects.filter(done__gt=1).count()

    def counts(self) -> tuple[int, int]:
        """Submitted, done."""
        return Job.objects.count(), Job.objects.filter(state="done").count()

    def firsts(self, how: str) -> list[float]:
        """ms from asking for a worker to its first job."""
        servers = Server.objects.filter(how=how, first_take__gt=0, asked__gt=0)
        return [(server.first_take - server.asked) * 1e3 for server in servers]

    def view(self) -> dict[str, Any]:
        """What the page shows."""
        now = time.time()
        submitted, done = self.counts()
        finished = Job.objects.filter(finished__gt=now - RECENT).values_list("finished", flat=True)
        curve = [0] * RECENT
        for at in finished:
            curve[max(0, min(RECENT - 1, RECENT - 1 - int(now - at)))] += 1
        living = sorted(Server.objects.filter(ended=False), key=place)
        workers = [self._worker(server, now) for server in living]
        return {"submitted": submitted, "done": done, "backlog": self.backlog(), "curve": curve, "workers": workers}

    def _worker(self, server: Server, now: float) -> dict[str, Any]:
        first: Optional[float] = (server.first_take - server.asked) * 1e3 if server.asked and server.first_take else None
        share = 1 - (server.until - now) / self._job_s if server.job else None
        shown = {"name": server.name, "job": server.job, "done": server.done, "first": first, "how": server.how}
        return {**shown, "share": None if share is None else round(max(0.0, min(1.0, share)), 3)}
