"""Items that cannot be looked up are left out or replaced, and nothing depends on who looks them up."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from broken import BAD, Data, Together, more
from hypothesis import given
from running import AtOnce, Lazily, raises
from strategies import examples

import itpipe._workers.inline
from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    exclude,
    filter_by,
    load_by_random_id,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    sample,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
    zip_with,
)
from itpipe.files import images, tar

GOOD = [10 * n for n in range(12) if n not in BAD]


async def awaited(x: Any) -> Any:
    return ('more', x)


def instead(error: Exception, index: Any, ordinal: int) -> Any:
    return 'instead', str(error), index, ordinal


WAYS: dict[str, Any] = {
    'here': apply(more),
    'threads': parallel_map(more, threads=2),
    'processes': parallel_map(more, processes=2),
    'auto': parallel_map(more, workers='auto'),
    'tasks': parallel_map(awaited, tasks=2),
    'at once': parallel_map(more, executor=AtOnce()),
    'lazily': parallel_map(more, executor=Lazily()),
    'in main': parallel_map(more, threads=2, lookups='main'),
    'with a policy': parallel_map(more, threads=2, on_error='skip'),
    'with retries': parallel_map(more, threads=2, retries=1, retry_on=OSError),
}
in_all_ways = pytest.mark.parametrize('way', WAYS.values(), ids=WAYS)
in_either = pytest.mark.parametrize(
    'way', [parallel_map(more, threads=2, ordered=False), parallel_map(more, processes=2, ordered=False)], ids=repr
)


@pytest.fixture(params=[0, 1000], ids=['in workers', 'inline'])
def cheap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(itpipe._workers.inline.InlinePolicy, 'CHEAP', request.param)


def dropped(run: Any) -> list[tuple[int, str]]:
    return [(each.ordinal, str(each.error)) for each in run.dropped]


ALL_DROPPED = [(n, f'{n} is broken') for n in BAD]


def test_without_stages():
    run = iter(stream(Data(), on_error='skip'))
    assert list(run) == GOOD
    assert dropped(run) == ALL_DROPPED
    assert list(stream(Data(), on_error=instead)) == [
        instead(ValueError(f'{n} is broken'), n, n) if n in BAD else 10 * n for n in range(12)
    ]


@in_all_ways
@pytest.mark.usefixtures('cheap')
def test_is_left_out_whoever_looks_it_up(way):
    run = iter(stream(Data(), on_error='skip') | way)
    assert list(run) == [more(x) for x in GOOD]
    assert dropped(run) == ALL_DROPPED
    assert all(each.stage.startswith('the source <') for each in run.dropped)
    stages = run.stats().stages
    assert (sum(stage.errors for stage in stages), sum(stage.dropped for stage in stages)) == (3, 3)
    assert stages[0].items_out == 12


@in_all_ways
@pytest.mark.usefixtures('cheap')
def test_is_replaced_whoever_looks_it_up(way):
    """The stages behind get what `on_error` returned, as if it had been looked up."""
    run = iter(stream(Data(), on_error=instead) | way)
    assert list(run) == [more(x) for x in stream(Data(), on_error=instead)]
    assert not run.dropped
    assert sum(stage.errors for stage in run.stats().stages) == 3


@in_either
def test_in_any_order(way):
    assert sorted(stream(Data(), on_error='skip') | way) == [more(x) for x in GOOD]
    found = list(stream(Data(), on_error=instead) | way)
    assert sorted(found, key=repr) == sorted((more(x) for x in stream(Data(), on_error=instead)), key=repr)
    run = iter(stream(Data(), on_error=instead, seed=0) | shuffle(5) | way | filter_by(bool))
    first = [next(run) for _ in range(4)]
    rest = list(
        (stream(Data(), on_error=instead, seed=0) | shuffle(5) | way | filter_by(bool)).resume(run.state_dict())
    )
    assert sorted([*first, *rest], key=repr) == sorted(found, key=repr)


@in_all_ways
def test_ends_the_run_if_there_are_too_many(way):
    """With the error, as it was raised, after the results before it."""
    run = iter(stream(Data(), on_error='skip', max_errors=1) | way)
    given = [next(run) for _ in range(4)]
    assert given == [more(x) for x in GOOD[:4]]
    with pytest.raises(ValueError, match='5 is broken') as caught:
        next(run)
    first, second = caught.value.__notes__
    assert first.startswith('itpipe: raised in the source <')
    assert first.endswith(', item 5')
    assert second == 'itpipe: with 2 errors, there were more than `max_errors=1` allows'
    assert caught.value.__cause__ is None


def test_a_share_is_one_of_the_items_so_far():
    many = Data(400, tuple(range(0, 400, 9)))
    run = iter(stream(many, on_error='skip', max_errors=0.1) | parallel_map(more, threads=2))
    with pytest.raises(ValueError, match='is broken'):
        list(run)
    assert len(run.dropped) == 10  # of the first hundred, and then there is one too many
    assert len(list(stream(many, on_error='skip', max_errors=0.2))) == 355


@in_all_ways
def test_a_function_may_end_the_run(way):
    """The policy of the `parallel_map` has no part in that."""
    with pytest.raises(ValueError, match='2 is broken'):
        list(stream(Data(), on_error=lambda error, index, ordinal: 'raise') | way)
    with pytest.raises(ZeroDivisionError) as caught:
        list(stream(Data(), on_error=lambda error, index, ordinal: 1 / 0) | way)
    assert caught.value.__notes__[0].startswith('itpipe: raised in `on_error` of the source <')


def fails_at_30(x: Any) -> Any:
    if x == 30:
        raise KeyError(x)
    return x


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 2}], ids=repr)
def test_an_error_of_a_stage_is_none_of_the_source(workers):
    with pytest.raises(KeyError):
        list(stream(Data(), on_error='skip') | apply(fails_at_30))
    with pytest.raises(KeyError):
        list(stream(Data(), on_error='skip') | parallel_map(fails_at_30, **workers))
    given: list[Any] = []

    def both(error: Exception, item: Any, ordinal: int) -> Any:
        given.append((type(error), item, ordinal))
        return -1

    made = stream(Data(), on_error=both) | parallel_map(fails_at_30, on_error=both, **workers)
    assert list(made) == [-1 if n in (*BAD, 3) else 10 * n for n in range(12)]
    assert given == [(ValueError, 2, 2), (KeyError, 30, 3), (ValueError, 5, 5), (ValueError, 11, 11)]
    mixed = stream(Data(), on_error='skip') | parallel_map(fails_at_30, on_error=lambda *_: -1, **workers)
    assert list(mixed) == [-1 if x == 30 else x for x in GOOD]


class Flaky(Data):
    """Each item can be looked up the second time."""

    def __init__(self, folder: Any):
        super().__init__()
        self.folder = folder

    def __getitem__(self, index: int) -> Any:
        path = os.path.join(self.folder, str(index))
        if index in BAD and not os.path.exists(path):
            open(path, 'w').close()
            raise OSError(f'{index} is slow')
        return 10 * index


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 2}], ids=repr)
def test_is_tried_again_first(tmp_path, workers):
    made = stream(Flaky(tmp_path), on_error='skip') | parallel_map(
        more, retries=1, retry_on=OSError, backoff=0, **workers
    )
    run = iter(made)
    assert list(run) == [more(10 * n) for n in range(12)]
    assert not run.dropped


class OwnError(Exception):
    """One that cannot be made again from its arguments, and holds what cannot be pickled."""

    def __init__(self, path: str, *, reason: Any):
        super().__init__(f'{path}: {reason}')
        self.handle = lambda: reason


class WithOwnErrors(Data):
    def __getitem__(self, index: int) -> Any:
        if index in BAD:
            raise OwnError(str(index), reason='cut off')
        return super().__getitem__(index)


def test_errors_of_any_class_come_out_of_processes():
    run = iter(stream(WithOwnErrors(), on_error='skip') | parallel_map(more, processes=1))
    assert list(run) == [more(x) for x in GOOD]
    assert [(type(each.error), str(each.error)) for each in run.dropped] == [(OwnError, f'{n}: cut off') for n in BAD]


class Stopping(Data):
    def __getitem__(self, index: int) -> Any:
        if index in BAD:
            raise StopIteration
        return super().__getitem__(index)


@in_all_ways
def test_a_stop_iteration_is_an_error_like_others(way):
    run = iter(stream(Stopping(), on_error='skip') | way)
    assert list(run) == [more(x) for x in GOOD]
    assert [type(each.error) for each in run.dropped] == [RuntimeError] * 3


def test_nothing_is_held_of_what_is_left_out():
    class Item:
        pass

    class Holding(Data):
        def __getitem__(self, index: int) -> Any:
            held = Item()
            raise ValueError(held is None)

    for way in (filter_by(bool), parallel_map(more, threads=1)):
        run = iter(stream(Holding(3), on_error='skip') | way)
        assert list(run) == []
        for each in run.dropped:
            frame: Any = each.error.__traceback__
            while frame is not None:
                assert not any(isinstance(value, Item) for value in frame.tb_frame.f_locals.values())
                frame = frame.tb_next


# ---------------------------------------------------------------------------------------------------------------------
# All others stay as they are


def noise(x: Any, rng: np.random.Generator) -> Any:
    return x, rng.random()


def test_others_keep_their_ordinals_and_their_randomness():
    whole = dict(zip(range(12), stream(Data(12, ()), seed=0) | with_rng(noise), strict=True))
    run = iter(stream(Data(), seed=0, on_error='skip') | with_rng(noise))
    found = {}
    for value in run:
        found[run.item_keys[0]] = value
    assert found == {n: value for n, value in whole.items() if n not in BAD}


class Hole:
    """Stands for an item that is left out."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hole)

    __hash__ = None  # type: ignore[assignment]


