"""The arguments of the functions of images, checked and in one form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

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


class Call(Generic[T]):
    """A call of one of the functions: its name, for messages, the image as an array, and the chosen axes."""

    def __init__(self, where: str, image: npt.NDArray[T], axis: object, parameter: str, value: Any):
        self.where, self.image = where, as_image(where, image)
        self.axes = self._axes(axis, parameter, value)

    def _axes(self, axis: object, parameter: str, value: Any) -> list[int]:
        """The axes that `axis` names; if it is None, those that the `value` of the first parameter is for."""
        where, ndim = self.where, self.image.ndim
        if axis is None:
            count = len(value) if np.ndim(value) else ndim
            if count > ndim:
                rule = f'at most one value per axis of the image ({ndim})'
                raise ValueError(f'{where}: `{parameter}` must have {rule}, got {value!r}')
            return list(range(ndim - count, ndim))
        axes = as_ints(where, 'axis', axis, 'an int or a sequence of ints', 1).ravel().tolist()
        if not all(-ndim <= k < ndim for k in axes):
            raise ValueError(f"{where}: `axis` must be among the image's {ndim} axes, got {axis!r}")
        axes = [k % ndim for k in axes]
        if len(set(axes)) < len(axes):
            raise ValueError(f'{where}: `axis` must name each axis once, got {axis!r}')
        return axes

    def per_axis(self, parameter: str, value: Any, default: Sequence[int] | int, kinds: str = 'iu') -> list[Any]:
        """A number for every axis of the image: from `value` for the chosen axes, from `default` for the others."""
        array = np.asarray(value)
        if array.ndim > 1 or (array.size and array.dtype.kind not in kinds):
            rule = 'a number or a sequence of numbers' if 'f' in kinds else 'an int or a sequence of ints'
            raise TypeError(f'{self.where}: `{parameter}` must be {rule}, got {value!r}')
        if array.size not in (1, len(self.axes)):
            rule = f'one value or one per chosen axis ({len(self.axes)})'
            raise ValueError(f'{self.where}: `{parameter}` must be {rule}, got {value!r}')
        result: list[Any] = [default] * self.image.ndim if isinstance(default, int) else list(default)
        for k, number in zip(self.axes, np.broadcast_to(array, len(self.axes)).tolist(), strict=True):
            result[k] = number
        return result

    def check_lengths(
        self, lengths: list[int], allowed: Callable[[int, int], bool], rule: str, verb: str = 'asked'
    ) -> None:
        """Raise ValueError unless `allowed(length of the image, wanted length)` holds for every axis."""
        for k, (before, after) in enumerate(zip(self.image.shape, lengths, strict=True)):
            if not allowed(before, after):
                raise ValueError(f'{self.where}: {rule}; axis {k} has {before}, {verb} {after}')

    def starts(self, small: Sequence[int], large: Sequence[int], ratio: object) -> list[int]:
        """Where an array of shape `small` starts in one of shape `large`, by the share of what lies before it."""
        ratios = self.per_axis('ratio', ratio, 0, 'iuf')
        if not all(0 <= share <= 1 for share in ratios):
            raise ValueError(f'{self.where}: `ratio` must be between 0 and 1, got {ratio!r}')
        return [math.floor((b - a) * share) for a, b, share in zip(small, large, ratios, strict=True)]


def part_at(starts: Sequence[int], lengths: Sequence[int]) -> Any:
    """The index of the part with these starts and lengths."""
    return (..., *(slice(start, start + n) for start, n in zip(starts, lengths, strict=True)))
