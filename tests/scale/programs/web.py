"""An HTTP server that knows nothing of gridcentric: PORT. It answers with the address that was asked.

/slow takes 300 ms, /busy half a second of CPU, /broken is an error, /until/FILE waits for that file.
"""

import http.server
import sys
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(0.3)
        while self.path.startswith("/until/") and not Path(self.path[len("/until") :]).exists():
            time.sleep(0.01)
        if self.path == "/busy":
            until = time.process_time() + 0.5
            while time.process_time() < until:
                pass
        body = str(self.connection.getsockname()[0]).encode()
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *words: object) -> None:
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
