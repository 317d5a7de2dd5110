"""Some items of a sequence, as a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .show import format_value

if TYPE_CHECKING:
    import numpy as np

__all__ = ['Part']

X = TypeVar('X')


class Part(Generic[X]):
    """Some items of a dataset, in their order there. `indices` says which."""

    def __init__(self, data: Any, indices: np.ndarray[Any, np.dtype[np.int64]]):
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> X:
        return self.data[int(self.indices[index])]  # type: ignore[no-any-return]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[X]:
        """Several items at once, as datasets of torch and Hugging Face offer it."""
        chosen = self.indices[indices].tolist()
        together = getattr(self.data, '__getitems__', None)
        return [self.data[index] for index in chosen] if together is None else together(chosen)

    def __repr__(self) -> str:
        if not isinstance(self.data, (list, tuple, range, str)):  # an item of another one may have to be read
            return f'<{len(self)} items of {format_value(self.data)}>'
        own = format_value([self[n] for n in range(min(len(self), 8))])[1:-1]
        return f'<{len(self)} of {len(self.data)} items{f": {own}" if own else ""}>'
