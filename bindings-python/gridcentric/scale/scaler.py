"""The autoscaler in front of a program that is another process. Start here to read scale.

The loop, the waiting line, HTTP and the dashboard are autoscale's; the rules are in rules.py, the clones in family.py, TCP in
tcp.py.
"""

from __future__ import annotations

import asyncio
import datetime
from contextvars import ContextVar
from typing import Any, Callable, Optional

from aiohttp import web

from gridcentric import HostUnreachable
from gridcentric.autoscale.autoscaler import Autoscaler
from gridcentric.autoscale.dashboard import Dashboard
from gridcentric.autoscale.front import HttpFront
from gridcentric.autoscale.policy import Clone, Plan, Refused, User
from gridcentric.scale import processes, schedule
from gridcentric.scale.family import OrderedFamily
from gridcentric.scale.measures import Cpu, Requests
from gridcentric.scale.metrics import Histogram, Page
from gridcentric.scale.rules import Load, Rules, ScalePlan
from gridcentric.scale.settings import FIXED, Settings, Wrong, changed
from gridcentric.scale.tcp import TcpFront

ADMIN_HOST = "127.0.0.1"
ADMIN_CONNECTIONS = 100
# Of the task of a request: when it came, until the clone's answer begins.
_came: ContextVar[Optional[list[float]]] = ContextVar("came", default=None)


