"""Batches of a budget on several ranks: each gets as many as the others, or is told that it may not."""

import itertools
import re
import warnings
from collections import Counter

import numpy as np
import pytest
from broken import Data
from naming import named
from running import through_json

from itpipe import (
    Infinite,
    apply,
    batch_by,
    bucket_by,
    check,
    combine_lists,
    concat,
    cycle,
    exclude,
    filter_by,
    flatten,
    interleave,
    merge_states,
    pack,
    parallel_map,
    sample,
    shard,
    shuffle,
    stage,
    stream,
    take,
    with_rng,
)

LENGTHS = np.array([1 + n * 7919 % 23 for n in range(100)])


class Texts:
    """A dataset that knows what was read of it."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return len(LENGTHS)

    def __getitem__(self, index):
        self.read.append(index)
        return np.full(LENGTHS[index], index)


def length(index):
    return LENGTHS[index]


def cropped(batch, rng):
    return [text[: rng.integers(1, len(text) + 1)].tolist() for text in batch]


BUDGETS = [
    batch_by(limit=60, cost=length),
    batch_by(limit=60, cost=length, padded=True),
    batch_by(lambda indices, index: len(indices) < 2 or length(index) % 2),
    bucket_by(length, edges=[5, 10, 20], limit=60),
    bucket_by(length, window=17, size=6, limit=60),
]


def training(budget, rank, ranks, texts, deal=True):
    def load(indices):
        return [texts[index] for index in indices]

    described = stream(range(len(texts)), seed=0) | shuffle() | budget
    if deal:
        described |= shard(rank, ranks, even='repeat')
    return Infinite(described | parallel_map(apply(load) | with_rng(cropped), threads=2), prefetch=0)


def alone(budget, passes=1):
    with training(budget, 0, 1, Texts(), deal=False) as batch_iter:
        return [list(batch_iter) for _ in range(passes)]


@pytest.mark.parametrize('ranks', [1, 2, 3])
@pytest.mark.parametrize('budget', BUDGETS, ids=named)
def test_whole_batches_are_dealt_and_each_rank_reads_its_own(budget, ranks):
    (expected,) = alone(budget)
    received, read = [], Counter()
    for rank in range(ranks):
        texts = Texts()
        with training(budget, rank, ranks, texts) as batch_iter:
            received.append(list(batch_iter))
        assert len(texts.read) == sum(map(len, received[-1]))
        read.update(texts.read)
    assert {len(batches) for batches in received} == {-(-len(expected) // ranks)}
    together = [batch for step in zip(*received, strict=True) for batch in step]
    assert together[: len(expected)] == expected
    assert together[len(expected) :] == expected[: len(together) - len(expected)]
    assert read.total() == len(LENGTHS) + sum(map(len, together[len(expected) :]))


@pytest.mark.parametrize('budget', BUDGETS[3:], ids=named)
def test_infinite_deals_the_lists_of_bucket_by_by_itself(budget):
    (expected,) = alone(budget)
    received = []
    for rank in range(3):
        texts = Texts()
        batches = (
            stream(range(len(texts)), seed=0)
            | shuffle()
            | budget
            | (lambda indices, texts=texts: [texts[n] for n in indices])
        )
        with Infinite(batches, with_rng(cropped), shard=(rank, 3), prefetch=0) as batch_iter:
            received.append(list(batch_iter))
        assert len(texts.read) == sum(map(len, received[-1]))
    assert [batch for step in zip(*received, strict=True) for batch in step][: len(expected)] == expected


def test_rows_of_pack_are_dealt_too():
    rows = stream(Texts()) | pack(32)
    expected = [row['tokens'].tolist() for row in rows]
    received = []
    for rank in range(3):
        with Infinite(rows, lambda row: row['tokens'], shard=(rank, 3)) as batch_iter:
            received.append([row.tolist() for row in batch_iter])
    together = [row for step in zip(*received, strict=True) for row in step]
    assert together[: len(expected)] == expected
    assert len(together) - len(expected) < 3


@pytest.mark.parametrize(('before', 'after'), [(2, 3), (3, 2), (3, 1), (1, 2)])
@pytest.mark.parametrize('budget', BUDGETS, ids=named)
def test_another_number_of_ranks_goes_on_with_the_batches_that_are_left(budget, before, after):
    first, second = alone(budget, 2)
    states, received = [], []
    for rank in range(before):
        with training(budget, rank, before, Texts()) as batch_iter:
            received += itertools.islice(batch_iter, 2 + rank % 2)
            states.append(through_json(batch_iter.state_dict()))
    rest, later = [], []
    for rank in range(after):
        with training(budget, rank, after, Texts()) as batch_iter:
            batch_iter.load_state_dict(merge_states(states))
            rest.append(list(batch_iter))
            later.append(list(batch_iter))
    assert len({len(batches) for batches in rest}) == 1
    counts = Counter(map(repr, first))
    counts.subtract(map(repr, received))
    left = Counter(map(repr, itertools.chain(*rest)))
    assert all(left[batch] >= count for batch, count in counts.items())
    assert left.total() - counts.total() < after
    assert [batch for step in zip(*later, strict=True) for batch in step][: len(second)] == second


ENDLESS = [
    lambda rank, ranks: stream(range(100)) | shuffle() | cycle() | batch_by(limit=60, cost=length),
    lambda rank, ranks: sample(range(100)) | batch_by(limit=60, cost=length, padded=True),
    lambda rank, ranks: stream(range(100)) | cycle() | shard(rank, ranks) | bucket_by(length, window=9, limit=60),
    lambda rank, ranks: stream(Texts()) | cycle() | shard(rank, ranks) | pack(32) | len,
    lambda rank, ranks: sample(range(100)) | filter_by(lambda n: n % 3) | batch_by(4),
]  # fmt: skip


@pytest.mark.parametrize('made', ENDLESS)
def test_of_an_endless_stream_each_rank_gets_as_many(made):
    for ranks in 2, 3:
        for rank in range(ranks):
            described = made(rank, ranks)
            options = {} if 'shard' in repr(described) else {'shard': (rank, ranks)}
            with Infinite(described, batches_per_epoch=40, seed=0, **options) as batch_iter:
                assert [len(list(batch_iter)) for _ in range(3)] == [40] * 3


# ---------------------------------------------------------------------------------------------------------------------
# Where a rank may get more than another


@stage
def every(items):
    yield from items


def pairs(x):
    return [x] * (x % 3)


UNEVEN = [
    (lambda deal: stream(range(100)) | deal | batch_by(limit=60, cost=length), 'batch_by(limit=60, cost=length)'),
    (lambda deal: stream(range(100)) | filter_by(bool), 'filter_by(bool)'),
    (lambda deal: stream(range(100)) | pairs | flatten, 'flatten()'),
    (lambda deal: stream(range(9)) | interleave(pairs), 'interleave(pairs)'),
    (lambda deal: stream(range(9)) | deal | exclude(1), 'exclude(1)'),
    (lambda deal: stream(range(9)) | deal | bucket_by(abs, edges=[3], size=2), 'bucket_by(abs, edges=[3], size=2)'),
    (
        lambda deal: stream(range(9)) | parallel_map(abs, threads=1, on_error='skip'),
        "parallel_map(abs, threads=1, on_error='skip')",
    ),
]
SKIPPING = [
    lambda deal: stream(Data(), on_error='skip') | shuffle(3) | deal,
    lambda deal: stream(Data(), on_error='skip') | parallel_map(abs, threads=1) | deal | abs,
    lambda deal: stream(Data(), on_error='skip') | shuffle(),
    lambda deal: stream(Data(), on_error='skip') | concat([]),
]  # fmt: skip
EVEN = [
    lambda deal: stream(range(100)) | batch_by(limit=60, cost=length) | deal,
    lambda deal: stream(range(9)) | filter_by(bool) | take(4),
    lambda deal: stream(range(9)) | filter_by(bool) | every(),
    lambda deal: stream(range(9)) | exclude(3) | shuffle(3) | batch_by(2) | combine_lists,
    lambda deal: stream(range(9)) | bucket_by(length, edges=[3], size=2) | parallel_map(len, threads=1),
    lambda deal: stream(range(9)) | pairs | flatten | deal,
]


def of_rank(made, share=(1, 2), even='repeat', **options):
    described = made(shard(*share, even=even))
    if 'shard(' not in repr(described):
        options |= {'shard': share, 'even': even}
    return Infinite(described, seed=0, **options)


@pytest.fixture
def distributed(monkeypatch):
    monkeypatch.setattr('itpipe.infinite.distributed', lambda: True)
    monkeypatch.setattr('itpipe.stages.shard.distributed', lambda: True)


@pytest.mark.usefixtures('distributed')
@pytest.mark.parametrize(('made', 'name'), UNEVEN, ids=[name for _, name in UNEVEN])
def test_a_rank_that_ends_says_that_others_may_not(made, name):
    text = (
        f'Infinite: rank 1 of 2 has ended its pass; `{name}`, behind the place where items are dealt, may give other'
        ' ranks more items or fewer, and what waits for all ranks in each step hangs then; write'
        " `shard(rank, ranks, even='repeat')` behind it, or let the stream go on by `cycle()`, with"
        " `batches_per_epoch`; where no rank waits, give `even='keep'`"
    )
    with of_rank(made) as batch_iter:
        with pytest.warns(UserWarning, match=f'^{re.escape(text)}$'):
            assert list(batch_iter)
        assert list(batch_iter)  # it is said once
    for options in ({'share': (0, 1)}, {'even': 'keep'}):
        with of_rank(made, **options) as batch_iter, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            list(batch_iter)
        assert not [each for each in caught if 'has ended its pass' in str(each.message)]


@pytest.mark.parametrize(('made', 'name'), UNEVEN, ids=[name for _, name in UNEVEN])
def test_check_finds_ranks_that_may_not_end_together(made, name):
    (finding,) = [each for each in check(of_rank(made)) if each.kind == 'uneven-ranks']
    assert finding.stage == name
    assert finding.problem.startswith('Behind the place where items are dealt, it may give 2 ranks')
    assert finding.fix.startswith("Write `shard(rank, ranks, even='repeat')` behind it")
    for options in ({'share': (0, 1)}, {'even': 'keep'}):
        assert not [each for each in check(of_rank(made, **options)) if each.kind == 'uneven-ranks']


@pytest.mark.usefixtures('distributed')
@pytest.mark.parametrize('made', EVEN)
def test_nothing_is_said_where_all_end_together(made):
    assert not [each for each in check(of_rank(made)) if each.kind == 'uneven-ranks']
    counts = []
    for rank in range(2):
        with of_rank(made, (rank, 2)) as batch_iter:
            counts.append(len(list(batch_iter)))
    assert counts[0] == counts[1] > 0


@pytest.mark.usefixtures('distributed')
@pytest.mark.parametrize('made', SKIPPING)
def test_a_source_that_leaves_items_out_may_give_ranks_different_numbers(made):
    (finding,) = [each for each in check(of_rank(made)) if each.kind == 'uneven-ranks']
    assert "on_error='skip'" in finding.stage
    assert finding.fix.startswith('Deal behind a stage that needs the items, such as `filter_by`, or let the stream go')
    text = r"Infinite: rank 1 of 2 has ended its pass; `.*on_error='skip'\).*`, behind the place where items are dealt"
    with of_rank(made) as batch_iter, pytest.warns(UserWarning, match=text):
        list(batch_iter)
    counts = []
    for rank in range(2):
        with of_rank(made, (rank, 2)) as batch_iter, warnings.catch_warnings():
            warnings.simplefilter('ignore')
            counts.append(len(list(batch_iter)))
    assert counts[0] != counts[1]
    behind = of_rank(lambda deal: stream(Data(), on_error='skip') | shuffle(3) | filter_by(bool) | deal)
    assert not [each for each in check(behind) if each.kind == 'uneven-ranks']


@pytest.mark.parametrize('made', ENDLESS)
def test_nor_where_the_stream_has_no_end(made):
    options = {} if 'shard' in repr(made(0, 2)) else {'shard': (0, 2)}
    with Infinite(made(0, 2), batches_per_epoch=9, seed=0, **options) as batch_iter:
        assert not [each for each in check(batch_iter) if each.kind == 'uneven-ranks']
