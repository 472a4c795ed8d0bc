"""A server in a VM: answers with the machine's name and how often its memory has been asked."""

from __future__ import annotations

import http.server
import socket


class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        Handler.asked += 1
        body = f"{socket.gethostname()} {Handler.asked}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("", 80), Handler)
print("listening", flush=True)
server.serve_forever()
