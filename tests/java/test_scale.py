"""A server in Java that knows the API, cloned by `gc scale`: demos/scale-java."""

from __future__ import annotations

import sys
from pathlib import Path

from jvms import ROOT, Java, compile_java

sys.path.insert(0, str(ROOT / "tests" / "scale"))
from scaled import Scaled, free_ports, read

SERVER = ROOT / "demos" / "scale-java" / "Server.java"


def test_users_of_a_jvm_get_clones_with_numbers_of_their_own(java: Java, tmp_path: Path) -> None:
    classes = compile_java([SERVER], tmp_path / "classes")
    listen, app = free_ports(2)
    users = tmp_path / "users.toml"
    users.write_text('users = {header = "X-User"}\n')
    words = ("--listen", str(listen), "--app", str(app), "--per-clone", "1", str(users), "--")
    program = Java(java.command, classes, tmp_path, java.mode).line("Server", str(app))
    scaled = Scaled(tmp_path, *words, *program, env={"GRIDCENTRIC_CLONE_MODE": java.mode}).ready()
    try:
        pages = [read(listen, "/", {"X-User": user}).split(", ") for user in "abbca"]
        assert [page[0] for page in pages] == ["clone 1", "clone 2", "clone 2", "clone 3", "clone 1"]
        assert [page[1] for page in pages] == ["visit 1", "visit 1", "visit 2", "visit 1", "visit 2"]
        assert len({page[2] for page in pages}) == len(pages)
    finally:
        assert scaled.end() == 0
