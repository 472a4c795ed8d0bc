"""Twisted: the reactor, its threads, its timers and a server go on in each clone."""

import sys

from harness import family, get, own_address, until
from twisted.internet import reactor, task, threads
from twisted.web import resource, server

from gridcentric import guest


class Who(resource.Resource):
    isLeaf = True

    def render_GET(self, request: server.Request) -> bytes:
        return b"%d" % guest.vmid()


port = reactor.listenTCP(0, server.Site(Who()))
ticks = [0]


def tick() -> None:
    ticks[0] += 1


task.LoopingCall(tick).start(0.005)


def work(vmid: int) -> list[int]:
    before = ticks[0]
    until(lambda: ticks[0] > before + 5, "ticks of the reactor")
    in_reactor = threads.blockingCallFromThread(reactor, guest.vmid)
    return [in_reactor, get(own_address(), port.getHost().port)]


def check(result: tuple[list[int], list[list[int]]]) -> None:
    master, clones = result
    assert [master, *clones] == [[vmid, vmid] for vmid in range(4)], result


failures: list[object] = []
done = threads.deferToThread(family, work)  # the reactor runs on in the main thread
done.addCallback(check)
done.addErrback(failures.append)
done.addBoth(lambda _: reactor.stop())
reactor.run()
sys.exit(str(failures) if failures else 0)
