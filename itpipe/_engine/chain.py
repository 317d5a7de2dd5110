"""How a source and its steps become a live run.

A run moves pairs `(key, value)` through a chain of generators; its consumer strips the keys.

Where the consumer stands. The run may be far ahead of its consumer. The consumer says which key it received last, and
`Chain.commit` walks from there up to the source: the `Operator` of each step tells from a key that came out which keys
had gone in.

Starting again there. `Chain(…, state=…)` starts each step that remembers something from its entry, with the values
that it held made again: `recompute` goes up through the steps and runs them on the keys asked for, and on no others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, takewhile
from typing import Any, NamedTuple, TypeVar

from itpipe._core.keys import END, Key, as_key, describe
from itpipe._core.notes import note_index
from itpipe._core.show import format_step
from itpipe._core.steps import METER, STOP, ItemStep, Pair, State, Stateful, Stateless, Step, UserStateful
from itpipe.errors import Dropped

from .fingerprint import entry_names
from .functions import NOTHING, Each, ItemFunction
from .gathering import for_each
from .indexing import Indices
from .kinds import kind_of_step
from .ledgers import Ledger
from .left_out import no_indices
from .meters import Meter, passed
from .operators import Operator
from .order import LOOK_UP, check_alike, fused, is_by_count, map_items, planned, size_together, takes_indices
from .pools import Pools
from .seeds import Seeds
from .source import Source
from .user_state import UserStatefulOperator
from .waiting import Stop
from .weighting import check_kept

__all__ = ['Chain', 'is_running', 'item_again']

B = TypeVar('B', covariant=True)

COMMIT_EVERY = 256
"""After so many deliveries the logs are replayed, so that they stay short however long the run …"""
MAX_LOG = 10_000
"""… and earlier if one has more keys than this: behind a step with a log, one that drops nearly all items makes it grow
by a key an item until the next delivery."""


class _Upstream(NamedTuple):
    """The steps before the one `at` this index, see `operators.Upstream`."""

    chain: Chain
    at: int

    def recompute(self, keys: list[Key]) -> dict[Key, Any]:
        return self.chain.recompute(self.at - 1, keys)

    def again(self) -> Chain:
        return self.chain.again(self.at)


class Chain:
    """A source and its steps at work: `pairs` is what comes out.

    If it is not to be complete, the last item-wise steps are left out: these are the function `left`.
    """

    def __init__(
        self,
        source: Source,
        steps: Sequence[Step | ItemStep],
        seeds: Seeds,
        stop: Stop | None = None,
        state: State | None = None,
        tracked: bool = True,
        dropped: deque[Dropped] | None = None,
        complete: bool = True,
        pools: Pools | None = None,
        ledger: Ledger | None = None,
    ):
        self.ledger = ledger or Ledger()
        self.seeds, self.stop = seeds, stop or Stop(dropped, pools)
        self.described, self._first_seeds = (source, steps), seeds.copy()
        check_alike('shard', source, steps, seeds.seeded)
        check_kept(source, steps)
        steps = fused(steps)
        # the consumer's keys are of use up to the last opaque step, which starts from the beginning
        opaque = max((index for index, step in enumerate(steps) if step.from_beginning), default=-1)
        self.source = source.open(seeds, self.stop)
        self.source.tracked = tracked and opaque < 0
        opened = self.source
        plan = planned(steps, opened.has_look_up, source.cheap, opened.gathers, complete, opened.skips)
        if plan.looks_up and not opened.split():
            if opened.skips:
                raise TypeError(
                    f'`{source!r}` leaves out items that cannot be looked up, but what its data gives by index is not'
                    ' what iterating gives'
                )
            plan = planned(steps, has_look_up=False, complete=complete)
        if not plan.looks_up and any(map(takes_indices, steps)):
            raise TypeError(no_indices(source))
        meters = self.ledger.lay_out(source, [index != LOOK_UP and steps[index].apart for _, index in plan.operators])
        self.source.ledger = self.ledger
        # random steps of one name are counted in reading order, those of the source first
        self.pairs = self.source.start(None if state is None else state['source'])

        def at_work(step: Step, tracked: bool = True) -> Operator:
            return kind_of_step(step)(step, seeds, self.stop, tracked)

        operators = [at_work(step, tracked and index >= opaque) for index, step in enumerate(steps)]
        look_up = Stateless('look_up', map_items, (NOTHING, STOP, METER), itemwise=True)
        if opened.skips:
            from .look_ups import look_up_items

            look_up = Stateless(
                'look_up', look_up_items, (NOTHING, STOP, METER, size_together(plan, steps, opened.gathers))
            )
        operators.append(at_work(look_up))  # at LOOK_UP

        def function(indices: Sequence[int]) -> ItemFunction:
            result = NOTHING
            for index in indices:
                if index != LOOK_UP and is_by_count(steps[index]):
                    result = for_each(result)
                else:
                    result = (self.source.look_up() if index == LOOK_UP else operators[index].options[0]).after(result)
            return result

        for first, index in plan.operators:
            if first:
                operators[index].do_first(function(first))
        self._order = [index for _, index in plan.operators]
        self.operators = [operators[index] for index in self._order]
        self.left = function(plan.left)
        """What the item-wise steps that were left out make of an item."""
        names = {operator: name for operator, name in zip(operators, entry_names(steps), strict=False) if name}
        self._remembering = sorted((name, operator) for operator, name in names.items())
        # what gives keys as they are has nothing to say
        self._commits = [
            (operator, operator.consumed)
            for operator in reversed(self.operators)
            if operator.step.remembers or not operator.step.same_key
        ]
        stateful = [operator for operator in self.operators if isinstance(operator.step, (Stateful, UserStateful))]
        self._users = [
            index for index, operator in enumerate(self.operators) if isinstance(operator, UserStatefulOperator)
        ]
        self.stateful = self.source.stateful or bool(stateful)
        self._max_log, self._max_segments = MAX_LOG, COMMIT_EVERY
        self._logs = [self.source.log, *(operator.log for operator in stateful)]
        self.resumed = state is not None
        self.last: Key | None = None
        """What the consumer received last; only its thread writes it."""
        self._committed: Key | None = None
        self._since = 0
        self.lock = threading.RLock()
        """Held for what takes no time, never while an item is made."""
        self._committing = False
        self._closing: list[Callable[[], object]] = []
        if stop is None and pools is None:
            self._closing.append(partial(_close_pools, self.stop))
        self._close_later(self.pairs)
        if not isinstance(self.pairs, (enumerate, Indices)) and not (
            self.operators and self.operators[0].step.work is map_items
        ):
            self.pairs = map_items(self.pairs, NOTHING, self.stop, Meter())  # to be stopped between items
        entries = {} if state is None else state['steps']
        numbered = False
        for index, operator in enumerate(self.operators):
            entry = entries.get(names.get(operator))
            operator.meter = meters[index]
            operator.meter.what = operator.step, operator.options
            if not operator.counts_itself:
                self.pairs = passed(self.pairs, operator.meter)
                self._close_later(self.pairs)
            self.pairs = operator.start(self.pairs, entry, _Upstream(self, index))
            self._close_later(self.pairs)
            if operator.step.numbers and not numbered:
                numbered = True
                self.pairs = self._noting_indices(self.pairs)
                self._close_later(self.pairs)
        if self.ledger.out is not None:
            self.pairs = passed(self.pairs, self.ledger.out)
            self._close_later(self.pairs)
        if stop is not None and not numbered:
            self.pairs = self._noting_indices(self.pairs)
            self._close_later(self.pairs)
        if stop is None:
            self._closing.append(self.stop)  # called first: it ends the waits, so closing the rest does not hang

    def _close_later(self, items: Iterator[Pair]) -> None:
        if hasattr(items, 'close'):
            self._closing.append(partial(_close, items))

    def received(self, key: Key) -> None:
        """The consumer has received `key`."""
        self.last = key
        if self.stateful:
            self._since += 1
            if self._since >= COMMIT_EVERY or any(len(log) > self._max_log for log in self._logs):
                self.commit()

    @property
    def told(self) -> bool:
        """Whether weights were replaced in it, so that its beginning is not that of the pass."""
        return any(weighting.last is not None for weighting in self.source.weightings)

    def commit(self) -> None:
        """Bring every entry to where the consumer stands."""
        with self.lock:
            if self._committing:  # the lock keeps other threads out, but not a signal handler of this one
                raise RuntimeError(
                    'state_dict: called by a signal handler in the very moment in which the state is worked out,'
                    ' or after one has raised there; let the handler set a flag, and take the state in the loop'
                )
            key: Any = self.last
            if key is self._committed:
                return
            self._committing = True
            self._committed, self._since = key, 0
            for operator, consumed in self._commits:
                if key is None:
                    break
                key = operator.end() if key is END else consumed(key)
            if key is not None and key is not END:
                self.source.commit(key)
            self._committing = False
            if self._users and self._count_segments() > self._max_segments:
                self._forget()
            self._max_log = MAX_LOG + max(map(len, self._logs))

    def _count_segments(self) -> int:
        return sum(len(self.operators[index].log) for index in self._users)

    def _forget(self) -> None:
        """Let users' stages with a state forget what no step behind them holds any more.

        It takes the longer the more is held. So where no state is asked for, it waits until as much has come again.
        """
        self._committing = True
        held: list[Key] = []
        for operator in reversed(self.operators[self._users[0] :]):
            if isinstance(operator, UserStatefulOperator):
                operator.forget(held)
            held = [origin for key in held for origin in operator.step.origins(key)] + operator.held()
        self._max_segments = COMMIT_EVERY + 2 * self._count_segments()
        self._committing = False

    def state(self) -> State:
        """Where the consumer stands, as JSON can hold it: what `state` of another chain of the same steps takes.

        There is an entry for each step that remembers something, by its name, so that others may come and go.
        """
        with self.lock:
            self.commit()
            if self._users:
                self._forget()
            remembering = self._remembering
            return {
                'source': self.source.entry(),
                'steps': {name: operator.snapshot() for name, operator in remembering} if remembering else {},
            }

    def recompute(self, index: int, keys: list[Key]) -> dict[Key, Any]:
        """The values that had come out of the step at `index` (the source: -1) with these keys, made again."""
        if index < 0:
            values = self.source.recompute(keys)
        else:
            values = self.operators[index].recompute(keys, _Upstream(self, index))
        if self.stop.made_again is not None:
            self.stop.made_again(self, index, values)
        return values

    def again(self, index: int) -> Chain:
        """The steps before the one at `index` in a run of their own, from the beginning."""
        source, steps = self.described  # in which no step changes places with an opaque one
        return Chain(source, fused(steps)[: self._order[index]], self._first_seeds.copy(), self.stop, tracked=False)

    def before_batch(self, index: int) -> ItemFunction:
        """What makes the item that goes into a batch of what came out at `index`, if the batch itself does that."""
        result = NOTHING
        following = self.operators[index + 1 :]
        if not following or not is_by_count(following[0].step):
            return result
        calls = chain.from_iterable(operator.options[0].calls for operator in takewhile(_is_itemwise, following[1:]))
        for call in takewhile(lambda call: isinstance(call, Each), calls):
            result = call.function.after(result)
        return result

    def has_key(self, key: Any, index: int | None = None) -> bool:
        """Whether such a key can come out of the step at `index`, by default of the last one."""
        if index is None:
            index = len(self.operators) - 1
        if index < 0:
            return self.source.has_key(key)
        step: Step = self.operators[index].step
        return step.has_key(key, partial(self.has_key, index=index - 1))

    def indices(self, key: Key) -> list[Any]:
        """Where the items that `key` was made of lie in what the source draws from."""
        keys: Sequence[Any] = [key]
        for operator in reversed(self.operators):
            _check_says(operator.step)
            keys = [origin for key in keys for origin in operator.step.origins(key)]
        return self.source.indices(keys)

    def places(self, key: Key, index: int | None = None) -> list[Any]:
        """As `indices`, but of what is a part of an item, `(place, part)`: so each item of the data has its own."""
        index = len(self.operators) - 1 if index is None else index
        if index < 0:
            return self.source.places([key])
        step: Step = self.operators[index].step
        _check_says(step)
        origins = [place for origin in step.origins(key) for place in self.places(origin, index - 1)]
        return [(*origins, key[1])] if step.gives_parts else origins  # type: ignore[index]

    def note_index(self, error: BaseException) -> None:
        """Add the index of the item in the data to the note on an error that has come out of here."""
        if not any(operator.step.numbers for operator in self.operators):
            self._note_index(error)

    def _note_index(self, error: BaseException) -> None:
        with suppress(Exception):  # the error is more important
            note_index(error, self._index_of)

    def _noting_indices(self, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """The pairs, where behind them nobody knows any more which item of the source the key in a note means."""
        try:
            yield from pairs
        except Exception as error:
            self._note_index(error)
            raise

    def _index_of(self, numbers: list[int]) -> Any:
        key: Key = numbers[0]
        for number in [*numbers[1:], None]:
            if self.source.has_key(key):
                (index,) = self.source.indices([key])
                while isinstance(index, tuple):  # of a branch
                    index = index[1]
                return index
            key = key, number
        return None

    def close(self) -> None:
        """Close all that is upstream, the user's generators included; for the thread that runs it, or after that."""
        try:
            close = self._closing.pop()
        except IndexError:  # not asked for before, as two threads may be closing
            return
        try:
            close()
        finally:  # not by an ExitStack, which would take the error that this is done for out of the context
            self.close()


