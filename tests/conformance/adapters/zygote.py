"""Starts adapters written in Python by fork(): a new interpreter would cost ten times what a case costs.

`zygote.py FD MODULE ARG...` reads requests on the socket FD, one a message: the environment as JSON, with four
descriptors (stdin, stdout, stderr, status). The adapter's pid and then its wait status come out of `status`. It must
not know which adapter it starts; that one's module is imported (not yet run) before the first fork.
"""

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path


def start(env, stdin, stdout, stderr, status):
    """Fork a keeper that forks the adapter: true in the adapter; the keeper waits for its end and tells."""
    if os.fork() != 0:
        for fd in (stdin, stdout, stderr, status):
            os.close(fd)
        return False
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    adapter = os.fork()
    if adapter != 0:
        for fd in (stdin, stdout, stderr):
            os.close(fd)  # the keeper must not keep the adapter's pipes open
        os.write(status, b"%d\n" % adapter)
        _, how = os.waitpid(adapter, 0)
        os.write(status, b"%d\n" % how)
        os._exit(0)
    os.setsid()
    os.environ.update(env)
    for number, fd in enumerate((stdin, stdout, stderr)):
        os.dup2(fd, number)
        os.close(fd)
    os.close(status)
    return True


def serve(channel):
    """Fork adapters until the runner is gone; true in an adapter."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need no one to wait for them
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 1 << 16, 4)
        if not message:
            return False
        if start(json.loads(message), *descriptors):
            channel.close()
            return True


sys.path.insert(0, str(Path(__file__).parent))
module = importlib.import_module(sys.argv[2])
if serve(socket.socket(fileno=int(sys.argv[1]))):
    module.main(*sys.argv[3:])
