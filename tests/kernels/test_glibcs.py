"""The testees, a Python and a Node program with the C libraries of other Debian releases; sid's is that of Ubuntu and Fedora.

What was built here runs there, with the libraries of this computer but for those of the C library itself. GC_SUITES names the
releases, GC_TESTEES the testees (a -k expression of pytest). Needs root and mmdebstrap; systems are made once and kept.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Iterator

import pytest
from machines import Machine, root

from kernels import parts

OF_LIBC = re.compile(r"(ld-linux.*|lib(c|m|mvec|pthread|dl|rt|resolv|util|anl|nss_.*))\.so(\..*)?")
LIBRARIES = "/brought-along"
SUITES = os.environ.get("GC_SUITES", "sid").split()
TESTEES = os.environ.get("GC_TESTEES", "")
PACKAGES = ("gcc", "libatomic1", "libc6-dev", "libstdc++6", "python3")  # as other tests have them: one system for all

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mmdebstrap"), reason="Debian systems are made by root with mmdebstrap"
)


@pytest.fixture(scope="module", params=SUITES)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    files = parts.all_files()
    packed = tmp_path_factory.mktemp("parts") / "parts.tar"
    with tarfile.open(packed, "w") as archive:
        for path in files:
            if path.exists() and not (path.is_dir() and not path.is_symlink()):
                archive.add(path)
        for library in parts.libraries_of(files):
            if not OF_LIBC.fullmatch(library.name):
                archive.add(library.resolve(), f"{LIBRARIES}/{library.name}")
    with Machine(root(request.param, *PACKAGES)) as made:
        made.put(packed, "/parts.tar")
        made.run("tar", "-C", "/", "-xf", "/parts.tar")
        yield made


@pytest.mark.parametrize(
    "played",
    [parts.play("tests/live_clone/test_testees.py", some=TESTEES), parts.play("tests/kernels/programs")],
    ids=["testees", "programs"],
)
def test_libc(machine: Machine, played: list[str]) -> None:
    environment = {**parts.environment(), "LD_LIBRARY_PATH": LIBRARIES}
    done = machine.run(*played, folder=str(parts.CHECKOUT), env=environment, check=False)
    version = machine.run("ldd", "--version").stdout.splitlines()[0]
    assert done.returncode == 0, f"{version}\n{done.stdout[-12000:]}"
