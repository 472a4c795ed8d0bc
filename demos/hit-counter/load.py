"""A load test by clones: each sends its share of the target rate, and joins with a report of what it measured.

    load.py URL CLONES HITS_A_SECOND SECONDS      prints one line of JSON

A request's latency counts from the moment at which it was due, so that a server that stalls is not excused from
the requests that it has kept from being sent."""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit

from counting import percentile

from gridcentric import guest


def drive(netloc, vmid, rate, seconds, late):
    """The latencies in ms, how many requests failed, and how long it took. `late`: the clones take turns."""
    connection, latencies, errors = http.client.HTTPConnection(netloc, timeout=60), [], 0
    start = time.perf_counter() + late
    for number in range(round(rate * seconds)):
        due = start + number / rate
        time.sleep(max(0, due - time.perf_counter()))
        try:
            connection.request("GET", f"/hit?form=load&vmid={vmid}")
            answer = connection.getresponse()
            answer.read()
            errors += answer.status != 200
        except (OSError, http.client.HTTPException):
            errors += 1
            connection.close()
        latencies.append((time.perf_counter() - due) * 1e3)
    return latencies, errors, time.perf_counter() - start


def main():
    url, clones, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    ticket = guest.request_ticket(clones, clones, 1, 1000)
    vmid = guest.clone(ticket)
    if vmid > 0:
        guest.sync()  # all start at the same moment
        guest.join(json.dumps(drive(urlsplit(url).netloc, vmid, rate / clones, seconds, vmid / rate)))
    guest.sync(ticket)
    latencies, errors, longest = [], 0, 0.0
    for result in guest.wait(ticket):
        if result.report is None:
            sys.exit(f"clone {result.vmid} {result.how} without a report")
        its_latencies, its_errors, its_seconds = json.loads(result.report)
        latencies += its_latencies
        errors, longest = errors + its_errors, max(longest, its_seconds)
    p50, p95, p99 = (percentile(latencies, percent) for percent in (50, 95, 99))
    print(
        json.dumps(
            {"requests": len(latencies), "rate": len(latencies) / longest, "p50": p50, "p95": p95, "p99": p99, "errors": errors}
        )
    )


main()
