"""The machines' network: a process in its own network namespace (network_namespaces(7)), which owns a
bridge and hands out tap descriptors and connected sockets. QEMU and everything else stay outside.

Needs no root where unprivileged user namespaces are allowed and /dev/net/tun can be opened; elsewhere switch.py takes the
bridge's place. All of it is gone when the process ends, and it ends with its parent.
Run as: python -m gridcentric.hypervisors.qemu.netns FD

Requests, one datagram each over the Unix socket FD; a reply is a datagram, "ok ..." or "error TEXT":
    tap NAME            a new tap (of a switch: a socket), not yet on the bridge; its descriptor comes along (SCM_RIGHTS)
    plug NAME IP MAC    put it on the bridge; the machine behind it has this address and MAC
    drop NAME           take it away
    join NAME           put an interface that somebody else has made in this namespace on the bridge
    connect IP PORT     a TCP connection to a machine; its descriptor comes along
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
import threading
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from gridcentric.hypervisors.qemu.addresses import ADDRESS, PREFIX
from gridcentric.hypervisors.qemu.switch import Switch

BRIDGE = "gc0"
TUN = "/dev/net/tun"

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# Of a tap that goes with its descriptor; pyroute2 makes only such as stay.
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """There can be no bridge here; the text says what is missing and what to do."""


def enter() -> None:
    """Go into a network namespace of this process's own; by way of a user namespace when it is not root's. Raises Refused."""
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise Refused(f"{TUN} can't be opened ({error.strerror}): modprobe tun; in a container --device {TUN}") from error
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNET) == 0:
        return
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise Refused(
            f"no network namespace for the VMs ({os.strerror(ctypes.get_errno())}): be root, or allow unprivileged user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1 on Debian, "
            "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, user.max_net_namespaces above 0)"
        )
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


class Bridge:
    """The bridge and its taps. Belongs to one thread, but for connect()."""

    def __init__(self) -> None:
        """Raises Refused."""
        self._links = IPRoute()
        # Else each tap announces itself by IPv6, which machines have none of, to all others. Not where /proc/sys is read-only.
        for kind in ("all", "default"):
            with contextlib.suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{kind}/disable_ipv6").write_text("1")
        # Without an address of its own it takes the least of its ports, another with each that comes or goes, and machines
        # lose sight of it.
        mac = f"52:54:{socket.inet_aton(ADDRESS).hex(':')}"
        try:
            self._links.link("add", ifname=BRIDGE, kind="bridge", address=mac)
        except NetlinkError as error:
            raise Refused(f"no bridge for the VMs' network ({os.strerror(error.code)}): modprobe bridge") from error
        self._bridge = socket.if_nametoindex(BRIDGE)
        self._links.addr("add", index=self._bridge, address=ADDRESS, prefixlen=PREFIX)
        for index in (self._bridge, socket.if_nametoindex("lo")):
            self._links.link("set", index=index, state="up")
        self._taps: dict[str, int] = {}
        self._addresses: dict[str, str] = {}  # of the taps that are plugged

    def tap(self, name: str) -> int:
        fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        self._taps[name] = fd
        return fd

    def join(self, name: str) -> None:
        self._links.link("set", index=socket.if_nametoindex(name), master=self._bridge, state="up")

    def plug(self, name: str, ip: str, mac: str) -> None:
        self.join(name)
        # A VM that has looked for this one before, in vain, finds it now, not when the kernel asks again a second later; and no
        # question goes to all the others (arp(7)).
        self._links.neigh("replace", dst=ip, lladdr=mac, ifindex=self._bridge, state="permanent")
        self._addresses[name] = ip

    def drop(self, name: str) -> None:
        """The tap itself goes when QEMU closes it as well."""
        os.close(self._taps.pop(name))
        if name in self._addresses:
            self._links.neigh("delete", dst=self._addresses.pop(name), ifindex=self._bridge)

    def connect(self, ip: str, port: int) -> socket.socket:
        return socket.create_connection((ip, port), timeout=10)


def best_network() -> tuple[Bridge | Switch, str]:
    """The bridge, or the switch and why. Raises OSError where there can be neither."""
    try:
        enter()
        return Bridge(), ""
    except Refused as refused:
        return Switch(ADDRESS, PREFIX), str(refused)


class Helper:
    def __init__(self, channel: socket.socket, network: Bridge | Switch) -> None:
        self._channel = channel
        self._network = network

    def serve(self) -> None:
        while data := self._channel.recv(4096):
            words = data.decode().split()
            if words and words[1:2] == ["connect"]:  # may take long: not in the way of others
                threading.Thread(target=self._answer, args=(words,), daemon=True).start()
            else:
                self._answer(words)

    def _answer(self, words: list[str]) -> None:
        number, verb, *arguments = words
        fds: list[int] = []
        keep: socket.socket | None = None
        try:
            if verb == "tap":
                fds = [self._network.tap(arguments[0])]
            elif verb == "plug":
                self._network.plug(*arguments)
            elif verb == "join" and isinstance(self._network, Bridge):
                self._network.join(arguments[0])
            elif verb == "drop":
                self._network.drop(arguments[0])
            elif verb == "connect":
                keep = self._network.connect(arguments[0], int(arguments[1]))
                fds = [keep.fileno()]
            else:
                raise ValueError(f"unknown: {verb}")
            reply = f"{number} ok"
        except (OSError, NetlinkError, TypeError, ValueError, KeyError, IndexError) as error:
            reply = f"{number} error {error}"
        socket.send_fds(self._channel, [reply.encode()], fds)
        if keep is not None:
            keep.close()


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    try:
        network, why = best_network()
    except OSError as error:
        channel.send(f"0 error {error}".encode())
        sys.exit(1)
    with contextlib.suppress(ConnectionError):  # the host is gone
        channel.send(f"0 ok {why}".encode())
        Helper(channel, network).serve()


if __name__ == "__main__":
    main()
