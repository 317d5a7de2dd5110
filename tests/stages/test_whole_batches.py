"""`parallel_map` of a stage that makes batches: as if written without it, but a worker makes a whole batch."""

import os
from functools import partial
from typing import Any

import numpy as np
import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    combine,
    combine_lists,
    combine_pad,
    filter_by,
    parallel_map,
    sample,
    shuffle,
    skip,
    stream,
    take,
    with_rng,
)
from itpipe._engine.fingerprint import pipeline_text

WORKERS = [{'threads': 2}, {'processes': 2}]


def noisy(x: Any, rng: np.random.Generator) -> Any:
    return np.full(2, x) + rng.random()


def scaled(x: Any, rng: np.random.Generator) -> Any:
    return x * rng.random()


def pid(_: Any) -> int:
    return os.getpid()


def refuse(x: int) -> int:
    if x == 7:
        raise ValueError('seven')
    return x


STAGES: dict[str, Any] = {
    'a function of items': apply(abs) | batch_by(4),
    'nothing but batches': batch_by(4),
    'a function of batches': batch_by(4) | sum,
    'arrays': with_rng(noisy) | batch_by(4) | combine,
    'padded': apply(range) | apply(np.array) | batch_by(5) | combine_pad(padding_values=-1),
    'lists': apply(str) | batch_by(4) | combine_lists,
    'the last one left out': with_rng(noisy) | batch_by(4, drop_last=True) | combine(),
    'random before and behind': with_rng(noisy) | with_rng(scaled) | batch_by(3) | combine | with_rng(scaled),
}


@pytest.mark.many(6)
@pytest.mark.parametrize('workers', WORKERS, ids=str)
@pytest.mark.parametrize('name', STAGES)
def test_the_same_as_without_workers(name: str, workers: Any) -> None:
    source, stage = stream(range(22), seed=1) | shuffle(7), STAGES[name]
    whole, written = source | parallel_map(stage, **workers), source | stage
    expected = list(map(repr, written))
    assert list(map(repr, whole)) == expected
    assert pipeline_text(whole.source, whole.steps, None) == pipeline_text(written.source, written.steps, None)
    run, other = iter(whole), iter(written)
    got = [repr(next(each)) for each in (run, run, run)]
    assert got == [repr(next(each)) for each in (other, other, other)] == expected[:3]
    assert (run.item_keys, run.ordinals, run.indices) == (other.item_keys, other.ordinals, other.indices)
    assert [repr(whole.item(key)) for key in run.item_keys] == [repr(written.item(key)) for key in other.item_keys]
    state = run.state_dict()
    assert state == other.state_dict()
    run.close()
    other.close()
    assert list(map(repr, written.resume(state))) == list(map(repr, whole.resume(state))) == expected[3:]


@pytest.mark.parametrize('lookups', ['main', 'workers'])
def test_an_item_is_made_again_wherever_it_is_looked_up(lookups: Any) -> None:
    class Rows(list[int]):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [self[index] for index in indices]

    for data in (Rows(range(9)), np.arange(9), range(9)):
        written = stream(data, seed=0) | with_rng(noisy) | batch_by(3)
        whole = stream(data, seed=0) | parallel_map(with_rng(noisy) | batch_by(3), threads=2, lookups=lookups)
        run = iter(whole)
        batch = next(run)
        assert [repr(whole.item(key)) for key in run.item_keys] == list(map(repr, batch))
        assert [repr(written.item(key)) for key in run.item_keys] == list(map(repr, batch))
        run.close()


def test_a_batch_is_made_in_one_process() -> None:
    batches = list(range(12) | parallel_map(apply(pid) | batch_by(4), processes=2))
    assert [len(set(batch)) for batch in batches] == [1, 1, 1]
    assert os.getpid() not in batches[0]


def test_it_prints_and_compares_as_it_was_written() -> None:
    stage = parallel_map(apply(abs) | batch_by(4) | combine(), threads=2)
    assert repr(stage) == 'parallel_map(apply(abs) | batch_by(4) | combine(), threads=2)'
    assert repr([1] | stage) == '[1] | parallel_map(apply(abs) | batch_by(4) | combine(), threads=2)'
    assert stage == parallel_map(apply(abs) | batch_by(4) | combine(), threads=2)
    assert stage != parallel_map(apply(abs) | batch_by(5) | combine(), threads=2)
    assert eval(repr(stage)) == stage


@pytest.mark.parametrize('workers', WORKERS, ids=str)
def test_an_error_names_the_item_and_comes_after_the_batches_before(workers: Any) -> None:
    run = iter(range(12) | parallel_map(apply(refuse) | batch_by(3), **workers))
    assert [next(run), next(run)] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match='seven') as caught:
        next(run)
    assert caught.value.__notes__ == ['itpipe: raised in apply(refuse), item 7']


def test_an_error_of_the_batch_names_its_items() -> None:
    run = iter([[1], [2, 3]] | parallel_map(apply(np.array) | batch_by(2) | combine(), threads=1))
    with pytest.raises(ValueError, match='item 1 has shape') as caught:
        next(run)
    assert caught.value.__notes__ == ['itpipe: raised in combine(), items 0 to 1']


def test_options_of_workers_go_with_it() -> None:
    calls = []

    def fails_once(x: int, setup: str) -> str:
        calls.append(x)
        if calls.count(x) == 1:
            raise OSError(x)
        return setup * x

    stage = parallel_map(
        apply(fails_once) | batch_by(2), threads=1, setup=lambda: 'a', retries=4, retry_on=OSError, backoff=0
    )
    assert list(range(3) | stage) == [['', 'a'], ['aa']]


