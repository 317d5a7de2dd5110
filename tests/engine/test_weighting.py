"""Which weights hold for which draw, and which are remembered."""

import threading
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import through_json
from strategies import examples

from itpipe import mix, sample, stream
from itpipe._core.weights import to_text
from itpipe._engine.weighting import Weighting, are_changes, check_told_alike, may_change

ones, twos, threes = (np.full(3, float(n)) for n in (1, 2, 3))


def claimed(weighting: Weighting, start: int, end: int, most: int) -> list[float]:
    """The first weight of each draw, where so many are claimed at once."""
    result: list[float] = []
    while start < end:
        weights, stop = weighting.claim(start, most)
        assert start < stop <= start + most
        result += [weights[0]] * (stop - start)
        start = stop
    return result[: end - start + len(result)]


@given(st.dictionaries(st.integers(0, 60), st.floats(1, 9), max_size=6), st.integers(1, 16), st.integers(0, 50))
@examples(200)
def test_each_draw_has_the_weights_that_were_announced_last_before_it(
    changes: dict[int, float], most: int, stop: int
) -> None:
    """Also where it was stopped and goes on; and what does not hold any more is gone."""
    weighting = Weighting('w', ones)
    for at, weight in changes.items():
        assert weighting.announce('f', np.full(3, weight), at) == at
    held = [changes[max(n for n in changes if n <= t)] if min(changes, default=99) <= t else 1.0 for t in range(80)]
    assert claimed(weighting, 0, 80, most)[:80] == held
    saved = through_json(weighting.changes(stop))
    assert are_changes(saved, 3)
    assert len(saved) <= 1 + sum(at > stop for at in changes)
    again = Weighting('w', ones)
    again.start(stop, saved)
    assert claimed(again, stop, 80, most)[: 80 - stop] == held[stop:]


def test_what_was_claimed_stays() -> None:
    weighting = Weighting('w', ones)
    assert weighting.claim(0, 16) == (weighting._changes[0].weights, 16)
    assert weighting.announce('f', twos) == 16
    with pytest.raises(ValueError, match='^f: `at` must be at least 16, as all draws before that were made, got 15;'):
        weighting.announce('f', twos, 15)
    assert weighting.announce('f', threes, 20) == 20
    assert [weighting.claim(t, 16)[1] for t in (16, 20)] == [20, 36]


def test_one_thread_draws_while_others_announce() -> None:
    """Each draw has the weights that a run has in which the same ones were announced before."""
    for _ in range(25):
        weighting, told, done = Weighting('w', ones), dict[int, float](), threading.Event()

        def tell(weighting: Weighting = weighting, told: dict[int, float] = told, done: Any = done) -> None:
            for n in range(2, 40):
                told[weighting.announce('f', np.full(3, float(n)))] = float(n)
            done.set()

        teller = threading.Thread(target=tell)
        teller.start()
        got, t = list[float](), 0
        while not done.is_set() or t < 100:
            weights, end = weighting.claim(t, 7)
            got += [weights[0]] * (end - t)
            weighting.forget(t)
            t = end
        teller.join(30)
        told = dict(sorted({0: 1.0, **told}.items()))
        assert got == [told[max(at for at in told if at <= t)] for t in range(len(got))]


@pytest.mark.parametrize(
    'wrong',
    [
        None,
        {},
        [3],
        [[3]],
        [['3', to_text(ones)]],
        [[-1, to_text(ones)]],
        [[True, to_text(ones)]],
        [[3, to_text(ones)], [3, to_text(ones)]],
        [[3, to_text(ones)], [2, to_text(ones)]],
        [[3, 'x']],
        [[3, None]],
        [[3, to_text(ones)[:-4]]],
        [[3, to_text(np.ones(4))]],
        [[3, to_text(np.ones(2))]],
        [[3, to_text(np.zeros(3))]],
        [[3, to_text(np.full(3, np.nan))]],
    ],
    ids=str,
)
def test_what_cannot_be_in_a_state(wrong: Any) -> None:
    assert are_changes([[2, to_text(ones)], [3, to_text(twos)]], 3)
    assert not are_changes(wrong, 3)


def test_whether_a_source_can_be_told_weights() -> None:
    told = sample('abc', seed=0, reweight=True)
    for made in (told, stream(told, seed=1), mix('ab', told), mix('ab', 'cd', reweight=True)):
        assert may_change(made.source)
    for made in (sample('abc'), stream('abc'), mix('ab', sample('cd'))):
        assert not may_change(made.source)


def test_ranks_are_compared_from_where_all_of_them_stand() -> None:
    def at(t: int, **changes: Any) -> Any:
        weighting = Weighting('w', ones)
        for number, weights in changes.items():
            weighting.announce('f', weights, int(number[1:]))
        told = {'t': t, 'weights': weighting.changes(t)}
        return {'source': {'branches': [{'source': 3, 'steps': {}}, {'source': told, 'steps': {}}]}, 'steps': {}}

    check_told_alike('f', [at(3, d5=twos, d9=threes), at(9, d5=twos, d9=threes), at(6, d5=twos, d9=threes)])
    check_told_alike('f', [at(3), None, at(8)])
    for wrong in (at(9, d9=twos), at(9), None):
        with pytest.raises(ValueError, match='^f: `states` cannot be merged: the ranks were told different weights'):
            check_told_alike('f', [at(3, d5=twos, d9=threes), wrong])
