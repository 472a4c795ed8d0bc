"""The rows of the bench: one function per row, each with its baseline in the same run."""

from __future__ import annotations

from collections.abc import Callable

from . import chat, cloning, cluster, host, installing, java, memory, peers, qemu, stages, tree
from .report import Figure

Row = Callable[[], "list[Figure]"]


def table() -> dict[str, Row]:
    return {
        "ticket": host.ticket,
        "vmid": host.vmid,
        "barrier": host.barrier,
        "fake": host.fake,
        "one": cloning.one,
        "stages": stages.stages_of_one,
        "pause": cloning.pause,
        "prepared": cloning.prepared,
        "node61": cloning.node61,
        "python61": cloning.python61,
        "java61": java.java61,
        "tree": tree.tree,
        "peers": peers.peers,
        "cornering": cloning.cornering,
        "memory": memory.memory,
        "memoryways": memory.memory_ways,
        "heap": cloning.heap,
        "keepalive": cloning.keepalive,
        "chat": chat.chat,
        "import": installing.importing,
        "install": installing.install,
        "qemu61": qemu.qemu61,
        "qemupause": qemu.qemupause,
        "qemucornering": qemu.qemucornering,
        "qemumemory": qemu.qemumemory,
        "cluster": cluster.cluster,
    }
