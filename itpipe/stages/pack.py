"""Rows of fixed length, filled with whole sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from itpipe._core.checks import integer, one_of
from itpipe._core.keys import Batch, Key
from itpipe._core.show import format_value
from itpipe._core.steps import Grouping, Pair, State
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

from .array_likes import as_array, refuse_masked
from .dtypes import EXACT, changed_by, fits, is_number
from .joins import Array, concatenated
from .structure import Path, element

__all__ = ['pack']

ADDED = ('segment_ids', 'positions')
BARE = 'tokens'


@factory
def pack(length: int, *, cut: str = 'long', rows: int = 32, padding: Any = 0) -> Stage[Any, dict[str, Any]]:
    """Sequences of tokens, packed into rows of `length` tokens.

    An item is a sequence: an array, list or tensor whose first axis are tokens. Or it is a dict of several that are of
    the same length, such as `{'input_ids': …, 'labels': …}`. What comes out is a dict of arrays whose first axis has
    `length` tokens. It has the fields of the items, or `'tokens'`, filled up with `padding`: a number, or a dict with
    one for each field, 0 for those that it does not name. The dtype is the one that `combine` would give the sequences
    of a row: no integer changes its value. A row also has

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

    Raises TypeError or ValueError for wrong arguments. While running, raises TypeError for items without a length and
    for items that are not numbers, such as text. Raises ValueError if the fields of an item have different lengths, if
    an item has other fields than the first one, if a name in `padding` is no field, and if the dtype cannot hold the
    `padding` or an integer of the row.

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
    for value in padding.values() if isinstance(padding, Mapping) else [padding]:
        if np.ndim(value) or not is_number(np.asarray(value).dtype):
            raise TypeError(f'pack: `padding` must be a number, or a dict of numbers, got {format_value(padding)}')
    options = size, cut, integer('pack', 'rows', rows, least=1) if cut != 'all' else 1, padding
    # In `rows` there are, for each part that is in a row, the number of its slot, and where it begins and ends there.
    # In `names` are those of the first item's fields; of a bare sequence, there are none.
    state: State = {'rows': [], 'names': None, 'slots': []}
    return Stage((Grouping('pack', _pack, options, state=state, again=_again),))


def _pack(items: Iterator[Pair], state: State, length: int, cut: str, most: int, padding: Any) -> Iterator[Pair]:
    rows, slots = state['rows'], state['slots']
    fill = [sum(end - begin for _, begin, end in row) for row in rows]
    held = [_fields(value) for _, value in slots]

    def filled_up(parts: list[list[int]]) -> Pair:
        row = _filled_up([(held[slot], begin, end) for slot, begin, end in parts], length, padding)
        return (Batch(slots[slot][0] for slot, _, _ in parts), parts[0][1]), row

    def taken(index: int) -> Pair:
        del fill[index]
        return filled_up(rows.pop(index))

    for pair in items:
        value = pair[1]
        count = _length(value)
        _check_names(value, state, padding)
        if cut == 'none' and count > length:
            raise ValueError(f"pack: with `cut='none'` no sequence may have more than {length} tokens, got {count}")
        slots.append(pair)
        held.append(_fields(value) if count else {})
        end, gave = 0, not count
        while end < count:
            begin, room = end, length - fill[0] if cut == 'all' and fill else length
            end = min(count, begin + room)
            part = [len(held) - 1, begin, end]
            if end - begin == length:
                yield filled_up([part])
                gave = True
                continue
            at = _best(fill, length - (end - begin))
            if at is None:
                if len(rows) == most:
                    yield taken(max(range(most), key=fill.__getitem__))
                    gave = True
                at = len(rows)
                rows.append([])
                fill.append(0)
            rows[at].append(part)
            fill[at] += end - begin
            if fill[at] == length:
                yield taken(at)
                gave = True
        if gave:
            _forget(state, held)
    while rows:
        yield taken(0)


def _again(
    values: dict[Key, Any], keys: dict[Any, tuple[Key, ...]], length: int, cut: str, _: int, padding: Any
) -> dict[Key, Any]:
    """Rows made again. The key of one has those of its sequences, and where its part of the first one begins.

    Of the others there is the last part: a whole sequence, or with `cut='long'` what is left behind full rows.
    """
    fields = {key: _fields(value) for key, value in values.items()}
    rows = {}
    for key, sequences in keys.items():
        parts, filled = [], 0
        for n, sequence in enumerate(sequences):
            if sequence not in values:
                continue
            count = _length(values[sequence])
            begin = key[1] if n == 0 else count // length * length if cut == 'long' else 0
            end = min(count, begin + length - filled)
            parts.append((fields[sequence], begin, end))
            filled += end - begin
        if parts:
            rows[key] = _filled_up(parts, length, padding)
    return rows


def _best(fill: list[int], most: int) -> int | None:
    """The fullest row among those that are filled up to `most`."""
    fitting = [index for index, filled in enumerate(fill) if filled <= most]
    return max(fitting, key=fill.__getitem__, default=None)


