"""The structure of a batch, with something else in the place of its values."""

from __future__ import annotations

import copy
from collections import UserDict
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

from itpipe._core.containers import filled_like

__all__ = ['mapped']

ATOMS = {str, bytes, int, float, complex, bool, type(None)}


def mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """The structure of the value, with `leaf(part)` in the place of each part that has no parts itself.

    Tuples, named tuples, lists, dicts and dataclasses are structure. They keep their type. Those of which no part
    changes are passed on as they are. A mapping that is no dict and moves itself, such as a TensorDict, is one value.
    """
    kind = type(value)
    if kind in ATOMS:
        return value
    if isinstance(value, (tuple, list)) and not hasattr(value, 'to'):  # a packed sequence of torch is a named tuple
        parts = [mapped(part, leaf) for part in value]
        changed = any(new is not old for new, old in zip(parts, value, strict=True))
        return filled_like(value, parts) if changed else value
    if isinstance(value, Mapping) and (isinstance(value, (dict, UserDict)) or not hasattr(value, 'to')):
        changes = {key: new for key, part in value.items() if (new := mapped(part, leaf)) is not part}
        if not changes:
            return value
        if not isinstance(value, MutableMapping):
            return {**value, **changes}
        result: Any = copy.copy(value)
        for key, new in changes.items():  # the outputs of transformers refuse `update`
            result[key] = new
        return result
    if is_dataclass(value) and not isinstance(value, type) and not hasattr(value, 'to'):
        named = [(field.name, getattr(value, field.name)) for field in fields(value) if hasattr(value, field.name)]
        changes = {name: new for name, part in named if (new := mapped(part, leaf)) is not part}
        if not changes:
            return value
        result = copy.copy(value)
        for name, new in changes.items():
            object.__setattr__(result, name, new)  # also where it is frozen
        return result
    return leaf(value)
