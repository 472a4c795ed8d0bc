"""The first program of the VM: makes it a small computer, runs the commands of /commands.json, switches it off.

After each command it prints a line `GC-ENDED number exit-status` on the console. Only the standard library is here.
"""

import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import subprocess
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, at: str, options: str = "") -> None:
    Path(at).mkdir(parents=True, exist_ok=True)
    if libc.mount(kind.encode(), at.encode(), kind.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {kind} at {at}")


def bring_loopback_up() -> None:
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = b"lo".ljust(16, b"\0")
        flags = struct.unpack("16sH", fcntl.ioctl(any_socket, get_flags, struct.pack("16sH22x", name, 0))[:18])[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH22x", name, flags | up))


def main() -> None:
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    mount("devtmpfs", "/dev")
    mount("devpts", "/dev/pts")
    mount("tmpfs", "/dev/shm", "mode=1777")
    # Without udev there is no /dev/fd, as in many small systems: nothing of ours may need it.
    console = os.open("/dev/console", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(console, fd)
    bring_loopback_up()
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))  # what init has is less than any program is given
    plan = json.loads(Path("/commands.json").read_text())
    os.environ.update(plan["environment"])
    for number, command in enumerate(plan["commands"]):
        status = subprocess.run(command, cwd=plan["folder"], check=False).returncode
        print(f"\nGC-ENDED {number} {status}", flush=True)


try:
    main()
except BaseException as error:  # the console is all there is to tell it to
    print(f"\ninit: {error!r}", flush=True)
os.sync()
libc.reboot(0x4321FEDC)  # power off
