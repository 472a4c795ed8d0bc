"""The languages: how the adapter of each is built and started.

It must not know cases. A language whose parts are not built raises Missing, which says what would build it.
"""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Union

from .actors import Actor, Zygote
from .hosts import ROOT, gc_binary, python_path
from .unbuilt import Missing

ADAPTERS = Path(__file__).resolve().parents[1] / "adapters"
Program = Union[list[str], Zygote]  # what starts an adapter
Command = Callable[[bool], Program]  # of: is it a master?


def python_adapter(module: str, *options: str) -> Command:
    zygote = Zygote([sys.executable, str(ADAPTERS / "zygote.py"), module, *options], environment())
    atexit.register(zygote.close)
    return lambda master: zygote


def python_binding(module: str) -> Command:
    probe = subprocess.run([sys.executable, "-c", "import gridcentric.guest"], capture_output=True, text=True, check=False)
    if probe.returncode:
        raise Missing(f"the Python binding is not installed: run `make build`\n{probe.stderr}")
    return python_adapter("python_adapter", module)


def node_adapter(form: str) -> Command:
    node = shutil.which("node")
    module = os.environ.get("GRIDCENTRIC_NODE_MODULE", str(ROOT / "node_modules" / "gridcentric"))
    if not node or not Path(module).exists():
        raise Missing(f"there is no node, or no {module}: run `make build`, or set GRIDCENTRIC_NODE_MODULE")
    return lambda master: [node, str(ADAPTERS / "node.js"), module, form]


@functools.cache
def c_program(name: str, sources: Path = ADAPTERS, library: str = "") -> str:
    """Build NAME.c, once a run, as strict C99 against the installed header and library; its path. library: the folder that
    has the library where the program will run."""
    flags = os.environ.get("GRIDCENTRIC_C_FLAGS")
    if flags is None:
        asked = [sys.executable, "-m", "gridcentric", "--cflags", "--libs"]
        probe = subprocess.run(asked, capture_output=True, text=True, check=False)
        if probe.returncode:
            raise Missing(f"`{' '.join(asked)}` failed: run `make build`, or set GRIDCENTRIC_C_FLAGS\n{probe.stderr}")
        flags = probe.stdout
    where = [f"-Wl,-rpath,{library}"] if library else []
    folder = tempfile.mkdtemp(prefix="gridcentric-adapter-")
    atexit.register(shutil.rmtree, folder)
    compiler = [
        "gcc",
        "-std=c99",
        "-D_DEFAULT_SOURCE",
        "-D_POSIX_C_SOURCE=200809L",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        "-O1",
    ]
    built = subprocess.run(
        [*compiler, "-o", f"{folder}/{name}", str(sources / f"{name}.c"), *shlex.split(flags), *where, "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise Missing(f"{name}.c does not build:\n{built.stderr}")
    return f"{folder}/{name}"


def shell_adapter() -> Command:
    script = ["bash", str(ADAPTERS / "shell.sh"), gc_binary()]
    return lambda master: [gc_binary(), "run", "--", *script] if master else script


def java_adapter() -> Command:
    """GC_JAVA selects the java that runs it."""
    java, javac = os.environ.get("GC_JAVA") or shutil.which("java"), shutil.which("javac")
    jar = Path(sys.prefix, "share", "gridcentric", "gridcentric.jar")
    if not java or not javac or not jar.exists():
        raise Missing(f"there is no JDK, or no {jar}: install default-jdk-headless and run `make build`")
    folder = tempfile.mkdtemp(prefix="gridcentric-adapter-")
    atexit.register(shutil.rmtree, folder)
    built = subprocess.run(
        [javac, "-Xlint:all", "-Werror", "--release", "17", "-cp", str(jar), "-d", folder, str(ADAPTERS / "Adapter.java")],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise Missing(f"Adapter.java does not build:\n{built.stdout}{built.stderr}")
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # to start
    silent = ["-XX:ErrorFile=/dev/null"]  # when a case kills it
    native = ["-XX:+IgnoreUnrecognizedVMOptions", "--enable-native-access=ALL-UNNAMED"]  # which Java 17 does not know
    command = ["sh", str(ADAPTERS / "java.sh"), java, *quick, *silent, *native, "-cp", f"{jar}:{folder}", "Adapter"]
    return lambda master: command


@functools.cache
def command_of(language: str) -> Command:
    make: dict[str, Callable[[], Command]] = {
        "wire": lambda: python_adapter("wire_adapter"),
        "c": lambda: lambda master: [c_program("c")],
        "python": lambda: python_binding("guest"),
        "aio": lambda: python_binding("aio"),
        "node": lambda: node_adapter("promise"),
        "node_callback": lambda: node_adapter("callback"),
        "java": java_adapter,
        "shell": shell_adapter,
    }
    return make[language]()


def make_actor(language: str) -> Callable[[str, bool, dict[str, str]], Actor]:
    """A maker of actors of this language; raises Missing."""
    command = command_of(language)

    def make(name: str, clone: bool, env: dict[str, str]) -> Actor:
        return Actor(name, command(not clone and name != "stranger"), environment() | env)

    return make


def environment() -> dict[str, str]:
    """What every adapter has: the way to the checkout's package where none is installed."""
    return {"PYTHONPATH": python_path()}
