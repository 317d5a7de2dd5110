"""The global generators: who has drawn from them."""

import random

import numpy as np
import pytest

from itpipe.tools.global_states import GlobalStates, left_as_they_were


def test_each_generator_is_named():
    with left_as_they_were():
        before = GlobalStates()
        assert before.moved(GlobalStates()) == ()
        random.random()
        assert before.moved(GlobalStates()) == ('random',)
        np.random.normal()
        assert before.moved(GlobalStates()) == ('random', 'numpy.random')


def test_torch():
    torch = pytest.importorskip('torch')
    before = GlobalStates()
    with left_as_they_were():
        torch.rand(1)
        assert before.moved(GlobalStates()) == ('torch',)
    assert before.moved(GlobalStates()) == ()


def test_they_are_left_as_they_were_also_by_an_error():
    before = GlobalStates()
    with pytest.raises(ValueError, match='planted'), left_as_they_were():
        np.random.seed(3)
        random.seed(3)
        raise ValueError('planted')
    assert before.moved(GlobalStates()) == ()