@pytest.mark.long
def test_the_numbers_that_functions_draw_from_global_generators_too() -> None:
    def drawn(_: int) -> float:
        return np.random.random()

    made = partial(parallel_map, processes=2, seed_globals=True)
    items = list(stream(range(6), seed=0) | made(apply(drawn)) | batch_by(3))
    assert list(stream(range(6), seed=0) | made(apply(drawn) | batch_by(3))) == items
    assert len({*items[0], *items[1]}) == 6


def test_it_is_dealt_to_ranks_as_without() -> None:
    stage = with_rng(noisy) | batch_by(2) | combine()
    for rank in range(2):
        with Infinite(stream(range(16), seed=0), stage, shard=(rank, 2)) as written:
            expected = [batch.tolist() for batch in written]
        with Infinite(stream(range(16), seed=0), parallel_map(stage, threads=2), shard=(rank, 2)) as whole:
            assert [batch.tolist() for batch in whole] == expected


@pytest.mark.parametrize(
    ('made', 'text'),
    [
        (
            lambda: parallel_map(apply(abs) | batch_by(2), threads=1, on_error='skip'),
            (
                'parallel_map: `on_error` does not go with a `batch_by` in `f`, because other items would then be in'
                ' the batches: use a `parallel_map` with `on_error` before `batch_by`'
            ),
        ),
        (
            lambda: parallel_map(filter_by(abs) | batch_by(2), threads=1),
            'parallel_map: `f` must be item-wise, but `filter_by(abs)` is not',
        ),
        (
            lambda: parallel_map(batch_by(sum), threads=1),
            'parallel_map: `f` must be item-wise, but `batch_by(sum)` is not',
        ),
        (
            lambda: parallel_map(batch_by(2) | batch_by(2), threads=1),
            'parallel_map: `f` must be item-wise, but `batch_by(2)` is not',
        ),
        (
            lambda: parallel_map(apply(abs) | batch_by(2), 3, threads=1),
            'parallel_map: `f` is a stage of several steps, give the arguments to those: got apply(abs) | batch_by(2)',
        ),
        (
            lambda: parallel_map(batch_by(2), threads=1, setup=list),
            'parallel_map: with `setup`, `f` must be a function, or a stage that applies one function',
        ),
        (
            lambda: parallel_map(batch_by(2) | sum, processes=1, seed_globals=True),
            'parallel_map: `seed_globals` is for functions of items, and there is none before `batch_by`',
        ),
    ],
)
def test_what_cannot_be_is_refused(made: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        made()
    assert str(caught.value) == text


# ---------------------------------------------------------------------------------------------------------------------
# The short form of `Infinite`


@pytest.mark.parametrize('workers', WORKERS, ids=str)
def test_infinite_makes_its_batches_in_workers(workers: Any) -> None:
    source = stream(range(40), seed=0)
    with Infinite(source, shuffle(9), with_rng(noisy), with_rng(scaled), batch_size=4) as it:
        expected = [list(map(repr, it)) for _ in range(2)]
    with Infinite(source, shuffle(9), with_rng(noisy), with_rng(scaled), batch_size=4, **workers) as it:
        assert [list(map(repr, it)) for _ in range(2)] == expected
        assert 'parallel_map(with_rng(noisy) | with_rng(scaled) | batch_by(4) | apply(combine), ' in repr(it)


def test_infinite_gives_combiners_their_arguments() -> None:
    items = [np.arange(n) for n in range(1, 5)]
    with Infinite(items, batch_size=2, combiner=combine_pad, padding_values=-1, threads=1) as it:
        assert [batch.tolist() for batch in it] == [[[0, -1], [0, 1]], [[0, 1, 2, -1], [0, 1, 2, 3]]]


def test_infinite_without_functions_still_looks_items_up_in_workers() -> None:
    class Data:
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> int:
            return os.getpid()

    with Infinite(Data(), skip(2), batch_size=3, processes=1) as it:
        assert os.getpid() not in next(it())
    with Infinite(sample(Data(), seed=0), batch_size=3, processes=1, batches_per_epoch=2) as it:
        assert len(list(it)) == 2


@pytest.mark.parametrize(
    ('options', 'error', 'text'),
    [
        ({'threads': 2}, TypeError, 'Infinite: `threads` goes with `batch_size`'),
        (
            {'threads': 2, 'processes': 1, 'batch_size': 2},
            TypeError,
            'Infinite: give only one of `threads` and `processes`',
        ),
        (
            {'processes': 1, 'batch_size': lambda *_: True},
            TypeError,
            (
                'Infinite: `processes` goes with an int `batch_size`: workers cannot know which items are in a batch;'
                ' use `parallel_map` for the functions of items'
            ),
        ),
        ({'processes': 1.5, 'batch_size': 2}, TypeError, 'Infinite: `processes` must be an int, got float'),
    ],
)
def test_infinite_refuses_what_cannot_be(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        Infinite(range(4), **options)
    assert str(caught.value) == text


def test_a_take_of_batches() -> None:
    assert list(range(9) | parallel_map(batch_by(2), threads=2) | take(2)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize('options', [{'threads': 0}, {'processes': 0}, {'threads': 0, 'processes': 0}])
def test_no_workers_are_as_if_none_were_given(options):
    with Infinite(range(5), abs, batch_size=2, **options) as without, Infinite(range(5), abs, batch_size=2) as plain:
        assert repr(without) == repr(plain)
        assert [batch.tolist() for batch in without] == [[0, 1], [2, 3], [4]]
    with Infinite(range(3), abs, **options) as batch_iter:
        assert list(batch_iter) == [0, 1, 2]
