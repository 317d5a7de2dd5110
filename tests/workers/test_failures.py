"""What becomes of items on which the function fails: `on_error`, `max_errors`, `retries`."""

import gc
import itertools
import os
import pickle
import threading
import weakref
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from running import LIMIT, raises

import itpipe._workers.failures
import itpipe._workers.inline
from itpipe import (
    Dropped,
    Infinite,
    NotPicklable,
    WorkerCrashed,
    apply,
    batch_by,
    flatten,
    map_at,
    parallel_map,
    prefetch,
    stream,
    unpack,
)
from itpipe._engine.waiting import MAX_DROPPED

MODES = ['threads', 'inline', 'processes', 'executor']


@pytest.fixture(params=MODES)
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(itpipe._workers.inline.InlinePolicy, 'CHEAP', 1000 if request.param == 'inline' else 0)
    if request.param == 'executor':
        with ThreadPoolExecutor(2) as executor:
            yield {'executor': executor}
    else:
        yield {'threads' if request.param == 'inline' else request.param: 2}


@pytest.fixture(params=[True, False], ids=['ordered', 'unordered'])
def ordered(request: pytest.FixtureRequest) -> bool:
    return request.param


def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f'{x} is even', x)
    return x


@dataclass(frozen=True)
class Frozen(Exception):
    n: int


