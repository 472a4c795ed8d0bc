"""Flask under werkzeug's threaded server: master and clones answer from outside, each with its own state."""

import logging

from flask import Flask, jsonify
from harness import background, family, get
from werkzeug.serving import make_server

from gridcentric import guest

logging.getLogger("werkzeug").setLevel(logging.ERROR)
app, visits = Flask(__name__), []


@app.get("/<name>")
def visit(name: str) -> object:
    visits.append(name)
    return jsonify(vmid=guest.vmid(), visits=visits)


server = make_server("0.0.0.0", 0, app, threaded=True)
background(server.serve_forever)
get("127.0.0.1", server.port, "/before")


def see(address: str, vmid: int) -> None:
    assert get(address, server.port, f"/{vmid}") == {"vmid": vmid, "visits": ["before", str(vmid)]}


family(lambda vmid: None, see)
server.shutdown()
