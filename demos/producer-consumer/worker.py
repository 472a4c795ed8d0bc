"""A worker that can be cloned: on_clone interrupts it, and it connects anew, as another worker.

worker.py SITE_PORT BROKER_PORT JOB_SECONDS PREFIX"""

import sys
import threading
import time

from consuming import GONE, consume

from gridcentric import guest

site, broker, job_s, prefix = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
cloned = threading.Event()


@guest.on_clone
def interrupt(vmid):
    cloned.set()  # the job and the connection are the master's


guest.serve()  # `gc clone --of PID` may clone us
while True:
    cloned.clear()
    try:
        consume(site, broker, job_s, lambda: f"{prefix}{guest.vmid()}", cloned.wait)
    except GONE:
        # A clone has lost its connections and connects at once; with the broker gone, wait for it.
        if not cloned.is_set():
            time.sleep(0.1)
