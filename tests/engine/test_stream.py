"""Composition: what stands left and right of `|`, streams, factories of one's own."""

import asyncio
import io
import pickle
import re
import weakref
from collections import OrderedDict, UserDict, deque, namedtuple
from functools import lru_cache, partial

import numpy as np
import pytest
from naming import named

import itpipe
from itpipe import (
    NotRestartable,
    Stage,
    Stream,
    apply,
    batch_by,
    combine,
    filter_by,
    flatten,
    load_by_random_id,
    map_all,
    map_at,
    parallel_map,
    pipe,
    random_apply,
    sample,
    sample_args,
    stage,
    stream,
    take,
    unpack,
    with_rng,
    zip_apply,
)


def same(x):
    return x


def double(x):
    return 2 * x


class Dataset:
    """Access by index and nothing else, as a torch dataset."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if index >= 3:
            raise IndexError(index)
        return index * 10


LEFT = {
    'list': [1, 2, 3],
    'tuple': (1, 2, 3),
    'range': range(3),
    'dict': {'a': 1, 'b': 2},
    'OrderedDict': OrderedDict(a=1),
    'set': {1, 2},
    'frozenset': frozenset({1}),
    'str': 'abc',
    'bytes': b'abc',
    'deque': deque([1, 2]),
    'array of ints': np.arange(3),
    'array of floats': np.linspace(0, 1, 3),
    'array of bools': np.array([True, False]),
    'object array': np.array([None, 'a'], dtype=object),
    'dataset': Dataset(),
    'UserDict': UserDict(a=1),
    'empty list': [],
}


@pytest.mark.parametrize('left', LEFT.values(), ids=LEFT)
def test_every_iterable_stands_left_of_a_stage(left):
    """It gives what `iter` gives, whatever operator `|` is for it otherwise."""
    result = left | apply(same)
    assert isinstance(result, Stream)
    assert list(result) == list(left)
    assert list(left | (apply(same) | take(2))) == list(left)[:2]


def test_the_rows_of_a_matrix_are_its_items():
    rows = list(np.arange(6).reshape(3, 2) | apply(same))
    assert [row.tolist() for row in rows] == [[0, 1], [2, 3], [4, 5]]


def test_iterators_stand_left_of_a_stage():
    for left in (iter([1, 2]), (i for i in [1, 2]), map(int, '12'), zip([1], [2], strict=True), io.StringIO('a\nb\n')):
        assert len(list(left | apply(same))) in (1, 2)


def test_pandas_objects_stand_left_of_a_stage():
    pd = pytest.importorskip('pandas')
    assert list(pd.Series([1, 2, 3]) | apply(double)) == [2, 4, 6]
    assert list(pd.Index([1, 2]) | apply(double)) == [2, 4]
    assert list(pd.DataFrame({'a': [1], 'b': [2]}).columns | apply(double)) == ['aa', 'bb']
    with pytest.raises(TypeError, match='must not be a DataFrame'):
        pd.DataFrame({'a': [1]}) | apply(double)


def test_torch_tensors_stand_left_of_a_stage():
    torch = pytest.importorskip('torch')
    for tensor in (torch.arange(3), torch.ones(3), torch.tensor([True, False])):
        assert [int(x) for x in tensor | apply(same)] == [int(x) for x in tensor]


def test_the_views_of_a_dict_need_stream():
    d = {'a': 1}
    message = (
        'a Stage is not iterable, it needs a source: write `source | stage`'
        ' (and `stream(d.items()) | stage` for the views of a dict)'
    )
    for view in (d.items(), d.keys()):
        with pytest.raises(TypeError) as caught:
            view | apply(same)
        assert str(caught.value) == message
        assert list(stream(view) | apply(same)) == list(view)
    assert list(d.values() | apply(same)) == [1]  # which has no `|` of its own


@pytest.mark.parametrize('left', [1, None, 1.5, same, np.array(3), np.float64(2), object()], ids=named)
def test_what_is_not_iterable_is_refused_there_and_then(left):
    with pytest.raises(TypeError) as caught:
        left | apply(same)
    message = f'stream: what stands left of `|` must be iterable, got {type(left).__name__}'
    if left is same:
        message += '; a stage that begins with a function is written `apply(f) | …`, or `combine() | …`'
    assert str(caught.value) == message
    with pytest.raises(TypeError, match='must be iterable'):
        pipe(left, same)


def test_a_stage_is_no_source():
    with pytest.raises(TypeError, match='^stream: what stands left of `|` must be iterable, got a Stage$'):
        stream(apply(same))


def test_a_plain_function_means_for_each_item():
    for function in (double, partial(pow, 2), np.square, str, [10, 20, 30].__getitem__, lambda x: -x):
        assert list(range(3) | apply(same) | function) == [function(x) for x in range(3)]
        assert list(range(3) | (apply(same) | function)) == [function(x) for x in range(3)]


@pytest.mark.parametrize('right', [1, None, 'abc', [1]], ids=named)
def test_what_is_neither_stage_nor_function_is_refused(right):
    for left in (apply(same), stream([1])):
        with pytest.raises(TypeError) as caught:
            left | right
        got = type(right).__name__
        assert str(caught.value) == f'what stands right of `|` must be a stage or a function of one item, got {got}'


def test_of_a_dataset_the_look_up_stands_right():
    class Photos:
        def __getitem__(self, index): ...

    rule = 'what stands right of `|` must be a stage or a function of one item'
    with pytest.raises(TypeError) as caught:
        stream([1]) | Photos()
    assert str(caught.value) == f'{rule}, got Photos: to look items up in it, write `dataset.__getitem__`'


def test_a_stream_does_not_stand_right():
    with pytest.raises(
        TypeError, match='must be a stage or a function of one item, got a Stream: `concat`, `zip_with` and `mix` put'
    ):
        stream([1]) | stream([2])


@pytest.mark.parametrize('name', ['batch_by', 'apply', 'map_at', 'zip_apply', 'take', 'reuse', 'with_rng', 'prefetch'])
def test_a_factory_without_its_call_is_refused(name):
    made = getattr(itpipe, name)
    with pytest.raises(TypeError) as caught:
        stream([1]) | made
    assert str(caught.value) == f'`{name}` makes a stage when it is called: did you mean `{name}(…)`?'
    with pytest.raises(TypeError, match='did you mean'):
        apply(made)


@pytest.mark.parametrize(
    ('other', 'reason'),
    [
        (itpipe.sample, '`sample` cannot stand right of `|`: it makes a stream, with which a pipeline begins'),
        (itpipe.mix, '`mix` cannot stand right of `|`: it makes a stream, with which a pipeline begins'),
        (itpipe.Infinite, '`Infinite` cannot stand right of `|`: it takes the stream, `Infinite(stream)`'),
    ],
)
def test_what_is_no_function_of_an_item_is_refused(other, reason):
    with pytest.raises(TypeError) as caught:
        stream([1]) | other
    assert str(caught.value) == reason


def test_a_factory_without_parameters_needs_no_call():
    @stage
    def backwards(items):
        yield from reversed(list(items))

    assert list([[1], [2]] | apply(same) | flatten | backwards) == [2, 1]
    assert list([1, 2] | backwards) == [2, 1]
    assert list([[1], [2]] | flatten) == list([[1], [2]] | flatten()) == list(flatten([[1], [2]])) == [1, 2]
    with pytest.raises(TypeError, match='^`running_sum` makes a stage when it is called: did you mean'):
        [1] | running_sum


def test_a_stage_is_a_function_of_an_iterable():
    assert list(batch_by(3)(range(10))) == list(range(10) | batch_by(3))
    assert list((apply(double) | batch_by(2))([1, 2, 3])) == [[2, 4], [6]]


def test_item_applies_a_stage_to_one_item():
    assert (map_at(0, double) | map_at(1, str)).item((1, 2)) == (2, '2')
    noisy = with_rng(lambda x, rng: x + rng.random())
    run = list(stream([1.0, 2.0, 3.0], seed=5) | noisy)
    assert [noisy.item(x, ordinal=i, seed=5) for i, x in enumerate([1.0, 2.0, 3.0])] == run
    with pytest.raises(TypeError, match=r'^Stage\.item: `stage` must be item-wise, but `batch_by\(2\)` is not$'):
        (apply(double) | batch_by(2)).item(1)
    with pytest.raises(ValueError, match='^Stage.item: `ordinal` must be at least 0, got -1$'):
        noisy.item(1.0, ordinal=-1)


def test_a_stream_is_iterable_but_no_iterator():
    s = [1, 2] | apply(double)
    assert not hasattr(s, '__next__')
    assert [(a, b) for a in s for b in s] == [(2, 2), (2, 4), (4, 2), (4, 4)]


def test_a_one_shot_iterator_has_one_run():
    s = (i for i in range(3)) | apply(double)
    t = s | apply(str)
    assert list(s) == [0, 2, 4]
    for again in (s, t):
        with pytest.raises(NotRestartable) as caught:
            list(again)
        assert str(caught.value) == (
            'the stream reads from an iterator (<generator>) that had its one run;'
            ' give it something that can be iterated again, such as a list'
        )


def test_two_runs_at_once_over_a_one_shot_iterator_are_refused():
    s = (i for i in range(3)) | apply(double)
    first, second = iter(s), iter(s)
    assert next(first) == 0
    with pytest.raises(NotRestartable):
        next(second)
    assert list(first) == [2, 4]


def test_streams_of_streams_and_pipe():
    s = stream([1, 2])
    assert stream(s) is s
    assert list(s | (lambda x: x + 1)) == [2, 3]
    assert pipe([1, 2], double, batch_by(2)) == stream([1, 2]) | double | batch_by(2)
    assert pipe([1, 2]) == s


def test_seeds_of_streams():
    noisy = with_rng(lambda x, rng: rng.random())
    assert list(stream(range(3), seed=1) | noisy) == list(stream(stream(range(3)), seed=1) | noisy)
    assert list(stream(range(3), seed=1) | noisy) != list(stream(range(3), seed=2) | noisy)
    assert list(stream(range(3)) | noisy) != list(stream(range(3)) | noisy)
    for wrong, error, text in [
        ('a', TypeError, '`seed` must be an int or None, got str'),
        (True, TypeError, '`seed` must be an int or None, got bool'),
        (1.0, TypeError, '`seed` must be an int or None, got float'),
        (-1, ValueError, '`seed` must not be negative, got -1'),
    ]:
        with pytest.raises(error) as caught:
            stream([1], seed=wrong)
        assert str(caught.value) == f'stream: {text}'
    assert list(stream([1], seed=np.int64(3)) | noisy) == list(stream([1], seed=3) | noisy)


def test_reprs_read_like_the_code():
    class Net:
        def forward(self, x):
            return x

        def __repr__(self):
            return 'Net()'

    cases = {
        'range(0, 3) | apply(double) | batch_by(2)': range(3) | apply(double) | batch_by(2),
        '[1, 2] | apply(double)': [1, 2] | (apply(same) | double).__class__((apply(double)).steps),
        "apply(partial(int, base=2)) | map_at(-1, <lambda>, 'x', k=[1, 2])": (
            apply(partial(int, base=2)) | map_at(-1, lambda x, y, k: x, 'x', k=[1, 2])
        ),
        'apply(Net().forward)': apply(Net().forward),
        'apply(str.upper)': apply(str.upper),
        'apply(square)': apply(np.square),
        "sample('abc', replace=False, seed=3) | take(2)": sample('abc', replace=False, seed=3) | take(2),
        'parallel_map(double, threads=2)': parallel_map(double, threads=2),
        'parallel_map(map_at(0, double) | map_at(1, str), processes=-1, ordered=False, in_flight=3)': parallel_map(
            map_at(0, double) | map_at(1, str), processes=-1, ordered=False, in_flight=3
        ),
        'stream([1], seed=2)': stream([1], seed=2),
        'apply(same, <ndarray of shape (2, 2), float64>)': apply(same, np.zeros((2, 2))),
        '[0, 1, 2, 3, 4, 5, …] | apply(same)': list(range(100)) | apply(same),
        '<ndarray of shape (3, 2), int64> | combine()': np.zeros((3, 2), int) | combine(),
    }
    for text, made in cases.items():
        assert repr(made) == text


def test_stages_and_streams_take_weak_references():
    for value in (apply(abs), apply(abs) | batch_by(2), flatten, [1] | apply(abs)):
        reference = weakref.ref(value)
        assert reference() is value
        assert pickle.loads(pickle.dumps(value)) == value
        known = weakref.WeakKeyDictionary({value: 1})
        assert known[value] == 1
    gone = weakref.ref(batch_by(3))
    assert gone() is None


async def later(x, *more, **named):
    return x


async def later_ones(x):
    yield x


class Later:
    async def __call__(self, x):
        return x

    async def method(self, x):
        return x

    @staticmethod
    async def static(x):
        return x


READ = {'apply: `f`', 'unpack: `f`', 'what stands right of `|`', 'pipe: `stages[0]`', 'Infinite: `transforms[0]`'}
"""Where an async generator function may stand, as `flatten` reads what it gives."""


@pytest.mark.many(7)
@pytest.mark.parametrize(
    'f',
    [
        later, later_ones, Later(), Later().method, Later.static, partial(later, 1), partial(Later(), 1),
        partial(partial(later), y=2), lru_cache(later), staticmethod(later),
    ],
    ids=lambda f: getattr(f, '__name__', type(f).__name__),
)  # fmt: skip
@pytest.mark.parametrize(
    ('take_it', 'where'),
    [
        (apply, 'apply: `f`'),
        (unpack, 'unpack: `f`'),
        (map_all, 'map_all: `f`'),
        (with_rng, 'with_rng: `f`'),
        (lambda f: map_at(0, f), 'map_at: `f`'),
        (lambda f: zip_apply(abs, f), 'zip_apply: `functions[1]`'),
        (lambda f: random_apply(0.5, f), 'random_apply: `f`'),
        (sample_args, 'sample_args: `f`'),
        (lambda f: sample_args(max, f), 'sample_args: `samplers[0]`'),
        (lambda f: sample_args(max, key=f), 'sample_args: `key`'),
        (filter_by, 'filter_by: `predicate`'),
        (lambda f: parallel_map(f, threads=2), 'parallel_map: `f`'),
        (lambda f: parallel_map(abs, threads=2, setup=f), 'parallel_map: `setup`'),
        (lambda f: parallel_map(abs, threads=2, on_error=f), 'parallel_map: `on_error`'),
        (batch_by, 'batch_by: `size`'),
        (lambda f: batch_by(limit=3, cost=f), 'batch_by: `cost`'),
        (lambda f: load_by_random_id(f, ids='ab'), 'load_by_random_id: `loaders[0]`'),
        (lambda f: stream([1]) | f, 'what stands right of `|`'),
        (lambda f: apply(abs) | f, 'what stands right of `|`'),
        (lambda f: pipe([1], f), 'pipe: `stages[0]`'),
        (lambda f: itpipe.combine_pad(padding_values=f), 'combine_pad: `padding_values`'),
        (lambda f: itpipe.combine_pad(padding_values=(0, {'x': f})), 'combine_pad: `padding_values`'),
        (lambda f: itpipe.Infinite([1], f), 'Infinite: `transforms[0]`'),
        (lambda f: itpipe.Infinite([1], batch_size=2, combiner=f), 'Infinite: `combiner`'),
        (lambda f: itpipe.Infinite([1], batch_size=2, combiner=f, x=1), 'Infinite: `combiner`'),
        (stage, 'stage: `function`'),
    ],
)
def test_coroutine_functions_are_refused_wherever_a_function_is_taken(take_it, where, f):
    if f is later_ones and where in READ:
        take_it(f)
        return
    with pytest.raises(TypeError) as caught:
        take_it(f)
    assert re.match(
        re.escape(f'{where} must be a function that returns its result, got ')
        + '(a coroutine function.*asyncio.run|an async generator function.*apply.* flatten)',
        str(caught.value),
    )


def test_a_function_that_runs_a_coroutine_is_one_as_others():
    assert list(range(3) | apply(lambda x: asyncio.run(later(x)))) == [0, 1, 2]


def test_stages_are_values():
    array = np.arange(3)
    assert apply(same, array) == apply(same, np.arange(3))
    assert apply(same, array) != apply(same, np.zeros(3))
    assert apply(same, array) != apply(same, 1)
    assert apply(same, np.ones(3)) != apply(same, np.ones(4))
    assert apply(same, np.ones(3)) != apply(same, np.ones(1))
    assert apply(same, np.ones(3)) != apply(same, np.ones(3, np.float32))
    assert stream([1]) | double == stream([1]) | apply(double)
    assert apply(same) != 1
    assert len({apply(same), apply(same), apply(double)}) == 2
    assert stream([1]) != stream([2])
    assert stream([1]) != stream([1], seed=1)
    assert isinstance(hash(stream([1])), int)


Pair = namedtuple('Pair', 'image label')


@stage
def running_sum(items, start=0, *, scale):
    total = start
    for item in items:
        total += item
        yield scale * total


def plain_generator(items):
    yield from items


wrapped = stage(plain_generator)


class TestStage:
    def test_makes_a_factory(self):
        made = running_sum(5, scale=2)
        assert repr(made) == 'running_sum(5, scale=2)'
        assert list([1, 2] | made) == [12, 16]
        assert running_sum.__doc__ == running_sum.function.__doc__
        assert running_sum.__name__ == 'running_sum'

    def test_wrong_arguments_are_refused_at_the_call(self):
        for call, text in [
            (lambda: running_sum(), "missing a required argument: 'scale'"),
            (lambda: running_sum(1, 2, scale=1), 'too many positional arguments'),
            (lambda: running_sum(scale=1, speed=2), "got an unexpected keyword argument 'speed'"),
        ]:
            with pytest.raises(TypeError) as caught:
                call()
            assert str(caught.value).startswith('running_sum: ')
            assert text.split("'")[0] in str(caught.value)
        with pytest.raises(TypeError, match='^stage: `function` must be a function, got int$'):
            stage(3)

    def test_pickles(self):
        for made in (running_sum(scale=1), wrapped()):
            assert pickle.loads(pickle.dumps(made)) == made
        assert pickle.loads(pickle.dumps(running_sum)) is running_sum

    def test_its_errors_name_it_and_the_last_item(self):
        @stage
        def fails(items):
            for item in items:
                if item == 2:
                    raise ValueError('two')
                yield item

        received = []
        with pytest.raises(ValueError, match='^two') as caught:
            for item in range(5) | fails():
                received.append(item)
        assert received == [0, 1]
        assert caught.value.__notes__ == ['itpipe: raised in fails(), item 2']

    def test_its_errors_name_it_beside_notes_of_their_own(self):
        @stage
        def fails(items):
            next(items)
            error = ValueError('two')
            error.add_note('my own')
            raise error
            yield

        with pytest.raises(ValueError, match='^two') as caught:
            list(range(5) | fails)
        assert caught.value.__notes__ == ['my own', 'itpipe: raised in fails(), item 0']

    def test_its_cleaning_up_happens_at_once(self):
        log = []

        @stage
        def careful(items):
            try:
                yield from items
            finally:
                log.append('closed')

        run = iter(range(5) | careful() | batch_by(2))
        next(run)
        run.close()
        assert log == ['closed']

    def test_may_return_any_iterable(self):
        @stage
        def two(items):
            return [next(items), next(items)]

        assert list(range(5) | two) == [0, 1]

    def test_must_give_something_to_iterate(self):
        @stage
        def forgets(items):
            list(items)

        with pytest.raises(TypeError) as caught:
            list([1] | forgets)
        assert caught.value.args == ('forgets: its function must yield, or return an iterable, got None',)

    def test_need_not_be_a_decorator(self):
        from itertools import pairwise

        assert list(range(4) | stage(lambda items: pairwise(items))()) == [(0, 1), (1, 2), (2, 3)]


def test_every_public_name_is_there_and_documented():
    for name in itpipe.__all__:
        assert getattr(itpipe, name).__doc__, name
    assert sorted(itpipe.__all__) == itpipe.__all__
    assert Stage.__doc__
