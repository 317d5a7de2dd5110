"""The structure that items have in common: tuples, lists, dicts and classes with fields, nested to any depth."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from enum import Enum
from typing import Any, NoReturn, TypeAlias

import numpy as np

from itpipe._core.containers import filled_like

__all__ = [
    'CONTAINERS', 'NUMBER', 'TEXT', 'Kinds', 'Path', 'Types', 'as_list', 'by_names', 'element', 'first_different',
    'has_fields', 'refuse', 'replaced', 'shape_of', 'type_of', 'walk', 'with_fields',
]  # fmt: skip

Kinds: TypeAlias = 'set[type]'
Path: TypeAlias = 'tuple[Any, ...]'
"""The name of the public function, for messages, and then the keys that lead to an element of an item."""
Leaf: TypeAlias = 'Callable[[Sequence[Any], Kinds, Path], Any]'
Types: TypeAlias = 'Mapping[Any, Callable[[list[Any]], Any]]'
"""By type, functions that make a batch of values of it."""

CONTAINERS = (tuple, list, Mapping)
TEXT = (str, bytes)
NUMBER = (int, float, complex, np.number, np.bool_, np.datetime64)
UNKNOWN: Any = object()
PLAIN = {np.ndarray, str, bytes, bool, int, float, complex}
"""Types that are values for sure; the most frequent ones."""


def walk(
    values: Sequence[Any], leaf: Leaf, path: Path, types: Mapping[Any, Any] | None = None, missing: bool = False
) -> Any:
    """The structure of each of the values, holding at each position `leaf` of the values there.

    Values of one of the `types` are given to its function, or to `leaf` where that is None. If some may be `missing`,
    they are None, or not in a dict, and `leaf` gets None for them; a function does not get them.
    """
    alike = values
    if missing and any(value is None for value in values):
        first = next((value for value in values if value is not None), None)
        if first is None:
            return leaf(values, {type(None)}, path)
        alike = [first if value is None else value for value in values]  # so that the items keep their numbers
    kinds, kind = set(map(type, alike)), type(alike[0])
    if types and (function := _function_for(types, alike, path)) is not UNKNOWN:
        known = [value for value in values if value is not None] if alike is not values else list(values)
        return function(known) if callable(function) else leaf(values, kinds, path)
    if kinds <= PLAIN or (leaf is as_list and path[1:] and all(issubclass(kind, list) for kind in kinds)):
        return leaf(values, kinds, path)
    if len(kinds) > 1 or not issubclass(kind, CONTAINERS):
        containers = set(map(_container, kinds))
        if containers == {None}:
            return leaf(values, kinds, path)
        if len(containers) > 1:
            i = first_different(_container(type(value)) for value in alike)
            same_name = type(alike[i]).__name__ == kind.__name__
            refuse(path, alike, i, _full_type_of if same_name else type_of, error=TypeError)

    if not issubclass(kind, (tuple, list)):
        plain = alike is values and issubclass(kind, dict)  # what `by_names` would find out for each of them
        parts = list(values) if plain else [{} if value is None else by_names(value) for value in values]
        return _walk_names(alike[0], parts, leaf, path, types, missing)
    try:
        columns = list(zip(*alike, strict=True))
    except ValueError:
        i = first_different(map(len, alike))
        hint = '' if leaf is as_list else _array_hint(path, alike[i])
        refuse(path, alike, i, lambda value: f'{len(value)} elements', hint)
    if alike is not values:
        none = (None,) * len(columns)
        columns = list(zip(*[none if value is None else value for value in values], strict=True))
    return filled_like(alike[0], [walk(column, leaf, (*path, i), types, missing) for i, column in enumerate(columns)])


def as_list(values: Sequence[Any], *_: Any) -> list[Any]:
    """The leaf of `combine_lists`; with it, lists inside items are values."""
    return list(values)


def has_fields(kind: type) -> bool:
    """Whether values of this type are structure with named fields: of a dataclass, or of a class made by attrs.

    Those that numpy makes arrays of are not, nor are members of an Enum.
    """
    named = hasattr(kind, '__dataclass_fields__') or hasattr(kind, '__attrs_attrs__')
    return named and not hasattr(kind, '__array__') and not issubclass(kind, (Enum, *CONTAINERS))


def by_names(value: Any) -> Mapping[Any, Any]:
    """The elements of a dict by key, those of a value with fields by name, as far as they are set."""
    if isinstance(value, Mapping):
        return value
    kind: Any = type(value)
    names = [each.name for each in (kind.__attrs_attrs__ if hasattr(kind, '__attrs_attrs__') else fields(kind))]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def with_fields(kind: type, values: Mapping[str, Any]) -> Any:
    """A value of this class with these fields, and nothing else.

    It is made without `__init__`, which is written for the values of one item: it may check or change them, or do more.
    """
    result: Any = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(result, name, value)  # which can be done to frozen ones
    return result


def replaced(value: Any, parts: dict[str, Any]) -> Any:
    """The value with fields, with others in the place of these: by `dataclasses.replace`, or by `attrs.evolve`."""
    if not hasattr(type(value), '__attrs_attrs__'):
        return replace(value, **parts)
    attrs: Any = sys.modules['attr']  # which has made the class
    arguments = {each.name: each.alias for each in type(value).__attrs_attrs__}
    return attrs.evolve(value, **{arguments[name]: part for name, part in parts.items()})


def _walk_names(
    first: Any, parts: list[Mapping[Any, Any]], leaf: Leaf, path: Path, types: Mapping[Any, Any] | None, missing: bool
) -> Any:
    if missing:
        names = dict.fromkeys(name for part in parts for name in part)
        parts = [{name: part.get(name) for name in names} for part in parts]
    what = 'keys' if isinstance(first, Mapping) else 'fields'
    for i, part in enumerate(parts):
        if part.keys() != parts[0].keys():
            refuse(path, parts, i, lambda part: f'{what} {list(part)}')
    found = {name: walk([part[name] for part in parts], leaf, (*path, name), types, missing) for name in parts[0]}
    if isinstance(first, dict) and not _is_of_one_item(type(first)):
        result: Any = copy.copy(first)
        for key, value in found.items():  # not by `update`, which some classes refuse
            result[key] = value
        return result
    if isinstance(first, Mapping):
        return found
    return with_fields(type(first), found)


def _is_of_one_item(kind: type) -> bool:
    """Whether a class of dicts finds shapes in its values, as TorchIO's do: it can't with those of a batch."""
    return hasattr(kind, 'shape') or hasattr(kind, '__array__')


def _function_for(types: Mapping[Any, Any], values: Sequence[Any], path: Path) -> Any:
    """The function for the type of the values, or for the nearest of its base classes."""
    found = [next((base for base in type(value).__mro__ if base in types), None) for value in values]
    if any(base is not found[0] for base in found):
        hint = '; `types` has a function for one of them, or a different one for each'
        refuse(path, values, first_different(found), type_of, hint, TypeError)
    return UNKNOWN if found[0] is None else types[found[0]]


def _container(kind: type) -> Any:
    """What two types of containers must have in common to be the same structure; None for a type of values."""
    if not issubclass(kind, CONTAINERS):
        return kind if has_fields(kind) else None
    # pandas makes a new class for the rows of each table
    return (kind.__name__, kind._fields) if hasattr(kind, '_make') and hasattr(kind, '_fields') else kind


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
    """Raise an error that says how the i-th of the values differs from the first, and all that is to be said."""
    but = f'but item 0 has {describe(values[0])}{hint}'
    raise error(f'{path[0]}: {element(path, f"item {i}")} has {describe(values[i])}, {but}') from None


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
