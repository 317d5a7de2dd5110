"""Stateful steps that cannot be resumed: wrong ones are found when a state is asked for, not when a run goes on."""

import itertools

import pytest
from running import raises

from itpipe import Stage, shuffle, stream
from itpipe._core.steps import Stateful


def run_of(work, **described):
    stateful = Stateful(
        'wrong', work, **({'state': {'t': 0, 'slots': []}, 'clock': ('t',), 'gives': 'same'} | described)
    )
    run = iter(stream(range(20), seed=0) | Stage((stateful,)) | shuffle(3))
    assert len(list(itertools.islice(run, 5))) == 5
    return run


def looks(items, state):
    for key, value in items:
        if value % 2:
            yield key, value


def changes(items, state):
    for key, _ in items:
        yield key, 'x'


def numbers_anew(items, state):
    for _, value in items:
        state['t'] += 1
        yield state['t'] - 1 + 10, value


def repeats(items, state):
    for key, value in items:
        yield (key, 0), value
        yield (key, 1), value


def swaps(items, state):
    for (one, first), (two, second) in zip(items, items, strict=False):
        yield two, first
        yield one, second


def forgets(items, state, calls=itertools.count()):  # noqa: B008
    first = next(calls)
    for pair in items:
        if pair[0] % 2 != first % 2:
            yield pair


def keeps_a_key(items, state):
    for pair in items:
        state['own'] = pair
        yield pair


NOTE = 'itpipe: raised in wrong(), item '


@pytest.mark.parametrize(
    ('work', 'described', 'error', 'message'),
    [
        (
            looks, {}, TypeError,
            'a stateful step looks at a value, but what it does may depend on keys and its state only',
        ),
        (changes, {}, TypeError, "a stateful step must give values as they came, got 'x' for one"),
        (
            numbers_anew, {}, TypeError,
            'by its `gives`, the step must give the value of 0 with key 0, got 10',
        ),
        (
            repeats, {}, TypeError,
            'by its `gives`, the step must give the value of 0 with key 0, got (0, 0)',
        ),
        (
            swaps, {'gives': 'repeated'}, TypeError,
            'by its `gives`, the step must give the value of 0 with key (0, n), got 1',
        ),
        (swaps, {}, TypeError, 'by its `gives`, the step must give the value of 0 with key 0, got 1'),
    ],
)  # fmt: skip
def test_what_could_not_be_made_again(work, described, error, message):
    run = run_of(work, **described)
    with pytest.raises(error) as caught:
        run.state_dict()
    assert str(caught.value) == message
    assert caught.value.__notes__[0].startswith(NOTE)


def test_what_does_something_else_the_second_time():
    with pytest.raises(RuntimeError, match='^`wrong\\(\\)` does not do the same again with the same keys'):
        run_of(forgets).state_dict()


def test_what_json_cannot_hold():
    run = run_of(keeps_a_key, state={'own': 0}, clock=())
    with raises(
        TypeError,
        '`wrong()` keeps in its state what cannot be saved: an entry of its "steps" has'
        " {'own': (7, HIDDEN)} for 'own'",
    ):
        run.state_dict()


def test_numbers_that_are_not_as_many_as_the_slots():
    def beside(items, state):
        for pair in items:
            state['n'].append(3)
            yield pair

    run = run_of(beside, state={'slots': [], 'n': []}, clock=(), beside=('n',))
    with raises(
        TypeError,
        '`wrong()` keeps in its state what cannot be saved: an entry of its "steps" has'
        " [3, 3, 3, 3, 3, 3, 3, 3] for 'n'",
    ):
        run.state_dict()
