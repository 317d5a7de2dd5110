"""Items that are made once."""

import os
import textwrap
import threading

import numpy as np
import pytest
from running import raises, run_script, through_json

from itpipe import (
    Infinite,
    apply,
    batch_by,
    cache,
    filter_by,
    flatten,
    parallel_map,
    sample,
    shuffle,
    stream,
    take,
    with_rng,
)


class Counting:
    """A function that knows how often it was called."""

    def __init__(self, factor):
        self.factor, self.calls = factor, []

    def __call__(self, x):
        self.calls.append(x)
        return np.full(3, self.factor * x)

    def __getstate__(self):
        return {'factor': self.factor, 'calls': []}


def noisy(x, rng):
    return x + rng.random()


def values(items):
    return [np.asarray(item).tolist() for item in items]


@pytest.mark.parametrize('where', ['memory', 'folder'])
def test_each_item_is_made_once(where, tmp_path):
    made = Counting(2)
    kept = stream(range(5), seed=0) | made | cache(where if where == 'memory' else tmp_path) | shuffle()
    assert sorted(values(kept)) == sorted(values(kept)) == [[2 * n] * 3 for n in range(5)]
    assert sorted(made.calls) == [0, 1, 2, 3, 4]


def test_only_what_is_asked_for_is_made():
    made = Counting(2)
    kept = stream(range(100)) | made | cache('memory')
    list(kept | take(3))
    list(kept | take(5))
    assert made.calls == [0, 1, 2, 3, 4]


def test_what_is_random_behind_it_is_fresh_in_each_pass():
    plain, kept = (
        stream(range(6), seed=1) | np.float64 | mark | with_rng(noisy) for mark in (apply(abs), cache('memory'))
    )
    with Infinite(plain, prefetch=0) as one, Infinite(kept, prefetch=0) as other:
        passes = [list(one()) for _ in range(2)]
        assert passes == [list(other()) for _ in range(2)]
    assert passes[0] != passes[1]


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 2}], ids=str)
def test_workers_fill_it_and_read_from_it(tmp_path, workers):
    items = sample(range(20), seed=0) | Counting(3) | np.sqrt
    plain = values(items | np.negative | take(60))
    for _ in range(2):
        assert values(items | cache(tmp_path) | parallel_map(np.negative, **workers) | take(60)) == plain
    again = Counting(3)
    kept = sample(range(20), seed=0) | again | np.sqrt | cache(tmp_path)
    assert values(kept | np.negative | take(60)) == plain
    assert again.calls == []


def test_whole_batches_and_states_go_on_with_it(tmp_path):
    def batches():
        kept = stream(range(32), seed=0) | Counting(2) | cache(tmp_path)
        return Infinite(kept, shuffle(), with_rng(noisy), batch_size=4, threads=2)

    with batches() as batch_iter:
        everything = values(batch_iter)
    with batches() as batch_iter:
        epoch = batch_iter()
        head = [next(epoch) for _ in range(3)]
        state = through_json(batch_iter.state_dict())
    with batches() as batch_iter:
        batch_iter.load_state_dict(state)
        assert values(head) + values(batch_iter()) == everything


def test_ranks_share_a_folder(tmp_path):
    parts = []
    for rank in range(2):
        made = Counting(2)
        with Infinite(stream(range(10)) | made | cache(tmp_path), shard=(rank, 2)) as batch_iter:
            parts.append(values(batch_iter))
        assert made.calls == list(range(rank, 10, 2))
    assert parts == [[[2 * n] * 3 for n in range(rank, 10, 2)] for rank in range(2)]


def test_another_function_or_other_data_is_another_cache(tmp_path):
    def kept(data, f, **options):
        return list(stream(data) | f | cache(tmp_path, **options))

    assert kept([1, 2], lambda x: x + 1) == [2, 3]
    assert kept([1, 2], lambda x: x + 1) == [2, 3]
    assert len(os.listdir(tmp_path)) == 1
    assert kept([1, 2], lambda x: x + 2) == [3, 4]
    assert kept([1, 3], lambda x: x + 2) == [3, 5]
    assert kept([1, 3], lambda x: x + 2, key='2') == [3, 5]
    assert kept([1, 4], lambda x: x + 3, key='2') == [3, 5]  # as nobody has said otherwise
    assert len(os.listdir(tmp_path)) == 4


