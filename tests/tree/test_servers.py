"""Servers of other people, with workers or threads, cloned with all their processes while they answer. Those that
are not installed are not tried; `nox -s tree-long` installs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import pytest
from from_outside import HANG_GUARD_S, clone_of, get, until

APACHE = """
ServerRoot {folder}
ServerName localhost
Listen {port}
PidFile {folder}/pid
ErrorLog {folder}/errors
DefaultRuntimeDir {folder}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
DocumentRoot {folder}/pages
StartServers 2
"""
# Without the second line its worker may make no process, and so no clone.
HAPROXY = """
global
  insecure-fork-wanted
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend all
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain string hello
"""
LIGHTTPD = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{folder}/pages"
server.max-worker = 2
index-file.names = ("index.html")
"""
SUPERVISOR = """
[supervisord]
nodaemon=true
logfile={folder}/log
pidfile={folder}/pid
[program:web]
command=python3 -m http.server {port} --bind 127.0.0.1 --directory {folder}/pages
[program:other]
command=sh -c "while :; do sleep 1; done"
"""
UWSGI = """
def application(environment, start):
    start("200 OK", [])
    return [b"hello"]
"""
VARNISH = """
vcl 4.1;
backend default none;
sub vcl_recv { return (synth(200, "hello")); }
"""
# By name: the text of its file, and what starts it.
SERVERS = {
    "apache2": (APACHE, "apache2 -f {file} -DFOREGROUND"),
    "haproxy": (HAPROXY, "haproxy -W -db -f {file}"),
    "lighttpd": (LIGHTTPD, "lighttpd -D -f {file}"),
    "supervisord": (SUPERVISOR, "supervisord -c {file}"),
    "uwsgi": (
        UWSGI,
        "uwsgi --plugin python3 --http-socket 127.0.0.1:{port} --master --die-on-term --processes 2 --wsgi-file {file}",
    ),
    "varnishd": (VARNISH, "varnishd -F -a 127.0.0.1:{port} -f {file} -n {folder}/varnish -s malloc,16m"),
}
# An ordinary user: as root some of them refuse to serve, and others change their user, which a clone can't have.
USER = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups") if os.geteuid() == 0 else ()


def clone_once_it_listens(master: Any, environment: dict[str, str]) -> list[str]:
    """HAProxy's master executes itself anew when its worker answers already."""
    try:
        return clone_of(master.pid, 3, environment, USER)
    except AssertionError as error:
        if "for orders" not in str(error):  # not yet, or not any more
            raise
        raise OSError from error


@pytest.mark.parametrize("name", SERVERS)
def test_server(new_tree: Any, free_port: int, name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"not tried: {name} is missing")
    tree, port = new_tree(GRIDCENTRIC_ON_MASTER_EXIT="end"), free_port
    tree.environment["HOME"] = str(tree.folder)
    text, command = SERVERS[name]
    (tree.folder / "pages").mkdir()
    (tree.folder / "pages" / "index.html").write_text("hello")
    values = {"folder": tree.folder, "port": port, "file": tree.folder / "file"}
    (tree.folder / "file").write_text(text if name in ("uwsgi", "varnishd") else text.format(**values))
    tree.folder.chmod(0o777)
    for folder in tree.folder.parents:
        if not folder.stat().st_mode & 0o001:  # pytest's are the user's own
            folder.chmod(0o755)
    master = tree.start(*command.format(**values).split(), user=USER)
    until(lambda: get("127.0.0.1", port))
    addresses = until(lambda: clone_once_it_listens(master, tree.environment))
    assert ["hello" in get(address, port) for address in ["127.0.0.1", *addresses]] == [True] * 4
    master.terminate()
    master.wait(HANG_GUARD_S)


def sql(address: str, port: int, text: str) -> str:
    command = ["mariadb", "--no-defaults", "--skip-ssl", f"-h{address}", f"-P{port}", "-N", "-e", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_GUARD_S)
    if done.returncode != 0:
        raise OSError(done.stderr)
    return done.stdout.strip()


def test_mariadb(new_tree: Any, free_port: int) -> None:
    """With its data folder private: master and clones write apart."""
    if not shutil.which("mariadbd"):
        pytest.skip("not tried: mariadbd is missing")
    tree, port = new_tree(GRIDCENTRIC_ON_MASTER_EXIT="end"), free_port
    data = tree.folder / "data"
    data.mkdir()
    command = [
        "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={tree.folder}/socket", f"--port={port}", "--user=root",
        "--bind-address=127.0.0.1", "--skip-grant-tables", f"--pid-file={tree.folder}/pid",
    ]  # fmt: skip
    master = tree.start(*command, options=("--tree", f"--private-files={data}"))
    until(lambda: sql("127.0.0.1", port, "create database if not exists d"))
    sql("127.0.0.1", port, "create table d.t (i int) engine=innodb; insert into d.t values (1), (2)")
    addresses = ["127.0.0.1", *clone_of(master.pid, 3, tree.environment)]
    for number, address in enumerate(addresses):
        sql(address, port, f"insert into d.t values ({10 + number})")
    said = [sql(address, port, "select group_concat(i order by i) from d.t") for address in addresses]
    assert said == [f"1,2,{10 + number}" for number in range(4)]
    master.terminate()
    master.wait(HANG_GUARD_S)
