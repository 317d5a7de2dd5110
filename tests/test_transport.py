"""Arrays through shared memory: what arrives, what is used again, and what is left."""

import gc
import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import LIMIT, raises, run_script
from strategies import examples

import itpipe.processes
import itpipe.transport
from itpipe import batch_by, combine, parallel_map
from itpipe.transport import LARGE, Arena, Block, Borrower, Large, mapped

needs_memfd = pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='nameless blocks are of Linux')


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena(1 << 24)
    yield arena
    arena.close()


def sent(value: Any, arena: Arena) -> tuple[bytes, Any]:
    large = Large()
    data = pickle.dumps(value, protocol=5, buffer_callback=large)
    return data, pickle.loads(pickle.dumps(arena.lend(large)))


def through(value: Any, arena: Arena, borrower: Borrower) -> Any:
    data, buffers = sent(value, arena)
    return pickle.loads(data, buffers=borrower.views(buffers))


def array(size: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


class TestOneSide:
    def test_a_large_array_is_a_writable_view_of_the_span(self, arena: Arena) -> None:
        given, borrower = array(LARGE), Borrower()
        got = through(given, arena, borrower)
        assert (got == given).all()
        got[:] = 0
        assert given.any()
        assert arena.lent == 1

    def test_a_span_comes_back_when_its_last_view_is_gone(self, arena: Arena) -> None:
        borrower = Borrower()
        first, second = through((array(LARGE), array(2 * LARGE)), arena, borrower)
        part = second[5:6]
        del first, second
        assert borrower.give_back() == []
        del part
        assert borrower.give_back() == [0]
        assert borrower.give_back() == []
        arena.take_back([0])
        assert arena.lent == 0

    def test_the_same_memory_is_used_again(self, arena: Arena) -> None:
        borrower = Borrower()
        for seed in range(20):
            got = through(array(LARGE, seed), arena, borrower)
            assert (got == array(LARGE, seed)).all()
            del got
            assert borrower.give_back() == [0]
            arena.take_back([0])

    def test_small_buffers_stay_in_the_pickle(self, arena: Arena) -> None:
        data, buffers = sent((array(LARGE - 1), array(0), b'x' * LARGE), arena)
        assert buffers == ()
        assert len(data) > 2 * LARGE - 1
        assert arena.lent == 0

    def test_where_nothing_is_free_the_buffers_go_through_the_pipe(self) -> None:
        arena, borrower = Arena(3 * LARGE), Borrower()
        kept = through(array(2 * LARGE, 1), arena, borrower)
        got = through((array(2 * LARGE, 2), 'x'), arena, borrower)
        assert (got[0] == array(2 * LARGE, 2)).all()
        got[0][:] = 0  # writable, too
        assert arena.lent == 1
        assert (kept == array(2 * LARGE, 1)).all()
        frozen = array(2 * LARGE, 3)
        frozen.flags.writeable = False
        assert not through(frozen, arena, borrower).flags.writeable
        arena.close()

    def test_a_machine_without_such_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any) -> int:
            raise OSError(24, 'Too many open files')

        monkeypatch.setattr(os, 'memfd_create' if hasattr(os, 'memfd_create') else 'truncate', refuse)
        arena = Arena(1 << 20)
        assert (through(array(LARGE), arena, Borrower()) == array(LARGE)).all()
        assert arena.lent == 0

    def test_files_where_there_are_no_nameless_ones(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delattr(os, 'memfd_create', raising=False)
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        monkeypatch.setattr(os, 'getpid', lambda: 0)  # nor a /proc
        for alone in (True, False):
            arena, borrower = Arena(1 << 20), Borrower(alone)
            got = through(array(LARGE), arena, borrower)
            assert len(list(tmp_path.iterdir())) == (0 if alone else 1)
            arena.close()
            assert list(tmp_path.iterdir()) == []
            assert (got == array(LARGE)).all()

    @needs_memfd
    def test_files_lose_their_names_where_there_is_another_way_to_them(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delattr(os, 'memfd_create')
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        arena = Arena(1 << 20)
        got = through(array(LARGE), arena, Borrower())
        assert arena.lent == 1
        assert list(tmp_path.iterdir()) == []
        arena.close()
        assert (got == array(LARGE)).all()

    def test_where_the_disk_is_full_the_buffers_go_through_the_pipe(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delattr(os, 'memfd_create', raising=False)
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        room = [4 * LARGE]

        class Full(FileIO):
            def write(self, data: Any) -> int:
                if not room[0]:
                    raise OSError(28, 'No space left on device')
                written = super().write(data[: min(room[0], LARGE // 2)])
                room[0] -= written
                return written

        monkeypatch.setattr(itpipe.transport, 'FileIO', Full)
        arena, borrower = Arena(1 << 20), Borrower(alone=True)
        kept = through(array(3 * LARGE, 1), arena, borrower)
        for seed in (2, 3):
            got = through(array(2 * LARGE, seed), arena, borrower)
            assert (got == array(2 * LARGE, seed)).all()
            assert arena.lent == 1
        assert (kept == array(3 * LARGE, 1)).all()
        arena.close()

    def test_two_threads_that_close_it_at_once_close_its_file_once(self) -> None:
        """The number of a file that is closed may be another one's at once."""
        together = threading.Barrier(2)

        def close(arena: Arena) -> None:
            together.wait(LIMIT)
            arena.close()

        with ThreadPoolExecutor(2) as executor:
            for _ in range(100):
                arena = Arena(1 << 20)
                through(array(LARGE), arena, Borrower())
                for closing in [executor.submit(close, arena) for _ in range(2)]:
                    closing.result()

    def test_a_view_outlives_the_arena(self) -> None:
        arena, borrower = Arena(1 << 20), Borrower()
        got = through(array(LARGE), arena, borrower)
        arena.close()
        del arena, borrower
        gc.collect()
        assert (got == array(LARGE)).all()

    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 9), st.integers(0, 30)), max_size=60))
    @examples(200)
    def test_no_two_spans_overlap_and_all_come_back(self, steps: list[tuple[bool, int, int]]) -> None:
        arena, borrower = Arena(24 * LARGE), Borrower()
        kept: list[tuple[Any, int]] = []
        for seed, (drop, size, place) in enumerate(steps):
            if drop and kept:
                kept.pop(place % len(kept))
            else:
                kept.append((through(array(size * LARGE // 2 + LARGE, seed), arena, borrower), seed))
            arena.take_back(borrower.give_back())
            for got, of in kept:
                assert (got == array(len(got), of)).all()
        kept.clear()
        got = None
        arena.take_back(borrower.give_back())
        assert arena.lent == 0
        assert arena._free == [(0, arena.size)]
        arena.close()


class TestBlock:
    def test_buffers_are_copied_once_and_mapped_by_all(self) -> None:
        given = [array(LARGE, 1), array(3 * LARGE + 5, 2), array(LARGE, 3)]
        block = Block(list(map(pickle.PickleBuffer, given)))
        where = pickle.loads(pickle.dumps(block.span))
        first, second = mapped(where), mapped(where)
        for got in (first, second):
            assert [part.tobytes() for part in got] == [each.tobytes() for each in given]
        given[0][:] = 0
        assert first[0].any()
        block.close()
        with pytest.raises(FileNotFoundError):
            mapped(where)
        block.close()
        assert second[2].tobytes() == given[2].tobytes()  # outlives it

    def test_what_one_writes_no_other_sees(self) -> None:
        block = Block([pickle.PickleBuffer(np.ones(LARGE, np.uint8))])
        first, second = mapped(block.span)[0], mapped(block.span)[0]  # type: ignore[arg-type]
        first[:5] = 7
        assert first[:6].tolist() == [7] * 5 + [1]
        assert (second == 1).all()
        assert (mapped(block.span)[0] == 1).all()  # type: ignore[arg-type]
        block.close()

    def test_nothing_to_copy_makes_no_file(self) -> None:
        block = Block([])
        assert (block.span, block._file) == (None, None)
        block.close()

    @pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='has no limit that a test could set')
    def test_memory_that_is_short_is_an_error_and_no_crash(self) -> None:
        out = run_script(
            """
            import os, pickle, resource
            import numpy as np
            from itpipe.transport import Block

            before = os.listdir('/proc/self/fd')
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            block = Block([pickle.PickleBuffer(np.ones(1 << size, np.uint8)) for size in (16, 22)])
            print(block.span, os.listdir('/proc/self/fd') == before)
            """
        )
        assert out == 'None True\n'

    def test_an_interruption_leaves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(_: int) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(itpipe.transport, '_aligned', interrupt)
        with pytest.raises(KeyboardInterrupt):
            Block([pickle.PickleBuffer(array(LARGE))])

    def test_files_where_there_are_no_nameless_ones(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delattr(os, 'memfd_create', raising=False)
        monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
        monkeypatch.setattr(os, 'getpid', lambda: 0)  # nor a /proc
        block = Block([pickle.PickleBuffer(array(LARGE))])
        for _ in range(2):  # a process that comes later, too
            (got,) = mapped(block.span)  # type: ignore[arg-type]
            assert (got == array(LARGE)).all()
        assert len(list(tmp_path.iterdir())) == 1
        block.close()
        assert list(tmp_path.iterdir()) == []

    @needs_memfd
    def test_a_machine_where_no_other_process_sees_our_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, 'getpid', lambda: 0)
        assert Block([pickle.PickleBuffer(array(LARGE))]).span is None


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


def test_torch_tensors_there_and_back() -> None:
    torch = pytest.importorskip('torch')
    for value in (
        torch.arange(10**5).reshape(100, 1000),
        torch.arange(10**5).reshape(100, 1000).T,
        torch.zeros(10**5, dtype=torch.bfloat16),
        torch.zeros(10**5, requires_grad=True),
    ):
        ((got, _),) = list([value] | parallel_map(double, processes=1))
        assert type(got) is torch.Tensor
        assert got.dtype == value.dtype
        assert got.requires_grad == value.requires_grad
        assert torch.equal(got, value)


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


@pytest.mark.parametrize('ordered', [True, False])
def test_results_that_are_kept_stay_what_they_are(ordered: bool) -> None:
    kept = list(range(60) | parallel_map(large, processes=2, ordered=ordered))
    assert sorted(int(each[0, 0]) for each in kept) == list(range(60))
    assert all((each == each[0, 0]).all() for each in kept)


@pytest.mark.parametrize('ordered', [True, False])
def test_a_budget_that_is_spent_stops_nothing(monkeypatch: pytest.MonkeyPatch, ordered: bool) -> None:
    monkeypatch.setattr(itpipe.processes, 'budget', lambda: 5 * 256 * 256 * 8)
    kept = list(range(40) | parallel_map(large, processes=2, ordered=ordered) | batch_by(4))
    assert sorted(int(each[0, 0]) for batch in kept for each in batch) == list(range(40))


def test_arguments_come_back_when_the_function_has_returned() -> None:
    """And so does what it keeps, when it no longer does."""
    out = run_script(
        """
        import numpy as np
        from itpipe import parallel_map
        from itpipe.processes import Processes
        from itpipe.transport import Arena

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
    assert int(out) < 40e6  # of 960 MB that came through


def test_batches_are_memory_of_their_own() -> None:
    """Combining copies each byte once: from the span to the batch, which is memory of its own."""
    for n, batch in enumerate(range(12) | parallel_map(large, processes=1) | batch_by(4) | combine):
        assert batch.base is None or isinstance(batch.base, np.ndarray)
        assert [int(x) for x in batch[:, 5, 5]] == [4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3]


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
    import os, resource, sys, tempfile
    from pathlib import Path
    import numpy as np
    import itpipe.processes
    from itpipe import parallel_map

    what, where = sys.argv[1:]
    itpipe.processes.budget = lambda: 2 << 40
    changed = []

    def refuse():
        if what == 'to grow':
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        elif what == 'to be mapped':
            resource.setrlimit(resource.RLIMIT_AS, (1 << 38, 1 << 38))
        elif what == 'to be made':
            tempfile.tempdir = '/nowhere'
            del os.memfd_create

    def mapped():
        return Path('/proc/self/maps').read_text().count('memfd:itpipe')

    def function(x):
        if where == 'in the worker' and not changed:
            changed.append(refuse())
        return x + 1, mapped()

    if where != 'in the worker':
        refuse()
    for n, (array, there) in enumerate((np.full(10**5, n) for n in range(20)) | parallel_map(function, processes=1)):
        assert (array == n + 1).all()
        here = mapped()  # while the pool is open
    print(here, there)
"""


@needs_memfd
@pytest.mark.parametrize(
    ('what', 'where', 'shared'),
    [
        ('nothing', 'here', 2),
        ('to be made', 'here', 1),
        ('to be made', 'in the worker', 1),
        ('to grow', 'in the worker', 1),
        ('to grow', 'everywhere', 0),
        ('to be mapped', 'everywhere', 0),
    ],
)
def test_what_memory_is_not_allowed_goes_through_the_pipe(what: str, where: str, shared: int) -> None:
    """Else there are two blocks in each process: its own, and the other one's."""
    assert run_script(REFUSED, what, where) == f'{shared} {shared}\n'
