"""Arrays of other libraries: tensors of torch, arrays of JAX and of others with `__array_namespace__`.

A batch of them is an array of their library. None of the libraries is imported before its arrays come.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import reduce
from typing import Any, Final

import numpy as np

from .array_likes import as_array
from .dtypes import changed_by, refuse_change
from .joins import Join, refuse_shapes, stack
from .structure import Kinds, Path, element, first_different, refuse, type_of

__all__ = ['alike', 'blanked', 'join_others', 'library_of']

FEW: Final = 1 << 15
"""Numbers. `torch.stack` starts threads for more, and is faster than `stack` for less."""


def library_of(kind: type) -> str | None:
    """The library whose arrays stay its own in a batch; None for numpy, and for what becomes an array of numpy."""
    tensor = getattr(sys.modules.get('torch'), 'Tensor', None)
    if tensor is not None and issubclass(kind, tensor):
        return 'torch'
    if hasattr(kind, '__array_namespace__') and not issubclass(kind, (np.ndarray, np.generic)):
        return kind.__module__.partition('.')[0]
    return None


def join_others(join: Join, values: Sequence[Any], kinds: Kinds, path: Path, by_value: bool = False) -> Any:
    """What `join` makes of the arrays, at least one of which is of another library than numpy, in that library.

    `join` gets arrays of numpy. If it needs their values, not only their bits, as to write a number beside them, it is
    `by_value`. Raises TypeError if the arrays are of several libraries, for dtypes without a common one, and for arrays
    that cannot be joined as they are. Raises ValueError for different devices or shapes, and for integers that the
    common dtype does not hold.
    """
    libraries = [library_of(type(value)) for value in values]
    if len(set(libraries)) > 1:
        hint = '; make them arrays of one library before'
        refuse(path, values, first_different(libraries), type_of, hint, TypeError)
    if libraries[0] == 'torch':
        return _join_tensors(join, values, kinds, path, by_value)
    return _join_arrays(join, values, path, by_value)


def alike(array: np.ndarray[Any, Any], value: Any) -> Any:
    """The array of numpy as one of the library of the value, on its device."""
    library = library_of(type(value))
    if library == 'torch':
        from torch import from_numpy

        return from_numpy(array).to(value.device)
    return array if library is None else _namespace(value).asarray(array, device=value.device)


def blanked(batch: Any, rows: list[int]) -> Any:
    """The batch that one of the combiners has just made of values, with zeros in these rows; None for objects."""
    if isinstance(batch, list):
        return [None if i in rows else value for i, value in enumerate(batch)]
    if isinstance(batch, np.ndarray):
        batch[rows] = None if batch.dtype == object else np.zeros((), batch.dtype)
        return batch
    if library_of(type(batch)) == 'torch':
        for row in rows:
            batch[row].zero_()
        return batch
    xp, keep = _namespace(batch), np.ones((batch.shape[0], *[1] * (batch.ndim - 1)), np.bool_)
    keep[rows] = False
    return xp.where(alike(keep, batch), batch, xp.zeros_like(batch))


# ---------------------------------------------------------------------------------------------------------------------
# torch


def _join_tensors(join: Join, values: Sequence[Any], kinds: Kinds, path: Path, by_value: bool) -> Any:
    import torch

    for i, value in enumerate(values):
        if value.requires_grad or value.layout is not torch.strided or value.is_quantized or value.is_nested:
            _refuse_tensor(value, path, i)
    _check_devices(values, path)
    if len(found := dict.fromkeys([value.dtype for value in values])) > 1:
        common = _promoted(torch.promote_types, list(found), values, path)
        if common.is_floating_point or common.is_complex:
            widest = torch.complex128 if common.is_complex else torch.float64
            for i, value in enumerate(values):
                if not (value.dtype.is_floating_point or value.dtype.is_complex) and value.device.type != 'meta':
                    cast = value.to(common).to(widest)
                    changed = changed_by(value.cpu().numpy(), cast.cpu().numpy(), int(2 / torch.finfo(common).eps))
                    refuse_change(path, i, changed, value.dtype, common)
        values = [value.to(common) for value in values]
    on_cpu = values[0].device.type == 'cpu'
    if join is stack and (values[0].numel() * len(values) < FEW or not (on_cpu and kinds == {torch.Tensor})):
        try:
            return torch.stack(list(values)).contiguous()
        except RuntimeError:
            refuse_shapes(values, path)
            raise
    if not on_cpu:
        where = f'{element(path, "item 0")} is on device {values[0].device}'
        raise TypeError(f'{path[0]}: {where}, but must be in the memory of the CPU; convert it before, by `.cpu()`')
    # In the memory of numpy's arrays, which large batches use again.
    dtype, plain = values[0].dtype, [_plain(value) for value in values]
    stand_in = _stand_in(plain[0], by_value)
    if stand_in is not None:
        plain = [value.to(stand_in) if by_value else value.view(stand_in) for value in plain]

    def back(joined: Any) -> Any:
        if isinstance(joined, tuple):
            return type(joined)(*map(back, joined))
        tensor = torch.from_numpy(joined)
        if tensor.dtype != stand_in:
            return tensor
        return tensor.to(dtype) if by_value else tensor.view(dtype)

    return back(join([value.numpy() for value in plain], path))


def _plain(value: Any) -> Any:
    import torch

    if type(value) is not torch.Tensor:
        value = value.as_subclass(torch.Tensor)
    return value.resolve_conj().resolve_neg() if value.is_conj() or value.is_neg() else value


def _stand_in(value: Any, by_value: bool) -> Any:
    """A dtype that numpy has, for one that it does not have: of the same bits, or for the same values."""
    import torch

    try:
        value.numpy()
    except TypeError:
        if by_value:
            return torch.complex64 if value.is_complex() else torch.float32
        return getattr(torch, f'int{8 * value.element_size()}')
    return None


def _refuse_tensor(value: Any, path: Path, i: int) -> None:
    import torch

    is_sparse = value.layout is not torch.strided and not value.is_nested
    problems = {
        'needs a gradient': ('.detach()', value.requires_grad),
        'is nested': ('.to_padded_tensor(0)', value.is_nested),
        'is sparse': ('.to_dense()', is_sparse),
        'is quantized': ('.dequantize()', value.is_quantized),
    }
    found = {problem: call for problem, (call, has_it) in problems.items() if has_it}
    what = f'{element(path, f"item {i}")}, a {type(value).__name__},'
    raise TypeError(f'{path[0]}: {what} {" and ".join(found)}; convert it before, by `{"".join(found.values())}`')


# ---------------------------------------------------------------------------------------------------------------------
# The array API


def _join_arrays(join: Join, values: Sequence[Any], path: Path, by_value: bool) -> Any:
    xp = _namespace(values[0])
    _check_devices(values, path)
    if len(found := list(dict.fromkeys([value.dtype for value in values]))) > 1:
        common = _promoted(xp.result_type, found, values, path)
        if not xp.isdtype(common, ('bool', 'integral')):
            widest = np.complex128 if xp.isdtype(common, 'complex floating') else np.float64
            for i, value in enumerate(values):
                if xp.isdtype(value.dtype, 'integral'):
                    cast = np.asarray(xp.astype(value, common)).astype(widest)
                    changed = changed_by(np.asarray(value), cast, int(2 / float(xp.finfo(common).eps)))
                    refuse_change(path, i, changed, value.dtype, common)
        values = [xp.astype(value, common) for value in values]
    if join is stack:
        refuse_shapes(values, path)
        return xp.stack(list(values))
    dtype, device = values[0].dtype, getattr(values[0], 'device', None)
    arrays = [as_array(value, path, f'item {i}') for i, value in enumerate(values)]
    stand_in = None
    if by_value and arrays[0].dtype.kind == 'V':  # a type that numpy itself does not have, such as bfloat16
        stand_in = np.dtype(np.float32)
        arrays = [array.astype(stand_in) for array in arrays]

    def back(joined: Any) -> Any:
        if isinstance(joined, tuple):
            return type(joined)(*map(back, joined))
        array = xp.asarray(joined, device=device)
        return xp.astype(array, dtype) if joined.dtype == stand_in else array

    return back(join(arrays, path))


def _namespace(value: Any) -> Any:
    if library_of(type(value)) in ('jax', 'jaxlib'):  # its random keys are arrays that refuse to say it
        return sys.modules['jax'].numpy
    return value.__array_namespace__()


# ---------------------------------------------------------------------------------------------------------------------
# Both


def _check_devices(values: Sequence[Any], path: Path) -> None:
    devices = [getattr(value, 'device', None) for value in values]
    if any(device != devices[0] for device in devices):
        hint = '; move them to one device before'
        refuse(path, values, first_different(devices), lambda value: f'device {value.device}', hint)


def _promoted(promote: Any, dtypes: list[Any], values: Sequence[Any], path: Path) -> Any:
    """The dtype that the library itself would choose."""
    try:
        return reduce(promote, dtypes)
    except (TypeError, RuntimeError):
        i = next(i for i, value in enumerate(values) if value.dtype != values[0].dtype)
        refuse(path, values, i, lambda value: f'dtype {value.dtype}', '; they have no common dtype', TypeError)