class WithHoles(Data):
    def __getitem__(self, index: int) -> Any:
        return Hole() if index in self.bad else 10 * index


def has_hole(value: Any) -> bool:
    return isinstance(value, Hole) or (isinstance(value, tuple) and any(map(has_hole, value)))


def noise_or_hole(x: Any, rng: np.random.Generator) -> Any:
    return Hole() if has_hole(x) else (x, round(rng.random(), 6))


def full(x: Any) -> bool:
    return not has_hole(x)


ORDERING = {
    'shuffle': st.integers(1, 6).map(lambda n: ('shuffle', n)),
    'shuffle all': st.just(('shuffle', None)),
    'take': st.integers(0, 12).map(lambda n: ('take', n)),
    'skip': st.integers(0, 5).map(lambda n: ('skip', n)),
    'shard': st.sampled_from([('shard', 0, 2), ('shard', 1, 3)]),
    'exclude': st.integers(0, 9).map(lambda n: ('exclude', n)),
    'with_rng': st.just(('with_rng', noise_or_hole)),
}
MADE = {'shuffle': shuffle, 'take': take, 'skip': skip, 'shard': shard, 'exclude': exclude, 'with_rng': with_rng}


@st.composite
def orders(draw: Any, depth: int = 0) -> tuple[Any, ...]:
    """A pipeline of what chooses and orders items."""
    size = draw(st.integers(1, 12))
    bad = tuple(sorted(draw(st.sets(st.integers(0, size - 1), max_size=size))))
    steps = draw(st.lists(st.one_of([ORDERING[name] for name in ORDERING if name != 'shuffle all']), max_size=4))
    if draw(st.integers(0, 3)) == 0:
        steps = [('shuffle', None), *steps]
    kind = draw(st.sampled_from(['alone', 'mix', 'zip_with', 'concat', 'cycle'] if depth < 2 else ['alone']))
    others = []
    if kind in ('mix', 'zip_with', 'concat'):
        others = [draw(orders(depth + 1)) for _ in range(draw(st.integers(1, 2)))]
    behind = draw(st.lists(st.one_of([ORDERING[name] for name in ORDERING if name != 'shuffle all']), max_size=2))
    return size, bad, steps, kind, others, behind


