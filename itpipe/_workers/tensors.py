"""How tensors of torch are pickled: as the arrays that they are views of, with what has been set on them.

Torch is never imported here, but by what unpickles a tensor.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from .arrays import thawed

__all__ = ['reduce_tensor']


def reduce_tensor(tensor: Any) -> Any:
    """What pickle makes of a tensor; NotImplemented where that is torch's own affair.

    So it is where an array does not have all of it: tensors that are not on the CPU, sparse, quantized, or that have a
    gradient.
    """
    if tensor.requires_grad or getattr(tensor, 'is_quantized', False):
        return NotImplemented
    with suppress(TypeError, RuntimeError):
        plain, dtype = tensor.resolve_conj().resolve_neg(), None
        try:
            array = plain.numpy()
        except TypeError:  # numpy has no such numbers, but their bytes
            import torch

            dtype = tensor.dtype
            array = plain.view(getattr(torch, f'int{8 * tensor.element_size()}')).numpy()
        return _tensor, (array, dtype), vars(tensor) or None, None, None, _update
    return NotImplemented


def _tensor(array: Any, dtype: Any) -> Any:
    from torch import from_numpy

    tensor = from_numpy(thawed(array))  # there are no tensors that are read-only
    return tensor if dtype is None else tensor.view(dtype)


def _update(tensor: Any, attributes: Any) -> None:
    vars(tensor).update(attributes)
