"""The stage that maps with workers: what is asked for. What then runs is in `window`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from itpipe._core.checks import integer, is_function, positive, truth
from itpipe._core.names import step_name
from itpipe._core.show import format_call, format_step
from itpipe._core.sizes import size
from itpipe._core.steps import STOP, ItemStep, Pair, Stateful, Stateless, identity
from itpipe._engine.background import Background
from itpipe._engine.functions import ItemFunction
from itpipe._engine.resources import Resource, supplied
from itpipe._engine.stream import Stage, factory, function_of
from itpipe._engine.threads import check_running, close_for
from itpipe._engine.waiting import Stop
from itpipe._workers import window
from itpipe._workers.failures import OnError, Retries, Retrying, policy_of, retries_of
from itpipe._workers.pool import Pool
from itpipe._workers.threads import Threads

if TYPE_CHECKING:
    from itpipe._engine.stream import S, Same
    from itpipe._engine.types import AnyFunction, Map, Submits, X, Y
else:
    Same = Stage

__all__ = ['parallel_map', 'prefetch']


@overload
def parallel_map(f: S, /, *args: Any, **kwargs: Any) -> S: ...
@overload
def parallel_map(
    f: Map[X, Y],
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    executor: Submits | None = None,
    ordered: bool = True,
    in_flight: int | str | None = None,
    setup: Callable[[], Any] | None = None,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] | None = None,
    backoff: float | None = None,
    max_crashes: int = 2,
    max_tasks_per_worker: int | None = None,
    stall_timeout: float | None = None,
    seed_globals: bool = False,
    name: str | None = None,
    **kwargs: Any,
) -> Stage[X, Y]: ...
@overload
def parallel_map(
    f: AnyFunction[Y],
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    executor: Submits | None = None,
    ordered: bool = True,
    in_flight: int | str | None = None,
    setup: Callable[[], Any] | None = None,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] | None = None,
    backoff: float | None = None,
    max_crashes: int = 2,
    max_tasks_per_worker: int | None = None,
    stall_timeout: float | None = None,
    seed_globals: bool = False,
    name: str | None = None,
    **kwargs: Any,
) -> Stage[Any, Y]: ...
@factory
def parallel_map(
    f: Any,
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    executor: Any = None,
    ordered: bool = True,
    in_flight: int | str | None = None,
    setup: Callable[[], Any] | None = None,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
    retries: int = 0,
    retry_on: type[Exception] | tuple[type[Exception], ...] | None = None,
    backoff: float | None = None,
    max_crashes: int = 2,
    max_tasks_per_worker: int | None = None,
    stall_timeout: float | None = None,
    seed_globals: bool = False,
    name: str | None = None,
    **kwargs: Any,
) -> Stage[Any, Any]:
    """`f(item, *args, **kwargs)` for each item, several at a time.

    `f` is a function of an item or an item-wise stage, all of which then runs in the workers. Exactly one of

    - `threads=N`: in N threads, for functions that wait or release the interpreter lock (reading files, numpy). One
      that takes less than 30 µs is called in the thread of the run, where that is faster;
    - `processes=N`: in N processes, for pure Python. They are started without fork, for this run alone, and get the
      function once. Lambdas, closures and functions of a notebook will do. What goes to a process and comes back is
      copied, arrays through shared memory; but large arrays that `f` refers to go there once for all processes, which
      have them read-only, and memory-mapped ones are opened again by path. Native thread pools (BLAS, OpenMP, polars,
      OpenCV) in them share the cores. `f` may start processes itself;
    - `executor=E`: whatever has `submit`, such as a `concurrent.futures.Executor` or a dask `Client`. It is not shut
      down.

    Negative N counts from the number of usable cores: -1 is all of them, -2 all but one. The workers start when the
    run does and end with it.

    The results come in the order of the items, or with `ordered=False` as they are ready. At most `in_flight` items
    (by default twice the number of workers, more where cheap items go to processes) are between input and output.

    `in_flight='512MB'` (or B, kB, GB, TB, KiB, MiB, GiB, TiB) is as many items as hold so much, but at least one and at
    most 64 for each worker. An item holds what went in until its result is there, and then what the result does. Of a
    result to come as much is expected as those of late held; before the first is there, no more items than workers are
    on their way. All this is an estimate: it counts text, buffers, arrays, tensors, images, tables and what else has
    `nbytes`, also inside of tuples, lists, sets, dicts, dataclasses and attributes of objects. What owns the memory
    counts, once: a view holds all that it is a view of, a memory-mapped file holds nothing. (To processes go copies;
    there, a view holds what it shows.)

    A process that dies, killed by the system or crashed in native code, is replaced, and what it had is run again: no
    result is lost, none comes twice. An item on which more than `max_crashes` processes died, when each had no other,
    ends the run. Processes are replaced after `max_tasks_per_worker` items, if given, against memory leaks.

    `setup` is called once in each worker, thread or process, and `f` gets what it returned as keyword `setup`: a file,
    a connection, a model. It is closed in the end, if it has `close`. (Then cheap functions run in threads, too; and
    where `f` is a stage, the one function that it applies gets it. An executor has its own way.)

    What becomes of an item on which `f` raises is said by

    - `on_error`: `'raise'` ends the run, `'skip'` leaves the item out, and a function `(error, item, ordinal)` returns
      one of the two, or what to put in the place of the result. What was left out is in `dropped` of the run or of
      `Infinite`. An item that its workers die of counts as well; items and results that cannot be pickled, an error in
      `setup`, and workers that cannot be started always end the run;
    - `max_errors`: a count, or a share of the items so far (but of the first hundred at the beginning), above which the
      run ends with the error that was one too many;
    - `retries`: so many times `f` is called again after an error of the class or classes `retry_on`, before all of the
      above; in the same worker, after `backoff` seconds (by default 0.1), twice as many each time, at most 60. Where
      `f` is random, it draws the same again; where `f` changes the item, it sees that.

    `seed_globals=True` is for functions that draw from the global generators of `random`, `numpy.random` and torch, in
    processes: before each call these are seeded from the item's own generator, see `with_rng`. So it counts as a random
    stage, and the same is drawn for an item however many processes there are. `name` goes with it, and is as for
    `with_rng`.

    When a result has been waited for `stall_timeout` seconds, a `StallWarning` says which items are being worked on,
    and where in your functions.

    Raises TypeError or ValueError for wrong arguments. While running: what `f` raises, as it was raised, and, in order,
    after the results before it; `NotPicklable` if something that must go to a process or come back cannot be pickled;
    `WorkerCrashed` if processes keep dying of an item.

    >>> list(range(5) | parallel_map(pow, 2, threads=2))
    [0, 1, 4, 9, 16]
    >>> from itpipe import map_at
    >>> list([(1, -2), (3, -4)] | parallel_map(map_at(0, str) | map_at(1, abs), threads=2))
    [('1', 2), ('3', 4)]
    >>> run = iter([4, 2, 0, 1] | parallel_map(lambda x: 1 / x, threads=2, on_error='skip'))
    >>> list(run), [(each.ordinal, each.error) for each in run.dropped]
    ([0.25, 0.5, 1.0], [(2, ZeroDivisionError('division by zero'))])

    See also: `apply`, the same without workers; `prefetch`; `Infinite`.
    """
    given = {'threads': threads, 'processes': processes, 'executor': executor}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        got = ', '.join(chosen) or 'none of them'
        raise TypeError(f'parallel_map: give exactly one of `threads`, `processes` and `executor`, got {got}')
    ((where, given_there),) = chosen.items()
    if executor is None:
        if integer('parallel_map', where, given_there) == 0:
            raise ValueError(f'parallel_map: `{where}` must not be 0')
    elif not callable(getattr(executor, 'submit', None)):
        raise TypeError(f'parallel_map: `executor` must have a method `submit`, got {type(executor).__name__}')
    truth('parallel_map', 'ordered', ordered)
    limit = None if in_flight is None else size('parallel_map', 'in_flight', in_flight)
    if setup is not None:
        is_function('parallel_map', 'setup', setup)
        if executor is not None:
            raise TypeError('parallel_map: `setup` goes with `threads` or `processes`; an executor has its own way')
    policy = policy_of('parallel_map', on_error, max_errors)
    retrying = retries_of('parallel_map', retries, retry_on, backoff)
    only_there: dict[str, Any] = {}
    if integer('parallel_map', 'max_crashes', max_crashes, least=0) != 2:
        only_there['max_crashes'] = max_crashes
    if max_tasks_per_worker is not None:
        integer('parallel_map', 'max_tasks_per_worker', max_tasks_per_worker, least=1)
        only_there['max_tasks_per_worker'] = max_tasks_per_worker
    if truth('parallel_map', 'seed_globals', seed_globals):
        only_there['seed_globals'] = True
        if processes is None:
            raise TypeError(
                'parallel_map: `seed_globals` goes with `processes`, as threads share the global generators: take `rng`'
                ' from `with_rng` instead'
            )
    elif name is not None:
        raise TypeError(
            'parallel_map: `name` goes with `seed_globals`, as nothing else is random here; to give it to the function,'
            ' use `functools.partial`'
        )
    if only_there and processes is None:
        raise TypeError(f'parallel_map: `{next(iter(only_there))}` goes with `processes`')
    written = kwargs | chosen
    written |= ({} if ordered else {'ordered': False}) | ({} if in_flight is None else {'in_flight': in_flight})
    written |= {} if setup is None else {'setup': setup}
    if policy is not None:
        written |= {'on_error': on_error} | ({} if max_errors is None else {'max_errors': max_errors})
    if retrying is not None:
        written |= {'retries': retries, 'retry_on': retry_on} | ({} if backoff is None else {'backoff': backoff})
    written |= only_there
    if stall_timeout is not None:
        written['stall_timeout'] = positive('parallel_map', 'stall_timeout', stall_timeout)
    function = function_of('parallel_map', f, args, kwargs)
    draws = ''
    if seed_globals:
        draws = step_name('parallel_map', function.target, name)
        written |= {} if name is None else {'name': name}
    resource = None if setup is None else Resource(setup)
    if resource is not None:
        function = supplied('parallel_map', function, resource)
    if seed_globals:
        from itpipe._workers.seeding import SeedGlobals

        steps: tuple[Any, ...] = (ItemStep('parallel_map', SeedGlobals(), (function,), (f, *args), written, draws),)
    elif isinstance(function.target, tuple) and not (args or kwargs):
        steps = function.target
    else:
        steps = (ItemStep('parallel_map', identity, (function,), (f, *args), written),)
    lasting = (
        '\n'.join(map(format_step, steps)) if steps is function.target else format_call('apply', (f, *args), kwargs)
    )
    if seed_globals:
        lasting += '\n' + format_call(
            'parallel_map', (), {'seed_globals': True} | ({} if name is None else {'name': name})
        )
    open_pool = partial(_open, where, given_there, limit, max_crashes, max_tasks_per_worker, resource, retrying)
    options = (steps, open_pool, policy, STOP, stall_timeout)
    described: dict[str, Any] = {'args': (f, *args), 'kwargs': written, 'itemwise': policy is None}
    if ordered:
        return Stage((Stateless('parallel_map', window.map_ordered, options, fingerprint=lasting, **described),))
    step = Stateful(
        'parallel_map', window.map_unordered, options, fingerprint=f'{lasting}\nparallel_map(ordered=False)',
        state={'slots': []}, gives='results', replay=window.replay_unordered, **described,
    )  # fmt: skip
    return Stage((step,))


def _open(
    where: str,
    given: Any,
    in_flight: int | None,
    max_crashes: int,
    max_tasks: int | None,
    resource: Resource | None,
    retries: Retries | None,
    function: ItemFunction,
) -> Pool:
    function.resource = resource
    if retries is not None:
        function = Retrying(function, retries)
    if where == 'threads':
        return Threads(given, function, in_flight)
    if where == 'processes':
        check_running()  # else this import fails, and does not say why
        from itpipe._workers.processes import Processes

        return Processes(given, function, in_flight, max_crashes, max_tasks)
    from itpipe._workers.executors import ExecutorPool

    return ExecutorPool(given, function, in_flight)


@factory
def prefetch(n: int | str) -> Same:
    """The same items; what is upstream runs in a thread of its own, up to `n` items ahead.

    `prefetch('512MB')` is as many as hold so much, by the estimate that `parallel_map` makes, but at least one.

    Raises TypeError if `n` is neither an int nor text, ValueError if it is less than 1 or not a size.

    >>> list(range(5) | prefetch(2))
    [0, 1, 2, 3, 4]

    See also: `parallel_map`; `Infinite`, which does this with the whole stream.
    """
    options = (STOP, size('prefetch', 'n', n))
    return Same((Stateless('prefetch', _prefetch, options, gives='same', fingerprint='', itemwise=True),))


def _prefetch(items: Iterator[Pair], stop: Stop, n: int) -> Iterator[Pair]:
    background = Background('itpipe-prefetch', depth=n)
    stop.add(background)
    try:
        yield from background.run(items)
    finally:
        threads = stop.threads(above=background)
        stop.remove(background)
        close_for(threads, background.close)
