"""watchdog: the master's observer goes on; a clone's inherited one is silent, one that it makes itself sees its own files."""
# Said when an observer is stopped just as an event comes, cloned or not:
# stderr: InotifyEmitter.queue_events\(\) called when the thread is inactive

from pathlib import Path

from harness import family, until
from watchdog.events import FileCreatedEvent, FileSystemEventHandler
from watchdog.observers import Observer

from gridcentric import guest


class Names(FileSystemEventHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_created(self, event: FileCreatedEvent) -> None:
        self.seen.append(Path(event.src_path).name)


def watch(folder: Path) -> tuple[Observer, Names]:
    folder.mkdir()
    names, observer = Names(), Observer()
    observer.schedule(names, str(folder))
    observer.start()
    return observer, names


observer, inherited = watch(Path("shared"))
assert "inotify" in guest.explain().report


def work(vmid: int) -> list[str]:
    own, names = watch(Path(f"own{vmid}"))
    Path(f"own{vmid}/file").touch()
    until(lambda: names.seen == ["file"], "the file in the own folder")
    own.stop()
    own.join()
    if not vmid:
        Path("shared/file").touch()
        until(lambda: inherited.seen, "the file in the master's folder")
    return inherited.seen


master, clones = family(work)
assert (master, clones) == (["file"], [[], [], []]), (master, clones)
observer.stop()
observer.join()
