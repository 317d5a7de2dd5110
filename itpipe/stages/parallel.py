"""The stage that maps with workers: its options. What then runs is in `_workers.window`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, overload

from itpipe._core.checks import auto, in_use, integer, is_function, one_of, truth
from itpipe._core.instead import option_of_workers
from itpipe._core.names import step_name
from itpipe._core.show import format_call, format_step
from itpipe._core.sizes import size
from itpipe._core.steps import METER, STOP, EachStep, Elsewhere, ItemStep, Stateful, Stateless, Step, identity
from itpipe._engine.factories import factory, function_of
from itpipe._engine.order import is_by_count
from itpipe._engine.stream import Stage, only_items

from .items import apply

if TYPE_CHECKING:
    from itpipe._engine.failures import OnError
    from itpipe._engine.stream import S
    from itpipe._engine.types import AnyFunction, Map, Submits, X, Y

__all__ = ['parallel_map']

P = ParamSpec('P')


class _ByFunction(Protocol[P]):
    """What `parallel_map` is to type checkers: what comes out depends on `f`, and the options are those of P."""

    @overload
    def __call__(self, f: S, /, *args: P.args, **kwargs: P.kwargs) -> S: ...
    @overload
    def __call__(self, f: Map[X, Coroutine[Any, Any, Y]], /, *args: P.args, **kwargs: P.kwargs) -> Stage[X, Y]: ...
    @overload
    def __call__(
        self, f: AnyFunction[Coroutine[Any, Any, Y]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Stage[Any, Y]: ...
    @overload
    def __call__(self, f: Map[X, Y], /, *args: P.args, **kwargs: P.kwargs) -> Stage[X, Y]: ...
    @overload
    def __call__(self, f: AnyFunction[Y], /, *args: P.args, **kwargs: P.kwargs) -> Stage[Any, Y]: ...


def _by_function(function: Callable[Concatenate[Any, P], Stage[Any, Any]]) -> _ByFunction[P]:
    return function  # type: ignore[return-value]


@_by_function
@factory
def parallel_map(
    f: Any,
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    tasks: int | None = None,
    executor: Submits | None = None,
    workers: Literal['auto'] | None = None,
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
    timeout: float | None = None,
    stall_timeout: float | None = None,
    on_stall: Literal['warn', 'restart'] = 'warn',
    lookups: Literal['workers', 'main'] = 'workers',
    seed_globals: bool = False,
    name: str | None = None,
    **kwargs: Any,
) -> Stage[Any, Any]:
    """`f(item, *args, **kwargs)` for each item, several at a time.

    `f` is a function of an item, or an item-wise stage, which then runs in the workers as a whole. A `batch_by(n)` may
    stand between item-wise stages: `parallel_map(apply(f) | batch_by(32) | combine, processes=8)`. Then each worker
    makes whole batches, and they are the same as without `parallel_map`. Give exactly one of

    - `threads=N`: N threads, for functions that wait or release the interpreter lock (reading files, numpy). A function
      that takes less than 30 µs is called in the thread of the run if that is faster;
    - `processes=N`: N processes, for pure Python. They are started without fork, for this run alone, and get the
      function once. Lambdas, closures and functions of a notebook work. Items and results are copied, arrays through
      shared memory. Large arrays that `f` refers to are copied once for all processes, which can only read them.
      Memory-mapped arrays are opened again by path. Native thread pools (BLAS, OpenMP, polars, OpenCV) in the processes
      share the cores. `f` may start processes itself;
    - `tasks=N`: `f` is a coroutine function (`async def`), such as a request of an asynchronous HTTP client. One event
      loop, in a thread of its own, runs up to N of its calls at a time. Nothing else is done there: items are looked up
      in the thread of the run. When the run ends, calls that are on their way are cancelled. `f` must not be a stage,
      and `setup` is not possible;
    - `executor=E`: anything with `submit`, such as a `concurrent.futures.Executor`, a dask `Client`, an
      `MPIPoolExecutor` of mpi4py or a `RayExecutor`. It is not shut down. See the page "Clusters";
    - `workers='auto'`: threads or processes, whichever is faster, and as many as help. It begins with one thread, and
      tries others while it runs, for a few seconds. It stays with those for which an item takes the run the least time.
      If items later take much longer, it tries again. Results and their order are the same. So `f` must be safe for
      threads and for processes. Items, results and functions that cannot be pickled stay in threads.

    If the items come from a dataset with an index, other than a list or an array, the workers look them up: they call
    `dataset[i]`, or the loaders of `load_by_random_id`, and do the item-wise stages between the dataset and this one.
    A dataset goes to each process once, so it must be possible to pickle it. Several threads call the same dataset at
    once, so it must be safe for that. `lookups='main'` leaves all this in the thread of the run, for a dataset that is
    neither. An executor with other processes does not look up in a dataset of more than 256 KiB.

    A negative N counts from the number of usable cores: -1 is all of them, -2 all but one. With `threads=0` or
    `processes=0` there are no workers, so that an option of a script may say how many: it is the same as `apply(f)`, or
    as the stage alone. Beside another kind of workers, 0 is as if it were not given. What `on_error`, `retries` and
    `setup` need is done by one thread if there are no workers, and `seed_globals` by one process; `timeout` does
    nothing.

    The workers start with the first item and end with the run. An `Infinite` is one run over all passes of a finite
    source: the workers stay, with what they have set up and cached, until it is closed. The workers before `cycle` stay
    for all its passes, too.

    The results come in the order of the items. With `ordered=False` they come as they are ready. At most `in_flight`
    items are between input and output. The default is twice the number of workers, or more if cheap items go to
    processes, or if workers have nothing to do because one item takes far longer than others.

    `in_flight='512MB'` (or B, kB, GB, TB, KiB, MiB, GiB, TiB) limits the memory of these items instead of their number.
    There is always at least one item, and at most 64 for each worker. An item counts until its result is there, then
    the result counts. A result that is not there yet is expected to be as large as recent ones. Before the first result
    is there, there are at most as many items as workers. All this is an estimate. It counts text, buffers, arrays,
    tensors, images, tables and anything that has `nbytes`, also inside tuples, lists, sets, dicts, dataclasses and
    attributes of objects. Memory counts once, with its owner: a view holds everything that it is a view of, and a
    memory-mapped file holds nothing. (Processes get copies. There, a view holds only what it shows.)

    If a process is killed by the system or crashes in native code, it is replaced, and its items are run again. No
    result is lost, and none comes twice. The run ends if more than `max_crashes` processes died of the same item while
    they had no other item. Against memory leaks, `max_tasks_per_worker` replaces each process after that many items.

    `timeout`, for tasks and processes, is how many seconds an item may take. If it takes longer, its task is cancelled,
    or its process is killed and replaced, and the item fails with a `TimeoutError`. This is an error like one of `f`
    for `on_error`. With `retries` and a fitting `retry_on`, the item is first tried again, in other processes. The time
    of a task is that of one try. The time of a process has all that is tried again in it. It begins when the process
    gets the item, and is looked at eight times in `timeout`. (Of cheap items that were sent together, each is run again
    alone.)

    `setup` is called once in each worker, thread or process. `f` gets what it returned, such as a file, a connection or
    a model, as keyword `setup`. When the workers end, it is closed, if it has `close`. With `setup`, cheap functions
    run in threads, too. If `f` is a stage, it must apply one function only, which gets the keyword. Executors have
    initializers of their own instead.

    If `f` raises for an item, or what the workers do before it,

    - `on_error='raise'` ends the run, and `'skip'` leaves the item out. A function `(error, item, ordinal)` returns one
      of the two, or the value to use as the result. Of an item that cannot be looked up it gets the index. `dropped` of
      the run or of `Infinite` lists what was left out. An item that kills its workers is handled in the same way. Some
      errors always end the run: items and results that cannot be pickled, an error in `setup`, and workers that cannot
      be started. With a `batch_by` in `f`, only `'raise'` is possible, because other items would be in the batches;
    - `max_errors` is how many errors are allowed: a count, or a share of the items so far (at first, of a hundred). If
      there is one more, the run ends with that error;
    - `retries` is how many times `f` is called again for the same item, before any of the above. It is called again
      only after errors of the class or classes `retry_on`, in the same worker, after `backoff` seconds (by default
      0.1). The time doubles with each retry, up to 60 seconds. A random `f` draws the same numbers again. If `f` has
      changed its item, the item stays changed.

    `seed_globals=True` is for functions in processes that draw from the global generators of `random`, `numpy.random`
    and torch. Before each call these are seeded from the item's own generator, see `with_rng`. So it is a random stage:
    the same numbers are drawn for an item with any number of processes. With a `batch_by` in `f`, this is done for the
    items, but not for functions of whole batches. `name` is only for `seed_globals`, and is as
    for `with_rng`.

    If a result has been waited for `stall_timeout` seconds, a `StallWarning` says which items are being worked on, and
    where in your functions. With `on_stall='restart'`, the processes that have been at an item for longer than that are
    then killed and replaced, and the item is run again. This counts as a crash for `max_crashes`.

    Raises TypeError or ValueError for wrong arguments. While running, raises what `f` raises, unchanged and after the
    results before it. Raises `NotPicklable` if something cannot be pickled that must go to a process or come back.
    Raises `WorkerCrashed` if processes keep dying of an item, and `TimeoutError` if one takes longer than `timeout`.

    >>> list(range(5) | parallel_map(pow, 2, threads=2))
    [0, 1, 4, 9, 16]
    >>> from itpipe import map_at
    >>> list([(1, -2), (3, -4)] | parallel_map(map_at(0, str) | map_at(1, abs), threads=2))
    [('1', 2), ('3', 4)]
    >>> from itpipe import apply, batch_by, combine
    >>> list(range(5) | parallel_map(apply(pow, 2) | batch_by(3) | combine, threads=2))
    [array([0, 1, 4]), array([ 9, 16])]
    >>> run = iter([4, 2, 0, 1] | parallel_map(lambda x: 1 / x, threads=2, on_error='skip'))
    >>> list(run), [(each.ordinal, each.error) for each in run.dropped]
    ([0.25, 0.5, 1.0], [(2, ZeroDivisionError('division by zero'))])

    See also: `apply`, the same without workers; `prefetch`; `Infinite`, whose `threads` and `processes` make batches.
    """
    from itpipe._engine.failures import policy_of
    from itpipe._engine.resources import Resource, with_setup
    from itpipe._workers import window  # with the pools, which only this stage needs
    from itpipe._workers.failures import retries_of
    from itpipe._workers.opening import Workers, check_limits

    where, given = _chosen(
        kwargs, threads=threads, processes=processes, tasks=tasks, executor=executor, workers=workers
    )
    truth('parallel_map', 'ordered', ordered)
    one_of('parallel_map', 'lookups', lookups, ('workers', 'main'))
    limit = None if in_flight is None else size('parallel_map', 'in_flight', in_flight)
    policy = policy_of('parallel_map', on_error, max_errors)
    tries = retries_of('parallel_map', retries, retry_on, backoff)
    restart = check_limits('parallel_map', where, timeout, stall_timeout, on_stall)
    _check_options_of_processes(where, max_crashes, max_tasks_per_worker, seed_globals, name)
    whole = f
    batches, f, behind = _batches(f, bool(args or kwargs))
    if seed_globals and batches is not None and not f.steps:
        raise TypeError('parallel_map: `seed_globals` is for functions of items, and there is none before `batch_by`')
    function = function_of('parallel_map', f, args, kwargs, awaited=where == 'tasks')
    if where in ('threads', 'processes') and given == 0:
        if policy is None and tries is None and setup is None and not seed_globals:
            return (
                Stage(whole.steps) if isinstance(whole, Stage) and not (args or kwargs) else apply(f, *args, **kwargs)
            )
        where, given = 'processes' if seed_globals else 'threads', 1
        timeout, max_tasks_per_worker, restart = None, None, False
    make: Callable[..., Any] = identity
    if where == 'tasks':
        from itpipe._workers.tasks import Awaited

        make = Awaited
        if isinstance(whole, Stage):
            raise TypeError(f'parallel_map: with `tasks`, `f` must be a coroutine function, not a stage, got {whole!r}')
    draws = step_name('parallel_map', function.target, name) if seed_globals else ''
    resource = None
    if setup is not None:
        resource = Resource(is_function('parallel_map', 'setup', setup))
        if where == 'tasks':
            raise TypeError(
                'parallel_map: `setup` goes with `threads` or `processes`; with `tasks`, the first call of `f` may open'
                ' what all need'
            )
        if executor is not None:
            raise TypeError('parallel_map: `setup` goes with `threads` or `processes`; an executor has its own way')
        function = with_setup('parallel_map', function, resource)
    fingerprint = format_call('apply', (f, *args), kwargs)
    if seed_globals:
        from itpipe._workers.seeding import SeedGlobals

        named = {'seed_globals': True} | ({} if name is None else {'name': name})
        fingerprint += '\n' + format_call('parallel_map', (), named)
        steps: tuple[ItemStep | EachStep, ...] = (
            ItemStep('parallel_map', SeedGlobals(), (function,), (f, *args), kwargs, draws),
        )
    elif isinstance(function.target, tuple) and not (args or kwargs):
        steps = function.target
        fingerprint = '\n'.join(map(format_step, f.steps))
    else:
        steps = (ItemStep('parallel_map', make, (function,)),)
    hidden: tuple[Step, ...] = ()
    if batches is not None:
        if policy is not None:
            raise TypeError(
                'parallel_map: `on_error` does not go with a `batch_by` in `f`, because other items would then be in'
                ' the batches: use a `parallel_map` with `on_error` before `batch_by`'
            )
        made = format_step(batches)
        hidden = (replace(batches, fingerprint=f'{fingerprint}\n{made}' if steps else made, hidden=True),)
        steps = (EachStep(steps, ' | '.join([*map(format_step, f.steps), made])), *behind)  # type: ignore[arg-type]
        fingerprint = '\n'.join(map(format_step, behind))
    opened = Workers(
        where, given, limit, max_crashes, max_tasks_per_worker, stall_timeout, resource, tries, timeout, restart
    )
    options = (steps, opened, policy, STOP, METER)
    itemwise = policy is None
    in_workers = lookups == 'workers' and where != 'tasks'
    elsewhere = Elsewhere(where, given, limit, _written(whole, args, kwargs))  # type: ignore[arg-type]
    if ordered:
        step = Stateless(
            'parallel_map', window.map_ordered, options, fingerprint=fingerprint, itemwise=itemwise,
            in_workers=in_workers, elsewhere=elsewhere,
        )  # fmt: skip
        return Stage((*hidden, step))
    return Stage((
        *hidden,
        Stateful(
            'parallel_map', window.map_unordered, options, fingerprint=f'{fingerprint}\nparallel_map(ordered=False)',
            in_workers=in_workers, itemwise=itemwise, state={'slots': []}, gives='results',
            replay=window.replay_unordered, elsewhere=elsewhere,
        ),
    ))  # fmt: skip


def _written(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Step | ItemStep, ...]:
    """What the workers do, as steps that are not run."""
    if isinstance(f, Stage) and not (args or kwargs):
        return f.steps  # type: ignore[return-value]
    return (ItemStep('apply', identity, args=(f, *args), kwargs=kwargs),)


def _batches(f: Any, has_args: bool) -> tuple[Step | None, Any, tuple[ItemStep, ...]]:
    """The `batch_by` in the stage, if there is one, the stage before it, and the steps behind it."""
    if isinstance(f, Stage):
        for n, step in enumerate(f.steps):
            if isinstance(step, Step) and is_by_count(step):
                if has_args:
                    raise TypeError(
                        f'parallel_map: `f` is a stage of several steps, give the arguments to those: got {f!r}'
                    )
                return step, Stage(f.steps[:n]), only_items('parallel_map', Stage(f.steps[n + 1 :]), 'f')
    return None, f, ()


def _chosen(others: dict[str, Any], **workers: Any) -> tuple[str, Any]:
    """The one kind of workers that is given, and its value. `others` are the other arguments."""
    given = {name: value for name, value in workers.items() if value is not None}
    chosen = in_use(given)
    if not chosen:  # `processes=0` may have more options than `threads=0`
        chosen = {name: given[name] for name in [n for n in ('processes', 'threads', *given) if n in given][:1]}
    if len(chosen) != 1:
        got = ', '.join(chosen) or f'none of them{option_of_workers(others)}'
        *first, last = (f'`{name}`' for name in workers)
        raise TypeError(f'parallel_map: give exactly one of {", ".join(first)} and {last}, got {got}')
    ((where, value),) = chosen.items()
    if where == 'executor':
        if not callable(getattr(value, 'submit', None)):
            raise TypeError(f'parallel_map: `executor` must have a method `submit`, got {type(value).__name__}')
    elif where == 'workers':
        auto('parallel_map', value)
    else:
        integer('parallel_map', where, value, least=1 if where == 'tasks' else None)
    return where, value


def _check_options_of_processes(where: str, max_crashes: Any, max_tasks: Any, seed_globals: Any, name: Any) -> None:
    given = {'max_crashes': integer('parallel_map', 'max_crashes', max_crashes, least=0) != 2}
    if max_tasks is not None:
        given['max_tasks_per_worker'] = integer('parallel_map', 'max_tasks_per_worker', max_tasks, least=1) > 0
    if truth('parallel_map', 'seed_globals', seed_globals) and where != 'processes':
        raise TypeError(
            'parallel_map: `seed_globals` goes with `processes`, as threads share the global generators: take `rng`'
            ' from `with_rng` instead'
        )
    if name is not None and not seed_globals:
        raise TypeError(
            'parallel_map: `name` goes with `seed_globals`, as nothing else is random here; to give it to the function,'
            ' use `functools.partial`'
        )
    for option in given:
        if given[option] and where != 'processes':
            raise TypeError(f'parallel_map: `{option}` goes with `processes`')
