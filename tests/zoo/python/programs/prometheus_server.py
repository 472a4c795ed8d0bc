"""prometheus_client's own server: counters go on from where they were, and each clone shows its own."""

import urllib.request

from harness import family, own_address
from prometheus_client import Counter, start_http_server

requests = Counter("requests", "Requests")
server, _ = start_http_server(0, "0.0.0.0")
requests.inc(5)


def scraped(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}:{server.server_port}/metrics", timeout=60) as response:
        return next(line for line in response.read().decode().splitlines() if line.startswith("requests_total"))


def work(vmid: int) -> str:
    requests.inc(vmid)
    return scraped(own_address())


def see(address: str, vmid: int) -> None:
    assert scraped(address) == f"requests_total {5.0 + vmid}"


master, clones = family(work, see)
assert [master, *clones] == [f"requests_total {5.0 + vmid}" for vmid in range(4)]