def _is_itemwise(operator: Operator) -> bool:
    return bool(operator.options) and isinstance(operator.options[0], ItemFunction)


def _close_pools(stop: Stop) -> None:
    if stop.pools is not None:
        stop.pools.close()


def _close(items: Any) -> None:
    # Where a thread is still in a function of the user's, it closes them itself when that returns.
    if not getattr(items, 'gi_running', False):
        items.close()


def is_running(error: BaseException) -> bool:
    """Whether the generator that was asked is running, rather than one within it."""
    asked = error.__traceback__
    return asked is not None and asked.tb_next is None and error.args == ('generator already executing',)


def item_again(where: str, source: Source, steps: Sequence[Step | ItemStep], seeds: Seeds, key: Any) -> Any:
    """The value with this key, made again, from behind the last step that gives such keys."""
    key = as_key(key)
    chain = Chain(source, steps, seeds, tracked=False)
    try:
        for index in range(len(chain.operators) - 1, -2, -1):
            if chain.has_key(key, index):
                found = chain.recompute(index, [key])
                if key not in found:
                    raise LookupError(f'{where}: there is no {describe(key)}')
                return chain.before_batch(index)(key, found[key])
    finally:
        chain.close()
    raise ValueError(f'{where}: `key` must be an ordinal or one of `item_keys`, got {key!r}')


def _check_says(step: Step) -> None:
    if step.numbers:
        raise RuntimeError(
            f'`{format_step(step)}` does not say of which items it makes what it gives; put an id into the items, so'
            ' that it comes out with them'
        )
