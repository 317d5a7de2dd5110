"""Ray as an executor: what it takes and gives, and how it ends. What runs on it is in test_clusters."""

import pickle
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clusters import start_ray
from running import LIMIT, raises, wait_until

from itpipe import RayExecutor, parallel_map
from itpipe._workers.executors import ExecutorPool

ray: Any = pytest.importorskip('ray')
starts = [pytest.mark.long, pytest.mark.leaves_threads('Ray starts and ends threads and connections when it likes')]


@pytest.fixture(scope='module')
def shut_down_later() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture
def executor(shut_down_later: None) -> RayExecutor:
    start_ray()
    return RayExecutor()


def marked(function: Any) -> Any:
    for mark in starts:
        function = mark(function)
    return function


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    with raises(ImportError, "RayExecutor: needs Ray: pip install 'itpipe[ray]'"):
        RayExecutor()


def test_before_ray_is_initialized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, 'is_initialized', lambda: False)
    with raises(RuntimeError, 'RayExecutor: Ray is not initialized: call `ray.init()` first'):
        RayExecutor()


class Cluster:
    """In the place of Ray: these nodes, and one that is gone. Calls are made at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, float]) -> None:
        self.found: list[dict[str, Any]] = [{'Alive': True, 'Resources': node} for node in nodes]
        self.found.append({'Alive': False, 'Resources': {'tape': 1.0, 'CPU': 64.0}})
        self.asked = 0
        monkeypatch.setitem(sys.modules, 'ray', self)  # type: ignore[arg-type]

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        alive = [node['Resources'] for node in self.found if node['Alive']]
        return {name: sum(node.get(name, 0) for node in alive) for node in alive for name in node}

    def nodes(self) -> list[dict[str, Any]]:
        self.asked += 1
        return self.found

    def remote(self, **options: Any) -> Any:
        def made(function: Any, args: Any, kwargs: Any) -> Any:
            future: Future[Any] = Future()
            future.set_result(function(*args, **kwargs))
            return SimpleNamespace(future=lambda: future)

        return lambda call: SimpleNamespace(remote=lambda *of: made(call, of, {}))


def test_as_many_calls_at_once_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, {'CPU': 4.0, 'memory': 100.0}, {'CPU': 2.0, 'GPU': 1.0, 'memory': 100.0})
    for options, size in (
        ({}, 6), ({'num_cpus': 4}, 1), ({'num_cpus': 0}, 6), ({'num_gpus': 1}, 1), ({'memory': 50}, 4),
        ({'num_cpus': 0, 'memory': 20}, 10), ({'num_cpus': 0, 'resources': {'tape': 1}}, 1),
    ):  # fmt: skip
        assert RayExecutor(**options).num_workers == size


@pytest.mark.parametrize(
    ('options', 'missing'),
    [
        ({'resources': {'tape': 1}}, 'tape: 1'),
        ({'num_cpus': 5, 'memory': 101}, 'CPU: 5, memory: 101'),
        ({'num_cpus': 3, 'num_gpus': 1}, 'CPU: 3, GPU: 1 together'),
    ],
)
def test_what_no_node_has_is_named_once(options: dict[str, Any], missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {'CPU': 4.0, 'memory': 100.0}, {'CPU': 2.0, 'GPU': 1.0, 'memory': 100.0})
    executor = RayExecutor(**options)
    with pytest.warns(UserWarning, match=rf'^RayExecutor: no node of the cluster has {missing}, so the calls wait'):
        assert executor.submit(abs, -1).result() == 1
    assert executor.submit(abs, -2).result() == 2
    assert RayExecutor(num_gpus=1, memory=100).submit(abs, -3).result() == 3  # the tests turn warnings into errors
    assert cluster.asked == 2


def test_it_pickles_and_prints_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, {'CPU': 4.0})
    described = range(3) | parallel_map(abs, executor=RayExecutor(num_cpus=2, resources={'tape': 1}))
    text = repr(described)
    assert 'executor=RayExecutor(num_cpus=2, resources={' in text
    copy = pickle.loads(pickle.dumps(described))
    assert repr(copy) == text
    assert repr(RayExecutor()) == 'RayExecutor()'
    assert list(pickle.loads(pickle.dumps(range(3) | parallel_map(abs, executor=RayExecutor())))) == [0, 1, 2]


@marked
def test_calls_with_arguments(executor: RayExecutor) -> None:
    assert executor.submit(pow, 2, 5, mod=7).result(LIMIT) == 4
    assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
    reference = ray.put(7)
    assert executor.submit(list, [reference]).result(LIMIT) == [reference]  # as it is, not what it refers to


@marked
def test_as_many_workers_as_the_cluster_has_room_for(executor: RayExecutor) -> None:
    sizes = {
        0.5: RayExecutor(num_cpus=0.5),
        1: executor,
        2: RayExecutor(num_cpus=2),
        3: RayExecutor(num_cpus=3),
        'gpu': RayExecutor(num_gpus=1),
        'any': RayExecutor(num_cpus=0),
        'memory': RayExecutor(num_cpus=0, memory=ray.cluster_resources()['memory'] // 3),
    }
    assert {name: size.num_workers for name, size in sizes.items()} == {
        0.5: 4,
        1: 2,
        2: 1,
        3: 1,
        'gpu': 1,
        'any': 2,
        'memory': 3,
    }
    assert ExecutorPool(executor, lambda key, value: value).size == 2


@marked
def test_an_option_that_ray_does_not_know(executor: RayExecutor) -> None:
    with pytest.raises(ValueError, match='num_cpu'):
        RayExecutor(num_cpu=1)


@marked
def test_a_future_that_is_cancelled(executor: RayExecutor) -> None:
    done = threading.Event()
    future = executor.submit(abs, -1)
    future.cancel()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(LIMIT)
    assert future.cancelled() or future.result() == 1
    assert executor.submit(abs, -1).result(LIMIT) == 1


@marked
def test_after_shutdown(executor: RayExecutor) -> None:
    with RayExecutor() as own:
        futures = [own.submit(abs, -n) for n in range(5)]
    assert [future.done() for future in futures] == [True] * 5
    with raises(RuntimeError, 'cannot schedule new futures after shutdown'):
        own.submit(abs, -1)
    assert executor.submit(abs, -1).result(LIMIT) == 1  # Ray goes on
    cancelling = RayExecutor()
    futures = [cancelling.submit(time.sleep, 0.1) for _ in range(50)]
    cancelling.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    with pytest.raises(CancelledError):
        futures[-1].result()


@marked
def test_a_run_ends_where_ray_is_shut_down(executor: RayExecutor) -> None:
    """It neither waits forever nor starts a cluster of its own."""
    run = iter(range(1000) | parallel_map(abs, executor=executor, in_flight=3))
    assert next(run) == 0
    ray.shutdown()
    with pytest.raises(RuntimeError, match='^RayExecutor: Ray was shut down: call `ray') as caught:
        list(run)
    assert 'in parallel_map(abs, executor=RayExecutor(), in_flight=3), item ' in caught.value.__notes__[0]
    assert not ray.is_initialized()


@marked
def test_a_run_that_waits_when_ray_is_shut_down(executor: RayExecutor, tmp_path: Path) -> None:
    begun = tmp_path / 'begun'

    def wait(_: int) -> None:
        begun.touch()
        threading.Event().wait()

    def shut_down() -> None:
        wait_until(begun.exists, 'a call has begun')
        ray.shutdown()

    thread = threading.Thread(target=shut_down)
    thread.start()
    with pytest.raises(RuntimeError, match='^RayExecutor: Ray was shut down'):
        next(iter(range(10) | parallel_map(wait, executor=executor)))
    thread.join()
