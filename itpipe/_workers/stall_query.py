"""Asks processes where in the user's functions they are, for the warning of a stall."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import perf_counter

from itpipe._core.keys import describe
from itpipe._core.snapshots import snapshot
from itpipe._engine.stacks import format_worker

from .process import WorkerProcess

__all__ = ['StallQuery']

ANSWER_SECONDS = 1.0
"""Seconds that processes get to say where they are."""
SILENT = 'does not answer: it is starting, or in native code that holds the interpreter lock'


class StallQuery:
    """Asks the processes of a pool, which has this lock. `lock` is held while the pipes for questions are in use."""

    def __init__(self, pool_lock: threading.Lock, lock: threading.Lock):
        self._pool_lock, self.lock = pool_lock, lock

    def report(self, workers: Sequence[WorkerProcess]) -> str:
        """The lines of the processes that have work: the item, the process and its stack."""
        if not self._pool_lock.acquire(timeout=ANSWER_SECONDS):
            return f'  a process {SILENT}, and takes no message\n'
        self._pool_lock.release()
        with self.lock:
            with self._pool_lock:
                asked = [worker for worker in workers if worker.calls]
                for worker in asked:
                    worker.request_stack()
            deadline = perf_counter() + ANSWER_SECONDS
            answers = [worker.stack(max(0.0, deadline - perf_counter())) for worker in asked]
        text = ''
        for worker, answer in zip(asked, answers, strict=True):
            done, stack = answer or (0, [])
            if calls := snapshot(worker.calls):  # at once, because the worker's thread takes some out
                who = f'{describe(calls[min(done, len(calls) - 1)].task.key)} in {worker}'
                text += format_worker(who if answer else f'{who}, which {SILENT}', stack)
        return text
