"""A program that clones itself and branches: the master waits, each clone is a client that hits the counter until it is ended.

client.py URL CLONES HITS_A_SECOND"""

import http.client
import random
import sys
import time
from urllib.parse import urlsplit

from gridcentric import guest

url, clones, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

ticket = guest.request_ticket(clones, clones, 1, 1000)
start = time.perf_counter()
vmid = guest.clone(ticket)
if vmid == 0:
    print(f"cloned {(time.perf_counter() - start) * 1e3:.1f}", flush=True)
    guest.wait(ticket)
    sys.exit()

connection, ms = http.client.HTTPConnection(urlsplit(url).netloc), ""
time.sleep(random.random() / rate)  # not all at the same moment; each clone draws another number
while True:
    start = time.perf_counter()
    connection.request("GET", f"/hit?form=python&vmid={vmid}&ms={ms}")
    connection.getresponse().read()
    ms = (time.perf_counter() - start) * 1e3
    time.sleep(max(0, 1 / rate - ms / 1e3))
