"""Item-wise stages: each on tuples, lists, named tuples and dicts, nested in each other, and refusing what is wrong."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from naming import named

from itpipe import (
    apply,
    batch_by,
    filter_by,
    map_all,
    map_at,
    parallel_map,
    random_apply,
    sample_args,
    stream,
    unpack,
    with_rng,
    zip_apply,
)

Pair = namedtuple('Pair', 'image label')


def add(x, y=1, *, scale=1):
    return scale * (x + y)


class TestApply:
    def test_passes_arguments_behind_the_item(self):
        assert apply(add, 2, scale=10).item(1) == 30
        assert apply(add).item(1) == 2

    def test_takes_a_stage(self):
        assert apply(map_at(0, add) | map_at(1, str)).item((1, 2)) == (2, '2')

    def test_one_step_takes_arguments_and_several_do_not(self):
        assert map_at(0, apply(add), 5).item((1,)) == (6,)
        with pytest.raises(TypeError) as caught:
            map_at(0, apply(add) | str, 5)
        assert str(caught.value) == (
            'map_at: `f` is a stage of several steps, give the arguments to those: got apply(add) | apply(str)'
        )


class TestMapAt:
    @pytest.mark.parametrize(
        ('index', 'item', 'expected'),
        [
            (0, (1, 2), (2, 2)),
            (-1, (1, 2), (1, 3)),
            ([0, 1], (1, 2, 3), (2, 3, 3)),
            ((0, -1), (1, 2, 3), (2, 2, 4)),
            ([0, -2], (1, 2), (2, 2)),  # twice the same element
            (np.array([0, 1]), (1, 2), (2, 3)),
            (np.int64(1), (1, 2), (1, 3)),
            (0, [1, 2], [2, 2]),
            ('label', {'image': 1, 'label': 2}, {'image': 1, 'label': 3}),
            (['label', 'image'], {'image': 1, 'label': 2}, {'image': 2, 'label': 3}),
            (3, {3: 1}, {3: 2}),
            (1, Pair(1, 2), Pair(1, 3)),
            ([0, 1], Pair(1, 2), Pair(2, 3)),
        ],
    )
    def test_changes_the_elements_and_nothing_else(self, index, item, expected):
        before = repr(item)
        result = map_at(index, add).item(item)
        assert result == expected
        assert type(result) is type(expected)
        assert repr(item) == before
        assert list(result) == list(expected)

    @pytest.mark.parametrize(
        ('index', 'item', 'error', 'text'),
        [
            (2, (1, 2), IndexError, 'map_at: no element 2 in an item of 2'),
            (-3, [1, 2], IndexError, 'map_at: no element -3 in an item of 2'),
            ([0, 2], (1, 2), IndexError, 'map_at: no element 2 in an item of 2'),
            ('a', (1, 2), IndexError, "map_at: no element 'a' in an item of 2"),
            ('c', {'a': 1}, KeyError, "map_at: no key 'c' in an item with the keys ['a']"),
            (0, {'a': 1}, KeyError, "map_at: no key 0 in an item with the keys ['a']"),
            (0, np.zeros(2), TypeError, 'map_at: items must be tuples, lists or dicts, got ndarray'),
            (0, 'ab', TypeError, 'map_at: items must be tuples, lists or dicts, got str'),
            (0, 5, TypeError, 'map_at: items must be tuples, lists or dicts, got int'),
        ],
    )
    def test_an_item_without_the_element_is_an_error(self, index, item, error, text):
        with pytest.raises(error) as caught:
            map_at(index, add).item(item)
        assert caught.value.args == (text,)

    def test_errors_of_the_function_are_its_own(self):
        """An IndexError inside the function is not taken for one of the index."""
        with pytest.raises(IndexError, match='^list index out of range'):
            map_at(0, lambda x: [][x]).item((1,))
        with pytest.raises(KeyError, match='^0'):
            map_at('a', lambda x: {}[x]).item({'a': 0})

    @pytest.mark.parametrize(
        ('index', 'error', 'text'),
        [
            ([], ValueError, 'map_at: `index` must not be empty, got []'),
            (1.5, TypeError, 'map_at: `index` must be ints or dict keys, got 1.5'),
            (True, TypeError, 'map_at: `index` must be ints or dict keys, got True'),
            ([0, {}], TypeError, 'map_at: `index` must be ints or dict keys, got {}'),
        ],
    )
    def test_wrong_index(self, index, error, text):
        with pytest.raises(error) as caught:
            map_at(index, add)
        assert str(caught.value) == text


class TestUnpack:
    def test_tuples_lists_arrays_and_dicts(self):
        assert unpack(add).item((1, 2)) == 3
        assert unpack(add).item([1, 2]) == 3
        assert unpack(add, scale=2).item(np.array([1, 2])) == 6
        assert unpack(add, 5).item((1,)) == 6
        assert unpack(add).item({'x': 1, 'y': 2, 'scale': 3}) == 9
        assert unpack(add, scale=2).item({'x': 1, 'y': 2}) == 6

    def test_an_argument_that_is_also_a_key_is_refused(self):
        with pytest.raises(TypeError, match="got multiple values for keyword argument 'y'"):
            unpack(add, y=5).item({'x': 1, 'y': 2})

    def test_what_cannot_be_unpacked(self):
        with pytest.raises(TypeError, match='must be an iterable, not int'):
            unpack(add).item(1)


class TestMapAllAndZipApply:
    @pytest.mark.parametrize('item', [(1, 2), [1, 2], Pair(1, 2), {'a': 1, 'b': 2}, ()], ids=named)
    def test_keep_the_container(self, item):
        values = item.values() if isinstance(item, dict) else item
        result = map_all(add, 10).item(item)
        assert type(result) is type(item)
        assert list(result.values() if isinstance(item, dict) else result) == [v + 10 for v in values]
        if values:
            assert zip_apply(*[add] * len(values), y=10).item(item) == result

    def test_zip_apply_wants_one_function_each(self):
        assert zip_apply(str, float).item({'a': 1, 'b': 2}) == {'a': '1', 'b': 2.0}
        with pytest.raises(ValueError, match='^zip_apply: 2 functions for an item of 3 elements') as caught:
            zip_apply(str, float).item((1, 2, 3))
        assert caught.value.args == ('zip_apply: 2 functions for an item of 3 elements',)
        with pytest.raises(ValueError, match='^zip_apply: `functions` must not be empty$'):
            zip_apply()
        with pytest.raises(TypeError, match=r'^zip_apply: `functions\[1\]` must be a function or .*, got int$'):
            zip_apply(str, 3)

    def test_items_without_elements(self):
        for made, name in ((map_all(str), 'map_all'), (zip_apply(str), 'zip_apply')):
            with pytest.raises(TypeError) as caught:
                made.item(5)
            assert caught.value.args == (f'{name}: items must be tuples, lists or dicts, got int',)


def noisy(x, rng, scale=1.0):
    return x + scale * rng.random()


class Frozen(Exception):
    def __setattr__(self, name, value):
        raise AttributeError(name)

    def add_note(self, text):
        raise AttributeError('__notes__')


def test_an_error_that_takes_no_note_arrives_without_one():
    error = Frozen('as raised')

    def fail(x):
        raise error

    with pytest.raises(Frozen) as caught:
        list([1] | apply(fail))
    assert caught.value is error


@pytest.mark.parametrize('random', [False, True])
def test_stop_iteration_of_a_function_does_not_end_the_stream(random):
    def forgetful(x):
        return next(iter(()))

    made = apply(forgetful) | with_rng(noisy) if random else apply(forgetful)
    with pytest.raises(RuntimeError) as caught:
        list([1] | made)
    assert caught.value.args == ('apply(forgetful): the function raised StopIteration()',)
    assert caught.value.__notes__ == ['itpipe: raised in apply(forgetful), item 0']
    assert isinstance(caught.value.__cause__, StopIteration)


class TestRandom:
    def test_random_apply_with_certainty(self):
        assert list(range(5) | random_apply(1, add, 10)) == [10, 11, 12, 13, 14]
        assert list(range(5) | random_apply(0, add, 10)) == [0, 1, 2, 3, 4]

    def test_random_apply_hits_a_share(self):
        hits = sum(stream([0] * 4000, seed=0) | random_apply(0.25, add))
        assert 900 < hits < 1100

    def test_random_apply_decides_for_each_element_or_for_all(self):
        items = [(0, 0)] * 400
        each = list(stream(items, seed=0) | map_all(random_apply(0.5, add)))
        whole = list(stream(items, seed=0) | random_apply(0.5, map_all(add)))
        assert {sum(x) for x in each} == {0, 1, 2}
        assert {sum(x) for x in whole} == {0, 2}

    def test_random_apply_of_an_unpacked_item(self):
        assert unpack(random_apply(1, lambda a, b: (b, a))).item((1, 2)) == (2, 1)
        assert unpack(random_apply(0, lambda a, b: (b, a))).item((1, 2)) == (1, 2)
        assert unpack(random_apply(0, add)).item({'x': 1, 'y': 2}) == {'x': 1, 'y': 2}

    def test_sample_args(self):
        def collect(*args, **kwargs):
            return args, kwargs

        made = sample_args(collect, lambda rng: rng.random(), lambda rng: 'fixed', by=lambda rng: rng.integers(10))
        (args, kwargs), (others, _) = stream(['x', 'y'], seed=1) | made
        assert args[0] == 'x'
        assert args[2] == 'fixed'
        assert args[1] != others[1]
        assert kwargs['by'] in range(10)

    def test_with_rng_wherever_a_function_is_taken(self):
        s = stream([(1.0, 2.0)] * 3, seed=0)
        for made in (
            map_at(0, with_rng(noisy)),
            map_at(0, with_rng(noisy), scale=2),
            map_at(0, with_rng(noisy, scale=2)),
            map_all(with_rng(noisy)),
            zip_apply(with_rng(noisy), str),
            unpack(with_rng(lambda a, b, rng: a + b + rng.random())),
            apply(map_at(0, with_rng(noisy)) | map_at(1, with_rng(noisy))),
            with_rng(lambda item, rng: rng.random()),
            random_apply(0.9, map_at(0, with_rng(noisy))),
            parallel_map(unpack(with_rng(lambda a, b, rng: a + b + rng.random())), threads=2),
        ):
            first, second = list(s | made), list(s | made)
            assert first == second
            assert len(set(map(str, first))) == 3, made
        assert 0 < len(list(stream(range(100), seed=0) | filter_by(with_rng(lambda x, rng: rng.random() < 0.5)))) < 100

    def test_a_generator_of_its_own_for_each_step_and_item(self):
        draw = with_rng(lambda x, rng: (*x, rng.random()))
        rows = list(stream([()] * 5, seed=0) | draw | draw | parallel_map(apply(draw) | draw, threads=2))
        numbers = [number for row in rows for number in row]
        assert len(set(numbers)) == 20

    def test_one_generator_serves_the_elements_of_an_item(self):
        ((a, b),) = stream([(0, 0)], seed=0) | map_all(with_rng(noisy))
        assert a != b

    def test_a_batch_has_the_generator_of_its_first_item(self):
        first = with_rng(lambda x, rng: rng.random())
        items = list(stream(range(6), seed=0) | first)
        batches = list(stream(range(6), seed=0) | batch_by(3) | first)
        assert batches == items[::3]

    @pytest.mark.parametrize(
        ('make', 'error', 'text'),
        [
            (lambda: random_apply('a', add), TypeError, 'random_apply: `p` must be a number, got str'),
            (lambda: random_apply(1.5, add), ValueError, 'random_apply: `p` must be between 0 and 1, got 1.5'),
            (lambda: random_apply(float('nan'), add), ValueError, 'random_apply: `p` must be a number, got nan'),
            (lambda: sample_args(add, 3), TypeError, 'sample_args: `samplers[0]` must be a function, got int'),
            (lambda: sample_args(add, y=3), TypeError, 'sample_args: `y` must be a function, got int'),
        ],
    )
    def test_wrong_arguments(self, make, error, text):
        with pytest.raises(error) as caught:
            make()
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ('name', 'make'),
    [
        ('apply', apply),
        ('map_at', lambda f: map_at(0, f)),
        ('unpack', unpack),
        ('map_all', map_all),
        ('random_apply', lambda f: random_apply(0.5, f)),
        ('sample_args', sample_args),
        ('with_rng', with_rng),
        ('parallel_map', lambda f: parallel_map(f, threads=1)),
    ],
)
def test_what_is_no_function_is_refused(name, make):
    """At once, by name: things that are not callable, stages that are not item-wise, factories without their call."""
    with pytest.raises(TypeError) as caught:
        make(3)
    assert str(caught.value) == f'{name}: `f` must be a function or an item-wise stage, got int'
    with pytest.raises(TypeError) as caught:
        make(apply(add) | batch_by(len))
    assert str(caught.value) == f'{name}: `f` must be item-wise, but `batch_by(len)` is not'
    with pytest.raises(TypeError) as caught:
        make(apply)
    assert str(caught.value) == f'{name}: `apply` makes a stage when it is called: did you mean `apply(…)`?'


@pytest.mark.parametrize(
    ('made', 'where'),
    [
        (apply(add), 'apply(add)'),
        (map_at(0, add, 'a'), "map_at(0, add, 'a')"),
        (map_all(add) | str, 'map_all(add)'),
        (apply(str) | unpack(add), 'unpack(add)'),
        (random_apply(1, map_at(0, add, 'a')), "random_apply(1, map_at(0, add, 'a'))"),
    ],
    ids=str,
)
def test_errors_name_the_stage_and_the_item(made, where):
    class Odd:
        pass

    with pytest.raises(TypeError) as caught:
        list([(Odd(), 1, 2, 3)] | made)
    assert caught.value.__notes__ == [f'itpipe: raised in {where}, item 0']


def test_ordered_dicts_become_plain_dicts_of_the_same_order():
    assert list(map_all(add).item(OrderedDict(b=1, a=2)).items()) == [('b', 2), ('a', 3)]


def test_arguments_of_the_function_may_have_any_name():
    def function(x, *, f, index=0, p=0, args=0, kwargs=0, self=0):
        return x, f, index, p, args, kwargs, self

    given = {'f': 1, 'index': 2, 'p': 3, 'args': 4, 'kwargs': 5, 'self': 6}
    result = (0, *given.values())
    assert apply(function, **given).item(0) == result
    assert map_at(0, function, **given).item((0,)) == (result,)
    assert map_all(function, **given).item([0]) == [result]
    assert unpack(function, **given).item([0]) == result
    assert zip_apply(function, **given).item([0]) == [result]
    assert random_apply(1, function, **given).item(0) == result
    assert with_rng(lambda x, rng, **others: (x, *others.values()), **given).item(0) == result
    assert sample_args(function, **{name: lambda rng, n=n: n for name, n in given.items()}).item(0) == result
    assert list([0] | parallel_map(function, threads=1, **given)) == [result]
    assert list([0] | filter_by(lambda x, predicate: predicate, predicate=True)) == [0]
