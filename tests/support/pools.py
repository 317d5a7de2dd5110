"""Pools for tests of workers, and functions that processes die of."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from running import LIMIT, wait_until

from itpipe._engine.functions import ItemFunction, item_function
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import itemwise
from itpipe._workers.processes import Processes


def function_of(f: Callable[[Any], Any]) -> ItemFunction:
    return item_function(itemwise('f', f).steps, Seeds())


def pool_of(f: Callable[[Any], Any], size: int = 1) -> Processes:
    return Processes(size, function_of(f))


def set_cost(pool: Processes, seconds: float, fast_source: bool = False) -> None:
    """Let the pool take calls for ones that take so long, and the next item for one that came at once."""
    dispatcher = pool._dispatcher
    dispatcher._average.value = dispatcher._seconds = seconds
    dispatcher._resize()
    if fast_source:
        dispatcher._submitted_at = inf


CLOSED = 'the run was closed while a result was awaited'


def awaited_in_a_thread(pool: Any, task: Any) -> Callable[[], Any]:
    """Waits for the task in another thread; gives a function that returns its result, or the error."""
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(pool.result(task))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()

    def joined() -> Any:
        thread.join(LIMIT)
        return outcome[0]

    return joined


def await_file(path: Path) -> None:
    wait_until(path.exists, f'{path} is there')


def dies_once(mark: Path, x: int, how: Callable[[], Any] = lambda: os.kill(os.getpid(), signal.SIGKILL)) -> int:
    with suppress(FileExistsError):
        mark.touch(exist_ok=False)
        how()
    return x
