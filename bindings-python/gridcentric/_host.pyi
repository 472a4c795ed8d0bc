from collections.abc import Callable

class Ears:
    def ended(self, domain: int, how: str, status: int) -> None: ...

def run_host(
    driver: object,
    socket: str,
    cpus: int,
    relay_secret: str,
    control: bool,
    on_ready: Callable[[str, Callable[[], None]], None],
) -> None: ...
def wait_status_of(pidfd: int, pid: int) -> int | None: ...
