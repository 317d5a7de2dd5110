"""What the items of a batch consist of: images, volumes, sequences, numbers, texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

__all__ = ['Field', 'Kind', 'fields_of', 'is_mask']

Kind: TypeAlias = Literal['image', 'volume', 'sequence', 'number', 'text', 'other']
COLORS: Final = (1, 3, 4)
"""How many channels an image may have."""
CHANNELS: Final = 4
"""The most lines that one sequence has …"""
STEPS: Final = 8
"""… and the least steps."""
CLASSES: Final = 32
"""The most different values that a mask has."""


class Field(NamedTuple):
    """One part of all items, such as their images. Channels are last; a single one is left out."""

    name: str
    """Of the part of an item, in a dict or a class; else its number. Empty if items have no parts."""
    kind: Kind
    values: list[Any]


def fields_of(where: str, name: str, batch: Any) -> list[Field]:
    """The fields of a batch, or of a list of items.

    Raises, with a message that begins with `where` and `name`, TypeError for what is not a batch, and ValueError if
    there are no items, or if the parts are not of the same number of items.
    """
    if isinstance(batch, (str, bytes)) or hasattr(batch, 'draw') or not hasattr(batch, '__len__'):
        hint = ': give it a batch of it, such as `next(iter(…))`' if hasattr(batch, 'draw') else ''
        raise TypeError(f'{where}: `{name}` must be a batch or a list of items, got {type(batch).__name__}{hint}')
    if isinstance(batch, list):
        batch = _transposed(where, name, batch)
    found = []
    for part, values in _parts('', batch):
        if not hasattr(values, '__len__') or getattr(values, 'shape', None) == ():
            raise TypeError(f'{where}: `{name}` must have a value for each item in {part or "it"}, got {values!r:.40}')
        items = [_array(where, f'{name}{part}', value) for value in values]
        found.append(Field(_short(part), *_of_kind(items)))
    sizes = {len(field.values) for field in found}
    if len(sizes) > 1:
        got = ', '.join(f'{len(field.values)} in {field.name}' for field in found)
        raise ValueError(f'{where}: `{name}` must have as many items in each part, got {got}; a list is one of items')
    if sizes <= {0}:
        raise ValueError(f'{where}: `{name}` must not be empty')
    return found


def is_mask(field: Field, image: Field) -> bool:
    """Whether the field has a label for each pixel or voxel of the images."""
    if field.kind != image.kind or not (_integral(field.values) or _binary(field.values)):
        return False
    axes = 2 if image.kind == 'image' else 3
    alike = all(a.shape == b.shape[:axes] for a, b in zip(field.values, image.values, strict=True))
    return alike and all(len(np.unique(value)) <= CLASSES for value in field.values)


def _integral(values: list[Any]) -> bool:
    return all(value.dtype.kind in 'biu' for value in values)


def _binary(values: list[Any]) -> bool:
    """Whether they are 0 and 1, whatever their dtype: MONAI's masks are floats. All of them 0 may be an image."""
    return all(((value == 0) | (value == 1)).all() for value in values) and any(value.any() for value in values)


def _transposed(where: str, name: str, items: list[Any]) -> Any:
    """The structure of an item, with the values of all items in the place of each value."""
    if not items:
        raise ValueError(f'{where}: `{name}` must not be empty')
    parts = [dict(_parts('', item)) for item in items]
    if any(part.keys() != parts[0].keys() for part in parts):
        raise ValueError(f'{where}: `{name}` must have items of the same structure')
    return _Parts({key: [part[key] for part in parts] for key in parts[0]})


class _Parts(dict[str, list[Any]]):
    """Values by the places of their parts."""


def _parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is in the structure, and where, such as `['image'][0]`."""
    if isinstance(value, _Parts):
        yield from value.items()
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(f'{place}[{key!r}]', part)
    elif isinstance(value, tuple):
        names = getattr(value, '_fields', None)
        for n, part in enumerate(value):
            yield from _parts(f'{place}.{names[n]}' if names else f'{place}[{n}]', part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _parts(f'{place}.{field.name}', getattr(value, field.name))
    else:
        yield place, value


def _short(place: str) -> str:
    return place.replace("']['", '.').replace("['", '.').replace("']", '').lstrip('.')


def _array(where: str, name: str, value: Any) -> Any:
    if isinstance(value, (str, bytes)):
        return value if isinstance(value, str) else value.decode(errors='replace')
    if hasattr(
        value, 'detach'
    ):  # a tensor of torch, which may need gradients, be on a device, or have a type of its own
        value = value.detach().cpu()
        value = value.float() if 'bfloat16' in str(value.dtype) else value
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f'{where}: `{name}` has a {type(value).__name__}, which cannot be drawn') from error
    if array.dtype.kind in 'US' and array.ndim == 0:
        return str(array)
    if array.dtype.kind not in 'biuf':
        raise TypeError(f'{where}: `{name}` has a {type(value).__name__} of {array.dtype}, which cannot be drawn')
    return array


def _of_kind(values: list[Any]) -> tuple[Kind, list[Any]]:
    """What the values are, and the values in the order of axes that goes with it."""
    if any(isinstance(value, str) for value in values):
        return 'text', list(map(str, values))
    shaped = [_shaped(value) for value in values]
    kinds = {kind for kind, _ in shaped}
    if len(kinds) == 1 and all(value.size for value in values):
        return kinds.pop(), [value for _, value in shaped]
    return 'other', values


def _shaped(value: np.ndarray[Any, Any]) -> tuple[Kind, np.ndarray[Any, Any]]:
    shape = value.shape
    if value.ndim == 0:
        return 'number', value
    if value.ndim == 1 and len(value) >= STEPS:
        return 'sequence', value
    if value.ndim == 2 and min(shape) <= CHANNELS and max(shape) >= STEPS:
        return 'sequence', value if shape[0] == max(shape) else value.T
    if value.ndim == 2 and min(shape) > 1:
        return 'image', value
    if value.ndim in (3, 4):
        # channels last, or first; or second, behind the frames of a video
        axis = next((n for n in (-1, 0, *([1] if value.ndim == 4 else [])) if shape[n] in COLORS), None)
        if axis is not None:
            value = np.moveaxis(value, axis, -1)
            value = value[..., 0] if value.shape[-1] == 1 else value
            return ('image' if len(shape) == 3 else 'volume'), value
        if value.ndim == 3:
            return 'volume', value
    return 'other', value
