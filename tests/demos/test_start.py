"""demos/start, and what the demos share: names, options, ports, signals, who may ask the page. Played with the test track,
which starts quickly."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from demo_harness import DEMOS, ROOT, Demo, demo
from playing import MAKE, START, answers, playing

COMMAND = [str(Path(sys.executable).with_name("gridcentric-demo"))]
# Nothing waits this long unless it hangs.
HANG_GUARD_S = 120


def said(*command: str, **environment: str) -> tuple[int, str]:
    env = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_GUARD_S, env=env, check=False)
    return done.returncode, done.stdout + done.stderr


def folders() -> list[str]:
    return sorted(path.parent.name for path in DEMOS.glob("*/demo.py"))


def test_without_a_name_the_demos_are_listed() -> None:
    for command in (START, COMMAND):
        code, text = said(*command)
        listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
        assert (code, sorted(listed)) == (0, sorted(["chat", *folders()]))


def test_each_demo_has_a_readme_with_a_picture_and_help() -> None:
    for name in folders():
        readme = (DEMOS / name / "README.md").read_text()
        assert f"make demo DEMO={name}\n" in readme or f"make demo DEMO={name} " in readme
        assert f"(../../docs/img/{name}.png)" in readme
        code, text = said(*COMMAND, name, "--help")
        assert code == 0 and f"usage: gridcentric-demo {name}" in text and "--port" in text


def test_the_docs_show_each_demo() -> None:
    page = (ROOT / "docs" / "demos.md").read_text()
    for name in ["chat", *folders()]:
        assert f"\n| [{name}](#" in page
    for picture in re.findall(r"!\[.*\]\((img/.*)\)", page):
        assert (ROOT / "docs" / picture).exists(), picture


def test_wrong_names_and_options() -> None:
    code, text = said(*COMMAND, "nix")
    assert code == 2 and text.startswith("gridcentric-demo: there is no demo 'nix', expected one of: chat, ")
    code, text = said(*COMMAND, "test-track", "--port", "x")
    assert code == 2 and "argument --port: 'x', expected a number from 1 to 65535" in text
    code, text = said("make", "--no-print-directory", "-C", str(ROOT), "demo", "DEMO=nix")
    assert code == 2 and text.startswith("there is no demo 'nix': make demos lists the names\n"), "before anything is built"
    code, text = said(*START, "sandbox-tree", "--keep", "/proc/nix")
    assert code == 2 and "demos/start sandbox-tree: --keep /proc/nix: no files can be written there: " in text
    code, text = said(*START, "test-track", HYPERVISOR="xen")
    assert code == 2 and "HYPERVISOR is 'xen', expected process or qemu" in text
    code, text = said(*COMMAND, "chat", "--port", "x")
    assert code == 2 and text == "gridcentric-demo chat: PORT is 'x', expected a number from 1 to 65534\n"


def test_a_missing_module_is_named() -> None:
    code, text = said(sys.executable, "-S", str(DEMOS / "start"), "test-track")
    assert code == 2 and "has no module aiohttp: pip install 'gridcentric[demos]'" in text


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            with socket.create_server(("127.0.0.1", played.port)):
                await played.start([*START, "test-track"], PORT=str(played.port))
                assert await played.process.wait() == 2
            expected = f"port {played.port} is in use: choose another, such as PORT=9000 or --port 9000"
            assert expected in played.log.read_text()
            await played.nothing_left()

    asyncio.run(main())


@pytest.mark.parametrize("command", [MAKE, START, COMMAND], ids=["make", "start", "installed"])
@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "KILL"])
def test_a_signal_ends_all(number: str, command: list[str], tmp_path: Path) -> None:
    """Also while the first lap is driven."""

    async def main() -> None:
        async with demo(tmp_path) as played:
            if command is MAKE:
                await played.start([*MAKE, "DEMO=test-track", f"PORT={played.port}"])
            else:
                await played.start([*command, "test-track", "--port", str(played.port)])
            await answers(played)
            send(played, signal.Signals[f"SIG{number}"])
            # A killed demo cannot remove its folder, which is empty here.
            await played.process.wait()
            if number == "KILL":
                for folder in played.runtime.glob("gridcentric-demo-*"):
                    folder.rmdir()
            await played.nothing_left()

    asyncio.run(main())


def test_ctrl_c_while_modules_are_loaded(tmp_path: Path) -> None:
    async def main() -> None:
        async with demo(tmp_path) as played:
            await played.start([sys.executable, "-X", "importtime", *START[1:], "test-track", "--port", str(played.port)])
            while "stage.performance" not in played.log.read_text():
                await asyncio.sleep(0.005)
            send(played, signal.SIGINT)
            await played.nothing_left()
            assert played.process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
            assert "Traceback" not in played.log.read_text()

    asyncio.run(main())


def send(played: Demo, number: signal.Signals) -> None:
    """INT and HUP come from a terminal, to all in the foreground."""
    if number in (signal.SIGINT, signal.SIGHUP):
        os.killpg(played.process.pid, number)
    else:
        played.process.send_signal(number)


def test_the_page_answers_this_computer_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            playing("test-track", tmp_path, "--accelerate", "2", "--corner", "2") as played,
            aiohttp.ClientSession() as client,
        ):
            async with client.get(played.url, headers={"Host": f"evil.example:{played.port}"}) as answer:
                assert answer.status == 403
            async with client.post(f"{played.url}/do/go", data='{"name": "cornering"}') as answer:
                assert answer.status == 415
            async with client.post(f"{played.url}/do/nix", json={}) as answer:
                assert answer.status == 404
            for given, text in (({"name": "x"}, "there is no lap 'x'"), ({}, "missing 1 required"), ([1], "must be a mapping")):
                async with client.post(f"{played.url}/do/go", json=given) as answer:
                    assert answer.status == 400 and text in (await answer.json())["error"]

    asyncio.run(main())
