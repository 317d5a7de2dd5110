"""Records of runs: each batch that was received is in the file, whatever ends the run."""

import errno
import functools
import operator
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from unittest import mock

import pytest
from running import environment

from itpipe import Infinite, apply, batch_by, filter_by, flatten, mix, parallel_map, sample, shuffle, stream, zip_with
from itpipe._core.record_frames import BEGIN, frames
from itpipe._engine import recording
from itpipe.tools.records import read


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'run.log'


def keys(path, training=-1):
    return [step.key for step in read(path)[training].steps]


def received(batch_iter, most=10**9):
    """The keys of the batches of an epoch."""
    found = []
    for _ in batch_iter:
        found.append(batch_iter._epochs.last.key)
        if len(found) == most:
            break
    return found


PIPELINES = {
    'in order': lambda: stream(range(40)) | batch_by(4),
    'shuffled': lambda: stream(range(40)) | shuffle(9) | batch_by(4),
    'all shuffled': lambda: stream(range(40)) | shuffle() | batch_by(4),
    'without batches': lambda: stream(range(40)) | shuffle(9),
    'mixed': lambda: mix(stream(range(20)), sample('abc', seed=1)) | batch_by(4),
    'zipped': lambda: stream(range(9)) | zip_with(range(9)) | batch_by(4),
    'taken apart': lambda: stream(['abc', 'd', 'ef']) | flatten | batch_by(4),
    'ragged': lambda: stream(range(40)) | batch_by(lambda items, item: sum(items) + item < 50),
    'left out': lambda: stream(range(40)) | filter_by(lambda x: x % 3) | batch_by(4),
    'batches of batches': lambda: stream(range(40)) | batch_by(2) | shuffle(4) | batch_by(3),
    'dicts': lambda: stream(range(40)) | apply(lambda x: {'x': [x], x: (x,)}) | batch_by(4),
    'by workers': lambda: stream(range(40)) | parallel_map(apply(str) | batch_by(4) | list, threads=2),
}


@pytest.mark.parametrize('digest', [False, True])
@pytest.mark.parametrize('made', PIPELINES.values(), ids=PIPELINES)
def test_the_keys_of_all_batches_are_in_it(made, digest, path):
    batches = Infinite(made(), seed=3, record=path, digest=digest, batches_per_epoch=7)
    with batches as batch_iter, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        expected = [received(batch_iter) for _ in range(3)]
    (training,) = read(path)
    assert [[step.key for step in training.steps if step.epoch == n] for n in range(3)] == expected
    assert all((step.digest is not None) == digest for step in training.steps)


