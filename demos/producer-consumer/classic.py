"""The worker of 2010: it knows no handlers, but notices that its vmid has changed and exits. classic.sh runs it again.

classic.py SITE_PORT BROKER_PORT JOB_SECONDS PREFIX"""

import sys
import time

from consuming import GONE, consume

from gridcentric import guest

site, broker, job_s, prefix = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
vmid = guest.vmid()


def changed(seconds):
    """Waits, and looks twenty times a second who we are."""
    end = time.monotonic() + seconds
    while guest.vmid() == vmid and (left := end - time.monotonic()) > 0:
        time.sleep(min(0.05, left))
    return guest.vmid() != vmid


try:
    consume(site, broker, job_s, lambda: f"{prefix}{guest.vmid()}", changed)
except GONE:
    time.sleep(0.1)
