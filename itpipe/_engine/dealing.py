"""How the items of a run are dealt to ranks, and again to another number of them.

Ranks get the items in turn. Where ranks have gone on from `merge_states`, some items had been delivered before to other
ranks, which need not have come equally far; those that had not are dealt in turn from there on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain, count, islice
from typing import Any, Final, TypeVar

from itpipe._core.key_codes import decode_all
from itpipe._core.keys import is_count
from itpipe._core.steps import State

from .kinds import kind_of

__all__ = ['Dealing', 'check_dealt', 'deal', 'is_dealing', 'merge']

T = TypeVar('T')
MOST_APART: Final = 1 << 24
"""Items; the place of each that one rank has had, and another not, is in a merged state."""


class Dealing:
    """Which items are still to be dealt, by their places among those that come to `shard`, and how far one rank is.

    Those before `begun` were delivered, and of the others those in `seen`, which is sorted. The rank is done with those
    before `passed`. In the state of `shard`, this is the field `'dealt'`.
    """

    def __init__(self, begun: int = 0, seen: Sequence[int] = (), passed: int = 0):
        self.begun, self.seen, self.passed = begun, list(seen), passed
        self.regular = max([begun, *seen[-1:]]) + 1
        """From there on, all are to be dealt."""

    @classmethod
    def of(cls, dealt: Any) -> Dealing:
        """The dealing of which this is the field; raises ValueError if it cannot be."""
        if isinstance(dealt, dict) and dealt.keys() == {'begun', 'passed', 'seen'}:
            begun, passed, seen = dealt['begun'], dealt['passed'], dealt['seen']
            counts = isinstance(seen, list) and all(map(is_count, [begun, passed, *seen]))
            if counts and all(map(int.__lt__, [begun, *seen], seen)):
                return cls(begun, seen, passed)
        raise ValueError('it does not say which items were dealt')

    @classmethod
    def of_entry(cls, entry: Any) -> Dealing:
        """The dealing in the entry of a `shard`."""
        return cls.of(entry['own']['dealt'])

    def field(self, passed: int | None = None) -> State:
        """What `shard` has of it in its state, if it has `passed` so many items."""
        return {'begun': self.begun, 'passed': self.passed if passed is None else passed, 'seen': self.seen[:]}

    def is_pending(self, place: int) -> bool:
        """Whether the item at `place` is to be dealt."""
        at = bisect_left(self.seen, place)
        return place >= self.begun and self.seen[at : at + 1] != [place]

    def order(self, place: int) -> int:
        """How many items are dealt before the one at `place`."""
        if place >= self.regular:
            return place - self.begun - len(self.seen)
        return max(0, place - self.begun) - bisect_left(self.seen, place)

    def pending(self, items: Iterator[tuple[int, T]], start: int) -> Iterator[tuple[int, T]]:
        """Those of the items that are to be dealt; they come with their places, the first being `start`."""
        irregular = islice(items, max(0, self.regular - start))
        return chain((item for item in irregular if self.is_pending(item[0])), items)


def is_dealing(state: State) -> bool:
    """Whether it can be the state of a `shard`."""
    try:
        return Dealing.of(state['dealt']) is not None
    except ValueError:
        return False


# ---------------------------------------------------------------------------------------------------------------------
# Positions of all ranks, as JSON


def merge(where: str, positions: Sequence[State | None]) -> State | None:
    """Where all ranks together stand, of whom each stands at one of the positions: what `deal` takes.

    Upstream of `shard`, all ranks do the same, so the position of one rank can stand for all. It must not have passed
    an item that is still to be dealt. Of the ranks for which that is true, the farthest is taken.
    """
    known = [position for position in positions if position is not None]
    if not known:
        return None
    shard = _index_of_shard(known[0])
    columns = zip(*(position['steps'] for position in known), strict=False)
    if len({len(position['steps']) for position in known}) > 1 or any(len(_forms(column)) > 1 for column in columns):
        raise ValueError(f'{where}: `states` are not of one pipeline: what they say of its steps differs')
    dealings = [Dealing() if position is None else Dealing.of_entry(position['steps'][shard]) for position in positions]
    dealing = dealings[0]
    if any((other.begun, other.seen) != (dealing.begun, dealing.seen) for other in dealings):
        raise ValueError(f'{where}: `states` are not of one run: their ranks began at different places')
    passed = [dealing.passed for dealing in dealings]

    def is_pending(place: int) -> bool:
        return dealing.is_pending(place) and place >= passed[dealing.order(place) % len(passed)]

    first = next(filter(is_pending, count(max(dealing.begun, min(passed)))))
    last = max([*passed, *(place + 1 for place in dealing.seen)])
    if last - first > MOST_APART:
        raise ValueError(f'{where}: `states` are not of one run: their ranks are more than {MOST_APART} items apart')
    base = max((place, rank) for rank, place in enumerate(passed) if place <= first)[1]
    at = positions[base] or {'source': None, 'steps': [None] * shard + [{}]}
    seen = [place for place in range(first + 1, last) if not is_pending(place)]
    slots = max((position['steps'][shard]['slots'] for position in known), key=lambda code: len(decode_all(code)))
    dealt = {'own': {'dealt': Dealing(first, seen, passed[base]).field()}, 'slots': slots}
    behind = zip(*(position['steps'][shard + 1 :] for position in known), strict=True)
    return {
        'source': at['source'],
        'steps': [
            *at['steps'][:shard],
            at['steps'][shard] | dealt,
            *(_merged(where, entries, len(positions)) for entries in behind),
        ],
    }


def deal(position: State | None, rank: int, ranks: int) -> State | None:
    """The part of this rank of where all stand."""
    if position is None:
        return None
    behind = _index_of_shard(position) + 1
    entries = position['steps']
    split = [None if entry is None else kind_of(entry).split(entry, rank, ranks) for entry in entries[behind:]]
    return position | {'steps': entries[:behind] + split}


def check_dealt(position: State | None) -> None:
    """Raise ValueError for a position that does not say which items were dealt."""
    if position is not None:
        Dealing.of_entry(position['steps'][_index_of_shard(position)])


def _index_of_shard(position: State) -> int:
    """Raises ValueError if there is none."""
    own = [entry.get('own', {}) if isinstance(entry, dict) else {} for entry in position['steps']]
    if not any('dealt' in fields for fields in own):
        raise ValueError('it does not say which items were dealt')
    return max(index for index, fields in enumerate(own) if 'dealt' in fields)


def _forms(entries: Sequence[Any]) -> set[Any]:
    """What the entries of one step in all ranks are made of, which is to be the same; None fits in everywhere."""
    return {kind_of(entry).form(entry) for entry in entries if entry is not None}


def _merged(where: str, entries: Sequence[Any], ranks: int) -> Any:
    """One entry for a step behind `shard`, of those of all ranks."""
    present = [entry for entry in entries if entry is not None]
    if not present:
        return None
    merged = kind_of(present[0]).merge(present, len(present) == ranks)
    if merged is None:
        raise ValueError(
            f'{where}: `states` cannot be merged: behind `shard` there is a step that counts the items of its rank'
            ' (`take`, `skip`, `bucket_by`, `pack`, or a `stage` of your own), which says nothing of another number of'
            ' ranks'
        )
    return merged
