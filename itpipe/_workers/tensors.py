"""How torch tensors are pickled: as arrays of the same memory, with the attributes that were set on them.

Torch is only imported where a tensor is unpickled.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .arrays import thawed

__all__ = ['reduce_tensor']


def reduce_tensor(tensor: Any) -> Any:
    """What pickle makes of a tensor; NotImplemented if torch's own way is to be used.

    This is so if an array cannot hold the tensor: one that is not on the CPU, sparse, quantized, or needs a gradient.
    """
    if tensor.requires_grad or getattr(tensor, 'is_quantized', False):
        return NotImplemented
    with suppress(TypeError, RuntimeError):
        plain, dtype = tensor.resolve_conj().resolve_neg(), None
        try:
            array = plain.numpy()
        except TypeError:  # numpy does not know such numbers, so their bytes are sent
            import torch

            dtype = tensor.dtype
            array = plain.view(getattr(torch, f'int{8 * tensor.element_size()}')).numpy()
        return _tensor, (array, dtype), vars(tensor) or None, None, None, _update
    return NotImplemented


def _tensor(array: Any, dtype: Any) -> Any:
    from torch import from_numpy

    tensor = from_numpy(thawed(array))  # no tensor is read-only
    return tensor if dtype is None else tensor.view(dtype)


def _update(tensor: Any, attributes: Any) -> None:
    vars(tensor).update(attributes)