SCRIPT = """
    import sys
    from itpipe import cache, stream

    def load(x):
        with open(sys.argv[1] + '.made', 'a') as file:
            file.write(x)
        return x * FACTOR

    FACTOR = int(sys.argv[2])
    print(list(stream(['a', 'b']) | load | cache(sys.argv[1])))
"""


def test_it_lasts_and_is_another_one_for_an_edited_script(tmp_path):
    script = textwrap.dedent(SCRIPT).replace(
        "print('made', x, file=sys.stderr)", "open(sys.argv[1] + '.made', 'a').write(x)"
    )
    for factor, expected in ((2, "['aa', 'bb']"), (2, "['aa', 'bb']"), (3, "['aaa', 'bbb']")):
        assert run_script(script, str(tmp_path / 'kept'), str(factor)) == f'{expected}\n'
    assert (tmp_path / 'kept.made').read_text() == 'abab'


def test_an_error_is_raised_each_time_and_not_kept():
    made = []

    def fails(x):
        made.append(x)
        return 1 // x

    kept = stream([1, 0]) | fails | cache('memory', key='0') | parallel_map(abs, threads=1, on_error='skip')
    for _ in range(2):
        assert list(kept) == [1]
    assert made == [1, 0, 0]


def fails(x):
    return 1 // x


@pytest.mark.parametrize(
    ('behind', 'item'),
    [
        (lambda kept: kept, 'item 3'),
        (lambda kept: kept | shuffle(), 'item 1 (index 3)'),
        (lambda kept: kept | parallel_map(abs, threads=2), 'item 3'),
        (lambda kept: kept | shuffle() | parallel_map(abs, threads=2), 'item 1 (index 3)'),
    ],
)
def test_an_error_has_one_note_with_the_stage_and_the_item(behind, item):
    kept = stream([1, 1, 1, 0], seed=2) | fails | cache('memory')
    with pytest.raises(ZeroDivisionError) as caught:
        list(behind(kept))
    assert caught.value.__notes__ == [f'itpipe: raised in apply(fails), {item}']


def test_an_error_of_the_data_has_the_note_of_the_source():
    class Data(Unsaid):
        def __getitem__(self, index):
            raise NotADirectoryError

    with pytest.raises(NotADirectoryError) as caught:
        list(stream(Data()) | cache('memory'))
    assert caught.value.__notes__ == ['itpipe: raised in the source <Data>, item 0']


def test_it_prints_and_is_drawn_as_it_was_written():
    kept = [1, 2] | apply(abs) | cache('memory', limit='1GB') | batch_by(2)
    assert repr(kept) == "[1, 2] | apply(abs) | cache('memory', limit='1GB') | batch_by(2)"
    assert kept == [1, 2] | apply(abs) | cache('memory', limit='1GB') | batch_by(2)
    assert kept != [1, 2] | apply(abs) | cache('memory') | batch_by(2)
    assert 'cache' in kept.draw().mermaid


@pytest.mark.parametrize(
    ('call', 'error'),
    [
        (lambda: cache(3), TypeError("cache: `where` must be 'memory' or a folder, got int")),
        (lambda: cache('memory', key=2), TypeError('cache: `key` must be a str, got int')),
        (lambda: cache('memory', limit=0), ValueError('cache: `limit` must be at least 1, got 0')),
        (
            lambda: {1: 2} | cache('memory'),
            TypeError('cache: it must stand behind data with a length and access by index, got {1: 2}'),
        ),
        (
            lambda: [1] | with_rng(noisy) | cache('memory'),
            TypeError(
                'cache: `with_rng(noisy)` is random, and in a cache it would be the same in each pass; put it behind'
            ),
        ),
        (
            lambda: [1] | filter_by(bool) | cache('memory'),
            TypeError(
                'cache: only item-wise stages may stand between the data and it, got `filter_by(bool)`; put that behind'
            ),
        ),
        (
            lambda: [1] | parallel_map(abs, threads=2) | cache('memory'),
            TypeError(
                'cache: `parallel_map(abs, threads=2)` must not stand before it; put `abs` and the cache in front:'
                ' `abs | cache(…) | parallel_map(g, processes=2)`: those workers fill it'
            ),
        ),
        (
            lambda: [[1]] | flatten | cache('memory'),
            TypeError(
                'cache: only item-wise stages may stand between the data and it, got `flatten()`; put that behind'
            ),
        ),
    ],
)
def test_what_is_refused(call, error):
    with raises(type(error), str(error)):
        call()


