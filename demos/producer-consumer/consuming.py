"""What both workers do: take jobs from the queue, work, say that they are done. Knows nothing of how a worker is cloned."""

from __future__ import annotations

import http.client
import json
from typing import Callable

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError

QUEUE = "task_queue"
GONE = (AMQPError, AMQPConnectorException, OSError)  # what is raised when broker or site have gone, or are too slow


def call(port: int, path: str, name: Callable[[], str]) -> str:
    """Asks the site, and says who asks. The name is taken once the connection is there: a clone that is made before has another
    name, and one that is made afterwards has no connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.connect()
        connection.request("POST", f"{path}?worker={name()}", headers={"Content-Length": "0"})
        answer = connection.getresponse()
        said = answer.read().decode()
        if answer.status != 200:
            raise OSError(f"{path}: {answer.status} {said}")
        return str(json.loads(said)["answer"])
    finally:
        connection.close()


def consume(site: int, broker: int, job_s: float, name: Callable[[], str], interrupted: Callable[[float], bool]) -> None:
    """Works until interrupted(seconds), which waits that long, says so; raises one of GONE."""
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker, heartbeat=60))
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.basic_qos(prefetch_count=1)
    for method, _, body in channel.consume(QUEUE, inactivity_timeout=0.5):
        if interrupted(0):
            return
        if method is None:
            continue
        job = json.loads(body)["job"]
        answer = call(site, f"/jobs/{job}/take", name)
        if answer == "take":
            if interrupted(job_s):  # the work
                return
            call(site, f"/jobs/{job}/done", name)
        elif answer == "busy":
            if interrupted(0.2):
                return
            channel.basic_nack(method.delivery_tag, requeue=True)
            continue
        channel.basic_ack(method.delivery_tag)
