"""PostgreSQL with all its processes. Each domain has its own files and writes into them.

GC_REPEAT=N plays it N times, GC_LONG=1 with 100 MB as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from runner.hosts import gc_binary

repeated = pytest.mark.parametrize("repeat", range(int(os.environ.get("GC_REPEAT", "1"))))
at_length = pytest.mark.skipif("GC_LONG" not in os.environ, reason="not tried: GC_LONG is not set")

# In the tree: the server, and a client that has a session and a transaction open.
INSIDE = """
postgres -D data -p $1 -c listen_addresses='*' -k $PWD &
server=$!
trap 'kill -INT $server; wait $server; exit 0' TERM
tries=0
until psql -qAt -h 127.0.0.1 -p $1 -U me postgres -c 'select 1' > first 2>&1; do
  tries=$((tries+1)); [ $tries -lt 300 ] || { cat first; exit 1; }
  sleep 0.1
done
coproc session { exec psql -qAt -h 127.0.0.1 -p $1 -U me postgres; }
echo "create table said (vmid int); create temp table mine as select 7 as n; begin; select 'begun';" >&${session[1]}
read -u ${session[0]} begun
echo $begun > begun
until [ -e cloned ]; do sleep 0.05; done
vmid=$(gc vmid)
ask="select 'session', min(n), string_agg(vmid::text, ',') from mine, said"
echo "insert into said values ($vmid); commit; $ask;" >&${session[1]}
read -u ${session[0]} answer
echo "$answer" > session.part.$vmid
mv session.part.$vmid session.$vmid
wait $server
"""
OUTSIDE = """
set -e
exec 2>&1
port=$1 rows=$2
gc run --tree --private-files=data -- bash inside $port > log 2>&1 &
master=$!
ask() { timeout 60 psql -qAt -h $1 -p $port -U me postgres -c "$2"; }
soon() { tries=0; until [ -e $1 ]; do tries=$((tries+1)); [ $tries -lt 600 ] || { cat log; exit 1; }; sleep 0.1; done; }
soon begun
ask 127.0.0.1 "create table t as select n, repeat(md5(n::text), 4) as text from generate_series(1, $rows) n"
ask 127.0.0.1 'create index on t (n)'
ask 127.0.0.1 "select case when pg_database_size('postgres') > $rows * 130.0 then 'large enough' end"
coproc outside { exec psql -qAt -h 127.0.0.1 -p $port -U me postgres; }
echo "begin; insert into t values (-1, 'master'); select 'begun';" >&${outside[1]}
read -u ${outside[0]} begun
addresses=$(gc clone --of $master -n 3 | awk '{print $3}')
touch cloned
echo "commit; select 'the session outside goes on';" >&${outside[1]}
read -u ${outside[0]} answer
echo $answer
for number in 0 1 2 3; do soon session.$number; cat session.$number; done
for address in 127.0.0.1 $addresses; do ask $address "select count(*) - $rows from t where length(text) = 128 or n < 0"; done
number=0
for address in 127.0.0.1 $addresses; do
  number=$((number+1))
  ask $address "insert into t select n, repeat(md5(n::text), 4) from generate_series(1, 1000 * $number) n; checkpoint"
done
for address in 127.0.0.1 $addresses; do ask $address "select count(*) - $rows from t"; done
for address in 127.0.0.1 $addresses; do
  timeout 120 pg_amcheck -h $address -p $port -U me --heapallindexed --install-missing postgres
done
for address in 127.0.0.1 $addresses; do ask $address 'select count(*) > 3 from pg_stat_activity'; done
family=$(gc ps | awk -v pid=$master '$6 == pid {print $1}')
kill -TERM $master
wait $master || true
gc end $family > ended 2>&1 || true
"""


@repeated
@pytest.mark.parametrize("rows", [1000, pytest.param(600_000, marks=at_length)])
def test_postgresql(tree: Any, free_port: int, rows: int, repeat: int) -> None:
    """Its processes share memory, semaphores, pipes and sockets, and signal each other by their pids. A session of a client in
    the tree goes on in every domain, one from outside in the master; the clones have rolled it back."""
    programs = Path("/usr/lib/postgresql")
    versions = sorted(programs.iterdir()) if programs.exists() else []
    if not versions:
        pytest.skip("not tried: postgresql is missing")
    before: tuple[str, ...] = ()
    folder = Path(tempfile.mkdtemp(prefix="gc-postgres-"))
    (folder / "inside").write_text(INSIDE)
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        before = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        os.chown(folder, 65534, 65534)
    own_gc = str(Path(gc_binary()).parent)
    environment = tree.environment | {"PATH": f"{versions[-1]}/bin:{own_gc}:{os.environ['PATH']}", "HOME": str(folder)}
    try:
        initialise = [*before, "initdb", "-D", "data", "-A", "trust", "-U", "me", "--no-sync"]
        subprocess.run(initialise, env=environment, cwd=folder, check=True, capture_output=True)
        said = subprocess.run(
            [*before, "bash", "-c", OUTSIDE, "bash", str(free_port), str(rows)],
            env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        expected = ["large enough", "the session outside goes on", *(f"session|7|{vmid}" for vmid in range(4))]
        expected += ["1", "0", "0", "0", "1001", "2000", "3000", "4000", *["t"] * 4]
        assert said.stdout.splitlines() == expected, (said, (folder / "log").read_text())
    finally:
        shutil.rmtree(folder)
