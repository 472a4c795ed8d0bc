"""gunicorn with a worker of threads that clones itself: in pidns mode the clones answer, though no arbiter knows them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

from harness import CLONES, get, python, say, until

from gridcentric import guest

visits: list[int] = []


def app(environ: dict, start_response) -> list[bytes]:
    said: object = [guest.vmid(), os.getppid(), len(visits)]
    if environ["PATH_INFO"] == "/clone":
        said = guest.clone(guest.request_ticket(CLONES, CLONES, 1, 0))
    elif environ["PATH_INFO"] == "/domains":
        said = [[domain.vmid, domain.ip] for domain in guest.list_domains()]
    else:
        visits.append(1)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]


if __name__ == "__main__":
    folder, module = os.path.split(__file__)
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        options = ["-k", "gthread", "--threads", "3", "-t", "60", "--bind", f"fd://{number}", "--log-level", "warning"]
        command = python("-m", "gunicorn", *options, "--chdir", folder, f"{module[:-3]}:app")
        # The arbiter ends its worker; nobody but the host could end the clones with it.
        end = {**os.environ, "GRIDCENTRIC_ON_MASTER_EXIT": "end"}
        server = subprocess.Popen(command, pass_fds=[number], stderr=open("log", "w"), env=end)
    parent = until(lambda: get("127.0.0.1", port), "gunicorn")[1]
    assert parent == server.pid
    assert get("127.0.0.1", port, "/clone") == 0
    domains = get("127.0.0.1", port, "/domains")
    assert len(domains) == 1 + CLONES
    if os.environ["GRIDCENTRIC_CLONE_MODE"] == "pidns":
        for _ in range(40):  # 2 seconds: a worker looks after its parent each second
            for vmid, address in domains:
                said = get(address if vmid else "127.0.0.1", port)
                assert said[:2] == [vmid, parent], (said, open("log").read())
            time.sleep(0.05)
    else:  # their parent is another one: the clones end by themselves
        until(lambda: len(get("127.0.0.1", port, "/domains")) == 1, "the end of the clones")
        assert get("127.0.0.1", port)[:2] == [0, parent]
    server.send_signal(signal.SIGTERM)
    assert server.wait() == 0, open("log").read()
    say(f"{CLONES} clones reported")
    sys.exit()
