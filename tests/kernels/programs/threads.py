"""Clones itself twice while threads run, with a lock held by one of them; prints what each clone reports."""

import threading

from gridcentric import guest

lock, held, release = threading.RLock(), threading.Event(), threading.Event()
counters = [0, 0]


def hold():
    with lock:
        held.set()
        release.wait()


def count(at):
    while not release.wait(0.001):
        counters[at] += 1


threads = [
    threading.Thread(target=hold, daemon=True),
    *(threading.Thread(target=count, args=(i,), daemon=True) for i in range(2)),
]
for thread in threads:
    thread.start()
held.wait()
ticket = guest.request_ticket(2, 2, 1, 10_000)
vmid = guest.clone(ticket)
before = list(counters)
while any(now <= was for now, was in zip(counters, before)):
    pass  # all threads go on
release.set()
for thread in threads:
    thread.join()
assert lock.acquire(timeout=10)
if vmid:
    guest.join(f"clone {vmid} works")
for result in guest.wait(ticket, 60_000):
    print(result.how, result.report)
print("master works")
