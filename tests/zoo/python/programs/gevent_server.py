"""gevent with everything patched: greenlets, a WSGI server and the pool of real threads go on in each clone."""

from gevent import monkey

monkey.patch_all()

import gevent
from gevent.pywsgi import WSGIServer
from harness import family, get

from gridcentric import guest

ticks = [0]


def tick() -> None:
    while True:
        ticks[0] += 1
        gevent.sleep(0.005)


def app(environ: dict, start_response) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b"%d" % guest.vmid()]


server = WSGIServer(("0.0.0.0", 0), app, log=None)
server.start()
gevent.spawn(tick)
threads = gevent.get_hub().threadpool
assert threads.apply(sum, (range(100),)) == 4950


def work(vmid: int) -> int:
    # In a separate greenlet: the calls of the family do not switch greenlets.
    before = ticks[0]
    while ticks[0] < before + 5:
        gevent.sleep(0.001)
    address = guest.my_ip() if vmid else "127.0.0.1"
    assert threads.apply(sum, (range(100),)) == 4950
    return gevent.spawn(get, address, server.server_port).get(timeout=60)


master, clones = family(work)
assert [master, *clones] == [0, 1, 2, 3], (master, clones)
server.stop()