def made_of(described: Any, data: Any, **options: Any) -> Any:
    size, bad, steps, kind, others, behind = described
    result = stream(data(size, bad), seed=1, **options)
    for name, *args in steps:
        result = result | MADE[name](*[arg for arg in args if arg is not None])  # type: ignore[operator]
    rest = [made_of(other, data, **options) for other in others]
    if kind == 'mix':
        result = mix(result, *rest, seed=2)
    elif kind in ('zip_with', 'concat'):
        result = result | {'zip_with': zip_with, 'concat': concat}[kind](*rest)
    elif kind == 'cycle':
        result = result | cycle(2)
    for name, *args in behind:
        result = result | MADE[name](*args)  # type: ignore[operator]
    return result


ENDS = [
    (),
    (batch_by(3),),
    (parallel_map(more, threads=2), filter_by(full), batch_by(2)),
    (parallel_map(more, executor=Lazily(), in_flight=3),),
    (parallel_map(more, threads=1, lookups='main'), batch_by(2)),
    (more, filter_by(full), shuffle(3)),
    (prefetch(2), batch_by(2)),
]


@given(orders(), st.sampled_from(ENDS), st.booleans(), st.data())
@examples(1000)
def test_a_hole_is_where_the_item_would_be(described, ends, replaced, data):
    """It is as if holes went through the pipeline up to the first stage that needs items, and were left out there."""
    holes = made_of(described, WithHoles)
    if not replaced:
        holes = holes | filter_by(full)
    expected: Any = holes
    found: Any = made_of(described, Data, on_error=(lambda *_: Hole()) if replaced else 'skip')
    for end in ends:
        expected, found = expected | end, found | end
    expected = list(expected)
    run = iter(found)
    assert list(run) == expected
    count = data.draw(st.integers(0, len(expected)))
    run = iter(found)
    assert [next(run) for _ in range(count)] == expected[:count]
    again = found.resume(run.state_dict())
    some = data.draw(st.integers(0, len(expected) - count))
    assert [next(again) for _ in range(some)] == expected[count : count + some]
    assert list(found.resume(again.state_dict())) == expected[count + some :]


