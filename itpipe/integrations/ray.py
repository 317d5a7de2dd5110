"""The executor whose calls are tasks of Ray."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import Any

from itpipe._core.show import format_call
from itpipe._engine.stacks import user_stacklevel

__all__ = ['RayExecutor']

PATIENCE = 2.0
"""Seconds that Ray gets to end, once it ends its workers."""


class RayExecutor(Executor):
    """An executor whose calls are tasks of Ray, for `parallel_map(f, executor=RayExecutor())`.

    `options` are those of `ray.remote`, for each call: `num_cpus` (1 by default), `num_gpus`, `memory`, `resources`,
    `max_retries`, `runtime_env` and so on. As many calls run at once as the cluster has room for: `num_workers`. With
    `num_cpus=0` and nothing else that is limited, these are as many as the cluster has CPUs. If no node has what a call
    needs, a warning names it, and the calls wait for a node that does.

    Call `ray.init()` before, and `ray.shutdown()` in the end: the executor does neither. Several runs may use it. If a
    run ends early, Ray still makes the calls that it was sent.

    If a process of Ray dies, Ray calls the function again in another one, up to `max_retries` times for each item (3 by
    default, -1 is without end). After that, the run ends with `ray.exceptions.WorkerCrashedError`.

    Raises ImportError if Ray is not installed, and RuntimeError if it is not initialized.

    >>> import ray  # doctest: +SKIP
    >>> ray.init()  # doctest: +SKIP
    >>> list(range(5) | parallel_map(pow, 2, executor=RayExecutor(max_retries=1)))  # doctest: +SKIP
    [0, 1, 4, 9, 16]

    See also: `parallel_map`.
    """

    def __init__(self, **options: Any):
        self._ray = _ray()
        self._options = options
        self._task = self._ray.remote(**{'num_cpus': 1} | options)(_call)
        self._has_looked = False
        """Whether the nodes were asked for what a call needs."""
        self._futures: set[Future[Any]] = set()
        self._is_shut_down = False

    @property
    def num_workers(self) -> int:
        """How many calls run at once on the cluster as it is now, if nothing else runs there."""
        there = self._ray.cluster_resources()
        rooms = [int(there.get(name, 0) / n) for name, n in self._needs.items()]
        return max(1, min(rooms, default=int(there.get('CPU', 1))))

    @property
    def _needs(self) -> dict[str, float]:
        """How much a call takes of what is limited."""
        given = self._options
        needs = {'CPU': given.get('num_cpus', 1), 'GPU': given.get('num_gpus'), 'memory': given.get('memory')}
        return {name: n for name, n in {**needs, **(given.get('resources') or {})}.items() if n}

    def __reduce__(self) -> Any:
        return partial(type(self), **self._options), ()

    def __repr__(self) -> str:
        return format_call(type(self).__name__, (), self._options)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future of what the call returns. If it is cancelled, Ray makes the call all the same."""
        if self._is_shut_down:
            raise RuntimeError('cannot schedule new futures after shutdown')
        if not self._ray.is_initialized():  # else Ray would start a cluster
            raise _shut_down()
        if not self._has_looked:
            self._has_looked = True
            self._warn_of_what_is_missing()
        # Its `cancel` does not cancel the task. That is as well: where a task ends just then, Ray aborts this process.
        future: Future[Any] = self._task.remote(function, args, kwargs).future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def _warn_of_what_is_missing(self) -> None:
        """Warn if no node has what a call needs. Clusters may grow, so this is no error."""
        needs = self._needs
        nodes = [node['Resources'] for node in self._ray.nodes() if node['Alive']]
        if not any(all(node.get(name, 0) >= n for name, n in needs.items()) for node in nodes):
            missing = {name: n for name, n in needs.items() if all(node.get(name, 0) < n for node in nodes)}
            named = ', '.join(f'{name}: {n}' for name, n in (missing or needs).items())
            warnings.warn(
                f'RayExecutor: no node of the cluster has {named}{"" if missing else " together"}, so the calls wait'
                f' until one does; if none is going to be added, give other options than {self!r}',
                stacklevel=user_stacklevel(),
            )

    def end_if_disconnected(self) -> None:
        """If Ray was shut down, end the futures that are not done. Ray itself would leave them as they are."""
        if self._futures and not self._ray.is_initialized():
            for future in list(self._futures):
                with suppress(InvalidStateError):  # it has just been done
                    future.set_exception(_shut_down())

    def check_shut_down(self) -> None:
        """Raise RuntimeError if Ray was shut down. It ends calls by SystemExit a moment before that can be seen."""
        until = monotonic() + PATIENCE
        while self._ray.is_initialized():
            if monotonic() > until:
                return
            sleep(PATIENCE / 100)
        raise _shut_down()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no other calls. Ray itself goes on."""
        self._is_shut_down = True
        futures = list(self._futures)
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            wait_for([future for future in futures if not future.cancelled()])


def _shut_down() -> RuntimeError:
    return RuntimeError('RayExecutor: Ray was shut down: call `ray.init()`, and make another executor')


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError("RayExecutor: needs Ray: pip install 'itpipe[ray]'") from None
    if not ray.is_initialized():
        raise RuntimeError('RayExecutor: Ray is not initialized: call `ray.init()` first')
    return ray
