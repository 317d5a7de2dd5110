"""Memory that is used again: never while a view of it lives, within bounds, and not after the run."""

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from running import LIMIT, wait_until

from itpipe import Infinite, batch_by, combine, combine_pad, parallel_map, sample, stream
from itpipe._core.blocks import HUGE, KEPT, MOST, SMALLEST, Blocks, empty
from itpipe._core.memory import Held
from itpipe._core.nbytes import nbytes
from itpipe._engine.threads import Thread

BYTES = np.dtype(np.uint8)


@pytest.fixture
def blocks() -> Iterator[Blocks]:
    made = Blocks()
    yield made
    made.close()


def address(array: Any) -> int:
    return int(array.__array_interface__['data'][0])


def in_thread(call: Callable[[], Any]) -> Any:
    """What the call gives in a thread of a run."""
    given: list[Any] = []
    thread = Thread(lambda: given.append(call()), 'itpipe-test')
    thread.start()
    thread.join(LIMIT)
    return given.pop()


# ---------------------------------------------------------------------------------------------------------------------
# What an array is


@pytest.mark.parametrize('dtype', [np.uint8, np.float32, '>i4', 'M8[s]', 'S7', 'U3', [('a', 'i4'), ('b', 'f8')]])
def test_arrays_are_as_those_of_numpy(blocks: Blocks, dtype: Any) -> None:
    array = blocks.empty((3, 5, 7), np.dtype(dtype))
    usual = np.empty((3, 5, 7), dtype)
    assert (type(array), array.shape, array.dtype, array.strides) == (
        np.ndarray, usual.shape, usual.dtype, usual.strides
    )  # fmt: skip
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned


def test_copies_and_pickles_are_of_their_own(blocks: Blocks) -> None:
    array = blocks.empty((300,), BYTES)
    array[:] = 7
    others = [array.copy(), copy.deepcopy(array), pickle.loads(pickle.dumps(array, 5)), np.array(array)]
    place = address(array)
    del array
    again = blocks.empty((300,), BYTES)
    assert address(again) == place
    again[:] = 9
    assert all((other == 7).all() and other.flags.writeable for other in others)


def test_no_dimension_and_no_element(blocks: Blocks) -> None:
    assert blocks.empty((2, 0), BYTES).shape == (2, 0)
    assert blocks.empty((), BYTES).shape == ()


def test_it_counts_once(blocks: Blocks) -> None:
    array = blocks.empty((1000, 10), BYTES)
    assert nbytes(array) == nbytes([array, array[3:], array.T, array[5]]) == 10_000
    assert nbytes(array[5]) == 10_000
    assert nbytes(array.copy()[5:]) == 10_000


def test_what_is_used_again_counts_again(blocks: Blocks) -> None:
    """And is not taken for memory that somebody else holds."""
    held = Held()
    for _ in range(3):
        array = blocks.empty((10_000,), BYTES)
        holding = held.add(array)
        assert (holding.added, held.total) == (10_000, 10_000)
        held.remove(holding)
        assert held.total == 0
        del array
    assert len(blocks._idle) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Again


VIEWS: dict[str, Callable[[Any], Any]] = {
    'itself': lambda array: array,
    'part': lambda array: array[5:9],
    'part of a part': lambda array: array[2:][::3][1:],
    'transposed': lambda array: array.reshape(30, 10).T,
    'other dtype': lambda array: array.view(np.int32),
    'base': lambda array: array.base,
    'part of the base': lambda array: array[:4].base[1:],
    'base of the base': lambda array: np.frombuffer(array.base.base, np.uint8),
    'memoryview': lambda array: memoryview(array)[3:],
    'subclass': lambda array: array[:100].view(np.recarray),
    'strided': lambda array: np.lib.stride_tricks.sliding_window_view(array, 3),
    'dlpack': lambda array: np.from_dlpack(array),
    'in a closure': lambda array: lambda: array,
}


@pytest.mark.parametrize('name', VIEWS)
def test_memory_is_used_again_when_the_last_view_is_gone_and_never_before(blocks: Blocks, name: str) -> None:
    array = blocks.empty((300,), BYTES)
    place = address(array)
    view = VIEWS[name](array)
    del array
    if name != 'base of the base':
        assert address(blocks.empty((300,), BYTES)) != place
    del view
    gc.collect()
    found = [blocks.empty((300,), BYTES) for _ in range(3)]
    assert place in map(address, found)
    assert len(set(map(address, found))) == 3


