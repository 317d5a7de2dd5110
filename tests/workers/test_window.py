"""The window over workers: what goes in and comes out, in order and as completed; its log; its end."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from itpipe._engine.functions import item_function
from itpipe._engine.meters import Meter
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import itemwise
from itpipe._engine.waiting import Stop
from itpipe._workers.inline import InlinePolicy
from itpipe._workers.opening import Workers
from itpipe._workers.window import map_ordered, map_unordered, replay_unordered


@pytest.fixture(params=['in threads', 'inline'], autouse=True)
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InlinePolicy, 'CHEAP', 1000 if request.param == 'inline' else 0)


class Run:
    """A window over two threads that square numbers."""

    def __init__(self, items: Any, ordered: bool, slots: Any = (), f: Callable[[Any], Any] = lambda x: x * x):
        self.stop, self.log = Stop(), deque[Any]()
        function = item_function(itemwise('f', f).steps, Seeds())
        options = function, Workers('threads', 2, 3, 2, None, None, None, None), None, self.stop, Meter()
        pairs = iter(items)
        if ordered:
            self.pairs: Any = map_ordered(pairs, *options)
        else:
            self.pairs = map_unordered(pairs, {'slots': list(slots)}, self.log, *options)


@pytest.mark.parametrize('ordered', [True, False])
def test_an_error_of_the_source_comes_after_the_results_before_it(ordered: bool) -> None:
    def source() -> Iterator[Any]:
        yield from enumerate(range(5))
        raise OSError('gone')

    run, results = Run(source(), ordered), []
    with pytest.raises(OSError, match='gone'):
        for _, value in run.pairs:
            results.append(value)
    assert sorted(results) == [0, 1, 4, 9, 16]
    assert run.stop.waitables == []


@pytest.mark.parametrize('ordered', [True, False])
@pytest.mark.parametrize('ending', ['end', 'close', 'error'])
def test_the_pool_is_part_of_the_run_until_it_is_closed(ordered: bool, ending: str) -> None:
    run = Run(enumerate([1, 2, 'x' if ending == 'error' else 3]), ordered)
    next(run.pairs)
    (pool,) = run.stop.waitables
    if ending == 'close':
        run.pairs.close()
    elif ending == 'error':
        with pytest.raises(TypeError):
            list(run.pairs)
    else:
        list(run.pairs)
    assert run.stop.waitables == []
    assert not any(thread.is_alive() for thread in pool.threads)


def test_the_log_says_in_which_order_items_came_out_and_which_are_on_their_way() -> None:
    run = Run(enumerate(range(10)), ordered=False)
    received = [next(run.pairs)[0] for _ in range(4)]
    position, state = [None], {'slots': []}
    replayed = replay_unordered(run.log, position, state)
    assert [next(replayed)[0] for _ in received] == received
    on_the_way = [key for key, _ in state['slots']]
    assert sorted(received + on_the_way) == list(range(position[0] + 1))  # type: ignore[operator]
    received += [key for key, _ in run.pairs]
    assert received[:4] + [key for key, _ in replayed] == received
    assert state['slots'] == []


def test_what_was_on_its_way_goes_in_first_and_is_in_the_slots_of_the_replica_already() -> None:
    run = Run(enumerate([7, 8]), ordered=False, slots=[(5, 1), (6, 2)])
    results = dict(run.pairs)
    assert results == {5: 1, 6: 4, 0: 49, 1: 64}
    assert [key for key, came_out in run.log if not came_out][:2] == [0, 1]
    assert sorted(key for key, came_out in run.log if came_out) == [0, 1, 5, 6]
