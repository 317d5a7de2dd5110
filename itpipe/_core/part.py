"""Some items of a sequence, as a sequence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar, overload

import numpy as np

from .show import format_value

__all__ = ['Part', 'gives_together', 'whole_of']

X = TypeVar('X')
OF_ITEMS: Final = ('labels', 'paths')
"""What a dataset may have for each of its items."""
LONGEST: Final = 60
"""The most characters that show items."""


class Part(Generic[X]):
    """Some items of a dataset, in their order there. `indices` says which.

    If the dataset has `labels` or `paths`, so does this, of its items; and `classes`, if the dataset has them.
    """

    def __init__(self, data: Any, indices: np.ndarray[Any, np.dtype[np.int64]]):
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> X: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray[Any, Any]) -> Part[X]: ...
    def __getitem__(self, index: Any) -> Any:
        """An item; or, for a slice, a list or an array of indices, a part with these."""
        found = self.indices[index]
        if not found.ndim:
            return self.data[int(found)]
        if found.ndim > 1:
            raise TypeError(f'Part: an index must be a number, a slice or a list of numbers, got {format_value(index)}')
        return Part(self.data, found)

    def __getitems__(self, indices: Sequence[int]) -> Sequence[X]:
        """Several items at once, as datasets of torch and Hugging Face offer it."""
        chosen = self.indices[indices].tolist()
        together = getattr(self.data, '__getitems__', None)
        return [self.data[index] for index in chosen] if together is None else together(chosen)

    def __getattr__(self, name: str) -> Any:
        if name in OF_ITEMS and (values := getattr(self.data, name, None)) is not None:
            if hasattr(values, 'dtype'):
                return np.asarray(values)[self.indices]
            return [values[index] for index in self.indices.tolist()]
        if name == 'classes' and hasattr(self.data, name):
            return self.data.classes
        return object.__getattribute__(self, name)  # raises the usual error

    def __repr__(self) -> str:
        if not isinstance(self.data, (list, tuple, range, str)):  # an item of another one may have to be read
            return f'<{len(self)} items of {format_value(self.data)}>'
        own = format_value([self[n] for n in range(min(len(self), 8))])[1:-1]
        shown = f': {own}' if 0 < len(own) <= LONGEST else ''  # it is in the names of stages
        return f'<{len(self)} of {len(self.data)} items{shown}>'


def whole_of(data: Any) -> tuple[Any, Any] | None:
    """What the data is a part of, and the indices there: of a `Part`, or torch's `Subset`. None if it is neither."""
    if isinstance(data, Part):
        return data.data, data.indices
    torch_data: Any = sys.modules.get('torch.utils.data')
    return (data.dataset, data.indices) if torch_data is not None and isinstance(data, torch_data.Subset) else None


def gives_together(data: Any) -> bool:
    """Whether its `__getitems__` does more than to look the items up one by one, as that of a part of others may."""
    while callable(getattr(data, '__getitems__', None)):
        whole = whole_of(data)
        owner = next((kind for kind in type(data).__mro__ if '__getitems__' in vars(kind)), None)
        if whole is None or owner not in (Part, getattr(sys.modules.get('torch.utils.data'), 'Subset', None)):
            return True
        data = whole[0]
    return False
