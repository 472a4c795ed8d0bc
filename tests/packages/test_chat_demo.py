"""The chat after only `pip install` or only `npm install`: gridcentric-chat-demo starts what `make demo` starts."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import venv
from pathlib import Path

import aiohttp
import pytest
from demo_harness import Chatter, Demo, demo


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory, wheel: Path, tarball: Path) -> dict[str, list[str]]:
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=True)
    pip = [str(place / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"{wheel}[autoscale]"], check=True)
    (place / "package.json").write_text(json.dumps({"name": "users", "private": True}))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", str(tarball)], cwd=place, check=True)
    return {
        "python": [str(place / "venv" / "bin" / "gridcentric-chat-demo")],
        "node": ["npx", "--prefix", str(place), "--no-install", "gridcentric-chat-demo"],
    }


def listeners(port: int) -> set[str]:
    """The addresses that somebody listens on at this port."""
    listed = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return {line.split()[3].rpartition(":")[0] for line in listed.stdout.splitlines()}


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_chat(commands: dict[str, list[str]], language: str, tmp_path: Path) -> None:
    async def test(chat: Demo) -> None:
        await chat.start([*commands[language], "--port", str(chat.port), "--crowd=3"], VIRTUAL_ENV="")
        await chat.reachable(chat.url)
        while "users on" not in (text := chat.log.read_text()):
            assert chat.process.returncode is None, text
            await asyncio.sleep(0.05)
        assert "3 users on 2 VMs" in text
        assert f"http://localhost:{chat.port}/_gridcentric" in text
        for path in ("/", "/_gridcentric"):
            async with aiohttp.request("GET", chat.url + path) as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
                assert "<title>" in await answer.text()
        user = await Chatter(chat.url, "late").join()
        await user.close()
        # Nobody on another computer can come in: the proxy, the chat and the clones are on the loopback interface.
        assert {address for port in (chat.port, chat.app_port) for address in listeners(port)} >= {"127.0.0.1"}
        assert all(address.startswith("127.") for port in (chat.port, chat.app_port) for address in listeners(port))
        chat.signal(signal.SIGINT)
        await chat.nothing_left()

    async def main() -> None:
        async with demo(tmp_path) as chat:
            await test(chat)

    asyncio.run(main())


@pytest.mark.parametrize("language", ["python", "node"])
def test_options(commands: dict[str, list[str]], language: str) -> None:
    def said(*options: str) -> tuple[int, str]:
        done = subprocess.run([*commands[language], *options], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, text = said("--help")
    assert code == 0
    assert all(option in text for option in ("--port", "--listen", "--app", "--crowd", "--hypervisor"))
    for wrong, word in [
        (["--port", "x"], "PORT is 'x'"),
        (["--listen=everywhere"], "LISTEN is 'everywhere'"),
        (["--nothing"], "unknown option '--nothing'"),
        (["--crowd"], "--crowd needs a value"),
        (["--app", {"python": "node", "node": "python"}[language]], "comes with the package for"),
    ]:
        code, text = said(*wrong)
        assert code == 2
        assert text.startswith("gridcentric-chat-demo: "), text
        assert word in text


def test_what_is_missing_is_named(wheel: Path, tmp_path: Path) -> None:
    """pip install gridcentric, without [autoscale]."""
    venv.create(tmp_path / "venv", with_pip=True)
    subprocess.run([str(tmp_path / "venv" / "bin" / "pip"), "install", "--quiet", "--no-deps", str(wheel)], check=True)
    command = [str(tmp_path / "venv" / "bin" / "gridcentric-chat-demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("pip install 'gridcentric[autoscale]'")
    assert "aiohttp" in done.stderr