class Scaler(Autoscaler):
    """`lost_host` is done when the host has ended, and with it all clones."""

    _drained_text = "has been drained"
    _signalled = True  # service.py hears the signals
    policy: Rules
    family: OrderedFamily

    def __init__(self, settings: Settings, family: OrderedFamily, log: Callable[[str], Any]) -> None:
        self.settings = settings
        policy = Rules(settings, log=log)
        super().__init__(policy.options, policy, family)
        self.dashboard.metrics = self._metrics
        self._requests, self._cpu = Requests(settings.window), Cpu(settings.window)
        self._cpu_ms: dict[int, float] = {}
        self._durations = Histogram()
        self._answers: dict[str, int] = {}
        self._made = self._ended = self._failures = 0
        self._tcp: Optional[TcpFront] = None
        self._admin: Optional[HttpFront] = None
        self._admin_listener: Optional[asyncio.Server] = None
        self.lost_host: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if settings.protocol == "tcp":
            self._tcp = TcpFront(
                settings.app, settings.max_connections, enter=self._connected, exit=self._disconnected, place=self._place,
                lives=family.lives, lost=self._lost, answered=self._answered,
            )  # fmt: skip
            self._admin = HttpFront(self._administer, ADMIN_CONNECTIONS)

    def apply(self, settings: Settings) -> list[str]:
        """Go on with these settings; returns the names of those that differ. Raises Wrong for one that needs a restart."""
        names = changed(self.settings, settings)
        fixed = [name for name in names if name in FIXED]
        if fixed:
            raise Wrong(f"{', '.join(fixed)} cannot change while the program runs: start gc scale anew")
        self.settings = self.policy.settings = settings
        self.options = self.policy.options = settings.options(log=self.options.log)
        if "window" in names:
            self._requests, self._cpu = Requests(settings.window), Cpu(settings.window)
        if names:
            self._tell("settings", f"new settings: {', '.join(names)}")
        return names

    def state(self) -> dict[str, Any]:
        state = super().state()
        settings = self.settings
        target = f"{settings.target} ms" if settings.by == "latency" else f"{settings.target} %"
        counted = f"{settings.per_clone} {settings.by}{' a second' if settings.by == 'requests' else ''} a clone"
        state["options"]["scaledBy"] = f"{settings.by} at {target}" if settings.by in ("cpu", "latency") else counted
        state["options"]["minClones"] = self.policy.minimum
        return state

    async def _begin(self) -> None:
        """The program runs and its family is attached: service.py has seen to that."""
        if self._admin and self.settings.admin:
            self._admin_listener = await asyncio.get_running_loop().create_server(
                self._admin.accept, ADMIN_HOST, self.settings.admin
            )

    async def _start(self) -> None:
        if self._tcp:
            self._front = self._tcp
        await super()._start()
        self._later(self._watch_host())
        await self.tick()

    async def _watch_host(self) -> None:
        await self.family.host_ended()
        if not self.lost_host.done():
            self.lost_host.set_result(None)

    async def _one_round(self) -> None:
        try:
            await self._measure()
        except HostUnreachable:
            return
        await super()._one_round()

    async def _measure(self) -> None:
        living, loop = await self.family.look(), asyncio.get_running_loop()
        # In a thread: there may be thousands of processes to look at.
        self._cpu_ms = await loop.run_in_executor(None, processes.cpu_ms, living)
        now = self._now()
        self.policy.minimum = schedule.minimum(self.settings.schedule, self.settings.min, datetime.datetime.now())
        self._cpu.note(now, {vmid: self._cpu_ms[vmid] for vmid in self.policy.clones if vmid in self._cpu_ms})
        self.policy.load = Load(
            connections=self._front.connections,
            requests=self._requests.rate(now),
            cpu=self._cpu.average(),
            latency=self._requests.p95(now),
        )

    async def _carry_out(self, plan: Plan) -> bool:
        assert isinstance(plan, ScalePlan)
        if plan.begun:
            self._tell("drain", f"clone {_listed(plan.begun)} gets nobody new and is drained", vmids=plan.begun)
        if plan.kept:
            self._tell("drain", f"clone {_listed(plan.kept)} is needed again", vmids=plan.kept)
        if plan.begun or plan.kept or plan.request:
            self._requests.scaled(self._now())
            self._cpu.scaled(self._now())
        return await super()._carry_out(plan)

    def _drain(self, vmid: int) -> None:
        record, clone = self._records[vmid], self.policy.clones[vmid]
        record.drained_at = self._now()
        left = f" though it still has {clone.users} ({self.settings.by})" if clone.users else ""
        self._tell("drain", f"clone {vmid} is ended{left}", vmids=[vmid])
        self._later(self._ask_to_join(clone))

    async def _refresh(self, ms: Optional[float] = None) -> list[int]:
        before = set(self.policy.clones)
        added = await super()._refresh(ms)
        self._made += len(added)
        gone = before - set(self.policy.clones)
        self._ended += len(gone)
        if self._tcp:
            for vmid in gone:
                await self._tcp.forget(vmid)
        return added

    def _tell(self, kind: str, text: str, **more: Any) -> None:
        self._failures += kind == "failed"
        super()._tell(kind, text, **more)

    # -- HTTP

    async def _request(self, request: web.BaseRequest) -> web.StreamResponse:
        if Dashboard.owns(request.raw_path):
            return await self.dashboard.handle(request)
        now = self._now()
        self._requests.arrived(now)
        _came.set([now])
        response = await self.proxy.handle(request)
        kind = f"{response.status // 100}xx"
        self._answers[kind] = self._answers.get(kind, 0) + 1
        return response

    def _answered(self, clone: Clone) -> None:
        super()._answered(clone)
        came = _came.get()
        if came:
            ms = self._now() - came.pop()
            self._requests.answered(self._now(), ms)
            self._durations.add(ms / 1000)

    # -- TCP

    def _connected(self) -> User:
        if self._closing:
            raise Refused("the service is being shut down")
        user = self.policy.enter(None, None, self._now())
        self.dashboard.changed()
        return user

    def _disconnected(self, user: User) -> None:
        self.policy.leave(user, self._now())
        self.dashboard.changed()

    async def _administer(self, request: web.BaseRequest) -> web.StreamResponse:
        if Dashboard.owns(request.raw_path):
            return await self.dashboard.handle(request)
        return web.Response(status=404, text="there is /_gridcentric, the dashboard, and /_gridcentric/metrics\n")

    async def _close(self) -> None:
        await super()._close()
        if self._admin_listener:
            self._admin_listener.close()
        if self._admin:
            await self._admin.close()

    async def _end_clones(self) -> None:
        if not self.lost_host.done():  # with the host they have ended
            await super()._end_clones()

    # -- Prometheus

    def _metrics(self) -> str:
        page, policy = Page(), self.policy
        clones = policy.clones.values()
        draining = sum(clone.draining for clone in clones)
        page.add("gridcentric_clones", "gauge", "Living clones.", {
            (("state", "serving"),): len(clones) - draining, (("state", "draining"),): draining,
        })  # fmt: skip
        page.add("gridcentric_clones_min", "gauge", "The minimum of clones, by the schedule.", policy.minimum)
        page.add("gridcentric_clones_max", "gauge", "The maximum of clones.", self.settings.max)
        page.add("gridcentric_clones_made_total", "counter", "Clones made.", self._made)
        page.add("gridcentric_clones_ended_total", "counter", "Clones that have ended.", self._ended)
        why = "Times that making clones began to fail, or to fail for another reason."
        page.add("gridcentric_clone_failures_total", "counter", why, self._failures)
        page.add("gridcentric_clone_cpu_seconds_total", "counter", "CPU time of each domain; vmid 0 is the master.", {
            (("vmid", str(vmid)),): round(ms / 1000, 3) for vmid, ms in sorted(self._cpu_ms.items())
        })  # fmt: skip
        what = "connections" if self._tcp else "users"
        page.add(f"gridcentric_clone_{what}", "gauge", f"Active {what} of each clone.", {
            (("vmid", str(clone.vmid)),): clone.users for clone in clones
        })  # fmt: skip
        page.add("gridcentric_held", "gauge", "Requests or connections that wait for a clone.", len(self._held))
        page.add("gridcentric_connections", "gauge", "Open connections of clients.", policy.load.connections)
        self._add_tcp(page, self._tcp) if self._tcp else self._add_http(page)
        return page.text()

    def _add_http(self, page: Page) -> None:
        page.add("gridcentric_users", "gauge", "Active users.", self.policy.active)
        page.add("gridcentric_requests_total", "counter", "Requests answered, by the kind of status.", {
            (("status", kind),): count for kind, count in sorted(self._answers.items())
        })  # fmt: skip
        page.add("gridcentric_answer_seconds", "histogram", "From a request to the first byte of a clone's answer.",
                 self._durations)  # fmt: skip

    def _add_tcp(self, page: Page, front: TcpFront) -> None:
        page.add("gridcentric_connections_accepted_total", "counter", "Connections of clients.", front.accepted)
        page.add("gridcentric_connections_refused_total", "counter", "Connections closed because no clone was there for them.",
                 front.refused)  # fmt: skip
        page.add("gridcentric_bytes_total", "counter", "Bytes passed on.", {
            (("to", "clones"),): front.received, (("to", "clients"),): front.sent,
        })  # fmt: skip


def _listed(vmids: list[int]) -> str:
    return ", ".join(map(str, vmids))
