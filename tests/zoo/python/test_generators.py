"""The rows of gridcentric/generators.def with the libraries themselves: three clones and the master draw differently, or the
library is named. A library that is not installed is skipped; scripts/requirements-zoo.txt has them all.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))  # also in a master, which runs a function of this file

from family import clone_all, reports

from gridcentric import _generators, _paths, guest

CLONES = 3

Draw = Callable[[], object]


def openssl_of_psycopg() -> Draw:
    import psycopg
    import psycopg_binary

    assert psycopg.pq.__impl__ == "binary"
    (path,) = Path(psycopg_binary.__file__).parent.parent.glob("psycopg_binary.libs/libcrypto-*")
    library = ctypes.CDLL(str(path))

    def draw() -> str:
        drawn = ctypes.create_string_buffer(16)
        assert library.RAND_bytes(drawn, 16) == 1
        return drawn.raw.hex()

    return draw


def sqlite() -> Draw:
    import sqlite3

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    return lambda: connection.execute("select hex(randomblob(16))").fetchone()[0]


def gnutls() -> Draw:
    library = ctypes.CDLL("libgnutls.so.30")

    def draw() -> list[str]:
        drawn = []
        for level in range(3):
            bytes_ = ctypes.create_string_buffer(16)
            assert library.gnutls_rnd(level, bytes_, 16) == 0
            drawn.append(bytes_.raw.hex())
        return drawn

    return draw


def random_() -> Draw:
    import random

    return random.random


def ssl_() -> Draw:
    import ssl

    return lambda: ssl.RAND_bytes(16).hex()


def uuid_() -> Draw:
    import uuid

    return lambda: str(uuid.uuid1())[9:]  # less the part of the time that differs anyway


def tempfile_() -> Draw:
    import tempfile

    return lambda: next(tempfile._get_candidate_names())  # type: ignore[attr-defined]


def numpy_() -> Draw:
    import numpy

    return lambda: float(numpy.random.random())


def torch_() -> Draw:
    import torch

    return lambda: [torch.rand(2).tolist(), torch.randperm(100).tolist()]


def numba_() -> Draw:
    import random

    import numba
    import numpy

    @numba.njit  # type: ignore[untyped-decorator]
    def draw() -> Any:
        return numpy.random.random(), random.random()

    return lambda: list(draw())


def polars_() -> Draw:
    import polars

    series = polars.Series(range(10_000))
    return lambda: [series.sample(4).to_list(), series.shuffle()[:4].to_list()]


def private_key() -> Draw:
    from cryptography.hazmat.primitives.asymmetric import ec

    return lambda: ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value


def ed25519_key() -> Draw:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return lambda: Ed25519PrivateKey.generate().private_bytes_raw().hex()


def nonce() -> Draw:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = ec.generate_private_key(ec.SECP256R1())
    return lambda: utils.decode_dss_signature(key.sign(b"the same", ec.ECDSA(hashes.SHA256())))[0]


def bson_() -> Draw:
    from bson import ObjectId

    return lambda: str(ObjectId())[8:18]  # neither the time nor the counter


def bson_counter() -> Draw:
    from bson import ObjectId

    return lambda: str(ObjectId())[18:]


def faker_() -> Draw:
    from faker import Faker

    faker = Faker()
    return lambda: faker.name() + faker.address()


def factory_boy_() -> Draw:
    from factory import fuzzy

    return lambda: fuzzy.FuzzyText(length=30).fuzz()


def ddtrace_() -> Draw:
    from ddtrace.internal.native import rand64bits

    draw: Draw = rand64bits
    return draw


def uuid_utils_() -> Draw:
    import uuid_utils

    return lambda: [str(uuid_utils.uuid4()), str(uuid_utils.uuid7())[-12:]]


# Row -> what is drawn, and whether threads other than the one that clones draw anew too.
DRAWN: dict[str, list[tuple[Callable[[], Draw], bool]]] = {
    "OpenSSL": [(openssl_of_psycopg, True), (ssl_, True)],
    "SQLite": [(sqlite, True)],
    "GnuTLS": [(gnutls, False)],
    "python-openssl": [(ssl_, True)],
    "cryptography-openssl": [(private_key, True)],
    "polars-runtime": [(polars_, True)],
    "random": [(random_, True)],
    "ssl": [(ssl_, True)],
    "uuid": [(uuid_, True)],
    "tempfile": [(tempfile_, True)],
    "numpy": [(numpy_, True)],
    "torch": [(torch_, True)],
    "numba": [(numba_, True)],
    "polars": [(polars_, True)],
    "cryptography": [(private_key, True), (ed25519_key, True), (nonce, True)],
    "bson": [(bson_, True), (bson_counter, True)],
    "faker": [(faker_, True)],
    "factory_boy": [(factory_boy_, True)],
    "ddtrace": [(ddtrace_, False)],
    "uuid_utils": [(uuid_utils_, False)],
}

# Row -> what to import, or to load. Those of TEXT rows are declared by the library's name.
NAMED: dict[str, tuple[str, str]] = {
    "uuid_utils-threads": ("uuid_utils", "uuid_utils-threads"),
    "ulid-transform": ("ulid_transform", "ulid-transform"),
    "pyarrow": ("pyarrow.compute", "pyarrow"),
    "gnutls-threads": ("libgnutls.so.30", "gnutls-threads"),
    "libgcrypt": ("libgcrypt.so.20", "libgcrypt"),
    "static OpenSSL": ("confluent_kafka", "librdkafka-"),
    "Rust's rand": ("tokenizers", "tokenizers"),
}


def prepared(function: str) -> Draw:
    draw: Draw = globals()[function]()
    return draw


def draw_in_clones(function: str) -> list[Any]:
    """In the thread that clones, and in one that has drawn before."""
    draw = prepared(function)
    asked, answered = threading.Semaphore(0), threading.Semaphore(0)
    theirs: list[object] = []

    def serve() -> None:
        while True:
            asked.acquire()
            theirs.append(draw())
            answered.release()

    def draw_everywhere() -> list[object]:
        asked.release()
        answered.acquire()
        return [draw(), theirs.pop()]

    threading.Thread(target=serve, daemon=True).start()
    draw_everywhere()
    vmid, ticket = clone_all(CLONES)
    if vmid:
        guest.join(json.dumps(draw_everywhere()))
    return [draw_everywhere(), *reports(ticket)]


def cases() -> Iterable[Any]:
    for row, drawn in DRAWN.items():
        for prepare, all_threads in drawn:
            yield pytest.param(prepare.__name__, all_threads, id=f"{row}: {prepare.__name__}")


def skip_without_library(function: str) -> None:
    """What is prepared here needs no clone; a library that is broken is a failure, one that is missing is not."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_generators as t; t.prepared({function!r})()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in ended.stderr or "cannot open shared object file" in ended.stderr:
        pytest.skip(ended.stderr.splitlines()[-1])
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("function", "all_threads"), list(cases()))
def test_each_domain_draws_anew(function: str, all_threads: bool, run: Callable[..., Any]) -> None:
    skip_without_library(function)
    domains = run(draw_in_clones, function)
    assert len(domains) == CLONES + 1
    for thread in range(2 if all_threads else 1):
        drawn = [json.dumps(domain[thread]) for domain in domains]
        assert len(set(drawn)) == CLONES + 1, drawn


