"""Stages that choose items, and take them apart."""

import io

import pytest

from itpipe import (
    batch_by,
    filter_by,
    flatten,
    map_at,
    mix,
    parallel_map,
    pipe,
    prefetch,
    reuse,
    sample,
    shuffle,
    skip,
    stream,
    take,
    with_rng,
)


def test_filter_by_takes_arguments_and_stages():
    assert list(range(6) | filter_by(lambda x, by: x % by == 0, by=2)) == [0, 2, 4]
    assert list([(0, 1), (2, 0)] | filter_by(map_at(0, bool) | all)) == []
    assert list([(1, 1), (0, 1)] | filter_by(map_at(0, bool) | all)) == [(1, 1)]


def test_filter_by_names_itself_and_the_item_on_errors():
    def positive(x):
        if x == 3:
            raise ValueError('three')
        return x > 0

    with pytest.raises(ValueError, match='^three') as caught:
        list(range(5) | filter_by(positive))
    assert caught.value.__notes__ == ['itpipe: raised in filter_by(positive), item 3']
    with pytest.raises(TypeError, match='^filter_by: `predicate` must be a function or an item-wise stage, got int$'):
        filter_by(3)


class Scans:
    """Some cannot be read."""

    def __len__(self):
        return 50

    def __getitem__(self, index):
        if index in (17, 33):
            raise OSError(f'cannot read {index}')
        return index


@pytest.mark.parametrize(
    'indices',
    [
        stream(range(50), seed=0),
        stream(range(50), seed=0) | shuffle(),
        sample(range(50), replace=False, seed=0),
        sample(range(50), seed=0),
    ],
    ids=['in order', 'shuffled', 'each once', 'random'],
)
def test_what_is_left_out_later_could_have_been_left_out_from_the_beginning(indices):
    """The others keep their places and their random numbers, and what is left out is not read."""
    bad = set()

    def wanted(index):
        return index not in bad

    look_up = parallel_map(Scans().__getitem__, threads=2) | with_rng(lambda x, rng: (x, rng.random()))
    batches = indices | filter_by(wanted) | look_up | batch_by(3) | take(40)
    run = iter(batches)
    got, state = [], run.state_dict()
    with pytest.raises(OSError, match='cannot read (17|33)'):
        for batch in run:
            got.append(batch)
            state = run.state_dict()
    bad.update([17, 33])
    rest = list(batches.resume(state))
    assert rest
    assert got + rest == list(batches)


def test_what_is_left_out_of_a_buffer_later_takes_no_other_item_with_it():
    bad = set()
    items = range(50) | filter_by(lambda index: index not in bad) | shuffle(8, seed=0)
    run = iter(items)
    got = [next(run) for _ in range(5)]
    state = run.state_dict()
    rest = list(run)
    bad.update(rest[:3])  # some of them are in the buffer
    assert sorted(items.resume(state)) == sorted(rest[3:])
    assert not bad & {*got}


