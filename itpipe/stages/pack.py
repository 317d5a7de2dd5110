"""Rows of fixed length, filled with whole sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from itpipe._core.checks import integer, one_of
from itpipe._core.show import format_value
from itpipe._core.steps import State, UserStateful
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

__all__ = ['pack']

ADDED = ('segment_ids', 'positions')
BARE = 'tokens'


@factory
def pack(length: int, *, cut: str = 'long', rows: int = 32, padding: Any = 0) -> Stage[Any, dict[str, Any]]:
    """Sequences of tokens, packed into rows of `length` tokens.

    An item is a sequence: an array, list or tensor whose first axis are tokens. Or it is a dict of several that are of
    the same length, such as `{'input_ids': …, 'labels': …}`. What comes out is a dict of arrays whose first axis has
    `length` tokens. It has the fields of the items, or `'tokens'`, filled up with `padding`: a number, or a dict with
    one for each field. It also has

    - `'segment_ids'`, int32: 1 for the first sequence in the row, 2 for the second, …, and 0 for padding. Attention
      must not cross from one to another;
    - `'positions'`, int32: 0, 1, 2, … in each of them, and 0 for padding;
    - `'loss_mask'`, bool: where a token is to be predicted from those before it. False for padding and for the first
      token of each sequence. If the items have a field `'loss_mask'`, it must be true there, too.

    `cut` says which sequences may be cut into parts:

    - `'long'`: those longer than a row. Up to `rows` rows are open at the same time. A sequence goes into the fullest
      one that has room for it. If none has, and no more may be open, the fullest one goes out (best fit).
    - `'all'`: one row is filled after the other, and a sequence goes on in the next one. Only the last row has padding.
    - `'none'`: as `'long'`, but sequences longer than a row are an error.

    Each part counts as a sequence of its own. Sequences without tokens are left out. Which parts are in which row
    depends on the lengths and on the order only. If a run goes on from a state, the sequences in open rows are made
    again.

    Raises TypeError or ValueError for wrong arguments. While running, raises TypeError for items without a length, and
    ValueError for fields of different lengths.

    >>> for row in [[1, 2, 3], [4, 5, 6, 7], [8, 9]] | pack(5):
    ...     print(row['tokens'], row['segment_ids'], row['positions'], row['loss_mask'].astype(int))
    [1 2 3 8 9] [1 1 1 2 2] [0 1 2 0 1] [0 1 1 0 1]
    [4 5 6 7 0] [1 1 1 1 0] [0 1 2 3 0] [0 1 1 1 0]
    >>> [row['tokens'].tolist() for row in [[1, 2, 3], [4, 5, 6, 7], [8, 9]] | pack(5, cut='all')]
    [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]

    See also: `bucket_by`, `batch_by`, `combine_pad`.
    """
    size = integer('pack', 'length', length, least=1)
    one_of('pack', 'cut', cut, ('long', 'all', 'none'))
    options = size, cut, integer('pack', 'rows', rows, least=1) if cut != 'all' else 1, padding
    # In `rows` there are, for each part that is in a row, the number of its slot, and where it begins and ends there.
    return Stage((UserStateful('pack', _pack, options, state={'rows': [], 'slots': []}),))


def _pack(values: Iterator[Any], state: State, length: int, cut: str, most: int, padding: Any) -> Iterator[Any]:
    rows = state['rows']
    fill = [sum(end - begin for _, begin, end in row) for row in rows]

    def taken(index: int) -> dict[str, Any]:
        del fill[index]
        return _filled_up([(state['slots'][slot], begin, end) for slot, begin, end in rows.pop(index)], length, padding)

    for value in values:
        count = _length(value)
        if cut == 'none' and count > length:
            raise ValueError(f"pack: with `cut='none'` no sequence may have more than {length} tokens, got {count}")
        state['slots'].append(value)
        end, gave = 0, not count
        while end < count:
            begin, room = end, length - fill[0] if cut == 'all' and fill else length
            end = min(count, begin + room)
            at = _best(fill, length - (end - begin))
            if at is None:
                if len(rows) == most:
                    yield taken(max(range(most), key=fill.__getitem__))
                    gave = True
                at = len(rows)
                rows.append([])
                fill.append(0)
            rows[at].append([len(state['slots']) - 1, begin, end])
            fill[at] += end - begin
            if fill[at] == length:
                yield taken(at)
                gave = True
        if gave:
            _forget(state)
    while rows:
        yield taken(0)


def _best(fill: list[int], most: int) -> int | None:
    """The fullest row among those that are filled up to `most`."""
    fitting = [index for index, filled in enumerate(fill) if filled <= most]
    return max(fitting, key=fill.__getitem__, default=None)


def _forget(state: State) -> None:
    """Forget the sequences of which no part is in an open row."""
    used = sorted({part[0] for row in state['rows'] for part in row})
    if len(used) < len(state['slots']):
        state['slots'][:] = [state['slots'][slot] for slot in used]
        number = {slot: index for index, slot in enumerate(used)}
        for row in state['rows']:
            for part in row:
                part[0] = number[part[0]]


def _length(value: Any) -> int:
    fields = value if isinstance(value, Mapping) else {BARE: value}
    try:
        counts = {name: len(field) for name, field in fields.items()}
    except TypeError:
        raise TypeError(f'pack: items must be sequences, or dicts of sequences, got {format_value(value)}') from None
    if len({*counts.values()}) != 1:
        raise ValueError(f'pack: the fields of an item must be of the same length, got {counts}')
    if taken := [name for name in ADDED if name in counts]:
        raise ValueError(f'pack: items must not have a field {taken[0]!r}: it is added')
    return next(iter(counts.values()))


def _filled_up(parts: list[tuple[Any, int, int]], length: int, padding: Any) -> dict[str, Any]:
    """The row that has these parts of these sequences."""
    sizes = [end - begin for _, begin, end in parts]
    rest = length - sum(sizes)
    names = [*parts[0][0]] if isinstance(parts[0][0], Mapping) else [BARE]
    result: dict[str, Any] = {}
    for name in names:
        values = [
            np.asarray((value[name] if isinstance(value, Mapping) else value)[begin:end]) for value, begin, end in parts
        ]
        fill = padding.get(name, 0) if isinstance(padding, Mapping) else 0 if name == 'loss_mask' else padding
        joined = np.concatenate(values)
        result[name] = np.concatenate([joined, np.full((rest, *joined.shape[1:]), fill, joined.dtype)])
    numbers = np.arange(1, len(parts) + 1, dtype=np.int32)
    segments = np.repeat(np.append(numbers, np.int32(0)), [*sizes, rest])
    positions = np.concatenate([*(np.arange(size, dtype=np.int32) for size in sizes), np.zeros(rest, np.int32)])
    mask = positions > 0
    if 'loss_mask' in result:
        mask &= result['loss_mask'].astype(bool)
    return result | {'segment_ids': segments, 'positions': positions, 'loss_mask': mask}
