"""Submits jobs at a steady rate: first to the site, which numbers them, then to the queue, until the broker has confirmed each.
SIGTERM ends it between two jobs, so that none has a number but is not in the queue.

producer.py SITE_PORT BROKER_PORT JOBS_A_SECOND JOBS      JOBS 0: for ever"""

import json
import signal
import sys
import time

import pika
from consuming import GONE, QUEUE, call

site, broker, rate, jobs = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])


def connected():
    channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker, heartbeat=60)).channel()
    channel.queue_declare(QUEUE, durable=True)
    channel.confirm_delivery()
    return channel


ending = []
signal.signal(signal.SIGTERM, lambda number, frame: ending.append(number))
channel, number = None, 0
due = time.monotonic()
while not ending and (jobs == 0 or number < jobs):
    job = int(call(site, "/jobs/give", lambda: "producer"))
    while True:
        try:
            channel = channel or connected()
            channel.basic_publish("", QUEUE, json.dumps({"job": job}), pika.BasicProperties(delivery_mode=2))
            break
        except GONE:
            channel = None
            time.sleep(0.1)
    number += 1
    due += 1 / rate
    try:
        while not ending and (left := due - time.monotonic()) > 0:
            channel.connection.sleep(min(left, 0.1))
    except GONE:
        channel = None
