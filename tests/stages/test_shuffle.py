"""`shuffle()` of all of a dataset, and runs that begin anywhere."""

from typing import Any

import numpy as np
import pytest
from looked_up import Data
from running import raises

from itpipe import (
    Infinite,
    apply,
    batch_by,
    cache,
    concat,
    cycle,
    filter_by,
    load_by_random_id,
    map_at,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    sample,
    shuffle,
    stage,
    stream,
    with_rng,
)


def noisy(x: Any, rng: np.random.Generator) -> Any:
    return x, rng.random()


def test_all_items_come_once_in_another_order_for_each_pass_and_seed() -> None:
    data = stream(range(50), seed=0) | shuffle()
    with Infinite(data) as it:
        passes = [list(it) for _ in range(3)]
    assert passes[0] == list(data)
    orders = [*passes, list(range(50)), list(stream(range(50), seed=1) | shuffle()), list(range(50) | shuffle(seed=5))]
    assert [sorted(order) for order in orders] == [list(range(50))] * 6
    assert len(set(map(tuple, orders))) == 6
    assert list(data | cycle(2)) == passes[0] + passes[1]


def test_only_what_goes_out_is_looked_up() -> None:
    data = Data(100)
    with Infinite(data, shuffle(), batch_size=8, seed=0, prefetch=0) as it:
        batch = next(it())
    assert data.seen == batch.tolist()
    assert it.indices == batch.tolist()
    assert it.ordinals == list(range(8))


def test_its_own_seed_is_not_that_of_later_stages() -> None:
    one, other = (stream(range(9), seed=3) | shuffle(seed=seed) | with_rng(noisy) for seed in (0, 1))
    assert [x for x, _ in one] != [x for x, _ in other]
    assert [noise for _, noise in one] == [noise for _, noise in other]


@pytest.mark.long
@pytest.mark.parametrize('workers', [{}, {'threads': 2}, {'processes': 2}])
def test_it_goes_on_from_anywhere_in_every_mode(workers: dict[str, int]) -> None:
    def pipeline(**workers: int) -> Any:
        last: Any = parallel_map(with_rng(noisy), **workers) if workers else with_rng(noisy)
        return stream(Data(20), seed=0) | shuffle() | last

    expected = list(pipeline())
    assert list(pipeline(**workers)) == expected
    for received in (0, 1, 7, 20):
        run = iter(pipeline(**workers))
        got = [next(run) for _ in range(received)]
        state = run.state_dict()
        run.close()
        assert got + list(pipeline().resume(state)) == expected


def test_ranks_share_it() -> None:
    def part(rank: int, ranks: int) -> Infinite[Any]:
        return Infinite(Data(12), shuffle(), batch_size=2, combiner=list, seed=0, shard=(rank, ranks))

    with part(0, 2) as one, part(1, 2) as two:
        first = next(one()) + next(two())
        state = merge_states([one.state_dict(), two.state_dict()])
    with part(0, 1) as rest:
        rest.load_state_dict(state)
        assert sorted(first + sum(rest, [])) == list(range(12))  # noqa: RUF017


def test_it_prints_compares_and_is_refused_for_other_data() -> None:
    made = stream([1, 2, 3], seed=0) | shuffle(seed=4, name='order')
    assert repr(made) == "stream([1, 2, 3], seed=0) | shuffle(seed=4, name='order')"
    assert eval(repr(made)) == made != stream([1, 2, 3], seed=0) | shuffle(seed=4)
    state = iter(made).state_dict()
    with pytest.raises(ValueError, match='is that of other data, which has 3 items where this one has 4'):
        (stream([1, 2, 3, 4], seed=0) | shuffle(seed=4, name='order')).resume(state)
    assert list([] | shuffle(seed=0)) == []


@pytest.mark.parametrize(
    'made',
    [
        lambda: sample([1]) | shuffle(),
        lambda: sample([1]) | apply(abs) | shuffle(),
        lambda: [1] | shuffle() | shuffle(),
    ],
)
def test_where_places_are_not_known_it_says_what_to_do(made: Any) -> None:
    with pytest.raises(TypeError) as caught:
        made()
    begin, _, end = str(caught.value).partition(', got ')
    assert begin == (
        'shuffle: without `buffer_size` it must stand directly behind data with a length and access by index'
    )
    assert end.endswith('; put it there, before all other stages, or give `buffer_size`')


@pytest.mark.parametrize(
    ('made', 'first'),
    [
        (lambda: [1] | apply(abs) | batch_by(2) | shuffle(), 'apply(abs)'),
        (lambda: [1] | apply(abs) | cache('memory') | map_at(0, abs) | shuffle(), 'map_at(0, abs)'),
    ],
)
def test_behind_other_stages_it_says_before_which_to_write_it(made: Any, first: str) -> None:
    """So a pipeline whose `cache` was deleted is soon mended."""
    with pytest.raises(TypeError) as caught:
        made()
    assert str(caught.value).endswith(f'; write `shuffle()` before `{first}`, or give `buffer_size`')


