"""A server of lines that knows nothing of gridcentric: PORT [deaf]. A thread for each connection; each word is answered with a
line. deaf: it ignores SIGTERM.

At the end of its input a connection is told how many bytes came.
"""

import os
import signal
import socketserver
import subprocess
import sys
import time

VISITS = [0]


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        received = 0
        for line in self.rfile:
            received += len(line)
            word, _, rest = line.decode().strip().partition(" ")
            answer = getattr(self, f"do_{word}", lambda _: "")(rest)
            if answer:
                self.wfile.write(f"{answer}\n".encode())
        self.wfile.write(f"received {received}\n".encode())

    def do_where(self, _: str) -> str:
        return str(self.connection.getsockname()[0])

    def do_visit(self, _: str) -> str:
        VISITS[0] += 1
        return str(VISITS[0])

    def do_say(self, text: str) -> str:
        print(text, flush=True)
        return "said"

    def do_child(self, text: str) -> str:
        subprocess.run(["sh", "-c", f"echo {text} >&2"], check=True)
        return "said"

    def do_big(self, megabytes: str) -> str:
        for _ in range(int(megabytes)):
            self.wfile.write(b"x" * (1 << 20))
        return "."

    def do_sleep(self, seconds: str) -> str:
        time.sleep(float(seconds))
        return "slept"

    def do_die(self, code: str) -> str:
        os._exit(int(code))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100


if sys.argv[2:] == ["deaf"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with Server(("127.0.0.1", int(sys.argv[1])), Connection) as server:
    print("ready", flush=True)
    server.serve_forever()
