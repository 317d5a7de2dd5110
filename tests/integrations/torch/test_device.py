"""Batches on a device ahead of the loop: bits, states, threads, errors; CUDA on a fake of it."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from running import raises

from itpipe import Infinite, apply, batch_by, combine, pipe, prefetch, shuffle, stream, with_rng
from itpipe.integrations.torch import to_device
from itpipe.testing import check_resume

torch = pytest.importorskip('torch')

from fake_cuda import FakeTorch  # noqa: E402


def noisy(n: int, rng: np.random.Generator) -> tuple[Any, str]:
    return rng.normal(size=2) + n, str(n)


BATCHES = stream(range(40), seed=0) | shuffle(9) | with_rng(noisy) | batch_by(4) | combine


def values(batches: Any) -> list[Any]:
    return [(images.tolist(), names) for images, names in batches]


class TestOnTheCpu:
    def test_the_same_batches_as_tensors(self) -> None:
        expected = values(BATCHES)
        for ahead in (1, 3):
            got = list(BATCHES | to_device('cpu', ahead=ahead))
            assert values(got) == expected
            assert {type(images) for images, _ in got} == {torch.Tensor}

    @pytest.mark.parametrize('options', [{}, {'prefetch': 0}, {'prefetch': 1}, {'prefetch': '1MB'}, {'restart': True}])
    def test_in_an_infinite(self, options: Any) -> None:
        with Infinite(BATCHES, batches_per_epoch=5, **options) as plain:
            expected = [values(plain) for _ in range(2)], plain.state_dict()
        with Infinite(BATCHES | to_device('cpu'), batches_per_epoch=5, **options) as batch_iter:
            assert ([values(batch_iter) for _ in range(2)], batch_iter.state_dict()) == expected

    @pytest.mark.parametrize('taken', [1, 4, 6, 9, 11, 14])
    def test_the_loop_has_what_is_in_the_state(self, taken: int) -> None:
        """What is ahead of it is neither lost nor comes twice, with another device or none, also between passes."""
        with Infinite(BATCHES, batches_per_epoch=5) as plain:
            expected = [batch for _ in range(4) for batch in values(plain)]
        with Infinite(BATCHES | to_device('cpu', ahead=3), batches_per_epoch=5) as batch_iter:
            for _ in range(taken // 5):
                list(batch_iter)
            epoch = batch_iter()
            for _ in range(taken % 5):
                next(epoch)
            state = batch_iter.state_dict()
        for again in (BATCHES, BATCHES | to_device(torch.device('cpu'))):
            with Infinite(again, batches_per_epoch=5) as resumed:
                resumed.load_state_dict(state)
                rest = values(resumed) + values(resumed)
            assert rest == expected[taken : taken + len(rest)]
            assert len(rest) > 5

    def test_it_is_resumed_anywhere(self) -> None:
        check_resume(Infinite(BATCHES | to_device('cpu', ahead=2), batches_per_epoch=3))
        check_resume(BATCHES | to_device('cpu'))

    @pytest.mark.parametrize('ahead', [1, 3])
    @pytest.mark.parametrize('in_infinite', [True, False])
    def test_so_many_are_ready(self, ahead: int, in_infinite: bool) -> None:
        """And one that is being moved."""
        moved: list[int] = []
        enough = threading.Semaphore(0)

        class Moving:
            def __init__(self, n: int):
                self.n = n

            def to(self, device: Any) -> int:
                moved.append(self.n)
                enough.release()
                return self.n

        batches = range(100) | apply(Moving) | to_device('cpu', ahead=ahead)
        with Infinite(batches, prefetch=50) if in_infinite else Nothing(batches) as batch_iter:
            epoch = iter(batch_iter)
            for n in range(5):
                assert next(epoch) == n
            for _ in range(5 + ahead):
                enough.acquire()
            assert 5 + ahead <= len(moved) <= 5 + ahead + 1
            del epoch

    def test_one_thread_makes_batches_and_one_moves_them(self) -> None:
        made, moved = set(), set()

        class Moving:
            def __init__(self, n: int):
                made.add(threading.current_thread().name)

            def to(self, device: Any) -> None:
                moved.add(threading.current_thread().name)

        with Infinite(range(9), Moving, to_device('cpu')) as batch_iter:
            list(batch_iter)
        assert (made, moved) == ({'itpipe-prefetch'}, {'itpipe-Infinite'})

    def test_dealt_to_ranks(self) -> None:
        """Also where the items of the source are the batches, so that they are dealt here."""
        for batches in (BATCHES, stream([np.full(2, n) for n in range(9)], seed=0) | (lambda array: (array, ''))):
            for rank in range(2):
                with Infinite(batches, shard=(rank, 2)) as plain:
                    expected = values(plain)
                with Infinite(batches | to_device('cpu'), shard=(rank, 2)) as batch_iter:
                    assert values(batch_iter) == expected
                    assert '"ready' not in batch_iter.draw().mermaid
                    assert 'up to 1 batch ready' in batch_iter.draw().mermaid

    def test_behind_workers_that_make_whole_batches(self) -> None:
        def infinite(**options: Any) -> Infinite[Any]:
            return Infinite(stream(range(40), seed=0), with_rng(noisy), batch_size=8, **options)

        with infinite() as plain:
            expected = values(plain)
        with infinite(combiner=combine() | to_device('cpu'), threads=2) as batch_iter:
            assert values(batch_iter) == expected
            assert 'parallel_map(with_rng(noisy) | batch_by(8) | combine(), threads=2) | to_device' in repr(batch_iter)

    def test_it_is_pickled_before_it_runs(self) -> None:
        batch_iter = Infinite(BATCHES | to_device('cpu'), prefetch='1MB')
        with pickle.loads(pickle.dumps(batch_iter)) as other:
            assert values(other) == values(BATCHES)

    @pytest.mark.parametrize(
        ('options', 'name'),
        [
            ({}, 'Infinite()'),
            ({'prefetch': 3}, 'Infinite(prefetch=3)'),
            ({'prefetch': '1MB'}, "Infinite(prefetch='1MB')"),
        ],
    )
    def test_stats_name_what_was_written(self, options: dict[str, Any], name: str) -> None:
        """Not a stage `prefetch`, which nobody wrote."""
        with Infinite(BATCHES | to_device('cpu'), **options) as batch_iter:
            next(iter(batch_iter))
            names = [stage.name for stage in batch_iter.stats().stages]
        assert names[names.index("to_device('cpu')") - 1] == name
        assert not [each for each in names if each.startswith('prefetch')]

    def test_a_stall_is_told_of(self) -> None:
        """Where the thread before it is."""
        told = threading.Event()

        def slow(n: int) -> int:
            told.wait()
            return n

        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: (texts.append(str(message)), told.set())
            warnings.simplefilter('always')
            texts: list[str] = []
            with Infinite([1, 2], slow, to_device('cpu'), stall_timeout=0.01) as batch_iter:
                assert list(batch_iter) == [1, 2]
        assert 'no batch has come out of Infinite' in texts[0]
        assert 'in slow' in texts[0]

    def test_it_may_be_anywhere(self) -> None:
        doubled = pipe(BATCHES, to_device('cpu'), prefetch(2), lambda batch: (batch[0] * 2, batch[1]))
        expected = [([[2 * x for x in row] for row in images], names) for images, names in values(BATCHES)]
        assert values(doubled) == expected
        with Infinite(doubled) as batch_iter:
            assert values(batch_iter) == expected

    def test_the_picture_and_the_stats(self) -> None:
        with Infinite(range(8), batch_size=4, combiner=combine() | to_device('cpu')) as batch_iter:
            assert 'those made in 4 ms ahead' in batch_iter.draw().mermaid
            list(batch_iter)
            stages = [stage.name for stage in batch_iter.stats().stages]
            assert stages[-2:] == ["to_device('cpu')", 'ready']
            assert "to_device('cpu')" in batch_iter.draw().mermaid


class Nothing:
    """A stream in a `with`, which closes its run."""

    def __init__(self, batches: Any):
        self.run = iter(batches)

    def __enter__(self) -> Iterator[Any]:
        return self.run

    def __exit__(self, *_: object) -> None:
        self.run.close()


ITEMS = (
    "Infinite: `transforms[1]` gets items, but `to_device('cpu')` is for batches; give `combiner=combine() |"
    " to_device('cpu')`"
)


class TestErrors:
    @pytest.mark.parametrize(
        ('make', 'error', 'text'),
        [
            (
                lambda: to_device('cuba'),
                ValueError,
                "to_device: `device` must be a torch.device or its name, such as 'cuda', got 'cuba'",
            ),
            (
                lambda: to_device(2.5),
                TypeError,
                "to_device: `device` must be a torch.device or its name, such as 'cuda', got 2.5",
            ),
            (
                lambda: Infinite([1], abs, apply(abs) | to_device('cpu'), batch_size=2),
                TypeError,
                ITEMS,
            ),
            (lambda: to_device('cpu', ahead=0), ValueError, 'to_device: `ahead` must be at least 1, got 0'),
            (
                lambda: to_device('cpu', pin_memory='yes'),  # type: ignore[arg-type]
                TypeError,
                'to_device: `pin_memory` must be True or False, got str',
            ),
        ],
    )
    def test_wrong_arguments(self, make: Any, error: type[Exception], text: str) -> None:
        with raises(error, text):
            make()

    @pytest.mark.skipif(torch.cuda.is_available(), reason='there is a device')
    def test_without_a_device(self) -> None:
        """What torch says, and the name of the stage."""
        try:
            torch.cuda.current_device()
        except Exception as error:
            kind, text = type(error), str(error)
        for use in (lambda batches: list(batches), lambda batches: list(Infinite(batches))):
            with raises(kind, text, "itpipe: raised in to_device('cuda')"):
                use(BATCHES | to_device('cuda'))

    def test_those_of_the_pipeline_say_nothing_of_it(self) -> None:
        for use in (list, lambda batches: list(Infinite(batches))):
            with pytest.raises(ZeroDivisionError) as caught:
                use([1, 0] | apply(lambda n: 1 / n) | to_device('cpu'))  # type: ignore[operator]
            assert caught.value.__notes__ == ['itpipe: raised in apply(<lambda>), item 1']

    def test_an_object_that_cannot_be_moved(self) -> None:
        def fail(device: Any) -> None:
            raise RuntimeError('stuck')

        things = [1, SimpleNamespace(to=fail)]
        with raises(RuntimeError, 'stuck', "itpipe: raised in to_device('cpu'), item 1"):
            list(things | to_device('cpu'))


def test_it_is_a_value() -> None:
    stage = to_device('cpu', pin_memory=False, ahead=2)
    assert repr(stage) == "to_device('cpu', pin_memory=False, ahead=2)"
    assert pickle.loads(pickle.dumps(stage)) == stage != to_device('cpu')
    assert repr(to_device(torch.device('cuda', 1))) == "to_device(device(type='cuda', index=1))"


class TestOnCuda:
    @pytest.fixture
    def fake(self, monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
        fake = FakeTorch()
        monkeypatch.setitem(sys.modules, 'torch', fake)
        return fake

    @pytest.mark.parametrize('options', [{}, {'prefetch': 0}, {'prefetch': 3}])
    @pytest.mark.parametrize('pin_memory', [True, False])
    @pytest.mark.parametrize('ahead', [1, 3])
    def test_what_the_loop_reads_is_right(
        self, fake: FakeTorch, ahead: int, pin_memory: bool, options: dict[str, Any]
    ) -> None:
        """Also over the ends of passes, and with the state behind the last batch that it has."""
        with Infinite(BATCHES, batches_per_epoch=5) as plain:
            expected = [values(plain) for _ in range(4)], plain.state_dict()
        with Infinite(BATCHES | to_device('cuda', pin_memory, ahead), batches_per_epoch=5, **options) as batch_iter:
            got = [self.read(fake, batch_iter) for _ in range(4)], batch_iter.state_dict()
        assert got == expected

    def test_without_an_infinite(self, fake: FakeTorch) -> None:
        assert self.read(fake, BATCHES | to_device('cuda', ahead=2)) == values(BATCHES)

    def read(self, fake: FakeTorch, batches: Any) -> list[Any]:
        """What the kernels of a loop read, which are all launched before the first one runs."""
        read = []
        for images, names in batches:
            read.append((fake.cuda.kernel(images), names))
            del images
            gc.collect()
        fake.cuda.default.synchronize()
        return [(image[0].tolist(), names) for image, names in read]

    @pytest.mark.parametrize('in_infinite', [True, False])
    def test_which_thread_does_what(self, fake: FakeTorch, in_infinite: bool) -> None:
        """One thread sends, and the loop's lets its stream wait, with memory that its stream uses."""
        batches: Any = BATCHES | to_device('cuda')
        with Infinite(batches) if in_infinite else Nothing(batches) as batch_iter:
            assert len(list(batch_iter)) == 10
        here = threading.get_ident()
        by_loop = [text for thread, text in fake.cuda.log if thread == here]
        assert by_loop[0::2] == [f'default stream waits for event {n}' for n in range(10)]
        assert set(by_loop[1::2]) == {'default stream uses it'}
        others = {thread for thread, _ in fake.cuda.log} - {here}
        assert len(others) == 1

    def test_the_current_device_is_that_of_the_thread_in_which_it_begins(self, fake: FakeTorch) -> None:
        fake.cuda.set_device(torch.device('cuda', 1))
        seen = []
        fake.cuda.Stream = lambda device, make=fake.cuda.Stream: seen.append(device) or make(device)  # type: ignore[method-assign]
        with Infinite(range(6), batch_size=2, combiner=combine() | to_device('cuda')) as batch_iter:
            for _ in range(3):
                list(batch_iter)
        assert len(seen) >= 3
        assert set(seen) == {torch.device('cuda', 1)}

    @pytest.mark.parametrize('in_infinite', [True, False])
    def test_no_memory_left(self, fake: FakeTorch, in_infinite: bool) -> None:
        """As torch raises it, behind the batches before it."""
        fake.cuda.room = 3
        got = []
        batches: Any = BATCHES | to_device('cuda')
        note = "itpipe: raised in to_device('cuda'), items 19, 21, 13, 4"
        with raises(torch.OutOfMemoryError, 'CUDA out of memory.', note):
            for images, _ in Infinite(batches) if in_infinite else batches:
                got.append(images)
        assert len(got) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a device')
