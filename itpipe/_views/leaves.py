"""A value part by part: a line for each array, number or text in it, with shape, dtype and small values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

__all__ = ['lines']

FEW: Final = 10
"""Arrays of at most so many numbers are shown whole."""
MOST: Final = 8
"""So many elements of a list are shown."""
DEPTH: Final = 6
WIDTH: Final = 80
"""Characters of one value."""


def lines(value: Any) -> list[str]:
    """A line for each part of the value.

    >>> for line in lines({'image': np.zeros((2, 8, 8), 'f4'), 'label': np.array([3, 1]), 'name': ['a', 'b']}):
    ...     print(line)
    ['image']  float32 (2, 8, 8), 0.0 to 0.0
    ['label']  int64 (2,): [3 1]
    ['name'][0]  'a'
    ['name'][1]  'b'
    """
    return [f'{place}  {text}' if place else text for place, text in _parts(value, '', DEPTH)]


def _parts(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    inside = _inside(value) if depth else None
    if inside is None:
        yield place, _text(value)
        return
    if not inside:
        yield place, _short(value)
    for step, part in inside[:MOST]:
        yield from _parts(part, f'{place}{step}', depth - 1)
    if len(inside) > MOST:
        yield place, f'… {len(inside)} in all'


def _inside(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a collection, None for what is none."""
    if isinstance(value, Mapping):
        return [(f'[{key!r}]', part) for key, part in value.items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(f'.{each.name}', getattr(value, each.name, None)) for each in fields(value)]
    if isinstance(value, tuple) and hasattr(value, '_fields'):
        return [(f'.{name}', part) for name, part in zip(value._fields, value, strict=False)]
    if isinstance(value, (list, tuple)):
        return [(f'[{n}]', part) for n, part in enumerate(value)]
    return None


def _text(value: Any) -> str:
    if not (hasattr(value, 'shape') and hasattr(value, 'dtype')) or isinstance(value, type):
        return _short(value)
    library = type(value).__module__.partition('.')[0]
    name = '' if library == 'numpy' else f'{type(value).__name__} '
    head = f'{name}{str(value.dtype).removeprefix("torch.")} {tuple(value.shape)}'
    try:
        array = np.asarray(value)
    except Exception:  # it may lie on a device, or be of a type that numpy does not have
        return head
    if array.ndim == 0:
        return f'{head}: {_short(array[()]) if array.dtype.kind in "OUS" else array[()]}'
    if array.size <= FEW:
        return f'{head}: {" ".join(np.array2string(array, precision=6).split())}' if array.size else head
    if array.dtype.kind not in 'biuf':
        return head
    with np.errstate(all='ignore'):
        low, high = array.min(), array.max()
    missing = int(np.isnan(array).sum()) if array.dtype.kind == 'f' else 0
    return (
        f'{head}, {missing} of {array.size} NaN'
        if missing
        else f'{head}, {low:.6} to {high:.6}'
        if array.dtype.kind == 'f'
        else f'{head}, {low} to {high}'
    )


def _short(value: Any) -> str:
    try:
        text = ' '.join(repr(value).split())
    except Exception:
        text = type(value).__name__
    return text if len(text) <= WIDTH else f'{text[: WIDTH - 1]}…'
