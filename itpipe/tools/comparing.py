"""Whether two values have the same bits, and where they differ first."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ['change', 'difference']


class _Difference(NamedTuple):
    place: str
    one: str
    other: str
    what: str = ''
    """What of the values is given, such as 'shape'."""
    counted: str = ''


def difference(a: Any, b: Any) -> str | None:
    """Where and how the values differ, such as "at ['image']: float32 …"; None if they are the same bit for bit.

    What cannot be compared counts as the same.

    >>> difference((np.zeros(2), 'a'), (np.zeros(2), 'b'))
    "at [1]: 'a' and 'b'"
    >>> difference(float('nan'), float('nan'))
    """
    if (found := _differs(a, b, '', set())) is None:
        return None
    at = f'at {found.place}: ' if found.place else ''
    what = f'{found.what.removesuffix("s")}s ' if found.what else ''
    return f'{at}{what}{found.one} and {found.other}{f" ({found.counted})" if found.counted else ""}'


def change(before: Any, after: Any) -> str | None:
    """The same of one value at two times: "at [1] 'a' before, 'b' after"."""
    if (found := _differs(before, after, '', set())) is None:
        return None
    start = ' '.join(filter(None, [found.place and f'at {found.place}', found.what, found.one]))
    return f'{start} before, {found.other} after{f"; {found.counted}" if found.counted else ""}'


def _differs(a: Any, b: Any, place: str, seen: set[tuple[int, int]]) -> _Difference | None:
    if a is b or (id(a), id(b)) in seen:
        return None
    seen.add((id(a), id(b)))
    kind = type(a)
    if kind is not type(b):
        return _Difference(place, kind.__name__, type(b).__name__)
    if isinstance(a, np.ndarray):
        return _arrays(a, b, place, seen)
    if hasattr(a, 'untyped_storage'):
        return _tensors(a, b, place)
    if isinstance(a, (tuple, list)):
        if len(a) != len(b):
            return _Difference(place, str(len(a)), str(len(b)), 'length')
        parts: Iterator[tuple[str, Any, Any]] = ((f'[{n}]', *pair) for n, pair in enumerate(zip(a, b, strict=True)))
        return _first(parts, place, seen)
    if isinstance(a, Mapping):
        if list(a) != list(b):
            return _Difference(place, str(list(a)), str(list(b)), 'keys')
        return _first(((f'[{key!r}]', a[key], b[key]) for key in a), place, seen)
    if is_dataclass(a) and not isinstance(a, type):
        names = [field.name for field in fields(a)]
        return _first(((f'.{name}', getattr(a, name, None), getattr(b, name, None)) for name in names), place, seen)
    return None if _same(a, b) else _Difference(place, _shown(a), _shown(b))


def _first(parts: Iterator[tuple[str, Any, Any]], place: str, seen: set[tuple[int, int]]) -> _Difference | None:
    return next((found for step, a, b in parts if (found := _differs(a, b, place + step, seen)) is not None), None)


def _arrays(a: Any, b: Any, place: str, seen: set[tuple[int, int]]) -> _Difference | None:
    if a.shape != b.shape:
        return _Difference(place, str(a.shape), str(b.shape), 'shape')
    if a.dtype != b.dtype:
        return _Difference(place, str(a.dtype), str(b.dtype))
    if a.dtype.hasobject:
        return _differs(a.tolist(), b.tolist(), place, seen)
    if not a.nbytes:
        return None
    different = _bits(a) != _bits(b)
    if different.ndim > a.ndim:
        different = different.any(axis=-1)
    count = np.count_nonzero(different)
    if not count:
        return None
    index = tuple(int(n) for n in np.unravel_index(np.argmax(different), a.shape))
    inside = ''.join(f'[{n}]' for n in index)
    return _Difference(place + inside, str(a[index]), str(b[index]), counted=f'{count} of {a.size} values differ')


def _bits(array: Any) -> Any:
    """Integers that are equal where the bits are; several for a value of an unusual size, on an axis of their own."""
    sizes = {1: 'u1', 2: 'u2', 4: 'u4', 8: 'u8'}
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.itemsize in sizes:
        return array.view(sizes[array.itemsize])
    return np.frombuffer(array, np.uint8).reshape(*array.shape, array.itemsize)


def _tensors(a: Any, b: Any, place: str) -> _Difference | None:
    if a.shape != b.shape:
        return _Difference(place, str(tuple(a.shape)), str(tuple(b.shape)), 'shape')
    if a.dtype != b.dtype:
        return _Difference(place, str(a.dtype), str(b.dtype))
    torch: Any = sys.modules['torch']
    try:
        a_bits, b_bits = (tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (a, b))
        same = bool(torch.equal(a_bits, b_bits))
    except Exception:  # a sparse one, for example
        same = _equal(a, b)
    return None if same else _Difference(place, _shown(a), _shown(b))


def _same(a: Any, b: Any) -> bool:
    """Whether two values of one type, not that of a container, are the same. True if that cannot be told."""
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


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    text = ' '.join(text.split())
    return text if len(text) <= 60 else f'{text[:59]}…'