@pytest.mark.parametrize('prefetch', [0, 2])
def test_epochs_at_the_same_time_are_told_apart(prefetch, path):
    with Infinite(range(40), batch_size=2, batches_per_epoch=3, prefetch=prefetch, record=path) as batch_iter:
        for _ in zip(batch_iter, batch_iter, strict=True):
            pass
    found = [(step.epoch, step.batch, step.key) for step in read(path)[0].steps]
    assert found == [(n % 2, n // 2, (2 * n, 2 * n + 1)) for n in range(6)]


def test_epochs_that_begin_anew_are_runs_of_one_training(path):
    batch_iter = Infinite(range(6), shuffle(6), batch_size=2, restart=True, record=path)
    first = received(batch_iter)
    for _ in zip(batch_iter, batch_iter, strict=True):
        pass
    (training,) = read(path)
    assert [step.key for step in training.steps if step.epoch == 0] == first
    assert [(step.epoch, step.batch) for step in training.steps[3:]] == [(1, n) for n in range(3)] + [
        (2, n) for n in range(3)
    ]
    assert len({step.entropy for step in training.steps}) == 1


def pipeline(path, **options):
    return Infinite(range(1000), shuffle(50), batch_size=4, batches_per_epoch=5, record=path, seed=0, **options)


@pytest.mark.parametrize('done', [1, 4, 5, 7])
@pytest.mark.parametrize('again', [0, 1, 3])
def test_a_run_that_goes_on_does_so_in_the_record(done, again, path):
    with pipeline(None) as batch_iter:
        whole = functools.reduce(operator.iadd, (received(batch_iter) for _ in range(4)), [])
    with pipeline(path) as batch_iter:
        count = 0
        for _ in range(4):
            for _ in batch_iter:
                count += 1
                if count == done:
                    state = batch_iter.state_dict()
                if count == done + again:
                    break
            if count == done + again:
                break
    with pipeline(path) as batch_iter:
        batch_iter.load_state_dict(state)
        while count < 20 + again:
            count += len(received(batch_iter))
    (training,) = read(path)
    assert [step.key for step in training.steps] == whole
    assert [(step.epoch, step.batch) for step in training.steps] == [divmod(n, 5) for n in range(20)]
    assert training.starts == [0, done]


def test_a_run_that_begins_again_is_another_training(path):
    with pipeline(path) as batch_iter:
        first = received(batch_iter)
    with pipeline(path) as batch_iter:
        second = received(batch_iter, 2)
        batch_iter.close()
        third = received(batch_iter)
    assert [keys(path, n) for n in range(3)] == [first, second, third]


def test_items_that_were_left_out_are_in_it(path):
    def fragile(x):
        if x % 10 == 3:
            raise ValueError(x)
        return x

    made = stream(range(40)) | parallel_map(fragile, threads=2, on_error='skip') | batch_by(4)
    with Infinite(made, record=path, batches_per_epoch=3, prefetch=0) as batch_iter, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for _ in range(3):
            received(batch_iter)
    (training,) = read(path)
    assert [each for _, each in training.dropped] == [
        [n, "parallel_map(fragile, threads=2, on_error='skip')", f'ValueError({n})'] for n in (3, 13, 23, 33)
    ]


def only_nines(x):
    if x % 10 != 9:
        raise ValueError(x)
    return x


@pytest.mark.parametrize('most', [50, 5])
def test_of_many_items_that_were_left_out_none_is_lost_unsaid(most, path):
    made = stream(range(100)) | parallel_map(only_nines, threads=1, in_flight=2, on_error='skip') | batch_by(1)
    small = mock.patch('itpipe._engine.waiting.MAX_DROPPED', most)
    with small, Infinite(made, record=path, batches_per_epoch=10, prefetch=0) as batch_iter, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        received(batch_iter)
        assert len(batch_iter.dropped) == most
    (training,) = read(path)
    found = [each[0] for _, each in training.dropped]
    missing = sum(count for _, count in training.missing)
    assert len(found) + missing == 90
    assert (missing == 0) == (most == 50)
    assert found == sorted({*found})
    assert found[-1] == 98


# ---------------------------------------------------------------------------------------------------------------------
# Ends that nobody asked for


def test_a_batch_is_there_when_the_next_one_has_come_whatever_kills_the_process(path):
    script = textwrap.dedent(f"""
        import os
        from itpipe import Infinite, shuffle
        with Infinite(range(10**6), shuffle(100), batch_size=32, seed=0, record={str(path)!r}) as batch_iter:
            for n, batch in enumerate(batch_iter):
                print(n, *batch_iter.item_keys, flush=True)
    """)
    with subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        for line in process.stdout:
            if int(line.split()[0]) == 500:
                process.send_signal(signal.SIGKILL)
                break
        lines = [line, *process.stdout]
    last = [line for line in lines if line.endswith('\n')][-1]
    number, *items = map(int, last.split())
    found = keys(path)
    assert len(found) >= number
    if len(found) > number:
        assert list(found[number]) == items
    with Infinite(range(10), batch_size=5, record=path) as batch_iter:
        received(batch_iter)
    assert keys(path, 0) == found
    assert keys(path, 1) == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]


@pytest.mark.parametrize(('fast', 'there'), [(-1.0, [1, 2, 3, 4]), (1e9, [0, 2, 2, 4])])
def test_of_batches_that_come_fast_every_second_one_waits_for_the_next(fast, there, path, monkeypatch):
    monkeypatch.setattr(recording, 'FAST', fast)
    with Infinite(range(8), batch_size=2, record=path, prefetch=0) as batch_iter:
        assert [len(keys(path)) for _ in batch_iter] == there
    assert keys(path) == [(0, 1), (2, 3), (4, 5), (6, 7)]


def test_a_file_that_was_cut_off_anywhere_is_read_up_to_there_and_goes_on(path):
    with pipeline(path) as batch_iter:
        expected = functools.reduce(operator.iadd, (received(batch_iter) for _ in range(3)), [])
    whole = path.read_bytes()
    first = whole.index(b'\x02\x01\0\0\0')
    for cut in range(first, len(whole), 7):
        for rest in (b'', b'\0' * 300):
            path.write_bytes(whole[:cut] + rest)
            found = keys(path)
            assert found == expected[: len(found)]
            assert len(found) >= (cut - first) // 30 - 10
            path.write_bytes(whole[:cut] + rest + whole)
            assert [keys(path, 0), keys(path, 1)] == [found, expected]


def test_without_a_close_the_last_batch_is_written_when_the_infinite_is_gone(path):
    batch_iter = Infinite(range(8), batch_size=2, record=path)
    epoch = iter(batch_iter)
    next(epoch), next(epoch)
    del batch_iter, epoch
    assert keys(path) == [(0, 1), (2, 3)]


class Disk:
    """Lets no more bytes be written than there is room for."""

    def __init__(self, room, write=os.write):
        self.room, self.write = room, write

    def __call__(self, file, data):
        part = data[: self.room]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(part)
        return self.write(file, part)


@pytest.mark.parametrize('room', [800, 900, 1000])
def test_a_full_disk_does_not_end_the_run(room, path):
    full = mock.patch('itpipe._engine.recording.os.write', Disk(room))
    warned = pytest.warns(RuntimeWarning, match='cannot be written any more.*No space left')
    with pipeline(path) as batch_iter, full, warned as caught:
        expected = [batch.tolist() for _ in range(21) for batch in batch_iter]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pipeline(None) as batch_iter:
        whole = [received(batch_iter) for _ in range(21)]
    with pipeline(None) as batch_iter:
        assert [batch.tolist() for _ in range(21) for batch in batch_iter] == expected
    assert len(path.read_bytes()) == room
    assert keys(path) == functools.reduce(operator.iadd, whole, [])[: len(keys(path))]


def test_a_full_disk_at_the_start_is_an_error(path):
    full = mock.patch('itpipe._engine.recording.os.write', Disk(10))
    message = 'Infinite: `record` cannot be written: No space left'
    with pipeline(path) as batch_iter, full, pytest.raises(OSError, match=message) as caught:
        next(iter(batch_iter))
    assert caught.value.errno == errno.ENOSPC


def test_a_file_that_is_removed_does_not_end_the_run(path):
    with pipeline(path) as batch_iter:
        received(batch_iter)
        path.unlink()
        with pytest.warns(RuntimeWarning, match='the file was removed'):
            assert len(received(batch_iter)) == 5
        assert len(received(batch_iter)) == 5
    assert not path.exists()


def test_a_run_that_cannot_open_the_file_again_goes_on(tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    with Infinite(range(8), batch_size=4, restart=True, record=folder / 'run.log') as batch_iter:
        received(batch_iter)
        (folder / 'run.log').unlink()
        folder.rmdir()
        with pytest.warns(RuntimeWarning, match='the run goes on without it: .*No such file'):
            assert received(batch_iter) == [(0, 1, 2, 3), (4, 5, 6, 7)]
        assert len(received(batch_iter)) == 2


class Resource:
    def close(self):
        raise OSError('closing failed')


def taken(x, setup):
    return x


def test_if_closing_the_workers_fails_the_file_is_closed_all_the_same(path):
    made = stream(range(8)) | parallel_map(taken, threads=1, setup=Resource)
    batch_iter = Infinite(made, batch_size=4, record=path)
    assert len(list(batch_iter)) == 2
    batches = iter(batch_iter)
    next(batches)
    with pytest.raises(OSError, match='closing failed'):
        batch_iter.close()
    assert len(keys(path)) == 3
    with Infinite(range(8), batch_size=4, record=path) as other:
        assert len(received(other)) == 2


@pytest.mark.parametrize('prefetch', [0, 2])
def test_where_warnings_are_errors_no_batch_is_lost(prefetch, path):
    found = []
    with Infinite(range(40), batch_size=4, record=path, prefetch=prefetch) as batch_iter:
        batches = iter(batch_iter)
        found += [next(batches)[0], next(batches)[0]]
        with mock.patch('itpipe._engine.recording.os.write', Disk(0)):
            with pytest.raises(RuntimeWarning, match='No space left'):
                for batch in batches:
                    found.append(batch[0])
            found += [batch[0] for batch in batch_iter]
    assert found == [*range(0, 40, 4)]


def test_what_fails_at_the_last_batch_is_told_at_the_end(path):
    batch_iter = Infinite(range(8), batch_size=8, record=path, batches_per_epoch=1)
    with mock.patch.object(type(batch_iter._epochs.recorder), '_write_place', side_effect=OSError('gone')):
        assert len(list(batch_iter)) == 1
    with pytest.warns(RuntimeWarning, match='goes on without it: gone'):
        batch_iter.close()


@pytest.mark.parametrize('prefetch', [0, 2])
def test_an_epoch_begins_where_nobody_knows_whether_the_file_is_there(prefetch, path):
    with pipeline(path, prefetch=prefetch) as batch_iter:
        received(batch_iter)
        unknown = mock.patch('itpipe._engine.recording.os.fstat', side_effect=OSError(errno.EIO, 'Input/output error'))
        with unknown, pytest.warns(RuntimeWarning, match='goes on without it: .*Input/output error'):
            assert len(received(batch_iter)) == 5


# ---------------------------------------------------------------------------------------------------------------------
# Where it can be written


def test_what_cannot_be_a_record_is_refused_early(path, tmp_path):
    with pytest.raises(TypeError, match=r'Infinite: `record` must be the path of a file, got int'):
        Infinite(range(3), record=3)
    with pytest.raises(TypeError, match='Infinite: `digest` goes with `record`'):
        Infinite(range(3), digest=True)
    with pytest.raises(TypeError, match='Infinite: `digest` must be True or False, got int'):
        Infinite(range(3), record=path, digest=1)
    with pytest.raises(FileNotFoundError, match='Infinite: `record` needs a folder that is there: '):
        Infinite(range(3), record=tmp_path / 'nowhere' / 'run.log')
    with pytest.raises(ValueError, match='Infinite: `record` must be the path of a file, got '):
        Infinite(range(3), record=tmp_path)
    path.write_text('my notes')
    with pytest.raises(
        ValueError, match='Infinite: `record` is a file that is not a record, got .*; give another path'
    ):
        Infinite(range(3), record=path)
    assert path.read_text() == 'my notes'


def test_what_happens_to_the_place_before_the_start_is_an_error_at_the_start(tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    batch_iter = Infinite(range(3), record=folder / 'run.log')
    folder.rmdir()
    with pytest.raises(FileNotFoundError, match='Infinite: `record` cannot be written: No such file'):
        next(iter(batch_iter))
    folder.mkdir()
    assert list(batch_iter) == [0, 1, 2]
    batch_iter.close()
    assert keys(folder / 'run.log') == [0, 1, 2]


@pytest.mark.skipif(os.geteuid() == 0, reason='may write everywhere')
def test_what_may_not_be_written_is_refused_early(path, tmp_path):
    path.write_bytes(b'')
    path.chmod(0o400)
    with pytest.raises(PermissionError, match='must be a file that can be read and written'):
        Infinite(range(3), record=path)
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match='needs a folder that can be written to'):
        Infinite(range(3), record=tmp_path / 'other.log')
    tmp_path.chmod(0o700)


def test_nothing_is_written_before_the_start(path):
    Infinite(range(3), record=path).close()
    assert not path.exists()


def test_two_cannot_write_to_one_file(path):
    with Infinite(range(9), record=path) as one, Infinite(range(9), record=path) as other:
        next(iter(one))
        with pytest.raises(RuntimeError, match='Infinite: `record` is being written by another Infinite: '):
            next(iter(other))
        one.close()
        assert list(other) == list(range(9))
    assert [keys(path, n) for n in range(2)] == [[0], list(range(9))]


def test_each_rank_has_its_own_file(tmp_path):
    for rank in range(2):
        with Infinite(range(8), batch_size=2, shard=(rank, 2), record=tmp_path / 'run.log') as batch_iter:
            received(batch_iter)
    assert sorted(each.name for each in tmp_path.iterdir()) == ['run.rank0.log', 'run.rank1.log']
    assert keys(tmp_path / 'run.rank1.log') == [(1, 3), (5, 7)]


@pytest.mark.filterwarnings('ignore:.*multi-threaded.*:DeprecationWarning')
def test_a_fork_that_iterates_goes_on_without_a_record(path):
    with pipeline(path) as batch_iter:
        next(iter(batch_iter))
        child = os.fork()
        if child == 0:
            try:
                batch_iter.close()
                with pytest.warns(RuntimeWarning, match='goes on without it: .*by another Infinite'):
                    size = len(next(iter(batch_iter)))
                os._exit(7 if size == 4 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(keys(path)) == 1


@pytest.mark.filterwarnings('ignore:.*multi-threaded.*:DeprecationWarning')
def test_a_fork_writes_nothing_and_holds_nothing(path):
    with pipeline(path) as batch_iter:
        epoch = iter(batch_iter)
        next(epoch)
        ready, wait = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                batch_iter.close()
                os.write(ready[1], b'x')
                os.read(wait[0], 1)
            finally:
                os._exit(0)
        os.read(ready[0], 1)
        next(epoch)
        batch_iter.close()
        with pipeline(path) as other:  # although the fork still lives
            received(other, 1)
        os.write(wait[1], b'x')
        os.waitpid(child, 0)
        for each in (*ready, *wait):
            os.close(each)
    assert [len(keys(path, n)) for n in range(2)] == [2, 1]


def test_many_records_do_not_leave_a_hook_each(tmp_path, monkeypatch):
    hooks = []
    monkeypatch.setattr(recording, '_to_let_go', functools.cache(recording._to_let_go.__wrapped__))
    monkeypatch.setattr(os, 'register_at_fork', lambda **hook: hooks.append(hook))
    for n in range(3):
        with Infinite(range(4), record=tmp_path / f'{n}.log') as batch_iter:
            assert list(batch_iter) == [0, 1, 2, 3]
    assert len(hooks) == 1  # nothing can remove it


def test_it_goes_with_pickle_before_the_start(path):
    with pickle.loads(pickle.dumps(Infinite(range(4), batch_size=2, record=path, digest=True))) as batch_iter:
        received(batch_iter)
    assert keys(path) == [(0, 1), (2, 3)]


def test_it_says_what_it_is_a_record_of(path):
    with pipeline(path, prefetch=0) as batch_iter:
        assert repr(batch_iter).endswith(f', record={path!r})')
        received(batch_iter, 1)
        state = batch_iter.state_dict()
    (section,) = path.read_bytes().split(BEGIN)[1:]
    header = next(frames(section)).json
    assert header['pipeline'] == state['pipeline']
    assert header['versions'].keys() >= {'itpipe', 'python', 'numpy'}
    assert (header['shard'], header['restart'], header['batches_per_epoch']) == (None, False, 5)
    assert header['infinite'] == repr(batch_iter)


def test_a_record_changes_no_bit_and_no_state(path):
    with pipeline(None) as one, pipeline(path, digest=True) as other:
        for mine, theirs in zip(one, other, strict=True):
            assert mine.tolist() == theirs.tolist()
            assert one.state_dict() == other.state_dict()


@pytest.mark.parametrize('source', [lambda: stream(range(10**5)) | shuffle(5000), lambda: sample(range(10**5))])
def test_a_batch_takes_less_than_a_hundred_bytes(source, path):
    with Infinite(source(), batch_size=32, record=path, batches_per_epoch=1000) as batch_iter:
        received(batch_iter)
    assert path.stat().st_size < 1000 * 100
