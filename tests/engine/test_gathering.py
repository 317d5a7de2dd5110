"""The items of a batch looked up together."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    cache,
    combine,
    parallel_map,
    sample,
    shuffle,
    split,
    stream,
    take,
    with_rng,
)


class Rows:
    """A dataset with `__getitems__`."""

    def __init__(self, size: int = 20):
        self.size = size
        self.together: list[list[int]] = []
        self.alone: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        self.alone.append(index)
        if index == 13:
            raise OSError('no such row')
        return index * 10

    def __getitems__(self, indices: list[int]) -> list[int]:
        self.together.append(indices)
        if 13 in indices:
            raise OSError('some row is missing')
        return [index * 10 for index in indices]


def test_a_dataset_is_asked_for_a_batch() -> None:
    rows = Rows(9)
    assert list(rows | batch_by(4)) == [[0, 10, 20, 30], [40, 50, 60, 70], [80]]
    assert (rows.together, rows.alone) == ([[0, 1, 2, 3], [4, 5, 6, 7], [8]], [])


def test_also_behind_a_shuffle_and_in_workers_with_functions_of_items() -> None:
    for made in [
        lambda rows: stream(rows, seed=0) | shuffle(9) | batch_by(3) | apply(sum),
        lambda rows: stream(rows, seed=0) | shuffle(9) | parallel_map(apply(int) | batch_by(3) | sum, threads=2),
        lambda rows: stream(rows, seed=0) | shuffle(9) | batch_by(3) | parallel_map(sum, threads=2),
    ]:
        rows = Rows(9)
        assert sum(made(rows)) == 360
        assert sorted(map(len, rows.together)) == [3, 3, 3]
        assert rows.alone == []


def test_an_error_is_that_of_its_item() -> None:
    run = iter(Rows() | batch_by(4))
    assert len([next(run) for _ in range(3)]) == 3
    with pytest.raises(OSError, match='no such row') as caught:
        next(run)
    ((text),) = caught.value.__notes__
    assert text.startswith('itpipe: raised in the source <')
    assert text.endswith('Rows>, item 13')


class Given(Rows):
    """It gives what `given` makes of the items."""

    def __init__(self, given: Callable[[list[int]], Any]):
        super().__init__(8)
        self.given = given

    def __getitems__(self, indices: list[int]) -> Any:
        return self.given(super().__getitems__(indices))

    def __repr__(self) -> str:
        return 'Given()'

    def __reduce__(self) -> Any:
        return Given, (self.given,)


def less(items: list[int]) -> list[int]:
    return items[1:]


def more(items: list[int]) -> list[int]:
    return [*items, 0]


def columns(items: list[int]) -> dict[str, list[int]]:
    return dict.fromkeys('abcd', items)


def each_by_itself(items: list[int]) -> Iterator[int]:
    return iter(items)


def pipelines(dataset: Any) -> dict[str, Any]:
    return {
        'here': stream(dataset) | batch_by(4),
        'combined': stream(dataset) | batch_by(4) | combine,
        'threads': stream(dataset) | parallel_map(batch_by(4) | list, threads=2),
        'processes': stream(dataset) | parallel_map(batch_by(4) | list, processes=1),
        'left out': stream(dataset, on_error='skip') | batch_by(4),
        'left out, in threads': stream(dataset, on_error='skip') | batch_by(4) | parallel_map(list, threads=2),
        'a part': stream(split(dataset, [1.0], seed=0)[0]) | batch_by(4),
        'kept': stream(dataset) | cache('memory') | batch_by(4),
    }


@pytest.mark.parametrize('way', pipelines([]))
@pytest.mark.parametrize(('given', 'got'), [(less, '3 items'), (more, '5 items'), (columns, 'a dict')])
def test_a_dataset_must_give_an_item_for_each_index(way: str, given: Any, got: str) -> None:
    """Which items they are is not known otherwise."""
    rows = Given(given)
    with pytest.raises(ValueError, match='must give an item for each index') as caught:
        list(pipelines(rows)[way])
    name = '<8 items of Given()>' if way == 'a part' else 'Given()'
    assert str(caught.value) == f'`__getitems__` of {name} must give an item for each index, got {got} for 4 indices'
    assert rows.alone == []


@pytest.mark.parametrize('way', pipelines([]))
def test_a_dataset_may_give_an_iterator_of_items(way: str) -> None:
    rows = Given(each_by_itself)
    assert sum(map(sum, pipelines(rows)[way])) == 280
    assert rows.alone == []


ARRAYS: list[Any] = [
    *(np.arange(24).reshape(8, 3).astype(kind) for kind in ('?', 'i1', 'u8', 'f2', 'f8', 'c8', '>f4', 'M8[s]', 'S3')),
    np.arange(8.0),
    np.arange(8) > 3,
    np.zeros((8, 0)),
    np.arange(48.0).reshape(8, 2, 3)[:, ::-1].transpose(0, 2, 1),
    np.asfortranarray(np.arange(24.0).reshape(8, 3)),
]


@pytest.mark.parametrize('array', ARRAYS, ids=lambda array: f'{array.dtype} {array.shape}')
@pytest.mark.parametrize(
    'stages', [(), (combine,), (len,), (list, combine)], ids=['rows', 'combined', 'lengths', 'combined lists']
)
def test_an_array_gives_the_same_bits_by_one_operation(array: Any, stages: tuple[Callable[..., Any], ...]) -> None:
    def batches(source: Any) -> Any:
        made = source | shuffle(5) | batch_by(3)
        for each in stages:
            made = made | each
        return made

    together, alone = list(batches(stream(array, seed=0))), list(batches(stream(list(array), seed=0)))
    assert len(together) == len(alone) == 3
    for a, b in zip(together, alone, strict=True):
        assert type(a) is type(b)
        for x, y in [(a, b)] if isinstance(a, (int, np.ndarray)) else zip(a, b, strict=True):
            assert (type(x), np.asarray(x).dtype) == (type(y), np.asarray(y).dtype)
            np.testing.assert_array_equal(x, y)
        if isinstance(a, np.ndarray):
            assert (a.flags.c_contiguous, a.flags.writeable, a.flags.owndata) == (True, True, True)


def test_rows_are_not_those_of_the_array() -> None:
    array = np.zeros((4, 2))
    for batch in stream(array) | batch_by(2) | combine:
        batch += 1
    for rows in stream(array) | batch_by(2):
        rows[0] += 1
    assert not array.any()


def test_a_memory_map(tmp_path: Path) -> None:
    rows = np.lib.format.open_memmap(tmp_path / 'rows.npy', 'w+', np.float32, (9, 2))
    rows[:] = np.arange(18).reshape(9, 2)
    (batch,) = sample(rows, replace=False, seed=1) | batch_by(9) | combine | take(1)
    assert type(batch) is np.ndarray
    assert batch.tolist() == rows[[int(row[0]) // 2 for row in batch]].tolist()


def test_a_tensor() -> None:
    torch = pytest.importorskip('torch')
    tensor = torch.arange(12).reshape(6, 2)
    got = list(sample(tensor, seed=0) | batch_by(4) | take(2))
    assert [[row.tolist() for row in batch] for batch in got] == [
        [row.tolist() for row in batch] for batch in sample(list(tensor), seed=0) | batch_by(4) | take(2)
    ]


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'complex64', 'bool'])
@pytest.mark.parametrize(
    'make', ['x', 'x.transpose(1, 2)', 'x[:, 0, 0]', 'x.permute(2, 0, 1)', 'x.conj()', 'x.to_sparse()']
)
def test_a_tensor_gives_the_same_bits_by_one_operation(dtype: str, make: str) -> None:
    torch = pytest.importorskip('torch')
    x = torch.arange(60).reshape(5, 4, 3).to(getattr(torch, dtype))
    tensor = eval(make, {'x': x})
    if make == 'x.to_sparse()':
        for source in (tensor, list(tensor)):
            with pytest.raises(TypeError, match='is sparse'):
                list(source | batch_by(2) | combine)
        return
    together = list(stream(tensor, seed=0) | shuffle(3) | batch_by(2) | combine)
    alone = list(stream(list(tensor), seed=0) | shuffle(3) | batch_by(2) | combine)
    for a, b in zip(together, alone, strict=True):
        assert type(a) is type(b) is torch.Tensor
        assert (a.dtype, a.stride(), a.is_conj()) == (b.dtype, b.stride(), b.is_conj())
        assert torch.equal(a, b)
        assert a.data_ptr() not in (x.data_ptr(), tensor.data_ptr())


def test_a_tensor_that_needs_a_gradient_is_refused_as_its_rows_are() -> None:
    torch = pytest.importorskip('torch')
    tensor = torch.ones(4, 2, requires_grad=True)
    for source in (tensor, list(tensor)):
        with pytest.raises(TypeError, match='needs a gradient'):
            list(source | batch_by(2) | combine)


def test_objects_are_taken_one_by_one() -> None:
    items = np.empty(4, object)
    items[:] = [[1], [2], [3], [4]]
    (a, b), _ = items | batch_by(2)
    assert a is items[0]
    assert b is items[1]


def test_it_goes_on_and_makes_items_again() -> None:
    made = sample(np.arange(40.0), seed=3) | batch_by(4) | combine | with_rng(lambda x, rng: x + rng.random())
    with Infinite(made, batches_per_epoch=3) as it:
        first = [batch.tolist() for batch in it]
        state, keys, indices = it.state_dict(), it.item_keys, it.indices
        rest = [batch.tolist() for batch in it]
        assert [it.item(key) for key in keys] == indices
    with Infinite(made, batches_per_epoch=3) as it:
        it.load_state_dict(state)
        assert [batch.tolist() for batch in it] == rest != first
