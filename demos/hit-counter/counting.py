"""The counter: who has hit how often, at what rate, with what latency. Safe with threads. Knows no web and no clones."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Optional

WINDOW_S = 5.0  # of the rate
POINTS = 120  # of the curve, one a second
KEPT = 200  # latencies of each client


@dataclass
class Client:
    """One domain that hits: of which program, with which vmid."""

    form: str
    vmid: int
    hits: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


def rate(times: deque[float], now: float) -> float:
    """Hits a second, over the window or as long as there have been any."""
    recent = [at for at in times if now - at <= WINDOW_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-3) if now - recent[-1] < 2 else 0.0


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least this percentage of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-len(ordered) * percent // 100) - 1))]


class Counter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, int], Client] = {}
        self._total = 0
        self._seconds: deque[tuple[int, int]] = deque(maxlen=POINTS)

    def hit(self, form: str, vmid: int, latency_ms: Optional[float] = None) -> int:
        """Counts one, and returns how many there have been. The latency is that of the client's previous hit."""
        now = time.monotonic()
        with self._lock:
            client = self._clients.setdefault((form, vmid), Client(form, vmid))
            client.hits += 1
            client.times.append(now)
            if latency_ms is not None:
                client.latencies.append(latency_ms)
            self._total += 1
            second = int(now)
            if self._seconds and self._seconds[-1][0] == second:
                self._seconds[-1] = (second, self._seconds[-1][1] + 1)
            else:
                self._seconds.append((second, 1))
            return self._total

    def forget(self, form: str) -> None:
        """The clients of this program have ended. Their hits stay in the total."""
        with self._lock:
            self._clients = {key: client for key, client in self._clients.items() if key[0] != form}

    def clients(self, form: str) -> int:
        with self._lock:
            return sum(key[0] == form for key in self._clients)

    def view(self) -> dict[str, Any]:
        """What the page shows."""
        now = time.monotonic()
        with self._lock:
            counts = dict(self._seconds)
            curve = [counts.get(int(now) - back, 0) for back in range(POINTS, 0, -1)]
            rows = [
                {
                    "form": client.form,
                    "vmid": client.vmid,
                    "hits": client.hits,
                    "rate": round(rate(client.times, now), 1),
                    "ms": round(percentile(list(client.latencies), 50), 2) if client.latencies else None,
                }
                for client in sorted(self._clients.values(), key=lambda client: (client.form, client.vmid))
            ]
        return {"total": self._total, "rate": round(sum(row["rate"] for row in rows), 1), "curve": curve, "clients": rows}
