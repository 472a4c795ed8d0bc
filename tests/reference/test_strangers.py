"""Whose connections a host takes: those of its own user and of root, whatever the permissions of its socket have become."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Optional

import pytest

NOBODY = 65534


def greeting(socket: Path, user: Optional[int] = None) -> tuple[str, str]:
    """What a host says to this user's hello, and what socat says. The folder need not be reachable by its whole path."""
    command = ["socat", "-", f"UNIX-CONNECT:{socket.name}"]
    done = subprocess.run(command, cwd=socket.parent, user=user, input="gridcentric/1 observe\n", capture_output=True,
                          text=True, check=False)  # fmt: skip
    return done.stdout, done.stderr


def test_the_socket_is_its_users_alone(host: Any) -> None:
    assert Path(host.address.partition(":")[2]).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_user_gets_no_answer(host: Any) -> None:
    socket = Path(host.address.partition(":")[2])
    socket.parent.chmod(0o755)
    assert "Permission denied" in greeting(socket, NOBODY)[1]
    socket.chmod(0o666)  # as somebody careless might
    said, errors = greeting(socket, NOBODY)
    assert said == ""
    assert "Permission denied" not in errors, "it could connect"
    assert greeting(socket)[0] == "gridcentric/1 ok - - - - fake\n"