class Together(list):
    def __init__(self, values):
        super().__init__(values)
        self.asked = []

    def __getitems__(self, indices):
        self.asked.append(list(indices))
        return [self[index] for index in indices]

    def __reduce__(self):
        return Together, (list(self),)


def test_what_is_not_there_is_looked_up_together():
    data = Together([10, 11, 12, 13])
    kept = stream(data) | cache('memory')
    assert list(kept | take(2)) == [10, 11]
    dataset = kept.source.source.iterable
    assert dataset.__getitems__([3, 0, 3, 2]) == [13, 10, 13, 12]
    assert data.asked[-1] == [3, 2]


class Unsaid:
    """A dataset that says nothing of what is in it."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index

    def __reduce__(self):
        raise TypeError


def test_what_cannot_be_told_apart_needs_a_key(tmp_path):
    with pytest.raises(TypeError, match='has changed: give a `key`, and another one when it has$'):
        stream(Unsaid()) | cache(tmp_path)
    assert list(stream(Unsaid()) | cache(tmp_path, key='first')) == [0, 1]


def test_data_that_is_told_its_epoch_is_refused():
    class Changing(Unsaid):
        def set_epoch(self, epoch):
            pass

    with pytest.raises(TypeError, match='^cache: .* has `set_epoch`, so its items may be others in each pass$'):
        stream(Changing()) | cache('memory')


def test_files_are_cached_and_found_again(tmp_path):
    from itpipe.files import lines

    (tmp_path / 'a.txt').write_text('one\ntwo\n')
    for _ in range(2):
        assert list(stream(lines(tmp_path / 'a.txt')) | str.upper | cache(tmp_path / 'kept')) == ['ONE', 'TWO']
        assert list(stream(lines(tmp_path / 'a.txt')) | str.lower | cache(tmp_path / 'kept')) == ['one', 'two']
    assert len(os.listdir(tmp_path / 'kept')) == 2


# ---------------------------------------------------------------------------------------------------------------------
# What is edited while a pipeline exists


CELL = """
    FACTOR = 1
    CONFIG = {'factor': 1}

    class Scale:
        factor = 1

        def __init__(self):
            self.scale = 1

        def __call__(self, x):
            return x * self.factor * self.scale

    scale = Scale()

    def helper(x):
        return x * FACTOR * CONFIG['factor']

    def load(x):
        return scale(helper(x))
