"""Locks that are held, conditions, barriers, semaphores, queues and timers that threads wait for: all go on in each clone."""

import queue
import threading
import time

from harness import background, family, until

held, condition, barrier = threading.RLock(), threading.Condition(), threading.Barrier(3)
semaphore, opened, jobs, done = threading.Semaphore(0), threading.Event(), queue.Queue(), []


def hold() -> None:
    with held, held:
        opened.wait()
    done.append("lock")


def wait_for_condition() -> None:
    with condition:
        condition.wait_for(opened.is_set)
    done.append("condition")


def consume() -> None:
    while True:
        done.append(jobs.get())
        jobs.task_done()


for function in (hold, wait_for_condition, consume, barrier.wait, barrier.wait, semaphore.acquire):
    background(function)
threading.Timer(0.5, done.append, ["timer"]).start()
until(lambda: not held.acquire(blocking=False) and barrier.n_waiting == 2, "everybody waits")


def work(vmid: int) -> list[str]:
    opened.set()
    with condition:
        condition.notify_all()
    with held:
        barrier.wait()
    semaphore.release()
    jobs.put("job")
    jobs.join()
    until(lambda: len(done) == 4, "what the threads have done")
    time.sleep(0)
    return sorted(done)


master, clones = family(work)
assert [master, *clones] == [["condition", "job", "lock", "timer"]] * 4, (master, clones)
