"""redis: a clone's first command goes out on its own connection, and so does each of its pool's threads."""
# server: redis

import os
from concurrent.futures import ThreadPoolExecutor

import redis
from harness import family

host, port = os.environ["GC_ZOO_REDIS"].split(":")
client, threads = redis.Redis(host, int(port)), ThreadPoolExecutor(3)
subscriber = client.pubsub()
subscriber.subscribe("zoo")
assert subscriber.get_message(timeout=60)["type"] == "subscribe"
client.set("zoo", 0)
list(threads.map(client.incrby, ["zoo"] * 10))


def work(vmid: int) -> list[object]:
    own = client.client_id()
    list(threads.map(client.incrby, ["zoo"] * 10))
    if vmid:
        subscriber.subscribe(f"zoo {vmid}")  # connects again, and takes up all channels
        return [own, {channel.decode() for channel in subscriber.channels} == {"zoo", f"zoo {vmid}"}]
    return [own, True]


master, clones = family(work)
assert len({own for own, _ in [master, *clones]}) == 4 and all(right for _, right in clones), (master, clones)
assert int(client.get("zoo")) == 50
