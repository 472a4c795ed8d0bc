"""Debian systems of other releases, to run commands in: made once, kept, and entered by tests.

    with Machine(root("trixie", "git", "make"), user="ada") as machine:
        machine.run("git", "--version")

roots.py makes a system, machine.py runs one, configuration.py brings what this computer needs to reach its package
registries. It knows nothing of gridcentric. Needs root and mmdebstrap.
"""

from .machine import CommandFailed, Machine, Started
from .roots import MachineError, root

__all__ = ["CommandFailed", "Machine", "MachineError", "Started", "root"]