def test_behind_an_iterator_and_several_streams_it_says_what_there_is_instead() -> None:
    rule = 'shuffle: without `buffer_size` it must stand directly behind data with a length and access by index, got '
    buffer = '; what has no index needs a buffer: `shuffle(1000)`'
    with raises(TypeError, f'{rule}<list_iterator>{buffer}'):
        iter([1]) | shuffle()
    with raises(TypeError, f'{rule}{{1: 2}}{buffer}'):
        {1: 2} | shuffle()
    with raises(TypeError, f'{rule}mix([1], [2], seed=0); shuffle each of its streams, or give `buffer_size`'):
        mix([1], [2], seed=0) | shuffle()
    with raises(TypeError, f'{rule}[1] | concat([2]); shuffle each of its streams, or give `buffer_size`'):
        [1] | concat([2]) | shuffle()


@pytest.mark.parametrize(
    ('options', 'error', 'text'),
    [
        ({'seed': -1}, ValueError, 'shuffle: `seed` must not be negative, got -1'),
        ({'name': 3}, TypeError, 'shuffle: `name` must be a str, got int'),
    ],
)
def test_its_other_arguments_are_checked_at_once(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        shuffle(**options)
    assert str(caught.value).startswith(text)


# ---------------------------------------------------------------------------------------------------------------------
# Stream.at

COUNTED: dict[str, Any] = {
    'a list': stream(list('abcdefghijkl'), seed=0),
    'items': stream(range(30), seed=0) | with_rng(noisy),
    'batches': stream(range(30), seed=0) | with_rng(noisy) | batch_by(4),
    'batches of batches': stream(range(30), seed=0) | batch_by(4, drop_last=True) | prefetch(1) | batch_by(2),
    'shuffled': stream(Data(30), seed=0) | shuffle() | with_rng(noisy) | batch_by(4),
    'in threads': stream(Data(30), seed=0) | shuffle() | parallel_map(with_rng(noisy) | batch_by(4), threads=2),
    'one by one in threads': stream(Data(30), seed=0) | parallel_map(with_rng(noisy), threads=2) | batch_by(4),
    'an array': np.arange(30) | batch_by(4) | apply(list),
    'a generator': stream(dict.fromkeys(range(9))) | batch_by(2),
}


@pytest.mark.parametrize('name', COUNTED)
def test_a_run_begins_with_the_item_at_a_number(name: str) -> None:
    whole = list(COUNTED[name])
    for number in (0, 1, 2, len(whole) - 1, len(whole), len(whole) + 3):
        run = COUNTED[name].at(number)
        rest = list(run)
        assert rest == whole[number:]
        assert list(COUNTED[name].resume(run.state_dict())) == []


def test_of_endless_streams_too() -> None:
    for made in [sample(Data(7), seed=0), load_by_random_id(str, ids=range(7), seed=0)]:
        batches = made | batch_by(3)
        run, far = iter(batches), batches.at(40)
        *_, last = (next(run) for _ in range(41))
        assert next(far) == last
        run.close()
        far.close()


def test_nothing_before_it_is_looked_up() -> None:
    data = Data(100)
    assert next((data | batch_by(8)).at(5)) == data.seen == list(range(40, 48))


def test_its_state_goes_into_infinite() -> None:
    batches = stream(range(100), seed=0) | shuffle() | batch_by(8)
    with Infinite(batches) as it:
        it.load_state_dict(batches.at(3).state_dict())
        assert list(it) == list(batches)[3:]


@stage
def own(items: Any) -> Any:
    yield from items


@pytest.mark.parametrize(
    ('made', 'text'),
    [
        (range(9) | filter_by(abs), '`filter_by(abs)` does not say which items come out where'),
        (range(9) | batch_by(len), '`batch_by(len)` does not say which items come out where'),
        (range(9) | shuffle(3), '`shuffle(3)` does not say which items come out where'),
        (range(9) | own(), '`own()` does not say which items come out where'),
        (
            range(9) | parallel_map(abs, threads=1, on_error='skip'),
            "`parallel_map(abs, threads=1, on_error='skip')` does not say which items come out where",
        ),
        (
            range(9) | parallel_map(abs, threads=1, ordered=False),
            '`parallel_map(abs, threads=1, ordered=False)` does not say which items come out where',
        ),
        (mix([1], seed=0) | batch_by(1), '`mix([1], seed=0)` does not give its items by number'),
    ],
    ids=str,
)
def test_what_does_not_count_is_refused(made: Any, text: str) -> None:
    with pytest.raises(ValueError, match='at') as caught:
        made.at(1)
    assert str(caught.value) == f'Stream.at: {text}'


@pytest.mark.parametrize(('number', 'error'), [(-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_its_number_is_checked(number: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match='Stream.at: `number` must be'):
        stream([1]).at(number)
