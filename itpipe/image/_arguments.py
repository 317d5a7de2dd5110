"""The arguments of the functions of images, checked and in one form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar('T', bound=np.generic)
Array: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = SupportsIndex | Sequence[SupportsIndex] | npt.NDArray[np.integer[Any]]
Floats: TypeAlias = SupportsFloat | Sequence[SupportsFloat] | Array
Padding: TypeAlias = npt.ArrayLike | Callable[[Array], npt.ArrayLike]


def as_image(where: str, image: npt.NDArray[T], name: str = 'image') -> npt.NDArray[T]:
    """The image as an array; nested lists of numbers will do."""
    array = _from_lists(image) if isinstance(image, (list, tuple)) else image
    if not hasattr(array, '__array__'):
        raise TypeError(f'{where}: `{name}` must be a numpy array, got {type(image).__name__}')
    return np.asarray(array)


def _from_lists(image: list[Any] | tuple[Any, ...]) -> Any:
    """An array of numbers; None for a whole item of a pipeline, given by mistake."""
    if isinstance(image, tuple) and any(getattr(element, 'ndim', 0) for element in image):
        return None
    try:
        array = np.asarray(image)
    except (TypeError, ValueError):  # lists of different lengths
        return None
    return array if array.dtype.kind in 'biufc' else None


def as_ints(where: str, name: str, value: Any, rule: str, max_ndim: int = 2) -> Array:
    """The value as an array of ints."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        raise TypeError(f'{where}: `{name}` must be {rule}, got {value!r}') from None
    if array.ndim > max_ndim or (array.size and array.dtype.kind not in 'iu'):
        raise TypeError(f'{where}: `{name}` must be {rule}, got {value!r}')
    return array.astype(np.intp)


def chosen_axes(where: str, image: Array, axis: object, parameter: str, value: Any) -> list[int]:
    """The axes that `axis` names; if it is None, those that the `value` of the first parameter is for."""
    if axis is None:
        count = len(value) if np.ndim(value) else image.ndim
        if count > image.ndim:
            rule = f'at most one value per axis of the image ({image.ndim})'
            raise ValueError(f'{where}: `{parameter}` must have {rule}, got {value!r}')
        return list(range(image.ndim - count, image.ndim))
    axes = as_ints(where, 'axis', axis, 'an int or a sequence of ints', 1).ravel().tolist()
    if not all(-image.ndim <= k < image.ndim for k in axes):
        raise ValueError(f"{where}: `axis` must be among the image's {image.ndim} axes, got {axis!r}")
    axes = [k % image.ndim for k in axes]
    if len(set(axes)) < len(axes):
        raise ValueError(f'{where}: `axis` must name each axis once, got {axis!r}')
    return axes


def per_axis(
    where: str, parameter: str, value: Any, axes: list[int], default: Sequence[int], kinds: str = 'iu'
) -> list[Any]:
    """A number for every axis of the image: from `value` for the chosen `axes`, from `default` for the others."""
    array = np.asarray(value)
    if array.ndim > 1 or (array.size and array.dtype.kind not in kinds):
        rule = 'a number or a sequence of numbers' if 'f' in kinds else 'an int or a sequence of ints'
        raise TypeError(f'{where}: `{parameter}` must be {rule}, got {value!r}')
    if array.size not in (1, len(axes)):
        rule = f'one value or one per chosen axis ({len(axes)})'
        raise ValueError(f'{where}: `{parameter}` must be {rule}, got {value!r}')
    result: list[Any] = list(default)
    for k, number in zip(axes, np.broadcast_to(array, len(axes)).tolist(), strict=True):
        result[k] = number
    return result


def shape_arguments(
    where: str, image: npt.NDArray[T], shape: Ints, axis: Ints | None
) -> tuple[npt.NDArray[T], list[int], list[int]]:
    """The image as an array, the chosen axes, and the wanted length of every axis."""
    image = as_image(where, image)
    axes = chosen_axes(where, image, axis, 'shape', shape)
    return image, axes, per_axis(where, 'shape', shape, axes, image.shape)


def check_lengths(
    where: str, image: Array, lengths: list[int], allowed: Callable[[int, int], bool], rule: str, verb: str = 'asked'
) -> None:
    """Raise ValueError unless `allowed(length of the image, wanted length)` holds for every axis."""
    for k, (before, after) in enumerate(zip(image.shape, lengths, strict=True)):
        if not allowed(before, after):
            raise ValueError(f'{where}: {rule}; axis {k} has {before}, {verb} {after}')


def starts_by_ratio(
    where: str, small: Sequence[int], large: Sequence[int], ratio: object, axes: list[int]
) -> list[int]:
    """Where an array of shape `small` starts in one of shape `large`, with this share of the difference before it."""
    ratios = per_axis(where, 'ratio', ratio, axes, [0] * len(small), 'iuf')
    if not all(0 <= share <= 1 for share in ratios):
        raise ValueError(f'{where}: `ratio` must be between 0 and 1, got {ratio!r}')
    return [math.floor((b - a) * share) for a, b, share in zip(small, large, ratios, strict=True)]


def part_at(starts: Sequence[int], lengths: Sequence[int]) -> Any:
    """The index of the part with these starts and lengths."""
    return (..., *(slice(start, start + n) for start, n in zip(starts, lengths, strict=True)))
