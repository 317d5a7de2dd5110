"""What other threads are changing can be looked at, with and without the interpreter lock."""

import threading
from collections import deque

from itpipe._core.snapshots import snapshot


def test_as_it_was_at_one_moment() -> None:
    entries, stop = deque(range(100)), threading.Event()

    def rotate() -> None:
        number = 100
        while not stop.is_set():
            entries.append(number)
            entries.popleft()
            number += 1

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        for _ in range(2000):
            seen = snapshot(entries)
            assert seen == list(range(seen[0], seen[0] + len(seen)))
            assert len(seen) in (100, 101)
    finally:
        stop.set()
        thread.join()
