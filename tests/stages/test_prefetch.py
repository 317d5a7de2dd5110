"""Items made ahead, in a thread of their own."""

import pickle
from threading import Event

import numpy as np
import pytest

from itpipe import prefetch


def test_prefetch_keeps_the_order_and_runs_ahead_by_n():
    made, enough = [], Event()

    def source():
        for x in range(20):
            made.append(x)
            if x == 4:
                enough.set()
            yield x

    run = iter(source() | prefetch(3))
    assert next(run) == 0
    assert next(run) == 1
    assert enough.wait(10)
    assert list(run) == list(range(2, 20))
    assert made == list(range(20))


def test_prefetch_in_bytes():
    pulled = []

    def arrays():
        for x in range(20):
            pulled.append(x)
            yield np.full(80, x, np.uint8)

    made = prefetch('200B')
    for taken, array in enumerate(arrays() | made):
        assert list(array) == 80 * [taken]
        assert len(pulled) <= taken + 1 + 2
    assert taken == 19
    assert repr(made) == "prefetch('200B')"
    assert made == pickle.loads(pickle.dumps(made)) == prefetch('200B')
    assert made != prefetch(200)


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: prefetch(0), ValueError, 'prefetch: `n` must be at least 1, got 0'),
        (lambda: prefetch('2'), ValueError, "prefetch: `n` must be an int or a size such as '512MB', got '2'"),
        (lambda: prefetch('0 kB'), ValueError, "prefetch: `n` must be at least one byte, got '0 kB'"),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text