# ---------------------------------------------------------------------------------------------------------------------
# Batches


def test_batches_are_full():
    assert list(stream(Data(), on_error='skip') | batch_by(4)) == [GOOD[:4], GOOD[4:8], GOOD[8:]]
    assert list(stream(Data(), on_error='skip') | batch_by(4) | parallel_map(len, processes=1)) == [4, 4, 1]


def test_items_are_looked_up_together_for_their_own_batch():
    data = Together()
    assert list(stream(data, on_error='skip') | batch_by(4)) == [GOOD[:4], GOOD[4:8], GOOD[8:]]
    assert data.asked == [[0, 1, 2, 3], [4], [5, 6, 7, 8], [9], [10, 11], []] or data.asked == [
        [0, 1, 2, 3], [4], [5, 6, 7, 8], [9], [10, 11],
    ]  # fmt: skip
    good = Together(12, ())
    assert list(stream(good, on_error='skip') | batch_by(4)) == [[10 * n for n in range(i, i + 4)] for i in (0, 4, 8)]
    assert good.asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize('policy', ['skip', instead])
def test_a_run_over_what_is_looked_up_together_goes_on(policy):
    made = stream(Together(), on_error=policy, seed=0) | shuffle(3) | batch_by(2)
    whole = list(made)
    assert whole == list(stream(Data(), on_error=policy, seed=0) | shuffle(3) | batch_by(2))
    run = iter(made)
    for count in range(len(whole) + 1):
        assert list(made.resume(run.state_dict())) == whole[count:]
        next(run, None)


