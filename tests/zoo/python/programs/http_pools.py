"""Idle pools of requests, urllib3 and httpx: a clone's first request goes out on its own connection."""

import subprocess

import httpx
import requests
import urllib3
from harness import family, python

# A server outside of the family that tells a connection from another by the client's port.
SERVER = """
import http.server
class Port(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        text = str(self.client_address[1]).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(text))); self.end_headers(); self.wfile.write(text)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Port)
print(server.server_port, flush=True)
server.serve_forever()
"""
outside = subprocess.Popen(python("-c", SERVER), stdout=subprocess.PIPE, text=True)
address = f"http://127.0.0.1:{int(outside.stdout.readline())}/"
session, pool, client = requests.Session(), urllib3.PoolManager(), httpx.Client(timeout=60)


def work(vmid: int) -> list[str]:
    through_pool = pool.request("GET", address).data.decode()
    return [session.get(address, timeout=60).text, through_pool, client.get(address).text]


before = work(0)
assert work(0) == before, "the pools keep their connections"
master, clones = family(work)
assert master == before
for said in clones:
    assert not set(said) & set(before), "a clone used the master's connection"
outside.terminate()
outside.wait()
