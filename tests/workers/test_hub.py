"""Which of two threads reads from the sockets of all processes."""

import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from pools import dies_once
from running import LIMIT, wait_until

import itpipe._workers.workforce
from itpipe import parallel_map
from itpipe._workers.hub import EpollHub, Hub, new_hub

KINDS = [Hub] if new_hub is Hub else [Hub, EpollHub]


class Served:
    """A hub, and what it has served in its thread."""

    def __init__(self, kind: type[Hub]):
        self.calls: SimpleQueue[set[int]] = SimpleQueue()
        self.goes_on = True
        self.hub = kind(self.serve, 'itpipe-test')
        self.hub.start()
        assert self.next() == set()

    def serve(self, numbers: Collection[int]) -> bool:
        self.calls.put(set(numbers))
        return self.goes_on

    def next(self) -> set[int]:
        return self.calls.get(timeout=LIMIT)

    def until(self, is_it: Callable[[set[int]], bool]) -> None:
        while not is_it(self.next()):
            pass

    def end(self) -> None:
        self.goes_on = False
        self.hub.notify()
        self.hub.thread.join(LIMIT)
        assert not self.hub.thread.is_alive()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@pytest.mark.parametrize('kind', KINDS)
def test_the_thread_of_the_hub_serves_what_there_is_to_read(kind: type[Hub], ends: Any) -> None:
    here, there = ends
    served = Served(kind)
    served.hub.add(here.fileno())
    there.send(b'.')
    served.until(lambda numbers: here.fileno() in numbers)
    here.recv(1)
    served.hub.remove(here.fileno())
    served.hub.notify()
    served.until(lambda numbers: here.fileno() not in numbers)
    there.send(b'.')
    served.hub.notify()
    assert here.fileno() not in served.next()
    served.end()


@pytest.mark.parametrize('kind', KINDS)
def test_the_wait_of_the_run_can_be_ended(kind: type[Hub]) -> None:
    """Also the next one, and none after the end of the hub."""
    served = Served(kind)
    threading.Thread(target=served.hub.wake).start()
    served.hub.wait(LIMIT)
    served.hub.wake()
    served.hub.wait(LIMIT)
    served.hub.wait(0.0)
    served.end()
    served.hub.wake()
    served.hub.wait(0.0)


@pytest.mark.parametrize('kind', KINDS)
def test_a_hub_that_never_began_is_closed(kind: type[Hub]) -> None:
    kind(bool, 'itpipe-test').close()


def state_of(thread: threading.Thread) -> str:
    return Path(f'/proc/self/task/{thread.native_id}/stat').read_text().rpartition(')')[2].split()[0]


@pytest.mark.skipif(new_hub is Hub, reason='this system has no EPOLLEXCLUSIVE')
def test_the_thread_of_the_run_serves_what_comes_while_it_waits(ends: Any) -> None:
    """And the other one is not even woken."""
    here, there = ends
    served = Served(EpollHub)
    served.hub.add(here.fileno())
    numbers: list[int] = []
    run = threading.Thread(target=lambda: numbers.extend(served.hub.wait(LIMIT)))
    run.start()
    wait_until(lambda: served.hub._waiting, 'it is about to wait')
    wait_until(lambda: state_of(run) == state_of(served.hub.thread) == 'S', 'both threads sleep')
    there.send(b'.')
    run.join(LIMIT)
    assert numbers == [here.fileno()]
    here.recv(1)
    assert served.calls.empty()
    there.send(b'.')  # while it does not wait
    served.until(lambda numbers: here.fileno() in numbers)
    here.recv(1)
    served.end()


@pytest.mark.long
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('ordered', [True, False])
def test_a_pool_is_the_same_with_any_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Hub], ordered: bool
) -> None:
    """Nobody waits for longer than until there is an answer, also of a process that dies."""
    monkeypatch.setattr(itpipe._workers.workforce, 'new_hub', kind)
    monkeypatch.setattr(itpipe._workers.pool, 'POLL_SECONDS', LIMIT)

    def function(x: int) -> int:
        return dies_once(tmp_path / 'died', x) if x == 7 else x

    stage = parallel_map(function, processes=2, ordered=ordered, max_tasks_per_worker=40)
    assert sorted(range(100) | stage) == list(range(100))
    assert os.listdir(tmp_path) == ['died']
