"""How the items of a run are dealt to ranks, and again to another number of them.

Ranks get the items in turn. Where ranks have gone on from `merge_states`, some items had been delivered before to other
ranks, which need not have come equally far; those that had not are dealt in turn from there on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain, count, islice
from typing import Any, Final, TypeVar

from itpipe._core.key_codes import decode, decode_all, encode, encode_all
from itpipe._core.keys import is_count
from itpipe._core.steps import State

__all__ = ['Dealing', 'deal', 'fits_dealing', 'merge']

T = TypeVar('T')
MOST_APART: Final = 1 << 24
"""Items; the place of each that one rank has had, and another not, is in a merged state."""


class Dealing:
    """Which items are still to be dealt, by their places among those that come to `shard`.

    Those before `begun` were delivered, and of the others those in `seen`, which is sorted.
    """

    def __init__(self, begun: int = 0, seen: Sequence[int] = ()):
        self.begun, self.seen = begun, seen
        self.regular = max([begun, *seen[-1:]]) + 1
        """From there on, all are to be dealt."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dealing) and (self.begun, list(self.seen)) == (other.begun, list(other.seen))

    __hash__ = None  # type: ignore[assignment]

    def lacks(self, place: int) -> bool:
        """Whether the item at `place` is to be dealt."""
        at = bisect_left(self.seen, place)
        return place >= self.begun and self.seen[at : at + 1] != [place]

    def turn(self, place: int) -> int:
        """How many items are dealt before the one at `place`."""
        if place >= self.regular:
            return place - self.begun - len(self.seen)
        return max(0, place - self.begun) - bisect_left(self.seen, place)

    def lacking(self, items: Iterator[tuple[int, T]], start: int) -> Iterator[tuple[int, T]]:
        """Those of the items that are to be dealt; they come with their places, the first being `start`."""
        irregular = islice(items, max(0, self.regular - start))
        return chain((item for item in irregular if self.lacks(item[0])), items)


def fits_dealing(state: State) -> bool:
    """Whether these can be the numbers of a `Dealing`."""
    begun, passed, seen = (state.get(name) for name in ('begun', 'passed', 'seen'))
    if not (is_count(begun) and is_count(passed) and isinstance(seen, list) and 'slots' in state):
        return False
    return all(map(int.__lt__, seen, seen[1:])) and (not seen or seen[0] > begun)


# ---------------------------------------------------------------------------------------------------------------------
# Positions of all ranks, as JSON


def merge(where: str, positions: Sequence[State | None]) -> State | None:
    """Where all ranks together stand, of whom each stands at one of the positions: what `deal` takes.

    Upstream of `shard`, all ranks do the same, so that one of them can stand for all: the one that has come as far as
    nothing is lacking.
    """
    known = [position for position in positions if position is not None]
    if not known:
        return None
    shard = _place_of_shard(known[0])
    columns = zip(*(position['steps'] for position in known), strict=False)
    if len({len(position['steps']) for position in known}) > 1 or any(len(_forms(column)) > 1 for column in columns):
        raise ValueError(f'{where}: `states` are not of one pipeline: what they say of its steps differs')
    own = [position['steps'][shard] for position in known]
    begun = [Dealing(entry['begun'], entry['seen']) for entry in own] + [Dealing(0, [])] * (len(positions) - len(own))
    if any(each != begun[0] for each in begun):
        raise ValueError(f'{where}: `states` are not of one run: their ranks began at different places')
    passed = [0 if position is None else position['steps'][shard]['passed'] for position in positions]

    def lacking(place: int) -> bool:
        return begun[0].lacks(place) and place >= passed[begun[0].turn(place) % len(passed)]

    first = next(filter(lacking, count(max(begun[0].begun, min(passed)))))
    last = max([*passed, *(place + 1 for place in begun[0].seen)])
    if last - first > MOST_APART:
        raise ValueError(f'{where}: `states` are not of one run: their ranks are more than {MOST_APART} items apart')
    base = max((place, rank) for rank, place in enumerate(passed) if place <= first)[1]
    at = positions[base] or {'source': None, 'steps': [None] * shard + [{}]}
    dealt = {
        'begun': first,
        'passed': passed[base],
        'seen': [place for place in range(first + 1, last) if not lacking(place)],
        'slots': max((entry['slots'] for entry in own), key=lambda code: len(decode_all(code))),
    }
    behind = zip(*(position['steps'][shard + 1 :] for position in known), strict=True)
    return {
        'source': at['source'],
        'steps': [
            *at['steps'][:shard],
            at['steps'][shard] | dealt,
            *(_together(where, entries, len(positions)) for entries in behind),
        ],
    }


def deal(position: State | None, rank: int, ranks: int) -> State | None:
    """The part of this rank of where all stand."""
    if position is None:
        return None
    behind = _place_of_shard(position) + 1
    entries = position['steps']
    return position | {'steps': entries[:behind] + [_part(entry, rank, ranks) for entry in entries[behind:]]}


def _place_of_shard(position: State) -> int:
    return max(n for n, entry in enumerate(position['steps']) if isinstance(entry, dict) and 'begun' in entry)


def _forms(entries: Sequence[Any]) -> set[Any]:
    """What the entries of one step in all ranks are made of, which is to be the same; None fits in everywhere."""
    return {
        tuple(sorted(entry.keys() - {'ended'})) if isinstance(entry, dict) else type(entry)
        for entry in entries
        if entry is not None
    }


def _together(where: str, entries: Sequence[Any], ranks: int) -> Any:
    """One entry for a step behind `shard`, of those of all ranks."""
    present = [entry for entry in entries if entry is not None]
    if all(isinstance(entry, list) for entry in present):
        begun: dict[Any, int] = {}  # an item may be at two ranks, by `even='repeat'`; nothing of it is lost then
        for code, n in chain.from_iterable(present):
            key = decode(code)
            begun[key] = max(n, begun.get(key, n))
        return [[encode(key), n] for key, n in begun.items()] or None
    if not all(isinstance(entry, dict) and 'slots' in entry for entry in present):
        raise ValueError(
            f'{where}: `states` cannot be merged: behind `shard` there is a step that counts the items of its rank'
            ' (`take`, `skip`, or a `stage` of your own), which says nothing of another number of ranks'
        )
    result = {name: max(entry[name] for entry in present) for name in present[0] if name in ('t', 'due')}
    result['slots'] = encode_all(list(chain.from_iterable(decode_all(entry['slots']) for entry in present)))
    if 'counts' in present[0]:
        result['counts'] = list(chain.from_iterable(entry['counts'] for entry in present))
    if len(present) == ranks and all(entry.get('ended') for entry in present):
        result['ended'] = True
    return result


def _part(entry: Any, rank: int, ranks: int) -> Any:
    if entry is None or isinstance(entry, list):
        return (entry or [])[rank::ranks] or None
    part = entry | {'slots': encode_all(decode_all(entry['slots'])[rank::ranks])}
    return part | ({'counts': entry['counts'][rank::ranks]} if 'counts' in entry else {})
