"""Look-ups that may fail: an item that cannot be looked up is left out or replaced, whoever looks it up.

Who looks it up, such as a worker, raises `LookUpFailed`. The thread of the run then applies the policy of the source.
If that puts something else in the place of the item, the function is called again, with this instead of the index.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import Key, ordinals
from itpipe._core.steps import Pair
from itpipe.errors import Dropped

from .failures import SKIPPED, Failures, Policy
from .functions import Blames, ItemFunction, Keyed
from .gathering import look_up_together, rows_of
from .indexing import LookUp, LookUpFailed
from .meters import Meter

if TYPE_CHECKING:
    from .seeds import Seeds
    from .waiting import Stop

__all__ = ['FailingLookUp', 'LookUps', 'failing', 'look_up_items']


@dataclass(frozen=True, slots=True)
class Given:
    """In the place of an index: the item itself."""

    item: Any


class FailingLookUp(Keyed, Blames):
    """A look-up that raises `LookUpFailed`. What to do about that is known in this process only."""

    __slots__ = ('_inner', 'look_up', 'named', 'place', 'policy')
    skips = True

    def __init__(
        self, look_up: LookUp, place: int, policy: Policy | None = None, named: Callable[[Any], Any] | None = None
    ):
        self.look_up, self.place, self.policy, self.named = look_up, place, policy, named
        self._inner = look_up.function

    @property
    def inner(self) -> Iterable[ItemFunction]:
        return (self._inner,)

    @property
    def function(self) -> ItemFunction:
        """It as a function of an item."""
        return ItemFunction((self,), ('',))

    @property
    def gathers(self) -> bool:
        """Whether several items are looked up together."""
        return self.look_up.gathers

    def at(self, key: Key) -> Callable[[Any], Any]:
        return partial(self._looked_up, key)

    def _looked_up(self, key: Key, index: Any) -> Any:
        if type(index) is Given:
            return index.item
        try:
            return self._inner(key, index)
        except Exception as error:
            raise LookUpFailed(self.place, ordinals(key)[0], index) from error

    def in_pass(self, pass_: int) -> FailingLookUp:
        return self

    def __reduce__(self) -> Any:
        return FailingLookUp, (self.look_up, self.place)


def failing_in(function: ItemFunction) -> Iterator[FailingLookUp]:
    """The look-ups of a function that may fail, also those of the streams that its items come from."""
    for call in function.calls:
        if isinstance(call, FailingLookUp):
            yield call
        elif isinstance(call, Keyed):
            for inner in call.inner:
                yield from failing_in(inner)


class _SourceFailures(Failures):
    """The failures of the look-ups in one source."""

    def __init__(self, look_up: FailingLookUp, dropped: deque[Dropped], meter: Meter):
        assert look_up.policy is not None
        super().__init__(look_up.policy, look_up.look_up.described, dropped, meter)
        self.named = look_up.named

    def item(self, error: Exception, key: Key, item: Any) -> Any:
        """The index, or what has been found there by `named`."""
        if self.named is not None:
            with suppress(Exception):
                return self.named(item)
        return item


class LookUps:
    """The look-ups in a function that may fail, and what has become of them in a run."""

    def __init__(self, function: ItemFunction, dropped: deque[Dropped], meter: Meter):
        self._failures = {each.place: _SourceFailures(each, dropped, meter) for each in failing_in(function)}

    def __bool__(self) -> bool:
        return bool(self._failures)

    @property
    def replace(self) -> bool:
        """Whether something else may come in the place of an item."""
        return any(failures.policy.replaces for failures in self._failures.values())

    def count(self, items: int = 1) -> None:
        """There are so many more items."""
        for failures in self._failures.values():
            failures.seen += items

    def instead(self, failed: LookUpFailed, item: Any) -> Any:
        """What to call the function with again, SKIPPED if the item is left out; or raises the error."""
        error: Any = failed.__cause__
        value = self._failures[failed.place].outcome(error, failed.ordinal, failed.index)
        return SKIPPED if value is SKIPPED else _replaced(item, failed.path, Given(value))

    def call(
        self,
        function: ItemFunction,
        key: Key,
        item: Any,
        outcome: Callable[[Exception, Any], Any] | None = None,
    ) -> Any:
        """What the function makes of the item, SKIPPED if that is left out.

        Of another error than that of a look-up, it is the `outcome` of the error and the item, if that is given.
        """
        self.count()
        while item is not SKIPPED:
            try:
                return function(key, item)
            except LookUpFailed as error:
                failed = error
            except Exception as error:
                if outcome is None:
                    raise
                return outcome(error, item)
            try:  # when that error is not being handled any more, as it would become the context of its own cause
                item = self.instead(failed, item)
            finally:
                del failed  # its traceback holds this frame
        return SKIPPED


def _replaced(item: Any, path: Sequence[int], given: Given) -> Any:
    if not path:
        return given
    elements = list(item)
    elements[path[0]] = _replaced(elements[path[0]], path[1:], given)
    return tuple(elements)


def look_up_items(
    items: Iterator[Pair], function: ItemFunction, stop: Stop, meter: Meter, size: int = 1
) -> Iterator[Pair]:
    """What the function makes of the indices, without items that are left out.

    With a `size`, the function only looks up, so many items together. Of these as many are then looked up again as were
    left out, so that batches of this size are made of items that were looked up for them.
    """
    look_ups = LookUps(function, stop.dropped, meter)
    if size > 1:
        yield from _look_up_together(items, function, look_ups, stop, meter, size)
        return
    probe = meter.probe
    for key, value in items:
        if probe.on:
            probe.charge(meter.before, key)
        value = look_ups.call(function, key, value)
        if stop.called:
            stop.check()
        if probe.on:
            probe.charge(meter, key)
        if value is not SKIPPED:
            yield key, value
        del value


def _look_up_together(
    items: Iterator[Pair], function: ItemFunction, look_ups: LookUps, stop: Stop, meter: Meter, size: int
) -> Iterator[Pair]:
    probe, wanted = meter.probe, size
    rows = rows_of(next(failing_in(function)).look_up.sequence)
    while group := list(islice(items, wanted)):
        if probe.on:
            probe.charge(meter.before, group[0][0])
        found = look_up_together(rows, [index for _, index in group])
        values = None if found is None else deque(found)
        del found
        given = 0
        for key, index in group:
            if values is None:
                value = look_ups.call(function, key, index)
            else:
                look_ups.count()
                value = values.popleft()
            if stop.called:
                stop.check()
            if probe.on:
                probe.charge(meter, key)
            if value is not SKIPPED:
                given += 1
                yield key, value
            del value
        wanted = wanted - given or size


def failing(
    read: Callable[[int], Iterator[Pair]],
    indices: Callable[[Sequence[Any]], list[Any]],
    look_up: LookUp,
    policy: Policy,
    seeds: Seeds,
    stop: Stop,
    named: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any, Any, Any, Any]:
    """What a `Numbered` source is made of whose items are looked up under the policy.

    `read` gives the indices from a number on, with their keys, and `indices` those of some keys. `on_error` gets the
    index of the item, or what `named` makes of it.
    """
    found = FailingLookUp(look_up, seeds.next_place(), policy, named)

    def items(pairs: Iterator[Pair]) -> Iterator[Pair]:
        return look_up_items(pairs, found.function, stop, Meter(records=False))

    def pick(keys: Sequence[Any]) -> dict[Key, Any]:
        return dict(items(zip(keys, indices(keys), strict=True)))

    return (lambda start: items(read(start))), pick, indices, read, found
