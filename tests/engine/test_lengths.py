"""`len()` of streams and of `Infinite`: it is how many come, or an error that says why it is not known."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from itpipe import (
    Infinite,
    Stream,
    apply,
    batch_by,
    combine,
    concat,
    cycle,
    filter_by,
    flatten,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
    zip_with,
)  # fmt: skip


@stage
def doubled(items):
    for item in items:
        yield from (item, item)


class Known:
    """Has a length, and no index."""

    def __len__(self) -> int:
        return 5

    def __iter__(self) -> Any:
        return iter(range(5))


KNOWN: dict[str, Callable[[int], Any]] = {
    'item-wise': lambda n: range(n) | apply(abs) | with_rng(lambda x, rng: x),
    'batches': lambda n: [*range(n)] | batch_by(3),
    'no short batch': lambda n: np.arange(n) | batch_by(3, drop_last=True) | combine,
    'take': lambda n: dict.fromkeys(range(n)) | take(4),
    'skip': lambda n: range(n) | skip(4),
    'shuffle': lambda n: range(n) | shuffle(3, seed=0) | prefetch(2),
    'shuffle of all': lambda n: stream([*range(n)], seed=3) | shuffle() | batch_by(2),
    'reuse': lambda n: range(n) | reuse(2, 3, seed=0),
    'workers': lambda n: range(n) | parallel_map(abs, threads=2) | parallel_map(abs, threads=2, ordered=False),
    'whole batches': lambda n: range(n) | parallel_map(apply(abs) | batch_by(2) | combine, threads=2),
    'ranks': lambda n: range(n) | shard(1, 3),
    'first rank': lambda n: range(n) | shard(0, 3),
    'ranks that repeat': lambda n: range(n) | shard(2, 3, even='repeat') | batch_by(2),
    'ranks that drop': lambda n: range(n) | shard(0, 3, even='drop'),
    'mix': lambda n: mix(range(n), range(2), seed=0, weights=[1, 0]) | batch_by(2),
    'zip': lambda n: range(n) | zip_with(range(7), [*range(n + 1)]),
    'concat': lambda n: range(n) | batch_by(2) | concat(range(3)),
    'cycle': lambda n: range(n) | cycle(3) | batch_by(2),
    'a length alone': lambda n: Known() | batch_by(2),
}


@pytest.mark.parametrize('n', [0, 1, 6, 7, 8])
@pytest.mark.parametrize('described', KNOWN.values(), ids=KNOWN)
def test_it_is_how_many_come(described, n):
    made = described(n)
    assert len(made) == len(list(made))


UNKNOWN = [
    (lambda: iter(range(3)) | apply(abs), r'<range_iterator> does not say how many items it has'),
    (lambda: (x for x in 'ab') | apply(abs), '<generator> does not say how many items it has'),
    (lambda: range(4) | filter_by(abs) | batch_by(2), '`filter_by(abs)` does not say how many items it gives'),
    (lambda: ['a'] | flatten, '`flatten()` does not say how many items it gives'),
    (lambda: range(4) | doubled(), '`doubled()` does not say how many items it gives'),
    (lambda: range(4) | batch_by(lambda items, item: item), '`batch_by(<lambda>)` does not say how many items'),
    (lambda: sample(range(4)) | batch_by(2), '`sample` gives items without end'),
    (lambda: range(4) | cycle(), '`cycle` has no end'),
    (lambda: range(4) | parallel_map(abs, threads=1, on_error='skip'), ", on_error='skip')` does not say how many"),
    (lambda: range(4) | concat(sample([1])), 'Stream: there is no len(), as `sample` gives items without end'),
    (lambda: range(4) | concat([1] | concat(sample([1]))), 'there is no len(), as `sample` gives items without end'),
]  # fmt: skip


@pytest.mark.parametrize(('described', 'reason'), UNKNOWN)
def test_where_it_is_not_known_the_error_says_why(described, reason):
    made: Stream[Any] = described()
    with pytest.raises(TypeError) as caught:
        len(made)
    assert str(caught.value).startswith('Stream: there is no len(), as ')
    assert str(caught.value).count('there is no len()') == 1
    assert reason in str(caught.value)


def test_a_stream_is_true_and_can_be_listed_however_long_it_is():
    assert range(0) | apply(abs)
    assert iter(range(3)) | apply(abs)
    assert list(iter(range(3)) | apply(abs)) == [0, 1, 2]
    assert list(range(4) | filter_by(lambda x: x > 1)) == [2, 3]


def test_a_length_that_raises_is_no_obstacle():
    class Broken(Known):
        def __len__(self) -> int:
            raise OSError('gone')

    with pytest.raises(TypeError, match='^Stream: there is no len\\(\\), as gone$'):
        len(Broken() | apply(abs))


@pytest.mark.parametrize('options', [{}, {'shard': (0, 2)}, {'shard': (1, 2), 'even': 'drop'}, {'threads': 2}])
def test_infinite_has_the_length_of_one_pass(options):
    with Infinite(range(21), shuffle(4), batch_size=2, seed=0, **options) as batch_iter:
        assert len(batch_iter) == len(list(batch_iter)) == len(list(batch_iter))


def test_infinite_without_end():
    assert len(Infinite(sample([1]), batch_size=1, batches_per_epoch=3)) == 3
    message = (
        'Infinite: there is no len(), as `sample` gives items without end; give `batches_per_epoch`, which is then the'
        ' length'
    )
    with pytest.raises(TypeError, match=f'^{re.escape(message)}$'):
        len(Infinite(sample([1]), batch_size=1))