def test_ranks_share_what_is_there():
    def ranks(number: int) -> list[Any]:
        source = stream(Data(), seed=0, on_error='skip')
        with Infinite(source, shuffle(4), parallel_map(more, threads=2), shard=(number, 2), even='drop') as batches:
            return list(batches)

    assert sorted([*ranks(0), *ranks(1)]) == sorted(more(x) for x in GOOD)


def test_each_pass_of_infinite():
    source = stream(Data(), seed=0, on_error='skip')
    with Infinite(source, shuffle(), parallel_map(more, threads=2), batch_size=4, combiner=list) as batches:
        for _ in range(2):
            assert sorted(x for batch in batches for x in batch) == sorted(more(x) for x in GOOD)
        assert len(batches.dropped) >= 6  # the next pass may have begun


def test_states_of_ranks_are_merged():
    made = [
        stream(Data(), seed=0, on_error='skip') | shuffle(4) | shard(n, 2) | parallel_map(more, threads=1)
        for n in (0, 1)
    ]
    runs = [iter(each) for each in made]
    first = [next(run) for run in runs]
    merged = merge_states([run.state_dict() for run in runs])
    rest = [x for each in made for x in each.resume(merged)]
    assert sorted([*first, *rest]) == sorted(more(x) for x in GOOD)


# ---------------------------------------------------------------------------------------------------------------------
# Other sources


def test_of_sample():
    run = iter(sample(Data(4, (1,)), seed=0, on_error='skip') | take(30))
    whole = list(sample(range(4), seed=0) | take(30))
    assert list(run) == [10 * n for n in whole if n != 1]
    assert [each.ordinal for each in run.dropped] == [n for n, index in enumerate(whole) if index == 1]
    given = list(sample(Data(4, (1,)), seed=0, on_error=lambda error, index, ordinal: (index, ordinal)) | take(30))
    assert given == [(1, n) if index == 1 else 10 * index for n, index in enumerate(whole)]


def test_of_sample_with_weights_that_may_be_replaced():
    def made(*bad: int, **options: Any) -> Any:
        return sample(Data(4, bad), seed=0, reweight=True, **options) | take(30)

    whole = list(made())
    run = iter(made(1, on_error='skip') | parallel_map(str, threads=2))
    assert list(run) == [str(x) for x in whole if x != 10]
    assert [each.ordinal for each in run.dropped] == [n for n, x in enumerate(whole) if x == 10]


def load(name: str) -> str:
    if name == 'bad':
        raise OSError(f'{name} is not there')
    return name.upper()


@pytest.mark.parametrize('way', [apply(str), parallel_map(str, threads=2), parallel_map(str, processes=1)], ids=repr)
def test_of_load_by_random_id_a_function_gets_the_id(way):
    ids = ['a', 'bad', 'c']
    whole = list(load_by_random_id(str, ids=ids, seed=0, name='load') | take(20))
    made = load_by_random_id(load, ids=ids, seed=0, name='load', on_error=lambda error, id_, ordinal: f'{id_}?')
    assert list(made | take(20) | way) == ['bad?' if name == 'bad' else name.upper() for name in whole]


def test_of_data_in_a_cache():
    made = stream(Data(), on_error='skip') | apply(more) | itpipe.cache('memory')
    run = iter(made)
    assert list(run) == [more(x) for x in GOOD]
    assert dropped(run) == ALL_DROPPED


def test_an_error_says_which_member_it_was(tmp_path):
    """In `dropped`, as in the error that ends a run."""
    import io
    import tarfile

    path = tmp_path / 'shard.tar'
    with tarfile.open(path, 'w') as archive:
        for n in range(3):
            for suffix in ('npy', 'txt'):
                buffer = io.BytesIO()
                np.save(buffer, np.arange(n + 1))
                data = b'cut off' if (n, suffix) == (1, 'npy') else buffer.getvalue()
                member = tarfile.TarInfo(f'{n}.{suffix}')
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    samples = tar(path)
    decoded = Decoded(samples)
    run = iter(stream(decoded, on_error='skip') | parallel_map(len, processes=1))
    assert list(run) == [1, 3]
    (left_out,) = run.dropped
    assert any('item 1' in text for text in left_out.error.__notes__)


