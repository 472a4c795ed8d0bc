""" "hello, I am N" in Python: three clones say it, the master collects it."""

from gridcentric import guest

ticket = guest.request_ticket(3, 3, 1, 1000)
vmid = guest.clone(ticket)  # one program before this line, four after it
if vmid > 0:
    guest.join(f"hello, I am {vmid}")  # does not return

results = guest.wait(ticket, 10000)
for result in results:
    print(result.report.decode())
print(f"hello, I am the master of {len(results)}")
