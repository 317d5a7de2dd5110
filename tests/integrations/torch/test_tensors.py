"""Tensors of arrays: which become tensors, with whose memory, and what stays."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from running import raises

import itpipe.integrations.torch
from itpipe import Infinite, Stage, apply, batch_by, check, combine, parallel_map
from itpipe.integrations.torch import to_torch

torch = pytest.importorskip('torch')


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize('dtype', ['?', 'u1', 'u2', 'u4', 'u8', 'i1', 'i2', 'i4', 'i8', 'f2', 'f4', 'f8', 'c8', 'c16'])
def test_a_tensor_has_the_memory_of_its_array(dtype: str) -> None:
    for array in (np.arange(6).astype(dtype).reshape(2, 3), np.arange(6).astype(dtype)[::2], np.array(1).astype(dtype)):
        tensor = to_torch().item(array)
        assert (tensor.data_ptr(), tensor.shape) == (array.ctypes.data, array.shape)
        assert (tensor.numpy() == array).all()
        assert tensor.numpy().dtype == array.dtype


@pytest.mark.parametrize(
    'make',
    [
        lambda: read_only(np.arange(6.0)),
        lambda: np.broadcast_to(np.arange(3.0), (2, 3)),
        lambda: np.arange(6.0)[::-1],
        lambda: np.arange(6.0).reshape(2, 3)[:, ::-1],
        lambda: np.arange(6, dtype='>f4'),
        lambda: read_only(np.arange(6, dtype='>i8')[::-1]),
        lambda: np.zeros(3, [('a', 'i1'), ('b', 'f4')])['b'],
        lambda: np.frombuffer(b'abcd', np.uint8),
    ],
)
def test_else_it_is_a_copy_that_can_be_written_to(make: Callable[[], Any]) -> None:
    array = make()
    before = array.copy()
    tensor = to_torch().item(array)
    assert (tensor.numpy() == array).all()
    tensor += 1
    assert (array == before).all()


@pytest.mark.parametrize(
    'value',
    [
        'text', b'bytes', 3, 2.5, None, np.float32(3), np.array(['a', 'b']), np.array([None, 'x']),
        np.array(['2020-01-01'], 'M8[D]'), np.zeros(2, 'g'), np.zeros(2, 'V3'), np.zeros(2, [('a', 'f4')]),
        ['a', ('b', 1)], {'x': 'y'},
    ],
)  # fmt: skip
def test_what_stays(value: Any) -> None:
    assert to_torch().item(value) is value


def test_tensors_stay() -> None:
    tensor = torch.ones(2, requires_grad=True)
    item = {'x': tensor, 'y': [torch.Size([1, 2])]}
    assert to_torch().item(item) is item


def test_items_and_batches() -> None:
    def item(n: int) -> dict[str, Any]:
        return {'image': np.full((2, 2), n, np.float32), 'label': n, 'name': f'#{n}'}

    for stages in (to_torch(), parallel_map(to_torch(), threads=2)):
        got = next(iter(range(3) | apply(item) | stages))
        assert isinstance(got['image'], torch.Tensor)
        assert (got['label'], got['name']) == (0, '#0')
    got = next(iter(range(4) | apply(item) | batch_by(3) | combine | to_torch()))
    assert (got['image'][:, 0, 0].tolist(), got['label'].tolist()) == ([0, 1, 2], [0, 1, 2])
    assert got['name'] == ['#0', '#1', '#2']


def test_a_mask_is_not_lost() -> None:
    text = 'a tensor cannot have the mask of a masked array: use its `filled()`, or make the mask an element'
    with raises(TypeError, text, 'itpipe: raised in to_torch(), item 0'):
        list([(1, np.ma.array([1, 2], mask=[0, 1]))] | to_torch())


def test_it_is_a_value() -> None:
    assert repr(to_torch() | str) == 'to_torch() | apply(str)'
    assert to_torch() == to_torch() != Stage(())


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torch', None)
    for where, use in (
        ('to_torch', to_torch),
        ('to_device', lambda: itpipe.integrations.torch.to_device('cpu')),
        ('loader', lambda: itpipe.integrations.torch.loader(itpipe.Infinite([1]))),
    ):
        with raises(ImportError, f"{where}: it needs torch: pip install 'itpipe[torch]'"):
            use()


def test_torch_is_not_imported_before_it_is_used() -> None:
    code = (
        'import sys\n'
        'from itpipe import *\n'
        'from itpipe.integrations.torch import *\n'
        'stream = ["a"] | to_torch()\n'
        'assert list(stream) == ["a"]\n'
        'assert not {"torch", "transformers", "lightning", "accelerate"} & sys.modules.keys()\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('name', itpipe.integrations.torch.__all__)
def test_the_examples(name: str) -> None:
    """They are not run with those of other modules, as these need no torch."""
    value = getattr(itpipe.integrations.torch, name)
    text = (value.__doc__ or '').replace('# doctest: +SKIP', '')
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    result = doctest.DocTestRunner().run(test)
    assert result.failed == 0
    assert (result.attempted > 0) == (name != 'Loader')


def test_at_the_end_of_a_combiner_it_is_not_done_in_the_workers_which_would_import_torch() -> None:
    combiner = combine() | to_torch()
    has_torch = lambda row: (row, 'torch' in sys.modules)  # a function of this module would import torch
    batch_iter = Infinite(np.arange(8), has_torch, batch_size=4, combiner=combiner, processes=1)
    with batch_iter:
        for numbers, imported in batch_iter:
            assert isinstance(numbers, torch.Tensor)
            assert not imported.any()
    assert 'batch_by(4) | combine(), processes=1) | to_torch()' in repr(batch_iter)


def test_check_finds_that_nothing_combines_the_items_in_front_of_it() -> None:
    items = [(np.zeros(3), 1)] * 8
    (finding,) = check(Infinite(items, batch_size=4, combiner=to_torch()))
    assert finding.kind == 'no-combine'
    assert not check(Infinite(items, batch_size=4, combiner=combine() | to_torch()))
