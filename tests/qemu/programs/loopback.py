"""A server on 127.0.0.1. A line of input clones its machine twice; what it is asked over TCP, one word a connection:

who       answers with its vmid
ask IP    asks the server of another machine who it is
end       ends this clone
"""

import socket
import sys
import threading

from gridcentric import guest

PORT = 8000


def ask(ip: str, port: int = PORT) -> str:
    with socket.create_connection((ip, port)) as connection:
        connection.sendall(b"who\n")
        return connection.makefile().read()


def answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rw") as stream:
        words = stream.readline().split()
        if words == ["end"]:
            guest.join()
        stream.write(ask(words[1]) if words[0] == "ask" else str(guest.vmid()))


def serve(server: socket.socket) -> None:
    while True:
        threading.Thread(target=answer, args=server.accept()[:1], daemon=True).start()


server = socket.create_server(("127.0.0.1", PORT))
hidden = socket.create_server(("127.0.0.2", PORT + 1))
for each in (server, hidden):
    threading.Thread(target=serve, args=(each,), daemon=True).start()
print("here", ask("127.0.0.1"), ask("localhost"), ask(guest.my_ip()), ask("127.0.0.2", PORT + 1), flush=True)
sys.stdin.readline()
ticket = guest.request_ticket(2, 2, 1, 1000)
if guest.clone(ticket) > 0:
    threading.Event().wait()  # its server goes on
print("clones", *(f"{d.vmid}@{d.ip}" for d in guest.list_domains() if d.vmid), flush=True)
guest.wait(ticket, -1)
