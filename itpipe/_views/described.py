"""What a value is, in one line: its type, structure, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

__all__ = ['described']

MOST: Final = 6
"""So many elements of a container are described."""
DEPTH: Final = 4
WIDEST: Final = 30
"""Characters of text that are shown."""


def described(value: Any, depth: int = DEPTH, values: bool = True) -> str:
    """The value in one line; without `values`, numbers and text are only named by their type.

    >>> import numpy as np
    >>> described((np.zeros((2, 3), 'f4'), 'cat', 5))
    "(float32 (2, 3), 'cat', 5)"
    >>> described([{'image': np.zeros((8, 8), 'u1'), 'boxes': [[1, 2, 3, 4]] * 9}] * 32)
    "32 × {'image': uint8 (8, 8), 'boxes': 9 × [1, 2, 3, 4]}"
    """
    try:
        return _described(value, depth, values)
    except Exception:  # attributes of user classes may raise anything
        return type(value).__name__


def _described(value: Any, depth: int, values: bool) -> str:
    kind = type(value)
    if hasattr(value, 'shape') and hasattr(value, 'dtype') and not isinstance(value, type):
        return _array(value, values)
    if value is None or (not values and isinstance(value, (bool, int, float, complex, str, bytes))):
        return 'None' if value is None else kind.__name__
    if isinstance(value, (bool, int, float, complex)):
        text = repr(value)
        return text if len(text) <= WIDEST else f'{text[:WIDEST]}…'
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= WIDEST else f'{kind.__name__} of length {len(value)}'
    if depth <= 0:
        return kind.__name__
    if hasattr(value, 'getbands') and hasattr(value, 'size'):
        return f'PIL image {value.mode} {value.size[0]} × {value.size[1]}'
    if isinstance(value, Mapping) and kind.__module__ in ('builtins', 'collections'):
        return '{' + _joined(f'{key!r}: {described(part, depth - 1, values)}' for key, part in value.items()) + '}'
    if is_dataclass(value) and not isinstance(value, type):
        parts = ((field.name, getattr(value, field.name, None)) for field in fields(value))
        return f'{kind.__name__}({_joined(f"{name}={described(part, depth - 1, values)}" for name, part in parts)})'
    if isinstance(value, tuple) and hasattr(value, '_fields'):
        named = zip(value._fields, value, strict=False)
        return f'{kind.__name__}({_joined(f"{name}={described(part, depth - 1, values)}" for name, part in named)})'
    if isinstance(value, (tuple, list)):
        return _sequence(value, depth, values)
    if isinstance(value, (set, frozenset, Mapping)):
        return f'{kind.__name__} of {len(value)}'
    return kind.__name__


def _array(value: Any, values: bool) -> str:
    kind = type(value)
    dtype = str(value.dtype).removeprefix('torch.')
    if dtype.startswith(('<U', '<M', '<m', '>')):
        dtype = repr(dtype)
    shape = tuple(value.shape)
    library = kind.__module__.partition('.')[0]
    name = '' if library == 'numpy' and kind.__name__ in ('ndarray', dtype) else f'{kind.__name__} '
    if shape == () and library == 'numpy' and kind.__name__ != 'ndarray':
        return f'{kind.__name__} {value!s}' if values else kind.__name__
    return f'{name}{dtype} {shape}'


def _sequence(value: Any, depth: int, values: bool) -> str:
    parts = [described(part, depth - 1, values) for part in value[:MOST]]
    if len(value) > 2 and len(set(parts)) == 1 and (len(value) <= MOST or _alike(value)):
        return f'{len(value)} × {parts[0]}'
    if len(value) > MOST and len({type(part) for part in value[:MOST]}) == 1:
        return f'{len(value)} × {type(value[0]).__name__}'
    text = ', '.join([*parts, '…'] if len(value) > MOST else parts)
    if isinstance(value, list):
        return f'[{text}]'
    return f'({text},)' if len(value) == 1 else f'({text})'


def _alike(value: Any) -> bool:
    return len({type(part) for part in value}) == 1


def _joined(parts: Any) -> str:
    found: list[str] = []
    for part in parts:
        if len(found) == MOST:
            found.append('…')
            break
        found.append(part)
    return ', '.join(found)