class TestFlatten:
    def test_takes_anything_iterable_apart_by_one_level(self):
        items = [[1, [2]], (3,), 'ab', {'k': 1}, range(2), (x for x in 'c'), set()]
        assert list(items | flatten) == [1, [2], 3, 'a', 'b', 'k', 0, 1, 'c']

    def test_reads_an_item_only_as_far_as_asked(self):
        read = []

        def parts():
            for x in range(10):
                read.append(x)
                yield x

        assert list([parts()] | flatten | take(2)) == [0, 1]
        assert read == [0, 1]

    @pytest.mark.parametrize('behind', [[], [shuffle(3, seed=0)]], ids=['alone', 'behind it a buffer'])
    def test_goes_on_without_reading_what_was_delivered(self, behind):
        """Of items with an index; of others, up to what is needed."""

        class Shard:
            def __init__(self, number):
                self.number = number

            def __len__(self):
                return 10

            def __getitem__(self, n):
                if not 0 <= n < 10:
                    raise IndexError
                read.append(10 * self.number + n)
                return read[-1]

        described = pipe(range(3), Shard, flatten, *behind)
        read = []
        every = list(described)
        assert sorted(read) == sorted(every) == list(range(30))
        run = iter(described)
        head = [next(run) for _ in range(15)]
        state = run.state_dict()
        run.close()
        read.clear()
        assert head + list(described.resume(state)) == every
        assert sorted(read) == sorted({*every} - {*head})

    @pytest.mark.parametrize('stage', [flatten, flatten(on_error='skip')], ids=repr)
    @pytest.mark.parametrize('behind', [(), (prefetch(2),)], ids=['', 'in a thread'])
    def test_what_is_open_is_closed_with_the_run_whoever_refers_to_it(self, stage, behind):
        """What a generator raises then arrives, and no collector of garbage is needed."""
        held = []

        def parts(number):
            try:
                yield from range(9)
            finally:
                raise OSError('closing')

        def kept(number):
            held.append(parts(number))
            return held[-1]

        run = iter(pipe([0], kept, stage, *behind))
        assert next(run) == 0
        with pytest.raises(OSError, match='^closing$'):
            run.close()
        assert held[0].gi_frame is None

    @pytest.mark.parametrize('stage', [flatten, flatten(on_error='skip')], ids=repr)
    def test_an_open_file_belongs_to_who_opened_it(self, stage):
        file = io.StringIO('a\nb\nc')
        assert list([file] | stage | take(2)) == ['a\n', 'b\n']
        assert next(file) == 'c'

    def test_what_is_read_again_is_closed(self):
        """Where a run goes on in a buffer, items are read up to those that were in it."""
        closed = []

        def parts(number):
            try:
                yield from range(10)
            finally:
                closed.append(number)

        def kept(number):
            held.append(parts(number))
            return held[-1]

        held = []
        described = pipe(range(1), kept, flatten, shuffle(3, seed=0))
        run = iter(described)
        head = [next(run) for _ in range(3)]
        state = run.state_dict()
        run.close()
        rest = list(described.resume(state))
        assert sorted(head + rest) == [*range(10)]
        assert len(closed) == len(held) > 2

    def test_goes_on_in_items_without_an_index(self):
        def parts(number):
            yield from range(10 * number, 10 * number + 10)

        described = pipe(range(3), parts, flatten, shuffle(3, seed=0))
        every = list(described)
        run = iter(described)
        head = [next(run) for _ in range(15)]
        state = run.state_dict()
        run.close()
        assert head + list(described.resume(state)) == every

    def test_many_parts_behind_a_stage_with_a_state(self):
        """The logs are replayed while one item's parts are being delivered."""
        for before in (shuffle(2, seed=0), take(4), skip(1), reuse(2, 1, seed=0)):
            result = list([range(1000)] * 5 | before | flatten)
            assert result == list(range(1000)) * (len(result) // 1000)
        assert len(list(mix([range(1000)] * 5) | flatten)) == 5000

    def test_each_part_has_a_generator_of_its_own(self):
        draws = list(stream([[0] * 3] * 2, seed=0) | flatten | with_rng(lambda x, rng: rng.random()))
        assert len(set(draws)) == 6

    def test_what_cannot_be_taken_apart(self):
        with pytest.raises(TypeError) as caught:
            list([[1], 2] | flatten)
        assert caught.value.args == ('flatten: items must be iterable, got int',)
        assert caught.value.__notes__ == ['itpipe: raised in flatten(), item 1']

    def test_errors_of_the_item_itself(self):
        def parts():
            yield 1
            raise TypeError('mine')

        with pytest.raises(TypeError, match='^mine') as caught:
            list([[0], parts()] | flatten)
        assert caught.value.__notes__ == ['itpipe: raised in flatten(), item 1']


class Tens:
    """The first 10 numbers, of which some are broken."""

    def __init__(self, *bad):
        self.bad = bad

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError(f'{index} is broken')
        return index


def cut_off(at):
    """A generator that breaks off."""
    yield from range(at)
    raise OSError(f'cut off at {at}')


def made_anew(bad):
    """A dataset for a tuple, a generator for an int."""
    return Tens(*bad) if isinstance(bad, tuple) else cut_off(bad)


def instead(error, item, ordinal):
    return type(item).__name__, str(error), ordinal


class TestFlattenWithErrors:
    items = ((), (3, 9), 4, 0, (0,))

    def test_what_has_an_index_goes_on_behind_what_is_broken(self):
        run = iter([Tens(3, 9), Tens(0)] | flatten(on_error='skip'))
        assert [(run.item_keys[0], x) for x in run] == [
            ((n, x), x) for n, bad in enumerate([(3, 9), (0,)]) for x in range(10) if x not in bad
        ]
        assert [(each.ordinal, str(each.error)) for each in run.dropped] == [
            (0, '3 is broken'), (0, '9 is broken'), (1, '0 is broken'),
        ]  # fmt: skip
        assert run.dropped[0].error.__notes__ == ["itpipe: raised in flatten(on_error='skip'), item 0 (part 3)"]
        assert run.dropped[0].stage == "flatten(on_error='skip')"
        stats = run.stats().stages[-1]
        assert (stats.items_out, stats.errors, stats.dropped) == (17, 3, 3)

    def test_of_anything_else_the_rest_is_left_out(self):
        run = iter(map(made_anew, (3, 0, 2)) | flatten(on_error='skip'))
        assert list(run) == [0, 1, 2, 0, 1]
        assert [str(each.error) for each in run.dropped] == ['cut off at 3', 'cut off at 0', 'cut off at 2']

    def test_a_function_replaces_the_part_or_the_rest(self):
        assert list([Tens(3), cut_off(2)] | flatten(on_error=instead)) == [
            *range(3), ('Tens', '3 is broken', 0), *range(4, 10), 0, 1, ('generator', 'cut off at 2', 1),
        ]  # fmt: skip
        with pytest.raises(OSError, match='^3 is broken'):
            list([Tens(3)] | flatten(on_error=lambda error, item, ordinal: 'raise'))

    def test_too_many(self):
        run = iter([Tens(3, 5)] | flatten(on_error='skip', max_errors=1))
        assert [next(run) for _ in range(4)] == [0, 1, 2, 4]
        with pytest.raises(OSError, match='^5 is broken') as caught:
            next(run)
        assert caught.value.__notes__[1] == 'itpipe: with 2 errors, there were more than `max_errors=1` allows'

    @pytest.mark.parametrize('policy', ['skip', instead])
    @pytest.mark.parametrize('behind', [(), (shuffle(4),), (batch_by(3), shuffle(2), flatten)], ids=repr)
    def test_goes_on_exactly(self, policy, behind):
        described = pipe(stream(self.items, seed=0), made_anew, flatten(on_error=policy), *behind)
        whole = list(described)
        run = iter(described)
        for count in range(len(whole) + 1):
            again = described.resume(run.state_dict())
            assert list(again) == whole[count:]
            assert not {each.ordinal for each in again.dropped} - {1, 2, 3, 4}
            next(run, None)
        assert len(run.dropped) == (5 if policy == 'skip' else 0)

    def test_goes_on_where_it_was_off(self):
        """The state says nothing of what is done about errors."""
        run = iter([Tens(), Tens()] | flatten)
        next(run)
        assert len(list(([Tens(), Tens(4)] | flatten(on_error='skip')).resume(run.state_dict()))) == 18

    def test_others_keep_their_randomness(self):
        def draws(*bad):
            made = stream([Tens(*bad)], seed=0) | flatten(on_error='skip') | with_rng(lambda x, rng: (x, rng.random()))
            return list(made)

        assert draws(4, 7) == [pair for pair in draws() if pair[0] not in (4, 7)]

    def test_what_cannot_be_taken_apart_ends_the_run(self):
        with pytest.raises(TypeError) as caught:
            list([[1], 2] | flatten(on_error='skip'))
        assert caught.value.args == ('flatten: items must be iterable, got int',)
        assert caught.value.__notes__ == ["itpipe: raised in flatten(on_error='skip'), item 1"]

    def test_as_a_value(self):
        made = flatten(on_error='skip', max_errors=3)
        assert repr(made) == "flatten(on_error='skip', max_errors=3)"
        assert list(made([[1], [2]])) == list(flatten([[1], [2]], on_error='skip')) == [1, 2]
        assert flatten(on_error='raise') is flatten
        with pytest.raises(ValueError, match="^flatten: `on_error` must be 'raise', 'skip' or a function, got 'drop'$"):
            flatten(on_error='drop')
        with pytest.raises(TypeError, match="^flatten: `max_errors` goes with another `on_error` than 'raise'$"):
            flatten(max_errors=3)


class TestTakeAndSkip:
    @pytest.mark.parametrize('n', [0, 1, 3, 5, 9])
    def test_take_and_skip_part_the_items(self, n):
        items = list(range(5))
        assert list(items | take(n)) == items[:n]
        assert list(items | skip(n)) == items[n:]

    def test_take_asks_for_no_more(self):
        pulled = []

        def source():
            for x in range(10):
                pulled.append(x)
                yield x

        assert list(source() | take(3)) == [0, 1, 2]
        assert pulled == [0, 1, 2]
        pulled.clear()
        assert list(source() | take(0)) == []
        assert pulled == []


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: take(-1), ValueError, 'take: `n` must be at least 0, got -1'),
        (lambda: take(1.0), TypeError, 'take: `n` must be an int, got float'),
        (lambda: take(True), TypeError, 'take: `n` must be an int, got bool'),
        (lambda: skip(-2), ValueError, 'skip: `n` must be at least 0, got -2'),
        (lambda: skip('a'), TypeError, 'skip: `n` must be an int, got str'),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text
