"""The structure that items have in common: tuples, lists and dicts, nested to any depth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np

__all__ = [
    'CONTAINERS', 'NUMBER', 'TEXT', 'Kinds', 'Path', 'as_list', 'element', 'first_different', 'refuse', 'shape_of',
    'type_of', 'walk',
]  # fmt: skip

Kinds: TypeAlias = 'set[type]'
Path: TypeAlias = 'tuple[Any, ...]'
"""The name of the public function, for messages, and then the keys that lead to an element of an item."""
Leaf: TypeAlias = 'Callable[[Sequence[Any], Kinds, Path], Any]'

CONTAINERS = (tuple, list, Mapping)
TEXT = (str, bytes)
NUMBER = (int, float, complex, np.number, np.bool_, np.datetime64)
PLAIN = {np.ndarray, str, bytes, bool, int, float, complex}
"""Types that are values for sure; the most frequent ones."""


def walk(values: Sequence[Any], leaf: Leaf, path: Path) -> Any:
    """The structure of each of the values, holding at each position `leaf` of the values there."""
    kinds, kind = set(map(type, values)), type(values[0])
    if kinds <= PLAIN or (leaf is as_list and path[1:] and all(issubclass(kind, list) for kind in kinds)):
        return leaf(values, kinds, path)
    if len(kinds) > 1 or not issubclass(kind, CONTAINERS):
        containers = set(map(_container, kinds))
        if containers == {None}:
            return leaf(values, kinds, path)
        if len(containers) > 1:
            i = first_different(_container(type(value)) for value in values)
            same_name = type(values[i]).__name__ == kind.__name__
            refuse(path, values, i, _full_type_of if same_name else type_of, error=TypeError)

    if not issubclass(kind, (tuple, list)):
        return _walk_keys(values, leaf, path)
    try:
        columns = list(zip(*values, strict=True))
    except ValueError:
        i = first_different(map(len, values))
        hint = '' if leaf is as_list else _array_hint(path, values[i])
        refuse(path, values, i, lambda value: f'{len(value)} elements', hint)
    return _like(values[0], [walk(column, leaf, (*path, i)) for i, column in enumerate(columns)])


def as_list(values: Sequence[Any], *_: Any) -> list[Any]:
    """The leaf of `combine_lists`; with it, lists inside items are values."""
    return list(values)


def _walk_keys(values: Sequence[Any], leaf: Leaf, path: Path) -> Any:
    first, keys = values[0], values[0].keys()
    for i, value in enumerate(values):
        if value.keys() != keys:
            refuse(path, values, i, lambda value: f'keys {list(value)}')
    result = copy.copy(first) if isinstance(first, dict) else {}
    for key in first:
        result[key] = walk([value[key] for value in values], leaf, (*path, key))
    return result


def _container(kind: type) -> Any:
    """What two types of containers must have in common to be the same structure; None for a type of values."""
    if not issubclass(kind, CONTAINERS):
        return None
    # pandas makes a new class for the rows of each table
    return (kind.__name__, kind._fields) if hasattr(kind, '_make') and hasattr(kind, '_fields') else kind


def _like(first: Any, elements: list[Any]) -> Any:
    """The elements in a list or tuple of the same type."""
    kind = type(first)
    if kind is list or kind is tuple:  # the most frequent types; the rest takes longer
        return kind(elements)
    if isinstance(first, list):
        result = copy.copy(first)
        result[:] = elements
        return result
    if hasattr(kind, '_make'):
        return kind._make(elements)
    try:
        result = tuple.__new__(kind, elements)
    except TypeError:  # a type of native code, such as `torch.Size` or `os.stat_result`, accepts only its own values
        return tuple(elements)
    if hasattr(first, '__dict__'):
        vars(result).update(vars(first))
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Messages


def refuse(
    path: Path,
    values: Sequence[Any],
    i: int,
    describe: Callable[[Any], str],
    hint: str = '',
    error: type[Exception] = ValueError,
) -> NoReturn:
    """Raise an error that says how the i-th of the values differs from the first."""
    but = f'but item 0 has {describe(values[0])}{hint}'
    raise error(f'{path[0]}: {element(path, f"item {i}")} has {describe(values[i])}, {but}')


def element(path: Path, item: str = 'an item') -> str:
    """The element of the item, such as "element ['image'][0] of item 3"."""
    return f'element {"".join(f"[{key!r}]" for key in path[1:])} of {item}' if path[1:] else item


def first_different(traits: Iterable[Any]) -> int:
    """The index of the first trait that differs from that at 0."""
    first, *others = traits
    return next(i for i, trait in enumerate(others, 1) if trait != first)


def type_of(value: Any) -> str:
    """What `refuse` says of a type …"""
    return f'type {type(value).__name__}'


def shape_of(array: Any) -> str:
    """… and of a shape."""
    return f'shape {array.shape}'


def _full_type_of(value: Any) -> str:
    kind = type(value)
    if hasattr(kind, '_fields'):
        return f'type {kind.__name__} with fields {list(kind._fields)}'
    return f'type {kind.__module__}.{kind.__qualname__}'


def _array_hint(path: Path, value: Any) -> str:
    """How to make arrays of tuples or lists of different lengths, if they hold numbers or are lists."""
    if isinstance(value, tuple) and not (path[1:] and all(isinstance(element, NUMBER) for element in value)):
        return ''
    how = 'np.asarray'
    if len(path) < 3:
        how = 'apply(np.asarray)' if len(path) == 1 else f'map_at({path[1]!r}, np.asarray)'
    padded = '' if path[0] == 'combine_pad' else ', which combine_pad pads'
    return f'; a {"tuple" if isinstance(value, tuple) else "list"} is structure: `{how}` makes an array of it{padded}'
