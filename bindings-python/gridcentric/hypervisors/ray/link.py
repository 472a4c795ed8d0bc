"""TCP connections between the computers of one host, which prove to each other that they know its secret before anything
else is said. Knows nothing of what goes over them.

    acceptor  the greeting and 32 random bytes A
    dialer    32 random bytes D, the length of the purpose in two bytes, the purpose, HMAC-SHA256(secret, "dialer" A D purpose)
    acceptor  HMAC-SHA256(secret, "acceptor" A D purpose), and the connection is the purpose's

Neither the secret nor anything that could be said again goes over the wire. What follows is neither encrypted nor signed, as
nothing that Ray itself sends is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import socket
from collections.abc import Awaitable, Callable

GREETING = b"gridcentric-link/1\n"
LIMIT_S = 5  # for a handshake
MOST_STRANGERS = 64  # connections that have not proved anything yet
MAX_PURPOSE = 256
_NONCE = 32
_PROOF = 32


class LinkError(OSError):
    """There is no connection to another computer; the text says to which and why."""


def _proof(secret: bytes, who: bytes, accepted: bytes, dialed: bytes, purpose: bytes) -> bytes:
    return hmac.new(secret, who + accepted + dialed + purpose, hashlib.sha256).digest()


async def _exactly(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = await asyncio.get_running_loop().sock_recv(sock, length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


async def dial(address: tuple[str, int], secret: bytes, purpose: str) -> socket.socket:
    """A connection to the Listener at the address. Raises LinkError."""
    sock = socket.socket(socket.AF_INET)
    try:
        sock.setblocking(False)
        await asyncio.wait_for(_introduce(sock, address, secret, purpose.encode()), LIMIT_S)
    except BaseException as error:
        sock.close()
        where = "{}:{}".format(*address)
        if isinstance(error, EOFError):
            raise LinkError(f"{where} has hung up: it is of another host, or has another secret") from error
        if isinstance(error, asyncio.TimeoutError):
            raise LinkError(f"{where} has not answered for {LIMIT_S} s") from error
        if isinstance(error, OSError) and not isinstance(error, LinkError):
            raise LinkError(f"{where}: {error.strerror or error}") from error
        raise
    return sock


async def _introduce(sock: socket.socket, address: tuple[str, int], secret: bytes, purpose: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if await _exactly(sock, len(GREETING)) != GREETING:
        raise LinkError("{}:{} is not a computer of gridcentric".format(*address))
    accepted, dialed = await _exactly(sock, _NONCE), secrets.token_bytes(_NONCE)
    proof = _proof(secret, b"dialer", accepted, dialed, purpose)
    await loop.sock_sendall(sock, dialed + len(purpose).to_bytes(2, "big") + purpose + proof)
    if not hmac.compare_digest(await _exactly(sock, _PROOF), _proof(secret, b"acceptor", accepted, dialed, purpose)):
        raise LinkError("{}:{} does not know the secret of this host".format(*address))


class Listener:
    """Takes connections of those who know the secret. All methods belong to one asyncio loop."""

    def __init__(self, secret: bytes, serve: Callable[[str, socket.socket], Awaitable[None]]) -> None:
        """serve(purpose, connection) is awaited for each; the connection is closed after that."""
        self._secret = secret
        self._serve = serve
        self._socket = socket.socket(socket.AF_INET)
        self._strangers = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, ip: str) -> tuple[str, int]:
        """Listen at this address of this computer, on a port that is free. Raises LinkError."""
        try:
            self._socket.bind((ip, 0))
        except OSError as error:
            self._socket.close()
            raise LinkError(f"cannot listen on {ip}, the address that Ray has for this computer: {error.strerror}") from error
        self._socket.listen(128)
        self._socket.setblocking(False)
        self._spawn(self._accept())
        return ip, int(self._socket.getsockname()[1])

    async def close(self) -> None:
        """No connection is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            except OSError:
                await asyncio.sleep(0.1)  # until somebody's descriptors are free again
                continue
            if self._strangers < MOST_STRANGERS:
                self._strangers += 1
                self._spawn(self._take(connection))
            else:
                connection.close()

    async def _take(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            try:
                purpose = await asyncio.wait_for(self._examine(connection), LIMIT_S)
            except (OSError, EOFError, asyncio.TimeoutError):
                return
            finally:
                self._strangers -= 1
            if purpose is not None:
                with contextlib.suppress(OSError, EOFError):
                    await self._serve(purpose, connection)

    async def _examine(self, connection: socket.socket) -> str | None:
        """What the connection is for; nothing where the other side does not know the secret."""
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted = secrets.token_bytes(_NONCE)
        await loop.sock_sendall(connection, GREETING + accepted)
        dialed = await _exactly(connection, _NONCE)
        length = int.from_bytes(await _exactly(connection, 2), "big")
        if length > MAX_PURPOSE:
            return None
        purpose = await _exactly(connection, length)
        proof = await _exactly(connection, _PROOF)
        if not hmac.compare_digest(proof, _proof(self._secret, b"dialer", accepted, dialed, purpose)):
            return None
        await loop.sock_sendall(connection, _proof(self._secret, b"acceptor", accepted, dialed, purpose))
        return purpose.decode(errors="replace")
