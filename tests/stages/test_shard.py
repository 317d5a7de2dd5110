"""The part of one of many ranks."""

import pytest

from itpipe import shard


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_the_shards_are_disjoint_and_have_all(count):
    shards = [list(range(10) | shard(i, count)) for i in range(count)]
    assert shards == [list(range(10))[i::count] for i in range(count)]


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: shard(0, 0), ValueError, 'shard: `count` must be at least 1, got 0'),
        (lambda: shard(2, 2), ValueError, 'shard: `index` must be less than `count` (2), got 2'),
        (lambda: shard(-1, 2), ValueError, 'shard: `index` must be at least 0, got -1'),
        (lambda: shard(0.5, 2), TypeError, 'shard: `index` must be an int, got float'),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text
