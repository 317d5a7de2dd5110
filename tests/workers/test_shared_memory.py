"""Arrays through shared memory: what arrives, what is used again, and what is left."""

import errno
import gc
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from lending import Lending, array, needs_memfd
from running import raises, run_script
from strategies import examples

import itpipe._workers.files
import itpipe._workers.launching
from itpipe import apply, batch_by, combine, parallel_map
from itpipe._workers.files import File
from itpipe._workers.shared_memory import LARGE, Arena, Borrower, Span
from itpipe.integrations.torch import to_torch


@pytest.fixture
def lending() -> Iterator[Lending]:
    lending = Lending()
    yield lending
    lending.close()


class TestOneSide:
    def test_a_large_array_is_a_writable_view_of_the_span(self, lending: Lending) -> None:
        given = array(LARGE)
        got = lending.views(given)
        assert (got == given).all()
        got[:] = 0
        assert given.any()
        assert lending.arena.lent == 1

    def test_a_copy_is_writable_and_changes_nothing_of_the_span(self, lending: Lending) -> None:
        """So what was sent can be sent again."""
        given = (array(LARGE + 5, 1), array(3 * LARGE, 2))
        data, span = lending.sent(given)
        for _ in range(2):
            got = pickle.loads(data, buffers=lending.borrower.copies(span))
            assert [each.tobytes() for each in got] == [each.tobytes() for each in given]
            for each in got:
                each[:] = 0
        assert lending.borrower.give_back() == []

    def test_a_span_comes_back_when_its_last_view_is_gone(self, lending: Lending) -> None:
        borrower = lending.borrower
        first, second = lending.views((array(LARGE), array(2 * LARGE)))
        part = second[5:6]
        del first, second
        assert borrower.give_back() == []
        del part
        assert borrower.give_back() == [0]
        assert borrower.give_back() == []
        lending.arena.take_back([0])
        assert lending.arena.lent == 0

    def test_the_same_memory_is_used_again(self, lending: Lending) -> None:
        for seed in range(20):
            got = lending.views(array(LARGE, seed))
            assert (got == array(LARGE, seed)).all()
            del got
            assert lending.borrower.give_back() == [0]
            lending.arena.take_back([0])

    def test_small_buffers_stay_in_the_pickle(self, lending: Lending) -> None:
        data, buffers = lending.sent((array(LARGE - 1), array(0), b'x' * LARGE))
        assert buffers == ()
        assert len(data) > 2 * LARGE - 1
        assert lending.arena.lent == 0

    def test_where_nothing_is_free_the_buffers_go_through_the_pipe(self) -> None:
        lending = Lending(3 * LARGE)
        kept = lending.views(array(2 * LARGE, 1))
        got = lending.views((array(2 * LARGE, 2), 'x'))
        assert (got[0] == array(2 * LARGE, 2)).all()
        got[0][:] = 0  # writable, too
        assert lending.arena.lent == 1
        assert (kept == array(2 * LARGE, 1)).all()
        frozen = array(2 * LARGE, 3)
        frozen.flags.writeable = False
        assert not lending.views(frozen).flags.writeable
        lending.close()

    def test_what_comes_back_after_the_end_is_ignored(self, lending: Lending) -> None:
        lent = [lending.sent(array(LARGE, seed))[1] for seed in range(3)]
        lending.arena.close()
        for span in lent:
            lending.arena.release(span)
        assert lending.arena.lend([pickle.PickleBuffer(array(LARGE))]) == [array(LARGE).tobytes()]

    def test_without_a_file_the_buffers_go_through_the_pipe(self) -> None:
        buffers = Arena(None).lend([pickle.PickleBuffer(array(LARGE))])
        (got,), (copy,) = Borrower().views(buffers), Borrower().copies(buffers)
        assert bytes(got) == bytes(copy) == array(LARGE).tobytes()

    def test_no_more_is_mapped_than_is_used(self, lending: Lending, monkeypatch: pytest.MonkeyPatch) -> None:
        """The address space of a process may be limited, and what views there are is kept."""
        monkeypatch.setattr(itpipe._workers.files, 'FIRST_MAPPED', 1 << 18)
        kept = [lending.views(array(1 << 17, seed)) for seed in range(20)]
        assert len(lending.borrower.file.mapped(1)) == 1 << 22  # type: ignore[union-attr, arg-type]
        for seed, got in enumerate(kept):
            assert (got == array(1 << 17, seed)).all()
        del got, kept
        lending.return_all()
        assert lending.arena.lent == 0

    def test_memory_that_must_not_be_mapped_is_written_and_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From the beginning, or later, by either of the two; in parts, as for more than 2 GiB."""
        preadv, pwrite, limit = os.preadv, os.pwrite, LARGE // 3
        monkeypatch.setattr(os, 'preadv', lambda fd, into, at: preadv(fd, [into[0][:limit]], at))
        monkeypatch.setattr(os, 'pwrite', lambda fd, data, at: pwrite(fd, data[:limit], at))
        for here, there in ((True, True), (True, False), (False, True)):
            for before in (0, 2):
                lending = Lending()
                for seed in range(4):
                    if seed == before:
                        for file, refused in ((lending.file, here), (lending.borrower.file, there)):
                            if refused:
                                monkeypatch.setattr(file, '_map', lambda *_, **__: None)
                                monkeypatch.setattr(file, '_memory', None)
                    for through in (lending.views, lending.copies):
                        got = through((array(LARGE + 7, seed), array(2 * LARGE, seed)))
                        assert (got[0] == array(LARGE + 7, seed)).all()
                        assert (got[1] == array(2 * LARGE, seed)).all()
                        got[0][:] = 0
                        del got
                lending.return_all()
                assert lending.arena.lent == 4  # the copies, which say nothing
                lending.close()

    def test_where_the_disk_is_full_the_buffers_go_through_the_pipe(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delattr(os, 'memfd_create', raising=False)
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        room, pwrite = [4 * LARGE], os.pwrite

        def write(number: int, data: Any, offset: int) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, 'No space left on device')
            written = pwrite(number, data[: min(room[0], LARGE // 2)], offset)
            room[0] -= written
            return written

        monkeypatch.setattr(os, 'pwrite', write)
        lending = Lending()
        kept = lending.views(array(3 * LARGE, 1))
        for seed in (2, 3):
            got = lending.views(array(2 * LARGE, seed))
            assert (got == array(2 * LARGE, seed)).all()
            assert lending.arena.lent == 1
        assert (kept == array(3 * LARGE, 1)).all()
        lending.close()

    def test_a_view_outlives_the_arena(self) -> None:
        lending = Lending()
        got = lending.views(array(LARGE))
        lending.close()
        del lending
        gc.collect()
        assert (got == array(LARGE)).all()

    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 30)), max_size=60))
    @examples(200)
    def test_no_two_spans_overlap_and_all_come_back(self, steps: list[tuple[bool, int, int]]) -> None:
        lending = Lending(24 * LARGE)
        kept: list[tuple[Any, int]] = []
        for seed, (drop, size, place) in enumerate(steps):
            if drop and kept:
                kept.pop(place % len(kept))
            else:
                kept.append((lending.views(array(size * LARGE // 2 + LARGE, seed)), seed))
            lending.return_all()
            for got, of in kept:
                assert (got == array(len(got), of)).all()
            check_holes(lending.arena)
        kept.clear()
        got = None
        lending.return_all()
        assert lending.arena.lent == 0
        assert lending.arena._holes == [(24 * LARGE, 0)]
        lending.close()

    def test_a_hole_is_filled_by_what_fits_best(self, lending: Lending) -> None:
        arena = lending.arena
        spans = [arena.lend([pickle.PickleBuffer(array(size * LARGE))]) for size in (3, 1, 2, 1, 3, 1)]
        offsets = [span.offset for span in spans if isinstance(span, Span)]
        arena.take_back([offsets[0], offsets[2], offsets[4], offsets[4], 77])
        assert arena.lent == 3
        for size, place in ((2, 2), (3, 0), (1, 4)):
            span = arena.lend([pickle.PickleBuffer(array(size * LARGE))])
            assert isinstance(span, Span)
            assert span.offset == offsets[place]

    def test_many_spans_of_mixed_sizes_take_no_more_steps_than_a_few(self) -> None:
        """Whoever keeps many results leaves many holes. Counted are the lines that run, as times vary."""

        def steps(count: int) -> int:
            arena, lines = Arena(File.new(1 << 40)), []

            def trace(_: Any, event: str, __: Any) -> Any:
                lines.append(event)
                return trace

            sizes = [int(size) << 12 for size in np.random.default_rng(0).integers(1, 100, count)]
            offsets = [arena._find(size) for size in sizes]
            arena.take_back([offset for offset in offsets[::2] if offset is not None])
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                for size in sizes[:100]:
                    arena.take_back([arena._find(size) or 0])
            finally:
                sys.settrace(before)
            check_holes(arena)
            arena.close()
            return len(lines)

        assert steps(20_000) < 1.5 * steps(200)


def check_holes(arena: Arena) -> None:
    assert sorted(arena._holes) == arena._holes == sorted((end - begin, begin) for begin, end in arena._ends.items())
    assert {end: begin for begin, end in arena._ends.items()} == arena._begins
    assert not arena._ends.keys() & arena._begins.keys()  # those side by side are one


def same(got: Any, expected: Any) -> bool:
    return (
        type(got) is type(expected)
        and got.dtype == expected.dtype
        and got.shape == expected.shape
        and got.flags.f_contiguous == expected.flags.f_contiguous
        and got.flags.writeable == expected.flags.writeable
        and np.array_equal(got, expected)
    )


def frozen(value: Any) -> Any:
    value.flags.writeable = False
    return value


class Sub(np.ndarray):
    pass


ARRAYS = {
    'C order': np.arange(10**5).reshape(100, 1000),
    'Fortran order': np.asfortranarray(np.arange(10**5).reshape(100, 1000)),
    'read-only': frozen(np.arange(10**5)),
    'zero size': np.zeros((0, 10**5)),
    'no axes': np.array(3.5),
    'objects': np.array([None, 'a', 3], dtype=object),
    'structured': np.zeros(10**5, dtype=[('a', 'i4'), ('b', 'f8')]),
    'times': np.arange(10**5).astype('M8[s]'),
    'text': np.array(['ä' * 1000] * 100),
    'a subclass': np.arange(10**5).view(Sub),
    'other byte order': np.arange(10**5, dtype='>i4'),
}


@pytest.mark.many(9)
@pytest.mark.parametrize('name', ARRAYS)
def test_arrays_there_and_back(name: str) -> None:
    value = ARRAYS[name]
    ((got, again), both) = list([value, {'a': [value, (value,)]}] | parallel_map(double, processes=1))
    assert same(got, value)
    assert got is again
    assert same(both[0]['a'][0], value)
    assert both[0]['a'][0] is both[0]['a'][1][0]


def test_arrays_inside_of_a_function_there_and_back() -> None:
    """They are the same, and one where they were one; large ones arrive read-only, and what comes of them does not."""

    def function(name: str) -> Any:
        value, again = ARRAYS[name], both[0][name]
        assert value is again
        return value, value.flags.writeable

    both = [ARRAYS]
    for name, (got, writeable) in zip(ARRAYS, ARRAYS | parallel_map(function, processes=2), strict=True):
        assert same(got, ARRAYS[name])
        shared = ARRAYS[name].nbytes >= LARGE and type(ARRAYS[name]) is np.ndarray
        assert writeable is (ARRAYS[name].flags.writeable and not shared)


def double(value: Any) -> Any:
    return value, value


def test_strided_arrays_there_and_back() -> None:
    value = np.arange(10**6).reshape(1000, 1000)[::2, ::3]
    ((got, _),) = list([value] | parallel_map(double, processes=1))
    assert np.array_equal(got, value)


@pytest.mark.long
def test_torch_tensors_there_and_back() -> None:
    torch = pytest.importorskip('torch')
    values = [
        torch.arange(10**5).reshape(100, 1000),
        torch.arange(10**5).reshape(100, 1000).T,
        torch.zeros(10**5, dtype=torch.bfloat16),
        torch.zeros(10**5, requires_grad=True),
    ]
    results = list(values | parallel_map(double, processes=1))
    for value, (got, _) in zip(values, results, strict=True):
        assert type(got) is torch.Tensor
        assert got.dtype == value.dtype
        assert got.requires_grad == value.requires_grad
        assert torch.equal(got, value)


def file_at(address: int) -> str:
    """The file that is mapped at this address of this process, '' if it is none."""
    for line in Path('/proc/self/maps').read_text().splitlines():
        part, _, _, _, _, *path = line.split(None, 5)
        begin, end = (int(bound, 16) for bound in part.split('-'))
        if begin <= address < end:
            return path[0] if path else ''
    return ''


@needs_memfd
def test_whole_batches_of_torch_tensors_are_not_copied_here() -> None:
    """They are in the memory that the worker wrote them into. It is used again when they are gone."""
    torch = pytest.importorskip('torch')
    dtypes = ['float32', 'uint8', 'bfloat16', 'complex64', 'bool']

    def item(n: int) -> Any:
        return n, {dtype: torch.full((64, 64, 4), n, dtype=getattr(torch, dtype)) for dtype in dtypes}

    def stacked(items: list[Any]) -> Any:
        large = {dtype: torch.stack([parts[dtype] for _, parts in items]) for dtype in dtypes}
        return torch.tensor([n for n, _ in items]), large

    places = set()
    for number, (n, batch) in enumerate(range(80) | parallel_map(apply(item) | batch_by(4) | stacked, processes=1)):
        assert n.tolist() == [*range(4 * number, 4 * number + 4)]
        assert 'memfd' not in file_at(n.data_ptr())  # too small for that
        for dtype, tensor in batch.items():
            assert (type(tensor), tensor.dtype) == (torch.Tensor, getattr(torch, dtype))
            assert (tensor[:, 0, 0, 0] == n.to(tensor.dtype)).all()
            assert 'memfd' in file_at(tensor.data_ptr())
            tensor.zero_()  # it belongs to the loop
            places.add((dtype, tensor.data_ptr()))
        del batch, tensor
    assert len(places) < 20 * len(dtypes) / 2


@pytest.mark.long
@needs_memfd
def test_arrays_that_are_made_tensors_in_a_worker_are_not_copied_here() -> None:
    torch = pytest.importorskip('torch')
    for whole in (apply(large) | batch_by(4) | combine | to_torch(), apply(large) | to_torch() | batch_by(4) | combine):
        for number, batch in enumerate(range(8) | parallel_map(whole, processes=1)):
            assert (type(batch), batch.dtype) == (torch.Tensor, torch.int64)
            assert batch[:, 0, 0].tolist() == [*range(4 * number, 4 * number + 4)]
            assert 'memfd' in file_at(batch.data_ptr())


@pytest.mark.long
def test_torch_tensors_inside_of_a_function() -> None:
    """There are none that are read-only: what a process writes, no other sees."""
    torch = pytest.importorskip('torch')
    tensor, last = (
        torch.arange(10**5).reshape(100, 1000),
        torch.zeros(2, 3, 100, 100).to(memory_format=torch.channels_last),
    )

    def function(x: int) -> Any:
        before = tensor.clone()
        tensor[0] = 7
        return before, tensor, last.stride()

    for before, after, stride in range(2) | parallel_map(function, processes=2, max_tasks_per_worker=1):
        assert torch.equal(before, tensor)
        assert torch.equal(after[1:], tensor[1:])
        assert (after[0] == 7).all()
        assert stride == last.stride()
    assert tensor[0, 1] == 1


def large(x: int) -> Any:
    return np.full((256, 256), x)


@pytest.mark.long
@pytest.mark.parametrize('ordered', [True, False])
def test_results_that_are_kept_stay_what_they_are(ordered: bool) -> None:
    kept = list(range(60) | parallel_map(large, processes=2, ordered=ordered))
    assert sorted(int(each[0, 0]) for each in kept) == list(range(60))
    assert all((each == each[0, 0]).all() for each in kept)


@pytest.mark.long
@pytest.mark.parametrize('ordered', [True, False])
def test_a_budget_that_is_spent_stops_nothing(monkeypatch: pytest.MonkeyPatch, ordered: bool) -> None:
    monkeypatch.setattr(itpipe._workers.launching, 'arena_memory', lambda: 5 * 256 * 256 * 8)
    kept = list(range(40) | parallel_map(large, processes=2, ordered=ordered) | batch_by(4))
    assert sorted(int(each[0, 0]) for batch in kept for each in batch) == list(range(40))


@pytest.mark.long
def test_arguments_come_back_when_the_function_has_returned() -> None:
    """And so does what it keeps, when it no longer does."""
    out = run_script(
        """
        import numpy as np
        from itpipe import parallel_map
        from itpipe._workers.processes import Processes
        from itpipe._workers.shared_memory import Arena

        lent = []
        lend = Arena.lend
        Arena.lend = lambda self, large: (lend(self, large), lent.append(self.lent))[0]

        kept = []
        def function(x):
            kept.append(x)
            del kept[:-3]
            return float(x[-1])

        items = (np.full(10**5, n) for n in range(200))
        assert list(items | parallel_map(function, processes=1, in_flight=4)) == list(range(200))
        print(max(lent))
        """
    )
    assert int(out) <= 4 + 3 + 2  # in flight, kept, and on the way back


@pytest.mark.long
def test_memory_stays_flat() -> None:
    out = run_script(
        """
        import numpy as np
        import psutil
        from itpipe import batch_by, combine, parallel_map

        def used():
            own = psutil.Process()
            return sum(process.memory_full_info().pss for process in [own, *own.children()])

        def function(x):
            return np.full(200_000 + 1000 * (x % 7), x)[:200_000]

        run = iter(range(1000) | parallel_map(function, processes=2) | batch_by(4) | combine)
        for _ in range(50):
            next(run)
        before = used()
        for _ in range(150):
            next(run)
        print(used() - before)
        run.close()
        """
    )
    # of 960 MB that came through; each process keeps up to 64 MB, and without the GIL, memory waits for its thread
    assert int(out) < 150e6


@pytest.mark.long
def test_batches_are_memory_of_their_own() -> None:
    """Combining copies each byte once: from the span to the batch, which is memory of its own."""
    for n, batch in enumerate(range(12) | parallel_map(large, processes=1) | batch_by(4) | combine):
        assert batch.base is None or isinstance(batch.base, np.ndarray)
        assert [int(x) for x in batch[:, 5, 5]] == [4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3]


@pytest.mark.long
@needs_memfd
def test_nothing_is_left_in_the_process_when_views_are_gone() -> None:
    def mapped() -> int:
        return Path('/proc/self/maps').read_text().count('memfd:itpipe')

    before = mapped()
    run = iter(range(100) | parallel_map(large, processes=2))
    views = [next(run), next(run)]
    run.close()
    del run
    gc.collect()
    assert mapped() > before
    assert [int(view[0, 0]) for view in views] == [0, 1]
    views.clear()
    gc.collect()
    assert mapped() == before


@pytest.mark.long
def test_an_error_beside_large_results() -> None:
    def function(x: int) -> Any:
        if x == 5:
            raise ValueError('no 5')
        return large(x)

    run = iter(range(10) | parallel_map(function, processes=2))
    assert [int(next(run)[0, 0]) for _ in range(5)] == list(range(5))
    with raises(ValueError, 'no 5', f'itpipe: raised in {parallel_map(function, processes=2)!r}, item 5'):
        next(run)


def test_a_large_result_that_cannot_be_pickled() -> None:
    def function(x: int) -> Any:
        return large(x), (lambda: (yield))()

    run = iter(range(3) | parallel_map(function, processes=1))
    with pytest.raises(itpipe.NotPicklable, match='^the result cannot be pickled'):
        next(run)


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong


def half_there(path: Path) -> Any:
    """An array of which the second half cannot be read: whoever tries is killed."""
    memory = np.memmap(path, np.uint8, 'w+', shape=(8 * LARGE,))
    os.truncate(path, 4 * LARGE)
    return np.asarray(memory)


@pytest.mark.long
@pytest.mark.parametrize('ordered', [True, False])
def test_a_worker_that_dies_while_it_writes_a_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ordered: bool
) -> None:
    """It is made again, and comes once; those that were written before stay what they are."""

    def function(x: int) -> Any:
        path = tmp_path / str(x)
        return half_there(path) if x in {7, 31} and not path.exists() else large(x)

    kept = list(range(40) | parallel_map(function, processes=2, ordered=ordered))
    values = [int(each[0, 0]) for each in kept]
    assert (values if ordered else sorted(values)) == list(range(40))
    assert all(each.shape == (256, 256) and (each == each[0, 0]).all() for each in kept)
    died = capfd.readouterr().err
    assert died.count('Bus error') == 2
    assert died.count(' in lend') == 2


REFUSED = """
    import ctypes, os, resource, sys, tempfile
    from pathlib import Path
    import numpy as np
    import itpipe._workers.launching
    from itpipe import parallel_map

    what, where = sys.argv[1:]
    itpipe._workers.launching.arena_memory = lambda: 2 << 40
    opened = []

    def refuse():
        if what == 'to grow':
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        elif what == 'to be mapped':
            resource.setrlimit(resource.RLIMIT_AS, (1 << 38, 1 << 38))
        elif what == 'to be opened':
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        elif what == 'to be found':  # in /proc, that of a process that is not dumpable
            assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
        elif what == 'to be made':
            tempfile.tempdir = '/nowhere'
            del os.memfd_create

    def mapped():
        if not opened:
            opened.append(os.open('/proc/self/maps', os.O_RDONLY))
        return os.pread(opened[0], 1 << 20, 0).decode().count('memfd:itpipe')

    def function(x):
        if where == 'in the worker' and not opened:
            mapped()
            refuse()
        return x + 1, mapped()

    if where != 'in the worker':
        refuse()
    for n, (array, there) in enumerate((np.full(10**5, n) for n in range(20)) | parallel_map(function, processes=1)):
        assert (array == n + 1).all()
        here = mapped()  # while the pool is open
    print(here, there)
"""


@pytest.mark.many(7)
@needs_memfd
@pytest.mark.parametrize(
    ('what', 'where', 'here', 'there'),
    [
        ('nothing', 'here', 2, 2),
        ('to be made', 'here', 0, 0),
        ('to be made', 'in the worker', 2, 2),
        ('to grow', 'in the worker', 2, 2),
        ('to grow', 'everywhere', 0, 0),
        ('to be mapped', 'everywhere', 2, 2),  # no more is than is used
        ('to be opened', 'in the worker', 2, 1),  # the one that was mapped before
        ('to be found', 'everywhere', 2, 2),
    ],
)
def test_what_memory_is_not_allowed_is_no_error(what: str, where: str, here: int, there: int) -> None:
    """If all is, there are two blocks in each process: its own, and the other one's."""
    assert run_script(REFUSED, what, where) == f'{here} {there}\n'
