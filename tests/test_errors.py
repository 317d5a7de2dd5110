"""The exceptions and warnings of its own are caught as what they are a kind of, and go to other processes."""

import copy
import pickle

import pytest

from itpipe import Dropped, NotPicklable, NotRestartable, StallWarning, WorkerCrashed


@pytest.mark.parametrize(
    ('kind', 'base'),
    [
        (NotPicklable, TypeError),
        (NotRestartable, RuntimeError),
        (WorkerCrashed, RuntimeError),
        (StallWarning, RuntimeWarning),
    ],
)
def test_an_error_is_of_a_kind_of_pythons_and_pickles(kind: type[Exception], base: type[Exception]) -> None:
    assert kind.__bases__ == (base,)
    again = pickle.loads(pickle.dumps(kind('why')))
    assert (type(again), again.args) == (kind, ('why',))


def test_what_was_dropped_is_a_tuple_with_names() -> None:
    dropped = Dropped(3, 'parallel_map(f, threads=2)', error := ValueError('bad'))
    assert dropped == (dropped.ordinal, dropped.stage, dropped.error) == (3, 'parallel_map(f, threads=2)', error)
    assert repr(dropped) == "Dropped(ordinal=3, stage='parallel_map(f, threads=2)', error=ValueError('bad'))"
    assert copy.copy(dropped) == dropped
