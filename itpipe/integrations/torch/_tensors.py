"""Tensors of arrays."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import numpy as np

from itpipe._core.steps import ItemStep
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

from ._structure import mapped

__all__ = ['as_tensor', 'need_torch', 'to_torch']


@factory
def to_torch() -> Stage[Any, Any]:
    """The same items, with tensors in the place of numpy arrays; it works on batches, too.

    Arrays are found anywhere in tuples, named tuples, lists, dicts and dataclasses, which keep their type. Text,
    numbers, tensors and other objects stay as they are. So do arrays of text, objects, dates and other dtypes that
    torch does not have.

    A tensor uses the memory of its array, as that of `torch.from_numpy`. Where torch cannot do that, it is a copy: if
    the array is read-only, has a negative stride, one that is no multiple of the item size, or bytes in the order of
    other machines.

    Tensors that are made in the workers of a `parallel_map` arrive without another copy.

    Raises ImportError if torch is not installed, and TypeError for a masked array, whose mask would be lost.

    >>> import numpy as np
    >>> from itpipe import batch_by, combine
    >>> from itpipe.integrations.torch import to_torch
    >>> list([(0.5, 'a'), (1.5, 'b')] | batch_by(2) | combine | to_torch())  # doctest: +SKIP
    [(tensor([0.5000, 1.5000], dtype=torch.float64), ['a', 'b'])]

    See also: `to_device`, which does this, too; `combine`.
    """
    need_torch('to_torch')
    return Stage((ItemStep('to_torch', _make, stays=True),))


def _make() -> Any:
    return _converted


def _converted(item: Any) -> Any:
    return mapped(item, as_tensor)


def as_tensor(value: Any) -> Any:
    """The tensor of an array; any other value as it is."""
    if not isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            'a tensor cannot have the mask of a masked array: use its `filled()`, or make the mask an element'
        )
    if value.dtype.kind not in 'biufc':
        return value
    import torch

    with suppress(TypeError):  # torch has no such dtype
        if value.flags.writeable and value.dtype.isnative:
            with suppress(ValueError):  # it has no such strides
                return torch.from_numpy(value)
        return torch.from_numpy(value.astype(value.dtype.newbyteorder('='), order='C'))
    return value


def need_torch(where: str) -> None:
    """Raise ImportError if torch is not installed. It is not imported here, as that takes seconds."""
    found = sys.modules['torch'] if 'torch' in sys.modules else find_spec('torch')
    if found is None:
        raise ImportError(f"{where}: it needs torch: pip install 'itpipe[torch]'")
