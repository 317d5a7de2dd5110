"""What a run may leave behind: threads, processes, descriptors, shared memory; seen from the outside."""

import builtins
import functools
import gc
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil


def still_left(before: set[tuple], wait: float = 1.0) -> set[tuple]:
    """What is there and was not before, given up to `wait` seconds to go."""
    vars(builtins).pop('_', None)  # the last value that a doctest showed
    deadline = time.monotonic() + wait
    while True:
        gc.collect()
        slowly_seen.cache_clear()
        left = alive() - before
        if not left or time.monotonic() > deadline:
            return left
        threading.Event().wait(0.005)


def alive() -> set[tuple]:
    """The threads, descriptors, shared blocks and children of this process that a test could leave; takes 0.2 ms."""
    trackers = [
        sys.modules[name]._resource_tracker
        for name in list(sys.modules)
        if name.endswith(('multiprocessing.resource_tracker', 'loky.backend.resource_tracker'))  # joblib has its own
    ]
    return {
        *(('thread', thread) for thread in threading.enumerate() if type(thread).__name__ != 'TMonitor'),  # tqdm's
        *(('descriptor', *fd) for fd in descriptors() if fd[0] not in {tracker._fd for tracker in trackers}),
        *(('shared memory', name) for name in shared_memory()),
        *(seen for seen in slowly_seen(forks()) if seen[1] not in {tracker._pid for tracker in trackers}),
    }


def descriptors() -> Iterator[tuple[int, str]]:
    for fd in listdir('/proc/self/fd'):
        try:
            target = os.readlink(f'/proc/self/fd/{fd}')
        except FileNotFoundError:  # the one that listed them
            continue
        if target not in {'/dev/null', '/dev/urandom'} and '/site-packages/' not in target:  # libraries keep those
            yield int(fd), target


def shared_memory(pid: int | None = None) -> Iterator[str]:
    """Named blocks and semaphores of this process, or another; those of others on this machine come and go."""
    own = str(os.getpid() if pid is None else pid)
    return (name for name in listdir('/dev/shm') if name.startswith('itpipe') or own in re.findall(r'\d+', name))


@functools.lru_cache(maxsize=1)
def slowly_seen(forks: float) -> set[tuple]:
    """Children and mapped nameless blocks: what takes milliseconds to find, but needs a fork to come to be."""
    children = {('process', child.pid) for child in psutil.Process().children()}
    try:
        maps = Path('/proc/self/maps').read_text()
    except FileNotFoundError:
        return children
    blocks = [line.split() for line in maps.splitlines() if '/memfd:' in line]
    return children | {('mapping', address, name) for address, _, _, _, _, name, *_ in blocks}


def forks() -> float:
    """How many processes and threads this machine ever started; where it doesn't say, something new each time."""
    try:
        with open('/proc/stat', 'rb') as file:
            return int(file.read().split(b'\nprocesses ')[1].split()[0])
    except FileNotFoundError:
        return time.monotonic()


def listdir(path: str) -> list[str]:
    return os.listdir(path) if os.path.isdir(path) else []


def describe(left: tuple) -> str:
    kind, what, *more = left
    if kind == 'process':
        try:
            process = psutil.Process(what)
            more = [process.status(), process.name()]
            more.extend(process.cmdline())
        except psutil.Error:  # a zombie has no command line, and one that is gone nothing at all
            pass
    return ' '.join(map(str, ['-', kind, what, *more]))
