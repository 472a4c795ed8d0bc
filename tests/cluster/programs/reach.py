"""A master that keeps asking its clones on a cluster who they are: argv[1] clones. Prints a line of JSON whenever another
number of them has answered, with the errors of the others; ends when all have answered again after some had not."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import time
from socket import create_connection

from gridcentric import guest

MANY = int(sys.argv[1])
PORT = 81


class Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"%d" % guest.vmid())


def say(name: str, value: object) -> None:
    print(json.dumps([name, value]), flush=True)


def ask(ip: str, timeout: float) -> str:
    """Why it does not answer, or nothing."""
    try:
        with create_connection((ip, PORT), timeout=timeout) as connection:
            return "" if connection.recv(16) else "it says nothing"
    except OSError as error:
        return str(error)


threading.Thread(target=socketserver.ThreadingTCPServer(("", PORT), Answer).serve_forever, daemon=True).start()
ticket = guest.request_ticket(MANY, MANY, 1, 60000)
if guest.clone(ticket):
    guest.sync()
    time.sleep(600)
guest.sync(ticket, 240000)
clones = [domain for domain in guest.list_domains() if domain.vmid]
answered, turns = -1, 0
while turns < 2:
    errors = [error for error in (ask(clone.ip, 8) for clone in clones) if error]
    if len(clones) - len(errors) != answered:
        answered = len(clones) - len(errors)
        say("answered", [answered, errors])
        turns += answered == MANY
    time.sleep(0.2)
for clone in clones:
    guest.kill(clone.vmid)
say("ends", [[result.vmid, result.how] for result in guest.wait(ticket, 240000)])
