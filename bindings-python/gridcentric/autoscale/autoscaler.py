"""The loop: every interval list the family, plan, clone or drain, let the held requests go, check the clones' health.

Start here to read autoscale. The rules are in policy.py, the clones in family.py, the traffic in proxy.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Optional

from aiohttp import web

from gridcentric import Error, HostUnreachable, aio
from gridcentric.autoscale import clone_side
from gridcentric.autoscale.dashboard import Dashboard
from gridcentric.autoscale.family import Family, OwnFamily
from gridcentric.autoscale.front import Front, HttpFront
from gridcentric.autoscale.options import Options
from gridcentric.autoscale.policy import Clone, Plan, Policy, Refused, User
from gridcentric.autoscale.proxy import Proxy
from gridcentric.autoscale.users import Users
from gridcentric.results import TicketInfo

UNHEALTHY_AFTER = 3  # health checks failed in a row
DRAIN_GRACE_MS = 5000  # a clone that was asked to join and still lives is killed
CLOSING = "the service is being shut down"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Record:
    """What is shown and watched of a clone."""

    at: int
    ms: Optional[float] = None  # what the cloning took
    of: int = 1  # clones made in that cloning
    first_answer: Optional[int] = None
    failures: int = 0  # health checks, in a row
    checking: bool = False
    drained_at: Optional[float] = None
    killed: bool = False


class Autoscaler:
    """Made by setup(). `ready` is done once the proxy listens, or failed with the reason."""

    _drained_text = "has joined"
    _signalled = False  # by Ctrl-C or SIGTERM

    def __init__(self, options: Options, policy: Optional[Policy] = None, family: Optional[Family] = None) -> None:
        """policy, family: for one who does not scale this process by its users (gridcentric.scale)."""
        self.options = options
        self.policy = policy or Policy(options)
        self.users = Users(options.users, options.trust_proxy)
        self.family = family or OwnFamily(options.listen_port)
        self._held: list[tuple[User, asyncio.Future[Clone]]] = []
        self._records: dict[int, Record] = {}
        self._tickets: list[TicketInfo] = []
        self._problem: Optional[str] = None
        self._round: Optional[asyncio.Task[None]] = None
        self._closing: Optional[asyncio.Task[None]] = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop_task: Optional[asyncio.Task[None]] = None
        self._listener: Optional[asyncio.Server] = None
        self.dashboard = Dashboard(options.dashboard, options.trust_proxy, self.state, self._me, options.clock)
        self.proxy = Proxy(
            options.app_port,
            self.family,
            max(1, -(-options.interval // 1000)),
            request_timeout=options.request_timeout,
            trust_proxy=options.trust_proxy,
            enter=self._enter,
            exit=lambda user: self.policy.exit(user, self._now()),
            place=self._place,
            lost=self._lost,
            answered=self._answered,
            cookie=self.users.cookie,
            listener=self.users.listener,
        )
        self._front: Front = HttpFront(self._request, options.max_connections)
        self.ready = asyncio.ensure_future(self._start())
        self.ready.add_done_callback(self._started)

    def tick(self) -> asyncio.Task[None]:
        """One round, as every interval. Done when it is over; rounds never overlap."""
        if self._round is None or self._round.done():
            self._round = asyncio.ensure_future(self._one_round())
        return self._round

    def state(self) -> dict[str, Any]:
        """What the dashboard shows."""
        options = self.options
        clones = []
        for clone in self.policy.clones.values():
            record = self._records[clone.vmid]
            clones.append({
                "vmid": clone.vmid, "parent": 0, "ip": clone.ip, "users": clone.users, "draining": clone.draining,
                "ms": record.ms, "of": record.of, "at": record.at, "firstAnswer": record.first_answer,
                "healthy": record.failures == 0,
            })  # fmt: skip
        return {
            "master": {
                **self.family.about_master(), "listenPort": options.listen_port, "appPort": options.app_port,
            },
            "options": {
                "usersPerClone": options.users_per_clone, "minClones": options.min_clones,
                "maxClones": options.max_clones, "interval": options.interval,
                "strategy": options.strategy if isinstance(options.strategy, str) else "function",
            },
            "users": self.policy.active, "held": len(self._held), "clones": clones,
            "tickets": [ticket._asdict() for ticket in self._tickets], "problem": self._problem,
        }  # fmt: skip

    def close(self) -> asyncio.Task[None]:
        """Accept nothing new; end all clones once what is under way has ended, or been cut off after `end_limit` ms.

        The app in this process goes on.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        return self._closing

    def cut_off(self) -> bool:
        """What is under way when this closes is waited for no longer. Whether it was waited for."""
        return self._front.cut_off()

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self.options.signals:
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._signal)
        await self._begin()
        self._listener = await loop.create_server(self._front.accept, self.options.host, self.options.listen_port, backlog=1024)
        self._loop_task = asyncio.ensure_future(self._run())

    async def _begin(self) -> None:
        """What comes before the first connection."""
        await aio.vmid()  # from here on who we are is known from memory

    def _started(self, ready: asyncio.Future[None]) -> None:
        if not ready.cancelled() and ready.exception():
            self.options.log(f"autoscale did not start: {ready.exception()}")

    async def _run(self) -> None:
        while not self.family.is_clone():
            await asyncio.sleep(self.options.interval / 1000)
            await asyncio.shield(self.tick())

    async def _one_round(self) -> None:
        failure = None
        try:
            try:
                await self._refresh()
            except HostUnreachable:
                # A private host that has died in the middle of a call has a successor with the next one.
                await self._refresh()
            self.policy.expire(self._now())
            if not self._closing and await self._carry_out(self.policy.plan(self._now())):
                return  # in the clone
            self._problem = None
        except Error as error:
            failure = _to_users(error)
            if not self._closing and str(error) != self._problem:
                self._tell("failed", f"no clone could be made: {error}", reason=str(error))
            self._problem = str(error)
        self._settle(failure)
        for clone in list(self.policy.clones.values()):
            self._later(self._check(clone))
        with contextlib.suppress(Error):  # the next round says so
            self._tickets = await self.family.ledger()
        self.dashboard.point(self.policy.active, len(self.policy.clones))

    async def _refresh(self, ms: Optional[float] = None) -> list[int]:
        """What the host says of the family becomes what the policy knows."""
        added, lost = self.policy.observe(await self.family.living(), self._now())
        for vmid in added:
            self._records[vmid] = Record(round(self._now() - self.dashboard.started), ms, len(added))
        for vmid in lost:
            drained = self._records.pop(vmid).drained_at is not None
            self._later(self.proxy.forget(vmid))
            self._tell("ended", f"clone {vmid} {self._drained_text if drained else 'has ended'}", vmids=[vmid])
        return added

    async def _carry_out(self, plan: Plan) -> bool:
        """True in a clone."""
        for vmid in plan.drain:
            self._drain(vmid)
        return plan.request > 0 and await self._grow(plan.request)

    async def _grow(self, count: int) -> bool:
        """True in a clone."""
        before = time.monotonic()
        if await self.family.grow(count) > 0:
            await self._become_clone()
            return True
        ms = round((time.monotonic() - before) * 1000, 1)
        added = await self._refresh(ms)
        if added:
            self._tell("cloned", f"clone {', '.join(map(str, added))} in {ms} ms", vmids=added, ms=ms)
        return False

    async def _become_clone(self) -> None:
        """From here on this process is a plain app: the proxy's connections and held requests are the master's."""
        if self._loop_task:
            self._loop_task.cancel()
        for _, place in self._held:
            place.cancel()
        self._held.clear()
        self.dashboard.close()
        await self.proxy.close()
        await self._front.close()

    def _drain(self, vmid: int) -> None:
        self._records[vmid].drained_at = self._now()
        self._tell("drain", f"clone {vmid} has no users and is asked to join", vmids=[vmid])
        self._later(self._ask_to_join(self.policy.clones[vmid]))

    async def _ask_to_join(self, clone: Clone) -> None:
        try:
            await self.family.drain(clone)
        except Exception:
            await self._kill(clone.vmid, "did not take the request to join")

    async def _check(self, clone: Clone) -> None:
        record = self._records.get(clone.vmid)
        if not record or record.checking:
            return
        if record.drained_at is not None:
            if self._now() - record.drained_at > DRAIN_GRACE_MS:
                await self._kill(clone.vmid, "did not join")
            return
        record.checking = True
        try:
            answered = await self.family.answers(clone)
        except Exception:
            answered = False
        record.checking = False
        # One that is too busy to say so, but sends what it is asked for, makes progress.
        healthy = self.proxy.has_spoken(clone.vmid) or answered
        record.failures = 0 if healthy else record.failures + 1
        if record.failures == UNHEALTHY_AFTER:
            await self._kill(clone.vmid, f"did not answer {UNHEALTHY_AFTER} health checks")

    async def _kill(self, vmid: int, why: str) -> None:
        record = self._records.get(vmid)
        if not record or record.killed:  # once is enough, though it may still be listed in the next round
            return
        record.killed = True
        self._tell("killed", f"clone {vmid} {why}: it is ended", vmids=[vmid])
        try:
            await self.family.kill(vmid)
        except Error as error:
            record.killed = False
            self.options.log(f"clone {vmid} could not be ended: {error}")

    def _enter(self, request: web.BaseRequest) -> User:
        if self._closing:
            raise Refused(CLOSING)
        user = self.policy.enter(*self.users.of(request), self._now())
        self.dashboard.changed()
        return user

    async def _place(self, user: User) -> Clone:
        """The clone the user goes to; later, when there is none yet. Raises Refused when there will be none."""
        clone = self.policy.place(user, self._now())
        if clone:
            return clone
        if self._closing:
            raise Refused(CLOSING)
        if len(self._held) >= self.options.max_held:
            raise Refused(f"{len(self._held)} requests are waiting for a clone already")
        place: asyncio.Future[Clone] = asyncio.get_running_loop().create_future()
        entry = (user, place)
        self._held.append(entry)
        limit = self.options.hold_timeout
        try:
            return await asyncio.wait_for(place, limit / 1000)
        except asyncio.TimeoutError:
            raise Refused(f"no clone came within {limit} ms") from None
        finally:
            if entry in self._held:
                self._held.remove(entry)

    def _settle(self, failure: Optional[str]) -> None:
        """After a round the held requests go where they can; with a failure and no clone at all they are refused."""
        for entry in list(self._held):
            user, place = entry
            if place.done():
                continue
            try:
                clone = self.policy.place(user, self._now(), final=True)
                if not clone and not failure:
                    continue
                if clone:
                    place.set_result(clone)
                else:
                    place.set_exception(Refused(f"no clone could be made: {failure}"))
            except Refused as refused:
                place.set_exception(refused)
            self._held.remove(entry)

    async def _lost(self) -> None:
        try:
            await self._refresh()
        except Error as error:
            raise Refused(_to_users(error)) from error

    def _answered(self, clone: Clone) -> None:
        record = self._records.get(clone.vmid)
        if record and record.first_answer is None:
            record.first_answer = round(self._now() - self.dashboard.started - record.at)

    def _me(self, request: web.BaseRequest) -> dict[str, Any]:
        id, given = self.users.of(request)
        user = self.policy.find(given or id)
        clone = self.policy.clones.get(user.vmid) if user and user.vmid is not None else None
        family = {"clones": len(self.policy.clones), "users": self.policy.active}
        if clone:
            return {"vmid": clone.vmid, "ip": clone.ip, "here": clone.users, **family}
        return {"vmid": None, "ip": None, "here": 0, **family}

    async def _request(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.family.is_clone():
            return await clone_side.answer(request, self.family.token)
        if Dashboard.owns(request.raw_path):
            return await self.dashboard.handle(request)
        return await self.proxy.handle(request)

    async def _close(self) -> None:
        await asyncio.wait([self.ready])
        if self._listener:
            self._listener.close()
        for _, place in self._held:
            if not place.done():
                place.set_exception(Refused(CLOSING))
        self.dashboard.close()
        ends_wait = "; a second signal ends the wait" if self._signalled else ""
        await self._front.end(self.options.end_limit, self.options.log, ends_wait)
        if self.family.is_clone():
            return  # made in the meantime: its master ends it
        for number in _SIGNALS if self.options.signals else ():
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._loop_task:
            self._loop_task.cancel()
        if self._round:
            await asyncio.wait([self._round])  # a cloning that is under way ends first
        await self._end_clones()
        await self.proxy.close()

    async def _end_clones(self) -> None:
        try:
            await self.family.end_all()
        except Error as error:
            self.options.log(f"the clones could not be ended: {error}")

    def _signal(self) -> None:
        """Ctrl-C or SIGTERM: the family ends, then this process does, as aiohttp's own servers do. A second time: at once."""
        again, self._signalled = self._signalled, True
        if self.family.is_clone():
            clone_side.stop(0 if again else self.options.end_limit)
            return
        if self._closing:
            self.cut_off()
        if not again:
            self.close().add_done_callback(lambda _: self.family.is_clone() or asyncio.get_running_loop().call_soon(_exit))

    def _tell(self, kind: str, text: str, **more: Any) -> None:
        self.options.log(text)
        self.dashboard.note(kind, text)
        try:
            self.options.on_scale({
                "kind": kind, "users": self.policy.active, "clones": len(self.policy.clones), **more,
            })  # fmt: skip
        except Exception as error:
            self.options.log(f"on_scale failed: {error!r}")

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return self.options.clock()


def _to_users(error: Error) -> str:
    """Why there is no clone, for the world: where the host's socket is concerns nobody there."""
    return "the host of the clones does not answer" if isinstance(error, HostUnreachable) else str(error)


def _exit() -> None:
    raise web.GracefulExit