class TestSkip:
    def test_what_fails_is_left_out_and_listed(self, workers: dict[str, Any], ordered: bool) -> None:
        run = iter(range(40) | parallel_map(odd_only, **workers, ordered=ordered, on_error='skip'))
        results = list(run)
        assert (results if ordered else sorted(results)) == list(range(1, 40, 2))
        dropped = run.dropped if ordered else sorted(run.dropped, key=lambda each: each.ordinal)
        assert [(each.ordinal, *each.error.args) for each in dropped] == [
            (x, f'{x} is even', x) for x in range(0, 40, 2)
        ]
        assert {type(each) for each in dropped} == {Dropped}
        assert {type(each.error) for each in dropped} == {ValueError}

    def test_the_error_says_where_it_comes_from_and_shows_the_lines(self, workers: dict[str, Any]) -> None:
        run = iter(range(1) | parallel_map(odd_only, **workers, on_error='skip'))
        assert list(run) == []
        (dropped,) = run.dropped
        assert dropped.error.__notes__[0].endswith(", on_error='skip'), item 0")
        assert dropped.stage in dropped.error.__notes__[0]
        frames = []
        tb = dropped.error.__traceback__
        while tb is not None:
            frames.append(tb.tb_frame.f_code.co_name)
            tb = tb.tb_next
        assert 'odd_only' in frames

    def test_what_the_function_worked_on_is_let_go(self, workers: dict[str, Any]) -> None:
        """An error that is kept keeps no frame, also where it has a cause."""
        made: list[weakref.ref] = []

        def fail(array: np.ndarray) -> None:
            try:
                raise KeyError(array.shape)
            except KeyError as error:
                raise ValueError('no') from error

        def arrays() -> Any:
            for _ in range(8):
                array = np.zeros(100)
                made.append(weakref.ref(array))
                yield array
                del array

        run = iter(arrays() | parallel_map(fail, **workers, on_error='skip'))
        assert list(run) == []
        assert len(run.dropped) == 8
        gc.collect()  # without the GIL, what was let go in another thread waits for the one that made it
        assert [ref() for ref in made] == [None] * 8

    def test_members_of_a_group_let_go_as_well(self) -> None:
        made: list[weakref.ref] = []

        def fail(x: int) -> None:
            array = np.zeros(100)
            made.append(weakref.ref(array))
            try:
                raise KeyError(x)
            except KeyError as error:
                raise ExceptionGroup('several', [error]) from None

        run = iter(range(3) | parallel_map(fail, threads=1, on_error='skip'))
        assert list(run) == []
        assert [ref() for ref in made] == [None] * 3

    def test_everything_may_fail(self, workers: dict[str, Any], ordered: bool) -> None:
        assert list(range(0, 200, 2) | parallel_map(odd_only, **workers, ordered=ordered, on_error='skip')) == []

    def test_any_step_of_a_stage(self, workers: dict[str, Any]) -> None:
        both = map_at(0, odd_only) | unpack(lambda x, y: 6 // (y - 1) + x)
        run = iter([(x, x % 5) for x in range(10)] | parallel_map(both, **workers, on_error='skip'))
        assert list(run) == [x + 6 // (x % 5 - 1) for x in range(1, 10, 2) if x % 5 != 1]
        assert [each.ordinal for each in run.dropped] == [0, 1, 2, 4, 6, 8]

    def test_the_ordinal_is_the_place_in_the_source(self, workers: dict[str, Any]) -> None:
        run = iter([[1, 2], [3, 4, 6]] | flatten | parallel_map(odd_only, **workers, on_error='skip'))
        assert list(run) == [1, 3]
        assert [each.ordinal for each in run.dropped] == [0, 1, 1]
        run = iter(range(6) | batch_by(2) | parallel_map(lambda batch: 1 // batch[0], **workers, on_error='skip'))
        assert list(run) == [0, 0]
        assert [each.ordinal for each in run.dropped] == [0]

    @pytest.mark.many(3)
    def test_errors_of_the_source_end_the_run(self, workers: dict[str, Any], ordered: bool) -> None:
        def source() -> Any:
            yield from range(4)
            raise KeyError('the source')

        run = iter(source() | parallel_map(odd_only, **workers, ordered=ordered, on_error='skip'))
        results = []
        with pytest.raises(KeyError, match='the source'):
            for x in run:
                results.append(x)
        assert sorted(results) == [1, 3]

    def test_an_error_of_the_executor_ends_the_run(self) -> None:
        executor = ThreadPoolExecutor(1)

        def shut_down(x: int) -> int:
            executor.shutdown(wait=False, cancel_futures=True)
            return x

        results = []
        with pytest.raises((RuntimeError, CancelledError)):
            for x in range(9) | parallel_map(shut_down, executor=executor, on_error='skip'):
                results.append(x)
        assert results == [0]

    @pytest.mark.parametrize('options', [{}, {'on_error': 'skip', 'max_errors': 0}, {'on_error': lambda *_: 'raise'}])
    def test_an_error_that_cannot_be_changed_stays_what_it_is(self, options: dict[str, Any]) -> None:
        def fail(x: int) -> None:
            raise Frozen(x)

        with pytest.raises(Frozen) as caught:
            list(range(3) | parallel_map(fail, threads=2, **options))
        assert caught.value.n == 0

    def test_the_same_error_for_every_item(self, workers: dict[str, Any]) -> None:
        error = ValueError('always this one')

        def fail(_: int) -> None:
            raise error

        run = iter(range(50) | parallel_map(fail, **workers, on_error='skip'))
        assert list(run) == []
        assert [each.ordinal for each in run.dropped] == list(range(50))
        assert len(run.dropped[0].error.__notes__) <= 16

    def test_an_error_that_holds_what_cannot_be_pickled_is_an_error_of_its_item(self) -> None:
        def fail(x: int) -> int:
            if x == 2:
                raise ValueError(threading.Lock())
            return x

        run = iter(range(4) | parallel_map(fail, processes=1, on_error='skip'))
        assert list(run) == [0, 1, 3]
        assert [(each.ordinal, type(each.error)) for each in run.dropped] == [(2, ValueError)]

    def test_what_cannot_be_pickled_ends_the_run(self) -> None:
        with pytest.raises(NotPicklable, match='the result cannot be pickled'):
            list(range(3) | parallel_map(lambda _: threading.Lock(), processes=1, on_error='skip'))
        with pytest.raises(NotPicklable, match='the value of item 0 cannot be pickled'):
            list([threading.Lock()] | parallel_map(abs, processes=1, on_error='skip'))

    @pytest.mark.long
    def test_an_item_that_kills_workers_is_left_out(self) -> None:
        def deadly(x: int) -> int:
            if x == 3:
                os._exit(7)
            return x

        run = iter(range(6) | parallel_map(deadly, processes=2, max_crashes=0, on_error='skip'))
        assert list(run) == [0, 1, 2, 4, 5]
        (dropped,) = run.dropped
        assert (dropped.ordinal, type(dropped.error)) == (3, WorkerCrashed)
        assert 'exit code 7' in str(dropped.error)

    def test_a_pool_that_cannot_work_ends_the_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: Any) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, 'start', refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            list(range(3) | parallel_map(abs, threads=2, on_error='skip'))

    def test_closing_is_no_error_to_be_skipped(self, ordered: bool) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def block(x: int) -> int:
            begun.set()
            go_on.wait(LIMIT)
            return x

        run = iter(range(3) | parallel_map(block, threads=1, on_error='skip', ordered=ordered))
        errors: list[BaseException] = []

        def consume() -> None:
            try:
                next(run)
            except BaseException as error:
                errors.append(error)

        consumer = threading.Thread(target=consume)
        consumer.start()
        assert begun.wait(LIMIT)
        run._chain.stop()
        go_on.set()
        consumer.join(LIMIT)
        assert [str(error) for error in errors] == ['the run was closed while a result was awaited']
        assert run.dropped == []

    @pytest.mark.long
    def test_no_more_than_so_many_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run = iter(range(MAX_DROPPED + 50) | parallel_map(lambda x: 1 / 0, threads=1, on_error='skip'))
        assert list(run) == []
        assert [run.dropped[0].ordinal, len(run.dropped)] == [50, MAX_DROPPED]


class TestReplace:
    @pytest.mark.many(2)
    def test_a_function_says_what_to_do(self, workers: dict[str, Any], ordered: bool) -> None:
        asked = []

        def on_error(error: Exception, item: int, ordinal: int) -> Any:
            asked.append((type(error), item, ordinal))
            return 'skip' if item % 4 == 0 else -item

        run = iter(range(10, 20) | parallel_map(odd_only, **workers, ordered=ordered, on_error=on_error))
        assert sorted(run) == [-18, -14, -10, 11, 13, 15, 17, 19]
        assert sorted(asked, key=repr) == [(ValueError, x, x - 10) for x in range(10, 20, 2)]
        assert sorted(each.ordinal for each in run.dropped) == [2, 6]

    @pytest.mark.long
    def test_a_replacement_may_be_an_array_or_text(self, workers: dict[str, Any]) -> None:
        for replacement in (np.arange(3), 'nothing', 0):
            results = list(range(3) | parallel_map(odd_only, **workers, on_error=lambda *_, r=replacement: r))
            assert results[0] is results[2] is replacement

    @pytest.mark.long
    def test_it_may_raise_the_error_or_another(self, workers: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match='0 is even'):
            list(range(3) | parallel_map(odd_only, **workers, on_error=lambda *_: 'raise'))

        def instead(error: Exception, *_: Any) -> None:
            raise LookupError('instead') from error

        with pytest.raises(LookupError, match='instead') as caught:
            list(range(3) | parallel_map(odd_only, **workers, on_error=instead))
        assert isinstance(caught.value.__cause__, ValueError)

    def test_none_is_not_taken_for_a_replacement(self) -> None:
        stage = parallel_map(odd_only, threads=1, on_error=lambda *_: print('an error'))
        message = "parallel_map(odd_only, threads=1, on_error=<lambda>): `on_error` must return 'raise', 'skip' or what"
        with raises(TypeError, f"{message} to put in the item's place, got None"):
            list(range(3) | stage)

    @pytest.mark.long
    def test_a_replacement_is_that_of_the_same_item_whatever_the_order(self, workers: dict[str, Any]) -> None:
        results = list(range(50) | parallel_map(odd_only, **workers, on_error=lambda _e, item, _o: item))
        assert results == list(range(50))


class TestMaxErrors:
    @pytest.mark.many(2)
    def test_a_count(self, workers: dict[str, Any]) -> None:
        stage = parallel_map(odd_only, **workers, on_error='skip', max_errors=3)
        results = []
        with pytest.raises(ValueError, match='6 is even') as caught:
            for x in range(40) | stage:
                results.append(x)
        assert results == [1, 3, 5]
        assert caught.value.__notes__[-1] == 'itpipe: with 4 errors, there were more than `max_errors=3` allows'
        assert list([0, 1, 2, 4] | stage) == [1]

    def test_what_is_replaced_counts(self) -> None:
        with pytest.raises(ValueError, match='2 is even'):
            list(range(9) | parallel_map(odd_only, threads=1, on_error=lambda *_: 7, max_errors=1))

    @pytest.mark.many(2)
    def test_a_share(self, workers: dict[str, Any]) -> None:
        """Of the items so far, but at the beginning of the first hundred."""

        def fail_at(x: int) -> int:
            if x < 5 or x % 20 == 0:
                raise ValueError(x)
            return x

        stage = parallel_map(fail_at, **workers, on_error='skip', max_errors=0.1)
        assert len(list(range(1000) | stage)) == 1000 - 54
        with pytest.raises(ValueError, match=r'^0\n'):
            list(range(100) | parallel_map(lambda x: fail_at(x % 5), **workers, on_error='skip', max_errors=0.1))

    def test_one_error_is_never_more_than_a_share(self) -> None:
        stage = parallel_map(odd_only, threads=1, on_error='skip', max_errors=1e-4)
        assert list([1, 2, 3] | stage) == [1, 3]
        with pytest.raises(ValueError, match='4 is even'):
            list([1, 2, 3, 4] | stage)


class TestRetries:
    @pytest.fixture(params=['threads', 'inline', 'executor'])
    def here(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(itpipe._workers.inline.InlinePolicy, 'CHEAP', 1000 if request.param == 'inline' else 0)
        with ThreadPoolExecutor(2) as executor:
            yield {'executor': executor} if request.param == 'executor' else {'threads': 2}

    def test_a_call_is_made_again_after_errors_of_these_classes(self, here: dict[str, Any], ordered: bool) -> None:
        calls: Counter[int] = Counter()

        def flaky(x: int) -> int:
            calls[x] += 1
            if calls[x] < 3 and x % 3 == 0:
                raise [OSError, TimeoutError][x % 2](x)
            return x

        stage = parallel_map(flaky, **here, ordered=ordered, retries=2, retry_on=(OSError, TimeoutError), backoff=0)
        results = list(range(30) | stage)
        assert (results if ordered else sorted(results)) == list(range(30))
        assert calls == {x: 3 if x % 3 == 0 else 1 for x in range(30)}

    def test_the_last_error_is_raised(self, here: dict[str, Any]) -> None:
        count = itertools.count()

        def fail(_: int) -> None:
            raise OSError(next(count))

        with pytest.raises(OSError, match=r'^3\n'):
            list(range(1) | parallel_map(fail, **here, retries=3, retry_on=OSError, backoff=0))

    def test_other_errors_are_raised_at_once(self, here: dict[str, Any]) -> None:
        count = itertools.count()

        def fail(_: int) -> None:
            raise ValueError(next(count))

        with pytest.raises(ValueError, match=r'^0\n'):
            list(range(1) | parallel_map(fail, **here, retries=3, retry_on=OSError, backoff=0))

    def test_then_on_error_decides(self, here: dict[str, Any]) -> None:
        calls: Counter[int] = Counter()

        def fail(x: int) -> int:
            calls[x] += 1
            return odd_only(x)

        stage = parallel_map(fail, **here, retries=1, retry_on=ValueError, backoff=0, on_error='skip')
        assert list(range(6) | stage) == [1, 3, 5]
        assert calls == {0: 2, 1: 1, 2: 2, 3: 1, 4: 2, 5: 1}

    def test_in_processes(self) -> None:
        def flaky(x: int, calls: list[int] = []) -> tuple[int, int]:  # noqa: B006
            calls.append(x)
            if x % 3 == 0 and calls.count(x) < 3:
                raise OSError
            return x, calls.count(x)

        stage = parallel_map(flaky, processes=2, retries=2, retry_on=OSError, backoff=0)
        assert list(range(9) | stage) == [(x, 3 if x % 3 == 0 else 1) for x in range(9)]

    def test_every_try_draws_the_same(self) -> None:
        from itpipe import with_rng

        seen: dict[float, int] = {}

        def flaky(x: int, rng: np.random.Generator) -> float:
            drawn = rng.random()
            seen[drawn] = seen.get(drawn, 0) + 1
            if seen[drawn] < 3:
                raise OSError
            return drawn

        stage = parallel_map(with_rng(flaky), threads=2, retries=2, retry_on=OSError, backoff=0)
        results = list(stream(range(5), seed=1) | stage)
        assert seen == dict.fromkeys(results, 3)
        assert len(seen) == 5

    def test_the_pauses_grow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []

        class Recorded(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                if threading.current_thread().name.startswith('itpipe-'):
                    pauses.append(timeout)
                    return False
                return super().wait(timeout)

        monkeypatch.setattr(itpipe._workers.failures, 'Event', Recorded)
        stage = parallel_map(lambda _: 1 / 0, threads=1, retries=1100, retry_on=ZeroDivisionError, backoff=0.5)
        with pytest.raises(ZeroDivisionError):
            list(range(1) | stage)
        assert pauses == [0.5, 1, 2, 4, 8, 16, 32, *[60] * 1093]

    def test_closing_breaks_a_pause(self) -> None:
        begun = threading.Event()

        def fail(_: int) -> None:
            begun.set()
            raise OSError

        run = iter(range(1) | parallel_map(fail, threads=1, retries=1, retry_on=OSError, backoff=10 * LIMIT))

        def consume() -> None:
            with pytest.raises(RuntimeError, match='the run was closed'):
                next(run)

        consumer = threading.Thread(target=consume)
        consumer.start()
        assert begun.wait(LIMIT)
        run._chain.stop()
        consumer.join(LIMIT)
        assert not consumer.is_alive()
        run.close()


class TestInfinite:
    def test_it_lists_what_was_dropped_over_all_passes_and_after_the_end(self) -> None:
        odd = parallel_map(odd_only, threads=2, on_error='skip')
        with Infinite(range(6), odd, batch_size=3, prefetch=0) as batch_iter:
            assert batch_iter.dropped == []
            for n in (1, 2):
                assert [batch.tolist() for batch in batch_iter] == [[1, 3, 5]]
                assert [each.ordinal for each in batch_iter.dropped] == [0, 2, 4] * n
        assert [each.ordinal for each in batch_iter.dropped] == [0, 2, 4] * 2
        next(batch_iter())
        assert [each.ordinal for each in batch_iter.dropped][:3] == [0, 2, 4]
        batch_iter.close()

    def test_it_pickles_without_them(self) -> None:
        batch_iter = Infinite(range(2), parallel_map(odd_only, threads=1, on_error='skip'), batch_size=1)
        assert len(list(batch_iter)) == 1
        batch_iter.close()
        assert pickle.loads(pickle.dumps(batch_iter)).dropped == []


class TestArguments:
    @pytest.mark.parametrize(
        ('options', 'kind', 'message'),
        [
            ({'on_error': 'ignore'}, ValueError, "`on_error` must be 'raise', 'skip' or a function, got 'ignore'"),
            ({'on_error': None}, TypeError, "`on_error` must be 'raise', 'skip' or a function, got NoneType"),
            ({'on_error': ValueError}, TypeError,
             "`on_error` must be 'raise', 'skip' or a function, got the class ValueError"),
            ({'retries': 1, 'retry_on': ()}, ValueError, '`retry_on` must not be empty'),
            ({'max_errors': 3}, TypeError, "`max_errors` goes with another `on_error` than 'raise'"),
            ({'on_error': 'skip', 'max_errors': -1}, ValueError, '`max_errors` must be at least 0, got -1'),
            ({'on_error': 'skip', 'max_errors': 1.5}, ValueError,
             '`max_errors` must be a count or a share below 1, got 1.5'),
            ({'on_error': 'skip', 'max_errors': '1%'}, TypeError, '`max_errors` must be an int, got str'),
            ({'retries': -1}, ValueError, '`retries` must be at least 0, got -1'),
            ({'retries': 2}, TypeError,
             '`retries` needs `retry_on`, the class or classes of errors to try again after'),
            ({'retry_on': OSError}, TypeError, '`retry_on` goes with `retries`'),
            ({'backoff': 0.1}, TypeError, '`backoff` goes with `retries`'),
            ({'retries': 0, 'backoff': 1}, TypeError, '`backoff` goes with `retries`'),
            ({'backoff': '1s'}, TypeError, '`backoff` must be a number, got str'),
            ({'retries': 1, 'retry_on': int}, TypeError,
             '`retry_on` must be a class of exceptions or a tuple of such, got int'),
            ({'retries': 1, 'retry_on': (OSError, 'x')}, TypeError,
             '`retry_on` must be a class of exceptions or a tuple of such, got str'),
            ({'retries': 1, 'retry_on': KeyboardInterrupt}, TypeError,
             '`retry_on` must be a class of exceptions or a tuple of such, got KeyboardInterrupt'),
            ({'retries': 1, 'retry_on': OSError, 'backoff': -1}, ValueError, '`backoff` must be at least 0, got -1'),
        ],
    )  # fmt: skip
    def test_wrong_ones(self, options: dict[str, Any], kind: type[Exception], message: str) -> None:
        with raises(kind, f'parallel_map: {message}'):
            parallel_map(abs, threads=2, **options)

    def test_it_prints_compares_and_pickles(self) -> None:
        stage = parallel_map(abs, threads=2, on_error='skip', max_errors=0.5, retries=2, retry_on=OSError, backoff=1.5)
        assert repr(stage) == (
            "parallel_map(abs, threads=2, on_error='skip', max_errors=0.5, retries=2, retry_on=OSError, backoff=1.5)"
        )
        assert pickle.loads(pickle.dumps(stage)) == stage
        assert stage != parallel_map(abs, threads=2, on_error='skip')
        text = 'parallel_map(abs, threads=2, retries=2, retry_on=OSError)'
        assert repr(parallel_map(abs, threads=2, retries=2, retry_on=OSError)) == text

    def test_the_defaults_change_nothing(self) -> None:
        plain = parallel_map(abs, threads=2, on_error='raise', retries=0, max_errors=None, backoff=None)
        assert plain == parallel_map(abs, threads=2)
        assert list([-1] | plain | apply(str)) == ['1']


# ---------------------------------------------------------------------------------------------------------------------
# Errors that are unlike others


class Falsy(Exception):
    def __bool__(self) -> bool:
        return False


class Equal(Exception):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Silent(Exception):
    def refuse(self, *_: Any) -> Any:
        raise ArithmeticError

    __bool__ = __eq__ = __hash__ = __str__ = __repr__ = refuse


@pytest.mark.many(9)
@pytest.mark.parametrize('kind', [Falsy, Equal, Silent])
@pytest.mark.parametrize('where', [{'threads': 2}, {'processes': 1}])
def test_what_an_error_says_of_itself_does_not_matter(kind: type[Exception], where: dict[str, int]) -> None:
    """It may be false, equal to all, or refuse to be asked: it is an error, and there."""

    class Closing:
        def close(self) -> None:
            raise kind

    def fail(x: int, **_: Any) -> int:
        if x == 2:
            raise kind
        return x

    def source() -> Any:
        yield 0
        raise kind

    def of(f: Any, **options: Any) -> Any:
        return parallel_map(f, **where, **options)

    for failing in (
        range(4) | of(fail),
        range(4) | of(fail, ordered=False, retries=1, retry_on=kind, backoff=0) | prefetch(1),
        range(4) | of(fail, on_error='skip', max_errors=0),
        range(4) | of(fail, setup=lambda: fail(2)),
        range(2) | of(fail, setup=Closing),
        source() | of(fail),
    ):
        with pytest.raises(kind) as caught:
            list(failing)
        assert type(caught.value) is kind
        del caught
    run = iter(range(4) | of(fail, on_error='skip'))
    assert sorted(run) == [0, 1, 3]
    assert [type(each.error) for each in run.dropped] == [kind]


class Photos:
    """A dataset of which one item cannot be read, or kills who reads it."""

    def __init__(self, kills: bool = False):
        self.kills = kills

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        if index == 13:
            if self.kills:
                os._exit(3)
            raise OSError('truncated')
        return index


def _not_17(x: int) -> int:
    if x == 17:
        raise ValueError('17')
    return x


@pytest.mark.parametrize('where', [{'threads': 1}, {'processes': 1}])
def test_what_is_dropped_names_the_source_where_that_failed(where: dict[str, int]) -> None:
    made = stream(Photos()) | parallel_map(_not_17, on_error='skip', **where)
    with Infinite(made, batch_size=8) as batch_iter:
        list(batch_iter)
        of_source, of_function = sorted(batch_iter.dropped, key=lambda each: each.ordinal)
    assert (of_source.ordinal, of_source.stage) == (13, 'the source <Photos>')
    assert (of_function.ordinal, of_function.stage[:21]) == (17, 'parallel_map(_not_17,')


@pytest.mark.timeout(LIMIT)
def test_a_crash_names_all_that_the_worker_did() -> None:
    made = Infinite(Photos(kills=True), batch_size=8, processes=1)
    with made as batch_iter, pytest.raises(WorkerCrashed) as caught:
        list(batch_iter)
    (text,) = caught.value.__notes__
    assert text == 'itpipe: raised in the source <Photos> or in apply(combine), items 8 to 15'
