"""What each worker sets up once: `parallel_map(…, setup=…)`."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from running import LIMIT, raises, wait_until

from itpipe import (
    Infinite,
    WorkerCrashed,
    map_all,
    map_at,
    parallel_map,
    random_apply,
    sample_args,
    stream,
    unpack,
    with_rng,
    zip_apply,
)


class Log:
    """Notes in a folder, by files, what any process does with it."""

    def __init__(self, folder: Path, can_close: bool = True):
        self.folder = folder
        self.where = f'{os.getpid()}-{threading.get_ident()}'
        self.note('opened')
        if can_close:
            self.close = partial(self.note, 'closed')

    def note(self, what: str) -> None:
        with open(self.folder / what, 'a') as file:
            file.write(f'{self.where}\n')

    def check(self) -> None:
        assert self.where == f'{os.getpid()}-{threading.get_ident()}'


def seen(folder: Path, what: str) -> list[str]:
    path = folder / what
    return sorted(path.read_text().split()) if path.exists() else []


@pytest.fixture(params=['threads', 'processes'])
def where(request: pytest.FixtureRequest) -> str:
    return request.param


def used(x: int, setup: Log) -> tuple[int, str]:
    setup.check()
    return x, setup.where


def stopped_when(path: Path, run: Any) -> None:
    wait_until(path.exists, 'the function has begun')
    run._chain.stop()


class TestOncePerWorker:
    @pytest.mark.parametrize('ordered', [True, False])
    def test_it_is_opened_and_closed_once_in_each(self, where: str, ordered: bool, tmp_path: Path) -> None:
        stage = parallel_map(used, **{where: 2}, setup=partial(Log, tmp_path), ordered=ordered)
        results = sorted(range(40) | stage)
        assert [x for x, _ in results] == list(range(40))
        opened = seen(tmp_path, 'opened')
        assert 1 <= len(opened) == len(set(opened)) <= 2
        assert {name for _, name in results} <= set(opened)
        assert seen(tmp_path, 'closed') == opened

    def test_each_run_has_its_own(self, where: str, tmp_path: Path) -> None:
        numbers = range(4) | parallel_map(used, **{where: 1}, setup=partial(Log, tmp_path))
        for n in (1, 2):
            assert len(list(numbers)) == 4
            assert len(seen(tmp_path, 'opened')) == len(seen(tmp_path, 'closed')) == n

    def test_a_run_that_is_left_closes_it(self, where: str, tmp_path: Path) -> None:
        run = iter(range(1000) | parallel_map(used, **{where: 2}, setup=partial(Log, tmp_path)))
        next(run)
        run.close()
        assert seen(tmp_path, 'closed') == seen(tmp_path, 'opened') != []

    def test_an_error_closes_it(self, where: str, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            list(range(3) | parallel_map(lambda x, setup: 1 // x, **{where: 1}, setup=partial(Log, tmp_path)))
        assert seen(tmp_path, 'closed') == seen(tmp_path, 'opened') != []

    def test_infinite_closes_it(self, where: str, tmp_path: Path) -> None:
        stage = parallel_map(lambda x, setup: used(x, setup)[0], **{where: 2}, setup=partial(Log, tmp_path))
        with Infinite(range(100), stage, batch_size=4, batches_per_epoch=2) as batch_iter:
            for batch in batch_iter:
                assert len(batch) == 4
        assert seen(tmp_path, 'closed') == seen(tmp_path, 'opened') != []

    def test_what_cannot_be_closed_is_let_go(self, where: str, tmp_path: Path) -> None:
        stage = parallel_map(used, **{where: 1}, setup=partial(Log, tmp_path, can_close=False))
        assert len(list(range(3) | stage)) == 3

    @pytest.mark.long
    def test_processes_that_are_replaced(self, tmp_path: Path) -> None:
        stage = parallel_map(used, processes=1, setup=partial(Log, tmp_path), max_tasks_per_worker=5)
        assert len(list(range(20) | stage)) == 20
        assert len(set(seen(tmp_path, 'opened'))) == 4
        assert seen(tmp_path, 'closed') == seen(tmp_path, 'opened')

    def test_a_process_that_does_not_come_to_an_end_is_killed(self, tmp_path: Path) -> None:
        def block(x: int, setup: Log) -> int:
            if x == 1:
                setup.note('begun')
                threading.Event().wait()
            return x

        run = iter(range(4) | parallel_map(block, processes=1, in_flight=2, setup=partial(Log, tmp_path)))
        assert next(run) == 0
        for _ in range(100 * LIMIT):
            if seen(tmp_path, 'begun'):
                break
            threading.Event().wait(0.01)
        run.close()
        assert seen(tmp_path, 'closed') == []


class TestErrors:
    def test_an_error_in_setup_ends_the_run(self, where: str) -> None:
        def setup() -> None:
            raise FileNotFoundError(2, 'No such file', 'data.h5')

        stage = parallel_map(lambda x, setup: x, **{where: 2}, setup=setup, on_error='skip')
        with raises(FileNotFoundError, "[Errno 2] No such file: 'data.h5'", 'itpipe: raised in setup=setup'):
            list(range(10) | stage)

    def test_processes_that_die_in_setup_end_the_run(self) -> None:
        with pytest.raises(WorkerCrashed, match=r'[3-9] worker processes.* \(exit code 3\) while it was being set up'):
            list(range(10) | parallel_map(used, processes=2, setup=lambda: os._exit(3), on_error='skip'))

    def test_the_pause_before_another_try_does_not_keep_it_from_being_closed(self, where: str, tmp_path: Path) -> None:
        def fail(x: int, setup: Log) -> None:
            setup.note('begun')
            raise OSError

        stage = parallel_map(
            fail, **{where: 1}, setup=partial(Log, tmp_path), retries=1, retry_on=OSError, backoff=10 * LIMIT
        )
        run = iter(range(1) | stage)
        stopping = threading.Thread(target=stopped_when, args=(tmp_path / 'begun', run))
        stopping.start()
        with pytest.raises(RuntimeError, match='the run was closed'):
            next(run)
        stopping.join()
        assert seen(tmp_path, 'closed') == seen(tmp_path, 'opened') != []

    def test_an_error_in_closing_is_raised_at_the_end(self, where: str) -> None:
        class Bad:
            def close(self) -> None:
                raise OSError('cannot be flushed')

        run = iter(range(3) | parallel_map(lambda x, setup: x, **{where: 1}, setup=Bad))
        assert [next(run), next(run), next(run)] == [0, 1, 2]
        with raises(OSError, 'cannot be flushed', 'itpipe: raised in closing what setup=Bad returned'):
            next(run)

    def test_an_error_in_closing_does_not_hide_that_of_the_function(self, where: str) -> None:
        class Bad:
            def close(self) -> None:
                raise OSError('cannot be flushed')

        with pytest.raises(ZeroDivisionError) as caught:
            list(range(3) | parallel_map(lambda x, setup: 1 // x, **{where: 1}, setup=Bad))
        assert "itpipe: closing raised OSError('cannot be flushed') as well" in caught.value.__notes__

    def test_a_setup_that_cannot_be_called(self) -> None:
        with raises(TypeError, 'parallel_map: `setup` must be a function, got str'):
            parallel_map(abs, threads=1, setup='data.h5')

    def test_an_executor_has_its_own(self) -> None:
        with (
            ThreadPoolExecutor(1) as executor,
            raises(TypeError, 'parallel_map: `setup` goes with `threads` or `processes`; an executor has its own way'),
        ):
            parallel_map(abs, executor=executor, setup=dict)

    @pytest.mark.parametrize('stage', [map_at(0, abs) | map_at(1, abs), zip_apply(abs, abs)])
    def test_a_stage_of_several_functions(self, stage: Any) -> None:
        with raises(
            TypeError, 'parallel_map: with `setup`, `f` must be a function, or a stage that applies one function'
        ):
            parallel_map(stage, threads=1, setup=dict)


class TestStages:
    @pytest.mark.many(2)
    def test_the_one_function_of_a_stage_gets_it(self, where: str) -> None:
        def add(x: int, *more: int, setup: int) -> int:
            return x + setup + sum(more)

        def drawn(x: int, *more: float, setup: int, rng: Any = None) -> bool:
            return x + setup == 11 and (rng is not None or len(more) == 1)

        for stage, expected in (
            (map_at(0, add, 1000), (1101, 2)),
            (map_all(add), (101, 102)),
            (unpack(add), 103),
            (map_at(0, random_apply(1, add)), (101, 2)),
        ):
            assert list([(1, 2)] | parallel_map(stage, **{where: 1}, setup=lambda: 100)) == [expected]
        for stage in (with_rng(drawn), sample_args(drawn, lambda rng: rng.random())):
            assert list(stream([1]) | parallel_map(stage, **{where: 1}, setup=lambda: 10)) == [True]

    def test_it_prints_compares_and_pickles(self) -> None:
        stage = parallel_map(abs, processes=2, setup=dict)
        assert repr(stage) == 'parallel_map(abs, processes=2, setup=dict)'
        assert pickle.loads(pickle.dumps(stage)) == stage == parallel_map(abs, processes=2, setup=dict)
        assert stage != parallel_map(abs, processes=2, setup=list)
        assert stage != parallel_map(abs, processes=2)
