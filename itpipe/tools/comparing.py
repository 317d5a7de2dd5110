"""Whether two values have the same bits, and where they differ first."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ['difference']


def difference(a: Any, b: Any) -> str | None:
    """Where and how the values differ, such as "at ['image']: float32 …"; None if they are the same bit for bit.

    What cannot be compared counts as the same.

    >>> difference((np.zeros(2), 'a'), (np.zeros(2), 'b'))
    "at [1]: 'a' and 'b'"
    >>> difference(float('nan'), float('nan'))
    """
    return _differs(a, b, '', set())


def _differs(a: Any, b: Any, place: str, seen: set[tuple[int, int]]) -> str | None:
    if a is b or (id(a), id(b)) in seen:
        return None
    seen.add((id(a), id(b)))
    kind = type(a)
    if kind is not type(b):
        return f'{_at(place)}{kind.__name__} and {type(b).__name__}'
    if isinstance(a, np.ndarray):
        return _arrays(a, b, place, seen)
    if hasattr(a, 'untyped_storage'):
        return _tensors(a, b, place)
    if isinstance(a, (tuple, list)):
        if len(a) != len(b):
            return f'{_at(place)}{len(a)} and {len(b)} elements'
        parts: Iterator[tuple[str, Any, Any]] = ((f'[{n}]', *pair) for n, pair in enumerate(zip(a, b, strict=True)))
        return _first(parts, place, seen)
    if isinstance(a, Mapping):
        if list(a) != list(b):
            return f'{_at(place)}keys {list(a)} and {list(b)}'
        return _first(((f'[{key!r}]', a[key], b[key]) for key in a), place, seen)
    if is_dataclass(a) and not isinstance(a, type):
        names = [field.name for field in fields(a)]
        return _first(((f'.{name}', getattr(a, name, None), getattr(b, name, None)) for name in names), place, seen)
    return None if _same(a, b) else f'{_at(place)}{_shown(a)} and {_shown(b)}'


def _first(parts: Iterator[tuple[str, Any, Any]], place: str, seen: set[tuple[int, int]]) -> str | None:
    return next((found for step, a, b in parts if (found := _differs(a, b, place + step, seen)) is not None), None)


def _arrays(a: Any, b: Any, place: str, seen: set[tuple[int, int]]) -> str | None:
    if a.shape != b.shape:
        return f'{_at(place)}shapes {a.shape} and {b.shape}'
    if a.dtype != b.dtype:
        return f'{_at(place)}{a.dtype} and {b.dtype}'
    if a.dtype.hasobject:
        return _differs(a.tolist(), b.tolist(), place, seen)
    if a.tobytes() == b.tobytes():
        return None
    different = np.argwhere(_bits(a) != _bits(b))
    if not len(different):
        return f'{_at(place)}other bits'
    index = tuple(different[0].tolist())[: a.ndim]
    inside = ''.join(f'[{n}]' for n in index)
    return f'{_at(place + inside)}{a[index]!s} and {b[index]!s} ({len(different)} of {a.size} values differ)'


def _bits(array: Any) -> Any:
    """Integers that are equal where the bits are."""
    sizes = {1: 'u1', 2: 'u2', 4: 'u4', 8: 'u8'}
    array = np.ascontiguousarray(array)
    return array.view(sizes[array.itemsize]) if array.ndim and array.itemsize in sizes else array


def _tensors(a: Any, b: Any, place: str) -> str | None:
    if a.shape != b.shape:
        return f'{_at(place)}shapes {tuple(a.shape)} and {tuple(b.shape)}'
    if a.dtype != b.dtype:
        return f'{_at(place)}{a.dtype} and {b.dtype}'
    torch: Any = sys.modules['torch']
    try:
        a_bits, b_bits = (tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (a, b))
        same = bool(torch.equal(a_bits, b_bits))
    except Exception:  # a sparse one, for example
        same = _equal(a, b)
    return None if same else f'{_at(place)}{_shown(a)} and {_shown(b)}'


def _same(a: Any, b: Any) -> bool:
    """Whether two values of one type, which is none of a container, are the same, as far as can be said."""
    if isinstance(a, (float, complex)):
        return repr(a) == repr(b)
    if isinstance(a, (str, bytes, int, type(None))):
        return bool(a == b)
    try:  # an object, or of another library: by what it would be saved as
        return pickle.dumps(a) == pickle.dumps(b) or _equal(a, b)
    except Exception:
        return _equal(a, b)


def _equal(a: Any, b: Any) -> bool:
    """Whether they are equal, or do not say."""
    own_eq: Any = type(a).__eq__
    if own_eq is object.__eq__:
        inside = getattr(a, '__dict__', None)
        return not inside or _differs(inside, vars(b), '', set()) is None
    try:
        equal: Any = a == b
        return bool(equal.all() if hasattr(equal, 'all') else equal)
    except Exception:
        return True


def _at(place: str) -> str:
    return f'at {place}: ' if place else ''


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    text = ' '.join(text.split())
    return text if len(text) <= 60 else f'{text[:59]}…'
