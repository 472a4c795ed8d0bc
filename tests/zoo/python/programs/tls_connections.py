"""TLS: a connection to the program itself goes on in each clone, whose server still has its key and takes new connections."""

import http.client
import http.server
import ssl
import subprocess

from harness import background, family, own_address

from gridcentric import guest

MAKE_KEY = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=zoo -days 1"
subprocess.run(MAKE_KEY.split(), check=True, stderr=subprocess.DEVNULL)


class Who(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"%d" % guest.vmid())

    def log_message(self, *_: object) -> None: ...


server, context = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Who), ssl.create_default_context(cafile="cert.pem")
context.check_hostname = False
keys = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
keys.load_cert_chain("cert.pem", "key.pem")
server.socket = keys.wrap_socket(server.socket, server_side=True)
background(server.serve_forever)


def get(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/")
    return int(connection.getresponse().read())


def connect() -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(own_address(), server.server_port, context=context, timeout=60)


inherited = connect()
assert get(inherited) == 0


def work(vmid: int) -> list[object]:
    return [get(inherited), get(connect())]


master, clones = family(work)
assert [master, *clones] == [[vmid, vmid] for vmid in range(4)], (master, clones)
assert get(inherited) == 0
