"""What the autoscaler's proxy costs: a page through it beside the page straight from the clone, and beside nginx as a proxy.

The proxy, and nginx's one worker, have one processor, the clone and the clients another, where there are two.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from .host import compiled
from .report import Figure
from .servers import ROOT, free_port

CONNECTIONS = 50
SECONDS = 3
SERVERS = {"node": ["node", "demos/chat-node/server.js"], "python": [sys.executable, "demos/chat-python/server.py"]}
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream clone {{ server {clone}; keepalive {connections}; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://clone; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


def _pin(pid: int, processor: int) -> None:
    """All threads of a process on one processor."""
    if (os.cpu_count() or 1) > 1:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {processor})


@contextmanager
def nginx(clone: str) -> Iterator[int | None]:
    """nginx as a proxy to ADDRESS:PORT: its own port. None where there is no nginx."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, clone=clone, connections=CONNECTIONS, port=port))
        with subprocess.Popen([program, "-c", str(configuration), "-e", f"{folder}/error.log"]) as process:
            try:
                asyncio.run(_listens("127.0.0.1", port))
                for pid in (
                    process.pid,
                    *map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()),
                ):
                    _pin(pid, 0)
                yield port
            finally:
                process.send_signal(signal.SIGTERM)


async def _listens(address: str, port: int) -> None:
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise RuntimeError(f"nobody listens on {address}:{port}")


async def _become_user(url: str) -> tuple[str, str]:
    """Cookie of a new user of the chat, and the address of its clone."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(url) as response:
            response.raise_for_status()
            cookie = response.headers["Set-Cookie"].split(";")[0]
        async with session.get(f"{url}_gridcentric/me") as response:
            return cookie, str((await response.json())["ip"])


def _load(program: str, address: str, port: int, connections: int, cookie: str) -> tuple[float, float]:
    """Requests a second and the median of a request, ms."""
    command = [program, address, str(port), str(connections), str(SECONDS), cookie]
    if (os.cpu_count() or 1) > 1:
        command = ["taskset", "-c", "1", *command]
    rate, median = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(rate), float(median) / 1000


def _of(language: str, program: str) -> list[Figure]:
    port, app_port = free_port(), free_port()
    env = os.environ | {
        "CHAT_PORT": str(app_port),
        "GRIDCENTRIC_AUTOSCALE": json.dumps({"listenPort": port, "maxClones": 1, "usersPerClone": 1000}),
        "NODE_PATH": str(ROOT / "node_modules"),
    }
    with subprocess.Popen(SERVERS[language], cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as server:
        try:
            asyncio.run(_listens("127.0.0.1", port))
            _pin(server.pid, 1)  # where its clone is made, and stays
            cookie, ip = asyncio.run(_become_user(f"http://127.0.0.1:{port}/"))
            _pin(server.pid, 0)
            one_direct = _load(program, ip, app_port, 1, cookie)[1]
            one = _load(program, "127.0.0.1", port, 1, cookie)[1]
            many_direct = _load(program, ip, app_port, CONNECTIONS, cookie)
            many = _load(program, "127.0.0.1", port, CONNECTIONS, cookie)
            with nginx(f"{ip}:{app_port}") as other:
                nginx_one = _load(program, "127.0.0.1", other, 1, cookie)[1] if other else None
                nginx_many = _load(program, "127.0.0.1", other, CONNECTIONS, cookie) if other else (None, None)
        finally:
            server.terminate()
    what = f"a page through the proxy of {language}"
    theirs = nginx_many[0]

    def beside(direct: float, nginx_ms: float | None) -> str:
        """nginx's own ratio says how much of ours is the way through any proxy on this computer."""
        return "straight from the clone" + (f" (nginx: {nginx_ms / direct:.3g}x)" if nginx_ms else "")

    return [
        Figure("chat", what, one, "ms", beside(one_direct, nginx_one), one_direct,
               bar="at most 2.5x", met=one <= 2.5 * one_direct),
        Figure("chat", f"{what}, {CONNECTIONS} keep-alive connections", many[1], "ms", beside(many_direct[1], nginx_many[1]),
               many_direct[1], bar="at most 2.5x", met=many[1] <= 2.5 * many_direct[1]),
        Figure("chat", f"requests a second through the proxy of {language}, {CONNECTIONS} connections", many[0], "/s",
               "nginx, one worker" if theirs else "nginx is not installed (apt install nginx-light)", theirs,
               bar="at least 0.4x", met=many[0] >= 0.4 * theirs if theirs else None),
    ]  # fmt: skip


def proxies() -> list[Figure]:
    """what a page costs through the proxies of both languages, beside the clone itself and nginx"""
    with compiled("load") as program:
        return [figure for language in SERVERS for figure in _of(language, program)]