def explain_with(what: str) -> str:
    if ".so" in what:
        ctypes.CDLL(what)
    else:
        importlib.import_module(what)
    return guest.explain().report


@pytest.mark.parametrize("row", NAMED)
def test_what_repeats_is_named(row: str, run: Callable[..., Any]) -> None:
    what, declared = NAMED[row]
    if ".so" in what:
        if ctypes.util.find_library(what[3:].partition(".")[0]) is None:
            pytest.skip(f"{what} is not installed")
    elif importlib.util.find_spec(what.partition(".")[0]) is None:
        pytest.skip(f"{what} is not installed")
    lines = [line for line in run(explain_with, what).splitlines() if f"random numbers of {row} (" in line]
    assert [line for line in lines if f"GRIDCENTRIC_RESEEDED={declared}" in line], lines


def test_a_jvm_is_named() -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("there is no java")
    program = "class Wait { public static void main(String[] a) throws Exception { System.out.println(); System.in.read(); } }"
    command = ["sh", "-c", f"f=$(mktemp -d)/Wait.java; echo '{program}' > $f; exec {java} $f"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        check = subprocess.run([str(_paths.GC), "check", str(process.pid)], capture_output=True, text=True, check=False)
        process.communicate(b"\n")
    assert "random numbers of Java (" in check.stdout


def test_every_row_for_python_is_tried_here() -> None:
    """But those of Java (above) and Node (tests/node/run.test.js), and those of which no library of today is known:
    tests/python tries them with one that looks like it."""
    rows = {row.name for row in _generators.ALL if row.found_as not in ("NODE", "PACKAGE")}
    assert rows - {*DRAWN, *NAMED} == {"Java", "gridcentric.jar", "Node", "LibreSSL", "Rust's fastrand"}
