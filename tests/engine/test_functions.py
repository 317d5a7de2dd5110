"""Item functions: steps bound to a run, with the random generators that they need."""

import pickle
from functools import partial
from typing import Any

import cloudpickle
import pytest

from itpipe import apply, map_at, random_apply, unpack, with_rng
from itpipe._engine.functions import ItemFunction, item_function
from itpipe._engine.seeds import Seeds


def bound(stage: Any, seed: int = 0) -> ItemFunction:
    return item_function(stage.steps, Seeds(seed))


def test_steps_run_one_after_another() -> None:
    function = bound(map_at(0, abs) | unpack(max))
    assert function(0, (-3, 2)) == 3
    assert not function.keyed
    assert function.names == ['map_at(0, abs)', 'unpack(max)']


def test_a_random_function_draws_for_the_key_of_the_item() -> None:
    function = bound(with_rng(lambda x, rng: (x, rng.random())))
    assert function.keyed
    assert function(4, 'a') == function(4, 'a') == bound(with_rng(lambda x, rng: (x, rng.random())))(4, 'a')
    assert len({function(key, 'a')[1] for key in (4, 5, (4, 0), (4, 1))}) == 4
    assert function(4, 'a') != bound(with_rng(lambda x, rng: (x, rng.random())), seed=1)(4, 'a')


@pytest.mark.parametrize('stage', [apply(with_rng(lambda x, rng: rng.random())), random_apply(0.5, partial(round, 1))])
def test_randomness_inside_of_a_stage_is_found(stage: Any) -> None:
    assert bound(stage).keyed


def test_an_error_names_the_step_and_the_item() -> None:
    function = bound(apply(int) | apply(abs))
    with pytest.raises(ValueError, match='invalid literal') as caught:
        function(7, 'x')
    assert caught.value.__notes__ == ['itpipe: raised in apply(int), item 7']


# ---------------------------------------------------------------------------------------------------------------------
# In another pass


def drawing(name: str) -> Any:
    return with_rng(lambda x, rng: (x, float(rng.random())), name=name)


NESTED = drawing('a') | random_apply(0.5, drawing('b')) | apply(len)
TWICE = drawing('a') | drawing('a')


@pytest.mark.parametrize('stage', [drawing('a'), NESTED, TWICE, apply(str)])
def test_in_another_pass_it_draws_what_it_draws_there(stage: Any) -> None:
    for pass_ in 1, 2**70:
        there = item_function(stage.steps, Seeds(7, pass_))
        for function in bound(stage, 7), item_function(stage.steps, Seeds(7, 5)):
            again = pickle.loads(cloudpickle.dumps(function)).in_pass(pass_)
            assert [again(key, 'x') for key in range(5)] == [there(key, 'x') for key in range(5)]
            assert (again.pass_ == pass_) is function.keyed
            assert again.names == function.names


def test_it_is_itself_in_its_own_pass() -> None:
    function = bound(NESTED)
    assert function.in_pass(0) is function
    assert bound(apply(str)).in_pass(3).names == ['apply(str)']


def test_it_is_at_the_same_place_in_each_pass() -> None:
    stage = drawing('a')
    for pass_ in 0, 3:
        seeds = Seeds(7, pass_)
        first, second = item_function(stage.steps, seeds), item_function(stage.steps, seeds)
        assert (first.place, second.place) == (1, 2)
        assert first.in_pass(5).place == first.after(bound(apply(str))).place == 1