class Decoded:
    """The arrays of a tar file."""

    def __init__(self, samples: Any):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        import io

        return np.load(io.BytesIO(self.samples[index]['npy']))


def test_broken_images(tmp_path):
    image = pytest.importorskip('PIL.Image')
    for n in range(3):
        image.new('L', (2, 2)).save(tmp_path / f'{n}.png')
    (tmp_path / '1.png').write_bytes(b'none')
    run = iter(stream(images(tmp_path, labels=False), on_error='skip') | batch_by(2))
    assert [len(batch) for batch in run] == [2]
    (left_out,) = run.dropped
    assert any('1.png' in text for text in [str(left_out.error), *left_out.error.__notes__])


# ---------------------------------------------------------------------------------------------------------------------
# As a value


def test_single_items():
    made = stream(Data(), on_error='skip') | apply(more)
    assert made.item(3) == more(30)
    with pytest.raises(LookupError, match=r'^Stream\.item: there is no item 2$'):
        made.item(2)
    assert stream(Data(), on_error=instead).item(2) == instead(ValueError('2 is broken'), 2, 2)


def test_prints_compares_and_pickles():
    data = range(3)
    for made in (
        stream(data, on_error='skip'),
        stream(data, seed=1, on_error=instead, max_errors=3),
        sample(data, on_error='skip', max_errors=0.5),
        load_by_random_id(abs, ids=data, on_error='skip'),
        stream(data, on_error='skip') | shuffle(),
    ):
        names = {**vars(itpipe), 'instead': instead, 'abs': abs}
        again = eval(repr(made).replace('<function instead>', 'instead'), names)
        assert again == made == pickle.loads(pickle.dumps(made))
    assert stream(data, on_error='skip') != stream(data)
    assert sample(data, seed=0, on_error='skip') != sample(data, seed=0)


def test_a_state_is_that_of_a_run_without_it():
    made = stream(Data(12, ()), seed=0) | shuffle(3)
    whole = list(made)
    run = iter(made)
    next(run)
    assert list((stream(Data(12, ()), seed=0, on_error='skip') | shuffle(3)).resume(run.state_dict())) == whole[1:]


def test_a_picture_shows_where_it_is_looked_up():
    picture = str((stream(Data(), on_error='skip') | filter_by(bool)).draw())
    assert 'gives their indices' in picture
    assert 'look the item up' in picture
    together = str((stream(Together(), on_error='skip') | batch_by(3)).draw())
    assert 'all of a batch at once' in together


def test_what_gives_other_items_by_index_is_refused():
    class Graph:
        """Its index is of nodes, but iterating gives their names."""

        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Any:
            return iter('ab')

        def __getitem__(self, index: int) -> int:
            return index

    with raises(
        TypeError,
        "`stream(<Graph>, on_error='skip')` leaves out items that cannot be looked up, but what its data gives by"
        ' index is not what iterating gives',
    ):
        list(stream(Graph(), on_error='skip'))


def test_an_opaque_stage_behind_it():
    @stage
    def sums(items: Any) -> Any:
        total = 0
        for item in items:
            total += item
            yield total

    made = stream(Data(), on_error='skip') | take(6) | sums
    assert list(made) == [0, 10, 40, 80]
    run = iter(made)
    next(run)
    with pytest.warns(UserWarning, match='nothing is known of'):
        assert list(made.resume(run.state_dict())) == [10, 40, 80]


def test_executors_that_look_up_here():
    with ThreadPoolExecutor(2) as executor:
        run = iter(stream(Data(), on_error='skip') | parallel_map(more, executor=executor))
        assert list(run) == [more(x) for x in GOOD]
        assert dropped(run) == ALL_DROPPED