def test_tensors_hold_it(blocks: Blocks) -> None:
    torch = pytest.importorskip('torch')
    array = blocks.empty((300,), BYTES)
    array[:] = 5
    tensor, place = torch.from_numpy(array)[10:], address(array)
    del array
    other = blocks.empty((300,), BYTES)
    other[:] = 6
    assert address(other) != place
    assert (tensor == 5).all()


def test_only_for_arrays_of_about_its_size(blocks: Blocks) -> None:
    place = address(blocks.empty((3000,), BYTES))
    for size in (3001, 1999, 10, 6000):
        other = blocks.empty((size,), BYTES)
        assert address(other) != place
        assert len(blocks._idle) >= 1
    kept = [blocks.empty((size,), BYTES) for size in (2000, 2000)]
    assert [address(array) for array in kept].count(place) == 1
    assert nbytes(kept[0]) == 3000


def test_the_latest_is_taken_first(blocks: Blocks) -> None:
    arrays = [blocks.empty((100,), BYTES) for _ in range(4)]
    places = list(map(address, arrays))
    while arrays:
        del arrays[0]
    assert [address(array) for array in [blocks.empty((100,), BYTES) for _ in range(4)]] == places[::-1]


# ---------------------------------------------------------------------------------------------------------------------
# Bounds


def test_only_some_are_kept(blocks: Blocks) -> None:
    arrays = [blocks.empty((100,), BYTES) for _ in range(3 * MOST)]
    assert len(blocks._lent) == 3 * MOST
    del arrays
    assert (len(blocks._idle), len(blocks._lent)) == (MOST, 0)


