"""A master and its clones on a cluster: argv[1] clones that reach one another and report; with "lose", they stay until their
computer has been killed. Prints a line of JSON for each thing that the test looks at."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
import urllib.request

import gridcentric
from gridcentric import guest

MANY, LOSE = int(sys.argv[1]), "lose" in sys.argv
INHERITED = os.urandom(8).hex()


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = json.dumps([guest.vmid(), guest.my_ip(), INHERITED]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words: object) -> None:
        pass


def say(name: str, value: object) -> None:
    print(json.dumps([name, value]), flush=True)


def everybody() -> list[list[object]]:
    found = []
    for domain in guest.list_domains():
        with urllib.request.urlopen(f"http://{domain.ip}/", timeout=60) as answer:
            vmid, ip, inherited = json.load(answer)
            found.append([vmid, ip == domain.ip, inherited == INHERITED])
    return sorted(found)


if not LOSE:
    threading.Thread(target=http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever, daemon=True).start()
ticket = guest.request_ticket(MANY, MANY, 1, 60000)
if guest.clone(ticket):
    guest.sync()
    if LOSE:
        time.sleep(600)
    seen = everybody()  # a clone reaches all others, wherever they are
    guest.sync()
    grandchild = guest.request_ticket(1, 1, 1, 60000) if guest.vmid() == 1 else None
    if grandchild is not None and guest.clone(grandchild):
        guest.join(b"a clone's clone")
    if grandchild is not None:
        seen.append([result.report.decode() for result in guest.wait(grandchild, 240000)])
    guest.join(json.dumps(seen).encode())
guest.sync(ticket, 240000)
say("synced", None)
if LOSE:
    try:
        guest.sync(ticket, 240000)
    except gridcentric.BarrierBroken as error:
        say("broken", str(error))
    living = [domain.vmid for domain in guest.list_domains() if domain.vmid]
    say("living", living)
    for vmid in living:
        guest.kill(vmid)
    say("ends", [[result.vmid, result.how] for result in guest.wait(ticket, 240000)])
    again = guest.request_ticket(1, 1, 1, 60000)  # what is left of the cluster goes on
    if guest.clone(again):
        guest.join(b"after the loss")
    say("again", [result.report.decode() for result in guest.wait(again, 240000)])
else:
    say("master", everybody())
    guest.sync(ticket, 240000)
    say("reports", [json.loads(result.report) for result in guest.wait(ticket, 240000)])