def _forget(state: State, held: list[dict[str, Any]]) -> None:
    """Forget the sequences of which no part is in an open row."""
    used = sorted({part[0] for row in state['rows'] for part in row})
    if len(used) < len(held):
        state['slots'][:] = [state['slots'][slot] for slot in used]
        held[:] = [held[slot] for slot in used]
        number = {slot: index for index, slot in enumerate(used)}
        for row in state['rows']:
            for part in row:
                part[0] = number[part[0]]


def _named(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {BARE: value}


def _check_names(value: Any, state: State, padding: Any) -> None:
    """Raise an error if the fields of the item are not those of the first one, whose names this remembers."""
    found = [*value] if isinstance(value, Mapping) else []
    if (names := state['names']) is None:
        if others := [name for name in found if not isinstance(name, str)]:
            raise TypeError(f'pack: the names of the fields must be str, got {format_value(others[0])}')
        names = found or [BARE]
        if isinstance(padding, Mapping) and (unknown := [name for name in padding if name not in names]):
            raise ValueError(f'pack: `padding` has {unknown[0]!r}, but the fields are {names}')
        state['names'] = [str.__str__(name) for name in found]  # what JSON can hold
    elif bool(found) != bool(names):
        kinds = ['a sequence', 'a dict of sequences']
        raise TypeError(f'pack: the first item was {kinds[bool(names)]}, got {kinds[bool(found)]}')
    elif {*found} != {*names}:
        missing, further = [[n for n in a if n not in b] for a, b in ((names, found), (found, names))]
        told = [f'{what} {some}' for what, some in (('lacks', missing), ('also has', further)) if some]
        raise ValueError(
            f'pack: an item must have the fields of the first one, {names}, but this one {" and ".join(told)}'
        )


def _length(value: Any) -> int:
    try:
        counts = {name: len(field) for name, field in _named(value).items()}
    except TypeError:
        for name, field in _named(value).items() if isinstance(value, Mapping) else ():
            if not hasattr(field, '__len__') or not np.ndim(field):
                raise TypeError(
                    f'pack: the field {name!r} must be a sequence, got {format_value(field)}: leave it out of the'
                    ' items before'
                ) from None
        raise TypeError(f'pack: items must be sequences, or dicts of sequences, got {format_value(value)}') from None
    if len({*counts.values()}) != 1:
        raise ValueError(f'pack: the fields of an item must be of the same length, got {counts}')
    if taken := [name for name in ADDED if name in counts]:
        raise ValueError(f'pack: items must not have a field {taken[0]!r}: it is added')
    return next(iter(counts.values()))


def _path(where: str, name: str) -> Path:
    return (where,) if name == BARE else (where, name)


def _fields(value: Any) -> dict[str, Any]:
    """The fields of the item. Those that have no dtype become arrays; of the others, only parts will be read."""
    return {name: _sequence(field, _path('pack', name)) for name, field in _named(value).items()}


def _sequence(field: Any, path: Path) -> Any:
    refuse_masked(field, path, 'an item')
    if hasattr(field, 'dtype'):
        _numbers(field[:0], path)
        return field
    array = _numbers(field, path)
    if array.dtype.kind in 'fc' and (np.abs(array) >= EXACT).any():
        whole = [int(each) for each in np.array(field, object).flat if isinstance(each, (int, np.integer))]
        if (changed := changed_by(np.array(whole, object), np.array(whole, array.dtype), EXACT)).size:
            raise ValueError(
                f'{path[0]}: {element(path)} has {changed[0]}, which {array.dtype}, the dtype that numpy makes of it,'
                ' does not hold; make an array of it before'
            )
    return array


def _numbers(value: Any, path: Path) -> Array:
    array = as_array(value, path, 'an item')
    if not is_number(array.dtype) or not array.ndim:
        got = f'dtype {value.dtype}' if hasattr(value, 'dtype') else format_value(value)
        raise TypeError(f'{path[0]}: {element(path)} must be numbers, got {got}')
    return array


def _filled_up(parts: list[tuple[dict[str, Any], int, int]], length: int, padding: Any) -> dict[str, Any]:
    """The row that has these parts of these sequences."""
    sizes = [end - begin for _, begin, end in parts]
    rest = length - sum(sizes)
    result: dict[str, Any] = {}
    for name in parts[0][0]:
        path = _path('pack: in a row', name)
        arrays = [_numbers(value[name][begin:end], path) for value, begin, end in parts]
        joined: Any = concatenated(arrays, path)[0]
        fill = padding.get(name, 0) if isinstance(padding, Mapping) else 0 if name == 'loss_mask' else padding
        if not fits(np.asarray(fill), joined.dtype):
            raise ValueError(
                f'pack: `padding` for {element(_path("pack", name))} must fit dtype {joined.dtype}, got {fill!r};'
                ' give another value, or convert the arrays before'
            )
        result[name] = np.concatenate([joined, np.full((rest, *joined.shape[1:]), fill, joined.dtype)])
    numbers = np.arange(1, len(parts) + 1, dtype=np.int32)
    segments = np.repeat(np.append(numbers, np.int32(0)), [*sizes, rest])
    positions = np.concatenate([*(np.arange(size, dtype=np.int32) for size in sizes), np.zeros(rest, np.int32)])
    mask = positions > 0
    if 'loss_mask' in result:
        mask &= result['loss_mask'].astype(bool)
    return result | {'segment_ids': segments, 'positions': positions, 'loss_mask': mask}