def test_only_so_many_bytes_are_kept(blocks: Blocks) -> None:
    """The memory is never touched here, so the system has none to provide."""
    del [blocks.empty((KEPT // 4,), BYTES) for _ in range(6)][:]
    assert sum(map(len, blocks._idle)) == KEPT
    blocks.empty((KEPT + 1,), BYTES)
    assert [len(block) for block in blocks._idle] == [KEPT + 1]  # a large one is kept alone


def test_without_memory_numpy_says_so(blocks: Blocks) -> None:
    with pytest.raises(MemoryError):
        blocks.empty((1 << 60,), BYTES)
    assert HUGE > SMALLEST


def test_closed_it_keeps_nothing_and_arrays_stay(blocks: Blocks) -> None:
    array, other = blocks.empty((300,), BYTES), blocks.empty((300,), BYTES)
    array[:] = 3
    del other
    memory = weakref.ref(array.base.base)
    idle = weakref.ref(blocks._idle[0])
    blocks.close()
    assert idle() is None
    assert (array == 3).all()
    del array
    assert memory() is None
    assert (len(blocks._idle), len(blocks._lent)) == (0, 0)


def test_threads_may_let_go_at_any_time(blocks: Blocks) -> None:
    """No array changes while somebody holds it, and nothing is lost."""
    rng, lists = np.random.default_rng(0), [[] for _ in range(4)]  # type: ignore[var-annotated]
    ended = threading.Event()

    def let_go(arrays: list[Any]) -> None:
        while not ended.is_set() or arrays:
            if arrays:
                number, array = arrays.pop(0)
                assert (array == number).all()

    threads = [threading.Thread(target=let_go, args=(arrays,)) for arrays in lists]
    for thread in threads:
        thread.start()
    for number in range(2000):
        array = blocks.empty((int(rng.integers(100, 200)),), np.dtype(np.int64))
        array[:] = number
        lists[int(rng.integers(4))].append((number, array))
        del array
    ended.set()
    for thread in threads:
        thread.join(LIMIT)
    gc.collect()
    assert len(blocks._lent) == 0
    assert 0 < len(blocks._idle) <= MOST


# ---------------------------------------------------------------------------------------------------------------------
# In a run


def test_only_large_arrays_of_numbers_and_only_in_threads_of_a_run() -> None:
    def owns(size: int, dtype: Any = np.uint8) -> bool:
        return empty((size,), np.dtype(dtype)).base is None

    assert owns(SMALLEST)
    assert not in_thread(lambda: owns(SMALLEST))
    assert in_thread(lambda: owns(SMALLEST - 1))
    assert in_thread(lambda: owns(SMALLEST, object))


def test_a_thread_that_has_ended_keeps_nothing() -> None:
    threads: list[Any] = []

    def make() -> Any:
        threads.append(threading.current_thread())
        empty((SMALLEST,), BYTES)
        assert len(threads[0].blocks._idle) == 1
        return empty((SMALLEST,), BYTES)

    array = in_thread(make)
    assert (len(threads[0].blocks._idle), len(threads[0].blocks._lent)) == (0, 0)
    array[:] = 1
    assert array.sum() == SMALLEST


ROW = SMALLEST // 4
ROWS = np.arange(40, dtype=np.uint8)[:, None].repeat(ROW, axis=1)
PADDED = [row[: ROW - 100 * number] for number, row in enumerate(ROWS)]


@pytest.mark.parametrize(
    'stages',
    [
        (sample(list(ROWS), seed=0), batch_by(4), combine),
        (sample(ROWS, seed=0), batch_by(4), combine),
        (sample(PADDED, seed=0), batch_by(4), combine_pad),
        (sample(PADDED, seed=0), batch_by(4), combine_pad(padding_values=3)),
        (sample(PADDED, seed=0), batch_by(4), combine_pad(padding_values=np.max)),
        (sample(list(ROWS), seed=0), parallel_map(batch_by(4) | combine, threads=2)),
    ],
)
def test_batches_are_the_same_however_long_they_are_kept(stages: Any) -> None:
    with Infinite(*stages, prefetch=0) as batch_iter:
        expected = [batch.tobytes() for batch, _ in zip(batch_iter(), range(12), strict=False)]
    with Infinite(*stages) as batch_iter:
        kept: list[Any] = []
        for number, batch in enumerate(batch_iter()):
            assert batch.tobytes() == expected[number]
            assert batch.flags.writeable
            if number % 3 == 0:
                kept.append((number, batch[1:]))
            else:
                batch[:] = 255
            del batch
            if number == 11:
                break
        assert all(part.tobytes() == expected[number][-part.nbytes :] for number, part in kept)
        threads = [thread for thread in threading.enumerate() if isinstance(thread, Thread)]
    wait_until(lambda: not any(thread.is_alive() for thread in threads), 'the threads end')
    assert all(len(thread.blocks._idle) == len(thread.blocks._lent) == 0 for thread in threads)


@pytest.mark.parametrize('source', [list(ROWS), ROWS])
def test_a_run_uses_no_more_memory_than_it_holds_at_a_time(source: Any) -> None:
    places = set()
    with Infinite(sample(source, seed=0), batch_size=4, prefetch=2) as batch_iter:
        for number, batch in enumerate(batch_iter()):
            places.add(address(batch))
            del batch
            if number == 50:
                break
    assert len(places) <= 4  # two are ready, one is being made, one is here


def test_a_limit_in_bytes_counts_them() -> None:
    begun: list[int] = []

    def row(number: int) -> Any:
        begun.append(number)
        return np.full(SMALLEST, number, np.uint8)

    numbers = stream(range(1000)) | row
    with Infinite(numbers, batch_size=1, prefetch=f'{3 * SMALLEST}B') as batch_iter:
        for number, batch in enumerate(batch_iter()):
            assert batch[0, 0] == number % 256
            del batch
            if number == 30:
                break
        background = batch_iter._epochs.run._background  # type: ignore[union-attr]
        wait_until(lambda: background._full, 'the thread rests')  # type: ignore[union-attr]
        assert len(background._ready) in (2, 3)  # type: ignore[union-attr]


def test_a_thread_of_the_users_may_have_an_attribute_of_that_name() -> None:
    made: list[Any] = []

    class Worker(threading.Thread):
        blocks = ('of', 'something else')

        def run(self) -> None:
            made.append(combine([np.ones(SMALLEST), np.ones(SMALLEST)]))

    thread = Worker()
    thread.start()
    thread.join(LIMIT)
    assert made[0].shape == (2, SMALLEST)
