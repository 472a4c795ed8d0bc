"""What the stub servers send instead of a proper answer. Data alone."""

# The part of an answer that a clone has sent before it breaks off.
CUT = {
    "nothing": b"",
    "body": b"",
    "status": b"HTTP/1.1 200",
    "head": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "part": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
    "event": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgr",
    "switched": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x7e",
    "nonsense": b"\x16\x03\x01 no HTTP at all\r\n\r\n",
}

_OK = b"HTTP/1.1 200 OK\r\n"
_LENGTH = b"Content-Length: 2\r\n\r\nok"
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
_GOOD, _BAD = {200}, {502}
# What follows an answer may be noticed before the answer has been forwarded, or after it.
_EITHER = {0, 200, 204, 502}
# A whole answer, of a kind that some servers read and some do not, and the statuses that a client may see: 0, its connection
# ends. `evil` belongs to nobody.
SAID = {
    "early hints": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + _OK + _LENGTH, _GOOD),
    "much processing": (b"HTTP/1.1 102 Processing\r\n\r\n" * 500 + _OK + _LENGTH, _GOOD),
    "an unasked continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + _OK + _LENGTH, _GOOD),
    "no reason": (b"HTTP/1.1 200\r\n" + _LENGTH, _GOOD),
    "a status of 999": (b"HTTP/1.1 999 Odd\r\n" + _LENGTH, {999}),
    "a status of 099": (b"HTTP/1.1 099 Odd\r\n" + _LENGTH, _BAD),
    "a status of 000": (b"HTTP/1.1 000 Odd\r\n" + _LENGTH, _BAD),
    "a status of 20": (b"HTTP/1.1 20 Odd\r\n" + _LENGTH, _BAD),
    "a control character in the reason": (b"HTTP/1.1 200 O\x01K\r\n" + _LENGTH, _BAD),
    "a control character in a header": (_OK + b"X-A: a\x01b\r\n" + _LENGTH, _BAD),
    "a NUL in a header": (_OK + b"X-A: a\0b\r\n" + _LENGTH, _BAD),
    "a header that is not ASCII": (_OK + b"X-A: caf\xc3\xa9\r\n" + _LENGTH, _GOOD),
    "a reason that is not ASCII": (b"HTTP/1.1 200 Caf\xc3\xa9\r\n" + _LENGTH, _GOOD),
    "a header without a name": (_OK + b": a\r\n" + _LENGTH, _BAD),
    "a space before the colon": (_OK + b"X-A : a\r\n" + _LENGTH, _BAD),
    "a header of 100 KB": (_OK + b"X-A: " + b"x" * 100_000 + b"\r\n" + _LENGTH, _BAD),
    "two lengths": (_OK + b"Content-Length: 3\r\n" + _LENGTH, _BAD),
    "length and chunks": (_OK + b"Transfer-Encoding: chunked\r\n" + _LENGTH, _BAD),
    "a version of 1.2": (b"HTTP/1.2 200 OK\r\n" + _LENGTH, _BAD),
    "another protocol": (b"ICY 200 OK\r\n" + _LENGTH, _BAD),
    "a version of 1.0": (b"HTTP/1.0 200 OK\r\n\r\nok", _GOOD),
    "a bad chunk": (_OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", _EITHER),
    "a body on 204": (b"HTTP/1.1 204 No Content\r\n" + _LENGTH, _EITHER),
    "an answer too many": (_OK + _LENGTH + _EVIL, _EITHER),
    "an answer too many after chunks": (_OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + _EVIL, _EITHER),
    "an answer too many after 204": (b"HTTP/1.1 204 No Content\r\n\r\n" + _EVIL, _EITHER),
}
