"""The names of random steps: what they are made of, and which are refused."""

from functools import lru_cache, partial
from operator import itemgetter

import numpy as np
import pytest

from itpipe import apply, combine, map_at, parallel_map, random_apply, sample_args, shuffle, unpack, with_rng
from itpipe._core.names import step_name


def rotate(x, rng):
    return x


class Noise:
    def __call__(self, x, rng):
        return x

    def add(self, x, rng):
        return x


@pytest.mark.parametrize(
    ('f', 'name'),
    [
        (rotate, 'rotate'),
        (lambda x, rng: x, '<lambda>'),
        (partial(partial(rotate, 1), rng=2), 'rotate'),
        (lru_cache(rotate), 'rotate'),
        (Noise(), 'Noise'),
        (Noise().add, 'add'),
        (Noise, 'Noise'),
        (np.add, 'add'),
        (itemgetter(0), 'itemgetter'),
        (apply(rotate), 'rotate'),
        (with_rng(rotate), 'rotate'),
        (map_at(0, random_apply(0.5, with_rng(rotate) | abs) | str) | int, 'rotate'),
        (combine, 'combine'),
        (unpack(combine), 'combine'),
    ],
)
def test_the_name_is_that_of_the_stage_and_of_the_first_function(f, name):
    assert [step.draws for step in random_apply(0.5, f).steps] == [f'random_apply:{name}']


@pytest.mark.parametrize(
    ('stage', 'name'),
    [
        (with_rng(rotate, name='old'), 'with_rng:old'),
        (random_apply(0.5, rotate, name='old'), 'random_apply:old'),
        (sample_args(rotate, name='old'), 'sample_args:old'),
        (sample_args(rotate, name=np.random.Generator.random), 'sample_args:rotate'),
    ],
)
def test_a_name_takes_the_place_of_that_of_the_function(stage, name):
    assert stage.steps[0].draws == name


def test_what_is_given_prints_and_compares():
    stage = with_rng(rotate, 1, name='old', scale=2)
    assert repr(stage) == "with_rng(rotate, 1, scale=2, name='old')"
    assert stage == with_rng(rotate, 1, name='old', scale=2) != with_rng(rotate, 1, scale=2)
    assert repr(shuffle(3, name='first')) == "shuffle(3, name='first')"


@pytest.mark.parametrize('stage', [partial(with_rng, rotate), partial(shuffle, 3), partial(random_apply, 0.5, rotate)])
@pytest.mark.parametrize(
    ('name', 'error', 'message'),
    [
        (3, TypeError, ': `name` must be a str, got int'),
        *(
            (name, ValueError, f': `name` must have characters that print, and no others, got {name!r}')
            for name in ('', ' ', 'a\nb', '\ud800')
        ),
    ],
)
def test_what_cannot_be_a_name_is_refused(stage, name, error, message):
    with pytest.raises(error) as caught:
        stage(name=name)
    assert str(caught.value) == stage.func.__name__ + message


def greet(x, name, rng):
    return f'{name} {x}'


def loose(x, **options):
    return x


@pytest.mark.parametrize('f', [greet, apply(greet), map_at(0, greet)])
def test_a_name_that_the_function_wants_itself_is_refused(f):
    with pytest.raises(TypeError) as caught:
        with_rng(f, name='x')
    assert str(caught.value) == (
        'with_rng: `name` is the name of the random step here, but `greet` has a parameter `name`, too; to give it that'
        ' one, use `functools.partial`'
    )
    assert with_rng(f).steps[0].draws == 'with_rng:greet'


def test_what_a_function_has_been_given_before_is_its_own():
    assert list([1] | with_rng(partial(greet, name='Ada'), name='old')) == ['Ada 1']
    assert list([1] | with_rng(loose, name='old')) == [1]


def test_parallel_map_takes_a_name_with_seed_globals_only():
    (step,) = parallel_map(abs, processes=1, seed_globals=True, name='old').steps
    assert step.options[0][0].draws == 'parallel_map:old'
    with pytest.raises(TypeError, match='^parallel_map: `name` goes with `seed_globals`, as nothing else is random'):
        parallel_map(greet, threads=1, name='Ada')


def test_text_that_prints_can_be_a_name():
    assert step_name('shuffle', name='größer, 大') == 'shuffle:größer, 大'
