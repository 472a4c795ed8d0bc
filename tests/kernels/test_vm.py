"""Nothing is left of a VM, whatever ends the process that runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernels import vm
from kernels.kernels import SUITES, kernel, missing_tools
from kernels.processes import of_session

TESTS = Path(__file__).resolve().parents[1]
RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kernels import vm
vm.STORE = Path(sys.argv[3])
vm.run(Path(sys.argv[2]), [["sleep", "86400"]], {})
"""

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"there is no {missing_tools()} here")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_is_left(number: signal.Signals, tmp_path: Path) -> None:
    image = kernel(next(iter(SUITES)))
    runner = subprocess.Popen(
        [*vm.ends_with_us(), sys.executable, "-c", RUNNER, str(TESTS), str(image), str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert runner.stderr
    with runner.stderr:
        while not any(name.startswith("qemu") for name in of_session(runner.pid).values()):
            assert runner.poll() is None, runner.stderr.read()
            time.sleep(0.05)
        runner.send_signal(number)
        runner.wait()
    while left := of_session(runner.pid):
        print("still there:", left)
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
