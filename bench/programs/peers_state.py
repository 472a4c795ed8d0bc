"""What the copies of peers.py inherit: some 20 MB. A separate module, which forkserver can load before it forks."""

STATE = {f"key {i}": [i] for i in range(100_000)}
