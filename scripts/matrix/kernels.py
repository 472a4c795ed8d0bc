"""A VM with another kernel as a place: the files put there are packed with this computer's Python and its libraries.

All commands run in one boot, because booting takes longer than they do. It knows nothing of what is run.
"""

from __future__ import annotations

import re
from pathlib import Path

from .places import Command, Here, Ran
from .runtimes import Missing

try:
    from kernels import kernels, parts, vm
except ImportError:  # tests/kernels is not in this checkout
    vm = None


class InVm:
    def __init__(self, version: str, words: list[str]) -> None:
        if vm is None:
            raise Missing("tests/kernels does not exist")
        if missing := kernels.missing_tools():
            raise Missing(f"there is no {missing}")
        self.words, self.files = words, []
        try:
            self.kernel = kernels.kernel(version)
        except RuntimeError as error:
            raise Missing(f"the kernel is not available: {str(error).splitlines()[-1]}") from error

    def put(self, source: Path) -> str:
        self.files += [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        return str(source)

    def compile(self, source: str, package: str) -> str:
        program = Here([]).compile(source, package)
        self.put(Path(program))
        return program

    def run_all(self, commands: list[Command]) -> list[Ran]:
        variables = [[f"{name}={value}" for name, value in env.items()] for _, env in commands]
        words = [["/usr/bin/env", *added, *self.words, *command] for added, (command, _) in zip(variables, commands)]
        parts.PROGRAMS[:] = self.files
        console = vm.run(self.kernel, words, {"PATH": "/usr/bin:/bin", "HOME": "/root"}).console
        pieces = re.split(r"^GC-ENDED \d+ (-?\d+)$", console, flags=re.MULTILINE)
        ended = [Ran(int(status), said.strip(), said.strip()) for said, status in zip(pieces[::2], pieces[1::2])]
        rest = Ran(1, "", f"the VM ended before the command did: {pieces[-1].strip()[-200:]}")
        return ended + [rest] * (len(commands) - len(ended))
