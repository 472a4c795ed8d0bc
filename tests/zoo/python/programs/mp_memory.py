"""multiprocessing's Value, Array, SharedMemory, Pipe and Lock inside the program: each clone has its own copies."""

import multiprocessing
from multiprocessing import shared_memory

from harness import family

value, array, lock = multiprocessing.Value("i", 7), multiprocessing.Array("d", 3), multiprocessing.Lock()
memory = shared_memory.SharedMemory(create=True, size=16)
near, far = multiprocessing.Pipe()
near.send("in flight")


def work(vmid: int) -> list[object]:
    with lock:
        value.value += vmid
        array[1] = vmid
        memory.buf[0] = vmid
    received = far.recv()
    far.send(vmid)
    return [value.value, list(array), memory.buf[0], received, near.recv()]


master, clones = family(work)
for vmid, said in enumerate([master, *clones]):
    assert said == [7 + vmid, [0, vmid, 0], vmid, "in flight", vmid], said
memory.close()
memory.unlink()
