"""The part of one of many ranks."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from itpipe._core.checks import check_rank
from itpipe._core.keys import END
from itpipe._core.steps import HIDDEN, Pair, State, Stateful
from itpipe._engine.dealing import Dealing, is_dealing
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage
from itpipe.integrations.distributed import distributed

if TYPE_CHECKING:
    from itpipe._engine.stream import Same
else:
    Same = Stage

__all__ = ['Even', 'shard', 'shard_step']

Even: TypeAlias = Literal['keep', 'drop', 'repeat']


@factory
def shard(index: int, count: int, even: Even = 'keep') -> Same:
    """Every `count`-th item, beginning with the one at `index`: the part of one of `count` ranks.

    The shards 0 to `count - 1` of the same items are disjoint, and together have all of them. Later random stages do
    the same to each item as without shards. If a stage before `shard` is random, all ranks need the same seed.

    No rank works on items of another rank. A shard runs before the item-wise stages that it is written after, and
    before the items of a sequence are looked up. It also runs before such stages in a `parallel_map`, if that leaves
    nothing out. It does not change places with stages that need to see the items, such as `filter_by`, `flatten` and
    `batch_by`.

    `even` says what happens if the number of items is not a multiple of `count`. With `'keep'`, each item comes in one
    shard, and some shards have one item more than others. With `'drop'`, the last few items are left out. With
    `'repeat'`, some of the first ones come a second time. After `'drop'` and `'repeat'`, all shards have the same
    number of items.

    Raises TypeError if `index` or `count` is not an int; ValueError if not 0 <= `index` < `count`, and for another
    `even`. While running, raises ValueError if a stage before it is random and there is no seed, or if a stage before
    it gives items in the order in which they are ready.

    >>> list(range(8) | shard(1, 3))
    [1, 4, 7]
    >>> list(range(8) | shard(2, 3)), list(range(8) | shard(2, 3, even='repeat')), list(range(8) | shard(1, 3, 'drop'))
    ([2, 5], [2, 5, 0], [1, 4])

    See also: `Infinite`, which finds the place for it; `merge_states`; `take`, `skip`.
    """
    return Same((shard_step('shard', check_rank('shard', index, count, 'index', 'count'), even),))


def shard_step(where: str, share: tuple[int, int], even: Even) -> Stateful:
    """The step that lets pass what is dealt to one of so many ranks; errors in `even` name `where`."""
    if not isinstance(even, str) or even not in get_args(Even):
        raise ValueError(f"{where}: `even` must be 'keep', 'drop' or 'repeat', got {even!r}")
    return Stateful(
        'shard', _shard, (*share, even), args=share, kwargs={} if even == 'keep' else {'even': even},
        state={'dealt': Dealing().field(), 'slots': []}, gives='same',
        replay=_replay_shard, fits=is_dealing, positional=True, share=share,
        counts=partial(_count_share, *share, even),
    )  # fmt: skip


def _count_share(index: int, count: int, even: Even, items: int) -> int:
    whole, left = divmod(items, count)
    if even == 'keep':
        return whole + (index < left)
    return whole + (even == 'repeat' and left > 0)


def _shard(items: Iterator[Pair], state: State, log: deque[Any], index: int, count: int, even: Even) -> Iterator[Pair]:
    """Where all ranks shall get as many, the slots are the first items, which may come again."""
    dealing, slots = Dealing.of(state['dealt']), state['slots']
    places = dealing.pending(enumerate(items, dealing.passed), dealing.passed)
    fresh = even == 'repeat' and not slots
    if fresh:
        first = list(islice(places, max(index, 1)))
        slots[:] = [pair for _, pair in first]
        places = chain(first, places)
    before, reached = (index - dealing.order(dealing.passed)) % count, dealing.passed
    while own := deque(islice(places, before + 1), maxlen=1):
        place, pair = own.pop()
        reached = place + 1
        if dealing.order(place) % count != index:
            break  # there are no more
        before, last = count - 1, pair[0]
        if even == 'drop' and index < count - 1:
            others = deque(islice(places, count - 1 - index), maxlen=1)
            reached = others[0][0] + 1 if others else reached
            if not others or dealing.order(reached - 1) % count != count - 1:
                break
            before, last = index, others[0][1][0]
        log.append((pair[0], last, reached, [(key, HIDDEN) for key, _ in slots] if fresh else None))
        fresh = False
        yield pair
        del pair
    left = dealing.order(reached) % count
    if even == 'keep' and left and distributed() is not None:
        from itpipe._engine.stacks import user_stacklevel

        warnings.warn(
            f'shard: {count} ranks share {dealing.order(reached)} items, so {left} of them get one more than the'
            ' others, and what waits for all ranks in each step hangs;'
            " give `even='repeat'` or `even='drop'`, or evaluate only",
            stacklevel=user_stacklevel(),
        )
    if even == 'repeat' and slots and 0 < left <= index:
        again = slots[(index - left) % len(slots)]
        log.append((again[0], END, reached, []))
        yield again
    log.append((END, END, reached, None))


def _replay_shard(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    dealing = Dealing.of(state['dealt'])
    while log:
        key, position[0], passed, slots = log.popleft()
        state['dealt'] = dealing.field(passed)
        if slots is not None:
            state['slots'] = slots
        if key is not END:
            yield key, HIDDEN
