"""gRPC's server and channel in one process: in each clone both keep working, and so does a stream in progress."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from harness import HANG_GUARD_S, background, family, own_address, until

from gridcentric import guest


class Service(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/echo":
            return grpc.unary_unary_rpc_method_handler(lambda request, _: b"%d " % guest.vmid() + request)
        return grpc.unary_stream_rpc_method_handler(self.pieces)

    def pieces(self, request, context):
        for n in range(40):
            yield b"%d" % n
            cloned.wait()


server = grpc.server(ThreadPoolExecutor(4), handlers=[Service()])
port = server.add_insecure_port("0.0.0.0:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
assert channel.unary_unary("/echo")(b"before") == b"0 before"
received, ended, cloned = [], [], threading.Event()


def receive() -> None:
    try:
        received.extend(channel.unary_stream("/pieces")(b""))
        ended.append("all")
    except grpc.RpcError as error:
        ended.append(error.code().name)


background(receive)
until(lambda: received, "the stream")


def work(vmid: int) -> list[str]:
    cloned.set()
    until(lambda: ended, "the end of the stream")
    inherited = channel.unary_unary("/echo")(b"x", wait_for_ready=True, timeout=60)
    with grpc.insecure_channel(f"{own_address()}:{port}") as own:
        return [inherited.decode(), own.unary_unary("/echo")(b"x", timeout=60).decode(), *ended]


master, clones = family(work)
assert len(received) == 40
assert [master, *clones] == [[f"{vmid} x", f"{vmid} x", "all"] for vmid in range(4)], (master, clones)
# A server that is stopped at once tells clients that are still connected of an error, which they log.
channel.close()
server.stop(HANG_GUARD_S).wait()