@pytest.mark.leaves_threads('CUDA keeps what it opens')
@pytest.mark.parametrize('pin_memory', [True, False])
def test_on_a_real_device(pin_memory: bool) -> None:
    """With so much to do for the loop's stream that copies are always ahead of it."""
    shape, count = (64, 1 << 14), 40
    busy = torch.ones(2048, 2048, device='cuda')
    arrays = [np.full(shape, n, np.float32) for n in range(count)]
    sums = []
    with Infinite(arrays, to_device('cuda', pin_memory, ahead=2)) as batch_iter:
        for batch in batch_iter:
            assert batch.device.type == 'cuda'
            busy = busy @ busy / 2048
            sums.append(batch.sum() + 0 * busy[0, 0])
            del batch
    assert [round(float(each)) for each in sums] == [n * shape[0] * shape[1] for n in range(count)]


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a device')
def test_without_cuda_the_error_is_that_of_torch() -> None:
    error = pytest.raises((AssertionError, RuntimeError), match=r'(?i)cuda|nvidia')
    with Infinite(BATCHES | to_device('cuda:0')) as batch_iter, error:
        next(batch_iter())


def test_what_stands_behind_it_in_a_combiner_with_workers() -> None:
    text = (
        "Infinite: with workers, `to_device('cpu')` must be the end of `combiner`, as only this process can do that;"
        ' call what stands behind it in the loop, or leave out the workers'
    )
    with raises(TypeError, text):
        Infinite(range(8), batch_size=2, combiner=combine() | to_device('cpu') | abs, threads=2)
