"""Batches of tensors of torch, of arrays of JAX, and of others with `__array_namespace__`."""

import threading
import traceback
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
from batches import STACKING, message
from hypothesis import given
from hypothesis import strategies as st

from itpipe import batch_by, combine, combine_lists, combine_pad, parallel_map
from itpipe._core.blocks import Blocks
from itpipe.stages import libraries
from itpipe.stages.libraries import library_of

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.filterwarnings('ignore:ComplexHalf support is experimental')

MISMATCH = '; make them arrays of one library before'


def assert_tensor(found: Any, expected: Any) -> None:
    """Equal to the last bit."""
    assert type(found) is torch.Tensor
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.is_contiguous()
    assert not found.requires_grad
    np.testing.assert_array_equal(bits(found), bits(expected))


def bits(tensor: Any) -> Any:
    return tensor.resolve_conj().resolve_neg().contiguous().view(-1).view(torch.uint8).numpy()


DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
    torch.float32, torch.float64, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.complex32,
]  # fmt: skip
LAYOUTS = ['as it is', 'transposed', 'expanded', 'every second']


@st.composite
def tensors(draw: Any) -> list[Any]:
    """Tensors of one shape and dtype, which lie in memory in any way."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(st.lists(st.integers(0, 4), max_size=4))

    def one() -> Any:
        values = draw(st.integers(0, 100)) + torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)
        tensor, layout = values.remainder(119).to(dtype), draw(st.sampled_from(LAYOUTS))
        if layout == 'transposed' and len(shape) > 1:
            return tensor.transpose(0, 1).contiguous().transpose(0, 1)
        if layout == 'expanded' and shape and shape[0]:
            return tensor[:1].expand(shape)
        if layout == 'every second' and shape:
            return tensor.repeat_interleave(2, 0)[::2] if dtype not in (torch.complex32, *DTYPES[12:]) else tensor
        return tensor

    return [one() for _ in range(draw(st.integers(1, 5)))]


@given(tensors(), st.sampled_from([0, libraries.FEW]))
def test_tensors_become_what_torch_stack_makes_of_them(items: list[Any], few: int) -> None:
    """A few numbers by `torch.stack` itself, many in the memory of arrays."""
    with mock.patch.object(libraries, 'FEW', few):
        assert_tensor(combine(items), torch.stack(items))
        assert_tensor(combine_pad(items), torch.stack(items))


@given(st.data())
def test_structures_of_tensors_become_what_default_collate_makes_of_them(data: Any) -> None:
    from torch.utils.data import default_collate

    columns = [data.draw(tensors()) for _ in range(data.draw(st.integers(1, 3)))]
    rows = list(zip(*columns, strict=False))
    for items in (rows, [{'x': row, 'y': [row[0]]} for row in rows]):
        check_collated(combine(items), default_collate(items))


def check_collated(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, (list, tuple)):
        for a, b in zip(found, expected, strict=True):
            check_collated(a, b)
    else:
        assert_tensor(found, expected)


PROMOTED = st.sampled_from([t for t in DTYPES[:12] if t != torch.complex32])


@given(st.lists(PROMOTED, min_size=1, max_size=4))
def test_different_dtypes_become_the_one_that_torch_chooses(dtypes: list[Any]) -> None:
    items = [torch.arange(3).to(dtype) for dtype in dtypes]
    assert_tensor(combine(items), torch.stack(items))
    numbers = [item[1] for item in items]
    assert_tensor(combine(numbers), torch.stack([number[None] for number in numbers])[:, 0])


@STACKING
@pytest.mark.parametrize(
    ('dtype', 'other', 'value', 'fits'),
    [
        (torch.int64, torch.float32, 2**24 + 1, 2**24 + 2),
        (torch.int32, torch.float32, -(2**24) - 1, -(2**24)),
        (torch.int64, torch.float64, 2**53 + 1, 2**62),
        (torch.int64, torch.float16, 70_000, 2050),
        (torch.int16, torch.bfloat16, 257, 258),
        (torch.int64, torch.complex64, 2**24 + 1, 2**24),
        (torch.int64, torch.complex128, 2**63 - 1, -(2**63)),
    ],
    ids=str,
)
def test_no_integer_changes_its_value(function: Any, dtype: Any, other: Any, value: int, fits: int) -> None:
    whole, common = torch.tensor([0, value], dtype=dtype), torch.promote_types(dtype, other)
    assert message(ValueError, function, [torch.zeros(2, dtype=other), whole]) == (
        f'{function.__name__}: item 1 has {value} in dtype {dtype}, which {common}, the common dtype, does not hold;'
        ' convert the items to one dtype before'
    )
    assert function([torch.zeros(1, dtype=other), torch.tensor([fits], dtype=dtype)])[1].item() == fits


@STACKING
@pytest.mark.filterwarnings('ignore::UserWarning', 'ignore::DeprecationWarning')  # of torch: some are new, some old
@pytest.mark.parametrize(
    ('make', 'problem', 'calls'),
    [
        (lambda x: x.requires_grad_(), 'needs a gradient', '.detach()'),
        (torch.nn.Parameter, 'needs a gradient', '.detach()'),
        (lambda x: x.to_sparse(), 'is sparse', '.to_dense()'),
        (lambda x: x.to_sparse_csr(), 'is sparse', '.to_dense()'),
        (lambda x: x.to_sparse().requires_grad_(), 'needs a gradient and is sparse', '.detach().to_dense()'),
        (lambda x: torch.quantize_per_tensor(x, 1.0, 0, torch.quint8), 'is quantized', '.dequantize()'),
        (lambda x: torch.nested.nested_tensor([x, x], layout=torch.jagged), 'is nested', '.to_padded_tensor(0)'),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_stacked_as_they_are(function: Any, make: Any, problem: str, calls: str) -> None:
    tensor = make(torch.eye(2))
    items = [{'image': torch.eye(2), 'emb': x} for x in (torch.eye(2), tensor)]
    assert message(TypeError, function, items) == (
        f"{function.__name__}: element ['emb'] of item 1, a {type(tensor).__name__}, {problem}; convert it before,"
        f' by `{calls}`'
    )
    converted = eval(f'tensor{calls}', {'tensor': tensor})
    assert function([converted]).shape == (1, *converted.shape)


@STACKING
@pytest.mark.parametrize(
    ('items', 'has', 'other'),
    [
        ([torch.ones(2), np.ones(2)], 'ndarray', 'Tensor'),
        ([torch.tensor(1), 2], 'int', 'Tensor'),
        ([1.0, torch.tensor(1)], 'Tensor', 'float'),
        ([np.float32(1), torch.tensor(1)], 'Tensor', 'float32'),
    ],
)
def test_tensors_beside_arrays_or_numbers_are_refused(function: Any, items: Any, has: str, other: str) -> None:
    assert message(TypeError, function, [(x,) for x in items]) == (
        f'{function.__name__}: element [0] of item 1 has type {has}, but item 0 has type {other}{MISMATCH}'
    )


@STACKING
def test_tensors_beside_other_objects(function: Any) -> None:
    assert message(TypeError, function, [torch.ones(2), {1}]) == (
        f'{function.__name__}: item 1 has type set, but item 0 has type Tensor'
    )


@STACKING
@pytest.mark.parametrize(
    ('items', 'error', 'text'),
    [
        ([torch.ones(2), torch.ones(2, 1)], ValueError, 'item 1 has shape torch.Size([2, 1]), but item 0 has shape'),
        ([torch.ones(2), torch.ones(2, device='meta')], ValueError, 'item 1 has device meta, but item 0 has device'),
        (
            [torch.ones(2), torch.ones(2, dtype=torch.float8_e4m3fn)], TypeError,
            'item 1 has dtype torch.float8_e4m3fn, but item 0 has dtype torch.float32; they have no common dtype',
        ),
    ],
)  # fmt: skip
def test_tensors_that_do_not_go_together(function: Any, items: Any, error: Any, text: str) -> None:
    assert (
        message(error, function, items)
        .replace('(2, 1)', 'torch.Size([2, 1])')
        .startswith(f'{function.__name__}: {text}')
    )


def test_tensors_elsewhere_are_stacked_there() -> None:
    found = combine([torch.ones(2, 3, device='meta')] * 4)
    assert (found.device.type, found.shape) == ('meta', (4, 2, 3))
    mixed = combine([torch.ones(2, device='meta'), torch.ones(2, dtype=torch.int64, device='meta')])
    assert mixed.dtype == torch.float32
    assert message(ValueError, combine, [torch.ones(n, device='meta') for n in (1, 2)]) == (
        'combine: item 1 has shape torch.Size([2]), but item 0 has shape torch.Size([1]); combine_pad pads to a common'
        ' shape'
    )
    assert message(TypeError, combine_pad, [torch.ones(n, device='meta') for n in (1, 2)]) == (
        'combine_pad: item 0 is on device meta, but must be in the memory of the CPU; convert it before, by `.cpu()`'
    )


class Labelled(torch.Tensor):
    """A class of its own, as the images of torchvision are."""


def test_a_class_of_its_own_becomes_what_torch_makes_of_it() -> None:
    items = [torch.ones(2).as_subclass(Labelled), torch.zeros(2).as_subclass(Labelled)]
    found = combine(items)
    assert type(found) is type(torch.stack(items)) is Labelled
    assert found.tolist() == [[1, 1], [0, 0]]
    assert type(combine_pad([torch.ones(n).as_subclass(Labelled) for n in (1, 2)])) is torch.Tensor


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.int64, torch.complex64], ids=str)
def test_padding(dtype: Any) -> None:
    items = [torch.tensor([1, 2, 3]).to(dtype), torch.tensor([4]).to(dtype)]
    found, shapes = combine_pad(items, padding_values=-1, ratio=0, lengths=True)
    assert_tensor(found, torch.tensor([[1, 2, 3], [4, -1, -1]]).to(dtype))
    assert_tensor(shapes, torch.tensor([[3], [1]]))
    assert_tensor(combine_pad(items, padding_values=np.max, ratio=0)[1], torch.tensor([4, 4, 4]).to(dtype))
    assert combine_pad([{'x': torch.tensor(1)}, {'x': torch.tensor(2)}], lengths=True)[1] == {'x': None}
    found, masks = combine_pad(items, to=4, ratio=0, mask=True)
    assert_tensor(
        masks, torch.tensor([[True, False, False, False], [True] * 3 + [False]])[[len(x) // 2 for x in items]]
    )
    assert found.shape == (len(items), 4)


def test_ragged_tensors_make_nested_ones() -> None:
    items = [torch.arange(n, dtype=torch.bfloat16) for n in (3, 0, 2)]
    values, offsets = combine(items, ragged=True)
    assert_tensor(values, torch.cat(items))
    assert_tensor(offsets, torch.tensor([0, 3, 3, 5]))
    nested = torch.nested.nested_tensor_from_jagged(values, offsets)
    assert [each.tolist() for each in nested.unbind()] == [each.tolist() for each in items]


def test_missing_tensors() -> None:
    items = [{'x': torch.ones(2), 'y': torch.tensor(1)}, {'x': None, 'y': torch.tensor(2)}, {'x': torch.ones(2)}]
    found, there = combine(items, missing=True)
    assert_tensor(found['x'], torch.tensor([[1.0, 1], [0, 0], [1, 1]]))
    assert_tensor(found['y'], torch.tensor([1, 2, 0]))
    assert_tensor(there['x'], torch.tensor([True, False, True]))
    assert_tensor(there['y'], torch.tensor([True, True, False]))


def as_tensors(i: int) -> Any:
    return {'image': torch.full((64, 64, 32), i, dtype=torch.float32), 'text': str(i), 'label': torch.tensor(i)}


@pytest.mark.parametrize('workers', [{}, {'threads': 2}, {'processes': 1}], ids=str)
def test_batches_are_the_same_wherever_they_are_made(workers: Any) -> None:
    """Large enough for memory that is used again, and for shared memory."""
    stages = parallel_map(as_tensors_in_batches(), **workers) if workers else as_tensors_in_batches()
    for first, batch in enumerate(range(6) | stages):
        expected = [as_tensors(2 * first + i) for i in (0, 1)]
        assert_tensor(batch['image'], torch.stack([item['image'] for item in expected]))
        assert_tensor(batch['label'], torch.tensor([2 * first, 2 * first + 1]))
        assert batch['text'] == [item['text'] for item in expected]


def as_tensors_in_batches() -> Any:
    from itpipe import apply

    return apply(as_tensors) | batch_by(2) | combine


@pytest.mark.parametrize('function', [combine, partial(combine_pad, padding_values=1), partial(combine, ragged=True)])
def test_large_batches_use_memory_again(monkeypatch: Any, function: Any) -> None:
    """In a thread of a run, as those of numpy do; and none that is in use."""
    blocks = Blocks()
    monkeypatch.setattr(threading.current_thread(), 'blocks', blocks, raising=False)
    rows = [
        torch.full((512 - i, 512), i, dtype=torch.bfloat16 if function is combine else torch.float32)
        for i in ((0, 0) if function is combine else (0, 1))
    ]

    def made() -> Any:
        found = function(rows)
        return found[0] if isinstance(found, tuple) else found

    first = made()
    assert len(blocks._lent) == 1
    place, second = first.data_ptr(), made()
    assert second.data_ptr() != place
    assert torch.equal(first, second)
    view = first[5:]
    del first
    assert made().data_ptr() != place
    del view
    assert made().data_ptr() == place
    blocks.close()


@pytest.mark.parametrize('function', [combine_lists], ids=['combine_lists'])
def test_lists_hold_the_tensors(function: Any) -> None:
    items = [torch.ones(1), torch.ones(2)]
    assert all(a is b for a, b in zip(function(items), items, strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# JAX, and the array API


def test_arrays_of_jax() -> None:
    pytest.importorskip('jax')
    import jax
    import jax.numpy as jnp

    items = [(jnp.full((2, 3), i, 'bfloat16'), jnp.asarray(i)) for i in range(3)]
    images, labels = combine(items)
    assert isinstance(images, jax.Array)
    assert (images.dtype, images.shape) == (jnp.bfloat16, (3, 2, 3))
    assert labels.tolist() == [0, 1, 2]
    assert combine([jnp.ones(2), jnp.ones(2, int)]).dtype == jnp.float32
    padded, shapes = combine_pad([jnp.ones(1, 'bfloat16'), jnp.ones(2, 'bfloat16')], padding_values=-1, lengths=True)
    assert isinstance(padded, jax.Array)
    assert isinstance(shapes, jax.Array)
    assert (padded.dtype, padded.tolist(), shapes.tolist()) == (jnp.bfloat16, [[1, -1], [1, 1]], [[1], [2]])
    values, offsets = combine([jnp.ones(1), jnp.ones(2)], ragged=True)
    assert isinstance(values, jax.Array)
    assert (values.shape, offsets.tolist()) == ((3,), [0, 1, 3])
    found, there = combine([jnp.ones(2), None], missing=True)
    assert isinstance(found, jax.Array)
    assert (found.tolist(), there.tolist()) == ([[1, 1], [0, 0]], [True, False])
    keys = jax.random.split(jax.random.key(0), 2)
    assert combine(list(keys)).dtype == keys.dtype
    assert message(ValueError, combine, [jnp.ones(1), jnp.asarray([2**24 + 1])]) == (
        'combine: item 1 has 16777217 in dtype int32, which float32, the common dtype, does not hold; convert the items'
        ' to one dtype before'
    )
    assert message(TypeError, combine, [jnp.ones(1), np.ones(1)]) == (
        f'combine: item 1 has type ndarray, but item 0 has type {type(jnp.ones(1)).__name__}{MISMATCH}'
    )
    assert message(ValueError, combine, [jnp.ones(1), jnp.ones(2)]).endswith('combine_pad pads to a common shape')


def test_the_array_api() -> None:
    xp = pytest.importorskip('array_api_strict')
    items = [{'x': xp.asarray([1.0, 2.0]), 'n': xp.asarray(i)} for i in range(2)]
    found = combine(items)
    assert (type(found['x']), found['x'].shape, found['n'].dtype) == (type(items[0]['x']), (2, 2), xp.int64)
    assert combine([xp.ones(1, dtype=xp.int8), xp.ones(1, dtype=xp.int32)]).dtype == xp.int32
    assert 'they have no common dtype' in message(TypeError, combine, [xp.ones(1), xp.ones(1, dtype=xp.int64)])
    assert combine_pad([xp.ones(1), xp.ones(2)], ratio=0).shape == (2, 2)
    assert combine([xp.ones(2), None], missing=True)[1].dtype == xp.bool


@pytest.mark.parametrize('kind', [np.ndarray, np.float32, np.matrix, int, str, type(None), list])
def test_what_is_of_numpy_has_no_other_library(kind: type) -> None:
    assert library_of(kind) is None


def test_an_error_about_tensors_is_not_a_second_one() -> None:
    torch = pytest.importorskip('torch')
    arrays = [np.zeros(2), np.zeros(3)]
    for batch in ([torch.zeros(2), torch.zeros(3)], arrays, [[0, 1], [0, 1, 2]]):
        with pytest.raises(ValueError, match='^combine: item 1 has ') as caught:
            combine(batch)
        shown = ''.join(traceback.format_exception(caught.value))
        assert shown.count('Traceback') == 1
        assert 'During handling' not in shown