"""


def notebook():
    """What a cell defines."""
    names = {'__name__': '__main__'}
    exec(textwrap.dedent(CELL), names)
    return names


def patched(f):
    """Edit as `%autoreload` does."""

    def other(x):
        return x * 10 * FACTOR * CONFIG['factor']  # noqa: F821

    f.__code__ = other.__code__


EDITS = {
    'another helper': lambda cell: cell.update(helper=lambda x: 10 * x),
    'another constant': lambda cell: cell.update(FACTOR=10),
    'another function in its place': lambda cell: patched(cell['helper']),
    'in a dict': lambda cell: cell['CONFIG'].update(factor=10),
    'of a class': lambda cell: setattr(cell['Scale'], 'factor', 10),
    'of an object': lambda cell: setattr(cell['scale'], 'scale', 10),
}
each_edit = pytest.mark.parametrize('edit', EDITS.values(), ids=EDITS)
each_place = pytest.mark.parametrize('place', ['memory', 'folder'])


def where_of(place, folder):
    return place if place == 'memory' else str(folder)


@pytest.mark.parametrize(
    ('edit', 'place', 'workers'),
    [
        pytest.param(edit, place, workers, id=f'{name}-{place}-{workers}')
        for name, edit in EDITS.items()
        for place in ('memory', 'folder')
        for workers in ({}, {'threads': 2}, {'processes': 1})
        if 'processes' not in workers or (place == 'folder' and name in ('another helper', 'of an object'))
    ],
)
def test_an_edit_is_never_stored_as_what_was_there_before(edit, place, workers, tmp_path):
    """Items of a pipeline that was made before the edit, in the same run and in the next one."""
    cell, where = notebook(), where_of(place, tmp_path)
    batches = Infinite([1, 2, 3, 4], cell['load'], cache(where), batch_size=1, prefetch=0, **workers)
    run = iter(batches)
    assert next(run) == [1]
    edit(cell)
    rest = [int(batch[0]) for batch in run]
    assert rest == [2, 3, 4] if 'processes' in workers else set(rest) <= {2, 3, 4, 20, 30, 40}
    batches.close()
    assert [int(batch[0]) for batch in batches] == [10, 20, 30, 40]
    batches.close()
    with Infinite([1, 2, 3, 4], notebook()['load'], cache(where), batch_size=1, **workers) as before:
        assert [int(batch[0]) for batch in before] == [1, 2, 3, 4]


@each_edit
def test_each_state_of_the_code_has_its_items(edit, tmp_path):
    """Nothing is made twice, and nothing that is made by other code is given."""
    cell, made = notebook(), []
    cell['track'] = made.append
    kept = stream([1, 2, 3]) | cell['load'] | cache(tmp_path)
    assert list(kept) == [1, 2, 3]
    edit(cell)
    assert list(kept) == list(kept) == [10, 20, 30]
    again = stream([1, 2, 3]) | notebook()['load'] | cache(tmp_path)
    assert list(again) == [1, 2, 3]
    assert len(os.listdir(tmp_path)) == 2


@each_place
def test_what_changes_while_an_item_is_made_is_not_kept(place, tmp_path):
    names, calls = {'__name__': '__main__'}, []
    exec('N = 1\ndef load(x):\n watch(x)\n return x * N', names)

    class Watch:
        def __call__(self, x):
            calls.append(x)
            if len(calls) == 2:
                names['N'] = 7

        def __reduce__(self):
            return 'watch'

    names['watch'] = Watch()
    kept = stream([1, 2, 3]) | names['load'] | cache(where_of(place, tmp_path))
    assert list(kept) == [1, 14, 21]
    assert list(kept) == [7, 14, 21]
    assert calls == [1, 2, 3, 1, 2]


def test_one_edit_while_many_items_are_made_is_one_change(tmp_path):
    """Without a warning, however many are not kept."""
    names, begun, edited = {'__name__': '__main__'}, threading.Barrier(7), threading.Event()
    exec('N = 1\ndef load(x):\n wait()\n return x * N', names)

    class Wait:
        def __call__(self):
            if not edited.is_set():
                begun.wait()
                edited.wait()

        def __reduce__(self):
            return 'wait'

    def edit():
        begun.wait()
        names['N'] = 10
        edited.set()

    names['wait'] = Wait()
    editor = threading.Thread(target=edit)
    editor.start()
    kept = stream(range(12)) | names['load'] | cache(tmp_path)
    made = list(kept | parallel_map(abs, threads=6))
    editor.join()
    assert made == list(kept) == [10 * x for x in range(12)]


@each_place
def test_a_counter_of_the_function_itself_is_no_edit(place, tmp_path):
    """Not while it runs, not in the next run, and not for a pipeline that is made later."""
    names = {'__name__': '__main__', 'n': 0}
    exec('def load(x):\n global n\n n += 1\n return x', names)

    def pipeline():
        return Infinite(range(4), names['load'], cache(where_of(place, tmp_path)), batch_size=2, prefetch=0)

    with pipeline() as batch_iter:
        for _ in range(3):
            assert sum(map(len, batch_iter)) == 4
            batch_iter.close()
    assert names['n'] == 4
    with pipeline() as batch_iter:
        list(batch_iter)
    assert names['n'] == (8 if place == 'memory' else 4)


def test_what_changes_with_every_item_is_said_once(tmp_path):
    names = {'__name__': '__main__', 'state': {'calls': 0}}
    exec("def load(x):\n state['calls'] += 1\n return x", names)
    kept = stream(range(8)) | names['load'] | cache(tmp_path)
    with pytest.warns(UserWarning, match=r'^cache: items are not kept, as calls changes while they are made: ') as said:
        assert list(kept) == list(range(8))
    assert len(said) == 1
    assert list(stream(range(8)) | names['load'] | cache(tmp_path, key='0')) == list(range(8))


class Lazy:
    """A dataset that opens its file when it is first asked for an item."""

    def __init__(self):
        self.file, self.reads = None, 0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if self.file is None:
            self.file = threading.Lock()  # of which nothing can be told, as of a file
        self.reads += 1
        return index

    def __getstate__(self):
        return {'file': self.file}


@each_place
def test_what_the_data_open_themselves_is_no_change(place, tmp_path):
    kept = stream(Lazy()) | cache(where_of(place, tmp_path))
    with Infinite(kept, batch_size=2, prefetch=0) as batches:
        for _ in range(3):
            assert [batch.tolist() for batch in batches()] == [[0, 1], [2, 3]]
    assert list(kept) == list(kept) == [0, 1, 2, 3]
    assert kept.source.source.iterable.data.reads == 4


def test_what_data_hold_is_looked_at_in_the_next_run(tmp_path):
    paths = [str(number) for number in range(100)]
    kept = stream(paths) | cache(tmp_path)
    assert list(kept) == paths
    paths[5] = 'another'
    with pytest.warns(
        UserWarning, match='^cache: the data has changed since the last run, so all items are made anew; '
    ):
        assert list(kept) == paths


HOLDERS = {
    'a global': ('calls = []\ndef load(x):\n calls.append(x)\n return x', 'the global `calls`'),
    'a global of a helper': (
        'calls = []\ndef helper(x):\n calls.append(x)\ndef load(x):\n helper(x)\n return x',
        'the global `calls`',
    ),
    'a closure': (
        'def outer():\n calls = []\n def load(x):\n  calls.append(x)\n  return x\n return load\nload = outer()',
        '`calls` of `outer.<locals>.load`',
    ),
    'a default': ('def load(x, calls=[]):\n calls.append(x)\n return x', 'a default of `load`'),
    'an attribute': (
        'class Load:\n def __init__(self): self.n = 0\n def __call__(self, x): self.n += 1; return x\nload = Load()',
        'the attribute `n` of `Load`',
    ),
    'a class': (
        'class Load:\n calls = []\n def __call__(self, x):\n  self.calls.append(x)\n  return x\nload = Load()',
        '`calls` of the class `Load`',
    ),
}


@pytest.mark.parametrize('restart', [True, False], ids=['Infinite', 'stream'])
@pytest.mark.parametrize('holder', HOLDERS)
def test_what_functions_change_is_named_where_the_run_begins(holder, restart):
    source, what = HOLDERS[holder]
    exec(source, names := {'__name__': '__main__'})
    kept = stream([1, 2, 3]) | names['load'] | cache('memory')
    run = Infinite(kept, batch_size=3, restart=True) if restart else kept
    assert len(list(run))
    way = 'leave it out in `__getstate__`' if holder == 'an attribute' else 'let no function change it'
    with pytest.warns(UserWarning, match='^cache: ') as caught:
        assert len(list(run))
    if restart:
        run.close()
    (warning,) = caught
    assert str(warning.message) == (
        f'cache: {what} has changed since the last run, so all items are made anew; if that is no edit, {way}, or give'
        ' a `key`'
    )
    assert warning.filename == __file__


def test_a_process_goes_by_the_module_that_it_imports(tmp_path):
    """Not by that of its parent, which had imported it before the file was edited."""
    (tmp_path / 'loading.py').write_text('def load(x):\n    return x\n')
    script = """
        import pathlib, sys
        sys.path.insert(0, sys.argv[1])
        from loading import load
        from itpipe import Infinite, cache

        if __name__ == '__main__':
            folder = pathlib.Path(sys.argv[1])
            (folder / 'loading.py').write_text('def load(x):\\n    return 100 * x\\n')
            for workers in ({'processes': 1}, {}):
                with Infinite([1, 2], load, cache(folder / 'kept'), batch_size=1, **workers) as batches:
                    print(*batches)
    """
    assert run_script(textwrap.dedent(script), str(tmp_path)) == '[100] [200]\n[1] [2]\n'
