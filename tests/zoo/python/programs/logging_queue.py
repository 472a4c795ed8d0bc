"""logging through a QueueListener's thread while a thread logs: each domain's lines are in the file, none twice or torn."""

import logging
import logging.handlers
import queue
import threading

from harness import background, family, until

from gridcentric import guest

LINES = 100
lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
to_file = logging.FileHandler("log", delay=False)
listener = logging.handlers.QueueListener(lines, to_file)
listener.start()
logger = logging.getLogger("program")
logger.setLevel(logging.INFO)
logger.addHandler(logging.handlers.QueueHandler(lines))
stop, written = threading.Event(), [0]


def chatter() -> None:
    while not stop.is_set():
        written[0] += 1
        logger.info("thread %d %d %s", guest.vmid(), written[0], "x" * 100)


def with_words(*words: object) -> int:
    start = " ".join(map(str, words)) + " "
    return sum(line.startswith(start) for line in open("log"))


thread = background(chatter)
until(lambda: written[0] > 100, "lines of the thread")


def work(vmid: int) -> int:
    for n in range(LINES):
        logger.info("work %d %d.", vmid, n)
    stop.set()
    thread.join()
    listener.stop()
    return with_words("work", vmid)


master, clones = family(work)
assert [master, *clones] == [LINES] * 4, (master, clones)
whole = [line.split() for line in open("log")]
assert all(words[0] in ("work", "thread") for words in whole), "torn lines"
