"""Stages that choose, reorder and repeat items, or take them apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from itpipe._core.checks import integer
from itpipe._core.keys import END
from itpipe._core.notes import note
from itpipe._core.steps import (
    AS_WRITTEN,
    HIDDEN,
    METER,
    STOP,
    Expanding,
    ItemStep,
    Pair,
    State,
    Stateful,
    Stateless,
    identity,
)
from itpipe._engine.factories import factory, function_of
from itpipe._engine.iterators import close_own, is_iterable, is_plain, iterator_of, without_first
from itpipe._engine.stream import Stage, reading_policy

if TYPE_CHECKING:
    from itpipe._engine.failures import OnError, Policy
    from itpipe._engine.meters import Meter
    from itpipe._engine.stream import Parts, Same
    from itpipe._engine.waiting import Stop
else:
    Parts = Stage
    Same = Stage

__all__ = ['filter_by', 'flatten', 'let_pass', 'skip', 'take']


@overload
def filter_by(predicate: Callable[[Any], object], /) -> Same: ...  # tells a lambda what it takes
@overload
def filter_by(predicate: Callable[..., object], /, *args: Any, **kwargs: Any) -> Same: ...
@factory
def filter_by(predicate: Callable[..., object], /, *args: Any, **kwargs: Any) -> Same:
    """The items for which `predicate(item, *args, **kwargs)` is true.

    Later random stages draw the same numbers for an item, no matter which items are left out.

    Raises TypeError if `predicate` is neither a function nor an item-wise stage.

    >>> list(range(10) | filter_by(lambda x: x % 3 == 0))
    [0, 3, 6, 9]

    See also: `exclude`, by the numbers of the items; `take`, `skip`.
    """
    function = function_of('filter_by', predicate, args, kwargs, 'predicate')
    test = ItemStep('filter_by', identity, (function,))
    return Same((Stateless('filter_by', let_pass, ((test,), STOP, METER)),))


class _Flatten(Parts):
    """The items of the items. Lists, tuples, generators and other iterables are taken apart by one level.

    Async generators are, too, each by an event loop in a thread of its own. An item may hold any number of others, or
    none. No more of it is read than is needed, and where a run goes on, what was delivered of an item with an index,
    such as a dataset, is not read again. A dict gives its keys.
    `flatten` is a stage by itself; `flatten()` is the same.

    `flatten(on_error='skip')` leaves out what cannot be read. Of an item with a length and an index, such as the
    datasets of `itpipe.files`, that is the broken part, and the next one follows. Anything else, such as a generator,
    ends where it raises, so the rest of that item is left out. With `'raise'`, the default, the run ends. A function
    `(error, item, ordinal)` returns one of the two, or what to put in the place of the part, or of the rest. The parts
    keep their numbers. `dropped` of the run lists what was left out. `max_errors` is how many errors are allowed: a
    count, or a share of the parts so far (at first, of a hundred).

    While running, raises TypeError for an item that is not iterable. Raises TypeError or ValueError for a wrong
    `on_error` or `max_errors`.

    >>> from itpipe import apply, flatten
    >>> list([[1, 2], [], (3,)] | flatten)
    [1, 2, 3]
    >>> run = iter([[4, 2], [1, 0, 3]] | apply(lambda xs: (12 // x for x in xs)) | flatten(on_error='skip'))
    >>> list(run), len(run.dropped)
    ([3, 6, 12], 1)

    See also: `batch_by`, which puts together.
    """

    __slots__ = ()

    def __call__(self, *iterable: Any, on_error: OnError = 'raise', max_errors: float | None = None) -> Any:
        stage = self
        if (policy := reading_policy('flatten', on_error, max_errors)) is not None:
            step = Expanding(
                'flatten', _flatten_failing, (policy, AS_WRITTEN, STOP, METER), kwargs=policy.options,
                fingerprint='flatten()',
            )  # fmt: skip
            stage = _Flatten((step,))
        return super(_Flatten, stage).__call__(*iterable) if iterable else stage


@factory
def take(n: int) -> Same:
    """The first `n` items. No further item is asked for.

    Raises TypeError if `n` is not an int, ValueError if it is negative.

    >>> list(range(10) | take(3))
    [0, 1, 2]

    See also: `skip`, `shard`.
    """
    count = integer('take', 'n', n, least=0)
    fits = partial(_within, 'taken', count)
    return Same(
        (
            Stateful(
                'take',
                _take,
                (count,),
                state={'taken': 0},
                gives='same',
                fits=fits,
                positional=True,
                counts=partial(min, count),
            ),
        )
    )


@factory
def skip(n: int) -> Same:
    """All items but the first `n`.

    Raises TypeError if `n` is not an int, ValueError if it is negative.

    >>> list(range(5) | skip(3))
    [3, 4]

    See also: `take`, `shard`.
    """
    count = integer('skip', 'n', n, least=0)
    fits = partial(_within, 'skipped', count)
    step = Stateful(
        'skip', _skip, (count,),
        state={'skipped': 0}, gives='same', replay=_replay_skip, fits=fits, positional=True,
        counts=partial(_count_rest, count),
    )  # fmt: skip
    return Same((step,))


# ---------------------------------------------------------------------------------------------------------------------
# What runs


def _count_rest(n: int, items: int) -> int:
    return max(0, items - n)


def _within(name: str, most: int, state: State) -> bool:
    return 0 <= state[name] <= most  # type: ignore[no-any-return]


def let_pass(
    items: Iterator[Pair], predicate: Callable[[Any, Any], object], stop: Stop, meter: Meter
) -> Iterator[Pair]:
    """The pairs for which `predicate(key, value)` is true."""
    probe, before = meter.probe, meter.before
    for pair in items:
        if probe.on:
            probe.charge(before, pair[0])
        if predicate(*pair):
            yield pair
        else:
            meter.refused += 1
            stop.check()
        del pair
        if probe.on:
            probe.charge(meter)


def _flatten(items: Iterator[Pair], stop: Stop, first: int = 0) -> Iterator[Pair]:
    for key, value in items:
        position, iterator = -1, None
        try:
            if first or not is_plain(value):
                iterator = iterator_of(value, stop)
            parts = value if iterator is None else without_first(first, iterator, value)
            for position, part in enumerate(parts, first):
                yield (key, position), part
        except Exception as error:
            if position < 0 and isinstance(error, TypeError) and not is_iterable(value):
                error = TypeError(f'flatten: items must be iterable, got {type(value).__name__}')
                note(error, 'flatten()', key)
                raise error from None
            note(error, 'flatten()', key)
            raise
        finally:
            if iterator is not None:
                close_own(iterator, value)


def _flatten_failing(
    items: Iterator[Pair], policy: Policy, name: str, stop: Stop, meter: Meter, first: int = 0
) -> Iterator[Pair]:
    from itpipe._engine.failures import SKIPPED, Failures
    from itpipe._engine.meters import passed
    from itpipe._engine.parts import Broken, parts_of

    failures = Failures(policy, name, stop.dropped, meter)
    for key, value in passed(items, meter):
        if not is_iterable(value):
            error: Exception = TypeError(f'flatten: items must be iterable, got {type(value).__name__}')
            note(error, name, key)
            raise error
        with closing(parts_of(value, first, stop)) as parts:
            for position, part in parts:
                failures.seen += 1
                if type(part) is Broken:
                    stop.check()  # or an end from outside would be an error of the item
                    note(part.error, name, (key, position))
                    part = failures.outcome(part.error, (key, position), value)
                if part is not SKIPPED:
                    yield (key, position), part
                del part


flatten: Parts = _Flatten((Expanding('flatten', _flatten, (STOP,)),))


def _take(items: Iterator[Pair], state: State, n: int) -> Iterator[Pair]:
    if state['taken'] == n:
        return
    for pair in items:
        state['taken'] += 1
        yield pair
        if state['taken'] == n:
            return


def _skip(items: Iterator[Pair], state: State, log: deque[Any], n: int) -> Iterator[Pair]:
    for pair in islice(items, n - state['skipped'], None):
        log.append((pair[0], n))
        yield pair
        del pair
    log.append((END, n))


def _replay_skip(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    while log:
        position[0], state['skipped'] = log.popleft()
        if position[0] is not END:
            yield position[0], HIDDEN
