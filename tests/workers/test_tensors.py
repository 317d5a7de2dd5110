"""Tensors between processes: each kind arrives as it was, by its bytes where that is possible."""

from typing import Any

import numpy as np
import pytest

from itpipe import parallel_map
from itpipe._workers.pickling import dumps_call, dumps_function, loads_function, loads_item, pack, result_of
from itpipe._workers.shared_memory import Large

torch = pytest.importorskip('torch')


def as_item(value: Any, apart: int) -> Any:
    """The value as it arrives; so many of its buffers are to go apart from the pickle."""
    large = Large()
    data = dumps_call(0, value, large)
    assert len(large) == apart
    return loads_item(data, [bytearray(buffer.raw()) for buffer in large])[1]


def numbers(dtype: Any) -> Any:
    return (torch.arange(2**19) % 113).to(torch.uint8).view(dtype)


def bits(tensor: Any) -> list[int]:
    return tensor.contiguous().reshape(-1).view(torch.uint8).tolist()  # type: ignore[no-any-return]


DTYPES = [
    dtype
    for name in (
        'bool', 'uint8', 'int8', 'int16', 'int32', 'int64', 'uint16', 'uint32', 'uint64',
        'float16', 'bfloat16', 'float32', 'float64', 'complex32', 'complex64', 'complex128',
        'float8_e4m3fn', 'float8_e4m3fnuz', 'float8_e5m2', 'float8_e5m2fnuz', 'float8_e8m0fnu', 'float4_e2m1fn_x2',
    )
    if (dtype := getattr(torch, name, None)) is not None
]  # fmt: skip


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
def test_tensors_of_all_dtypes_go_by_their_bytes(dtype: Any) -> None:
    """Also of those that numpy does not know."""
    given = numbers(dtype)
    got = as_item(given, apart=1)
    assert (type(got), got.dtype, got.shape) == (torch.Tensor, dtype, given.shape)
    assert bits(got) == bits(given)
    got[0] = got[1]  # writable


FORMS = {
    'no axes': lambda t: t[5],
    'empty': lambda t: t[:0],
    'transposed': lambda t: t.view(256, -1).T,
    'in pieces': lambda t: t.view(256, -1)[::2, ::3],
    'expanded': lambda t: t[:1].expand(50_000),
    'channels last': lambda t: t[:120_000].view(2, 3, 100, 200).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float8_e5m2, torch.float32], ids=str)
def test_tensors_of_all_forms(form: str, dtype: Any) -> None:
    given = FORMS[form](numbers(dtype))
    got = as_item(given, apart=given.numel() > 1)
    assert (got.dtype, got.shape) == (dtype, given.shape)
    assert bits(got) == bits(given)


@pytest.mark.filterwarnings('ignore:ComplexHalf support is experimental')
@pytest.mark.parametrize('dtype', [torch.complex32, torch.complex64], ids=str)
def test_complex_numbers_that_are_conjugated_or_negated_when_they_are_looked_at(dtype: Any) -> None:
    given = torch.view_as_complex(torch.arange(2000.0).repeat(40).view(-1, 2)).to(dtype).conj()
    for view in (given, given.imag):
        assert view.is_conj() or view.is_neg()
        got = as_item(view, apart=1)
        assert got.dtype == view.dtype
        assert got.to(torch.complex64).tolist() == view.to(torch.complex64).tolist()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32], ids=str)
def test_what_is_torch_s_own_affair(dtype: Any) -> None:
    with_gradient = numbers(dtype).requires_grad_()
    got = as_item(with_gradient, apart=0)
    assert got.requires_grad
    assert torch.equal(got.nan_to_num(), with_gradient.nan_to_num())
    assert as_item(torch.nn.Parameter(with_gradient), apart=1).requires_grad
    assert as_item(torch.zeros(10**5, dtype=dtype, device='meta'), apart=0).device.type == 'meta'
    assert torch.equal(
        as_item(torch.eye(300, dtype=dtype).to_sparse(), apart=0).to_dense(), torch.eye(300, dtype=dtype)
    )


@pytest.mark.filterwarnings('ignore::UserWarning', 'ignore::DeprecationWarning')  # torch's own
def test_quantized_tensors_keep_their_scale() -> None:
    given = torch.quantize_per_tensor(torch.arange(40_000.0), 0.5, 3, torch.qint8)
    got = as_item(given, apart=0)
    assert got.q_scale() == 0.5
    assert torch.equal(got.dequantize(), given.dequantize())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32], ids=str)
def test_what_has_been_set_on_a_tensor_goes_with_it(dtype: Any) -> None:
    """As in threads; also the tensor itself, and other tensors."""
    given = numbers(dtype)
    given.label, given.other, given.itself = 'cat', torch.arange(10**5), given
    got = as_item(given, apart=2)
    assert got.label == 'cat'
    assert torch.equal(got.other, given.other)
    assert got.itself is got
    for through in (lambda x: result_of(pack(lambda: x)), lambda x: loads_function(dumps_function(x))):
        got = through(given)
        assert (got.label, got.dtype) == ('cat', dtype)
    assert vars(given).keys() == {'label', 'other', 'itself'}


@pytest.mark.long
def test_there_and_back() -> None:
    def function(tensor: Any) -> Any:
        tensor += 1
        tensor.seen = [*tensor.seen, 'there']
        return tensor

    given = torch.zeros(10**5, dtype=torch.bfloat16)
    given.seen = ['here']
    for got in [given] * 3 | parallel_map(function, processes=1):
        assert (got == 1).all()
        assert got.seen == ['here', 'there']
    assert not given.any()
    assert np.array_equal(given.float().numpy(), np.zeros(10**5))
