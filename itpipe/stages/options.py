"""Options of the combiners that may have the structure of an item: a value for each of its elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from itpipe._core.checks import not_async

from .structure import CONTAINERS, Path, Types, by_names, element, has_fields, type_of

__all__ = ['check_types', 'is_many', 'option_at', 'per_axis', 'single_values']


def is_many(option: Any) -> bool:
    """Whether the option has values for several elements or axes."""
    if option is None or isinstance(option, (int, float)):  # the most frequent ones; the other checks take longer
        return False
    return isinstance(option, CONTAINERS) or (isinstance(option, np.ndarray) and option.ndim > 0)


def single_values(option: Any) -> Iterator[Any]:
    """The values for single elements or axes."""
    if not is_many(option):
        yield option
        return
    for value in option.values() if isinstance(option, Mapping) else option:
        yield from single_values(value)


def option_at(path: Path, name: str, option: Any, batch: Sequence[Any], default: Any) -> Any:
    """The part of the option for the element of the items to which the path leads; at least one of them has it."""
    if not is_many(option):
        return option
    item = next(item for item in batch if _has(item, path[1:]))
    for depth, key in enumerate(path[1:], 1):
        if not is_many(option):
            return option
        where = f'{path[0]}: `{name}` has'
        has_names = isinstance(item, Mapping) or has_fields(type(item))
        if isinstance(option, Mapping) is not has_names:
            raise TypeError(f'{where} {type_of(option)}, but {element(path[:depth])} has {type_of(item)}')
        if isinstance(option, Mapping):
            parts = by_names(item)
            if not option.keys() <= parts.keys():
                what = 'keys' if isinstance(item, Mapping) else 'fields'
                raise ValueError(f'{where} keys {list(option)}, but {element(path[:depth])} has {what} {list(parts)}')
            option, item = option.get(key, default), parts[key]
        else:
            _check_length(name, option, len(item), 'elements', path[:depth], path)
            option, item = option[key], item[key]
    return option


def _has(item: Any, keys: Sequence[Any]) -> bool:
    for key in keys:
        if item is None:
            return False
        item = item[key] if isinstance(item, (tuple, list)) else by_names(item).get(key)
    return item is not None


def per_axis(name: str, option: Any, ndim: int, path: Path) -> Sequence[Any]:
    """The option for each axis of an array."""
    if not is_many(option):
        return [option] * ndim
    if isinstance(option, Mapping):
        raise TypeError(f'{path[0]}: `{name}` has {type_of(option)}, but {element(path)} is an array')
    _check_length(name, option, ndim, 'axes', path, path)
    return option  # type: ignore[no-any-return]


def _check_length(name: str, option: Sequence[Any], length: int, what: str, at: Path, path: Path) -> None:
    if len(option) != length:
        raise ValueError(f'{path[0]}: `{name}` has {len(option)} values, but {element(at)} has {length} {what}')


def check_types(where: str, types: Any) -> Types | None:
    """The option `types`: functions that make a batch of values of a type."""
    if types is None:
        return None
    if not isinstance(types, Mapping):
        raise TypeError(f'{where}: `types` must be a dict of types and functions, got {type(types).__name__}')
    for kind, function in types.items():
        if not isinstance(kind, type):
            raise TypeError(f'{where}: `types` must have types as keys, got {kind!r}')
        if not callable(function):
            got = type(function).__name__
            raise TypeError(f'{where}: `types` must have a function of a list for {kind.__name__}, got {got}')
        not_async(f'{where}: the function in `types` for {kind.__name__}', function)
    return types
