"""Pools that outlive a pass: who gets them, and when they end."""

import threading
from typing import Any

import pytest

from itpipe import Infinite, parallel_map
from itpipe._engine.pools import MAX_IDLE, Pools, Spare


class Pool:
    """Says what is done with it."""

    is_broken = False
    function: Any = 'f'

    def serves(self, function: Any) -> bool:
        return function is self.function

    def __init__(self, fails: bool = False):
        self.log: list[str] = []
        self.fails = fails
        self.threads = [threading.Thread()]

    def rest(self) -> None:
        self.log.append('rests')

    def close(self) -> None:
        self.log.append('closed')
        if self.fails:
            raise OSError('cannot be closed')


def anyone(_: Any) -> bool:
    return True


def test_a_pool_is_taken_by_one_at_a_time() -> None:
    pools, pool = Pools(), Pool()
    assert pools.take(anyone, 'f') is None
    pools.give_back(pool)
    assert pool.log == ['rests']
    assert pools.take(lambda _: False, 'f') is None
    assert pools.take(anyone, 'f') is pool
    assert pools.take(anyone, 'f') is None


def test_only_idle_pools_are_closed_and_the_others_when_they_are_given_back() -> None:
    pools, idle, used = Pools(), Pool(), Pool()
    pools.give_back(idle)
    pools.close()
    assert (idle.log, used.log) == (['rests', 'closed'], [])
    pools.give_back(used)
    assert used.log == ['closed']
    assert pools.take(anyone, 'f') is None
    pools.close()
    assert idle.log == ['rests', 'closed']


def test_of_many_idle_ones_those_that_were_used_last_are_kept() -> None:
    pools, many = Pools(), [Pool() for _ in range(MAX_IDLE + 2)]
    for pool in many:
        pools.give_back(pool)
    assert [pool.log[1:] for pool in many] == [['closed']] * 2 + [[]] * MAX_IDLE
    pools.close()


def test_all_are_closed_even_if_one_cannot_be() -> None:
    pools, one, other = Pools(), Pool(), Pool(fails=True)
    for pool in one, other:
        pools.give_back(pool)
    with pytest.raises(OSError, match='cannot be closed'):
        pools.close()
    assert one.log == other.log == ['rests', 'closed']


def test_the_threads_of_the_idle_ones() -> None:
    pools, pool = Pools(), Pool()
    pools.give_back(pool)
    assert pools.threads == pool.threads
    pools.take(anyone, 'f')
    assert pools.threads == []


def test_a_broken_pool_is_not_kept() -> None:
    pools, pool = Pools(), Pool()
    pool.is_broken = True
    pools.give_back(pool)
    assert pool.log == ['closed']
    assert pools.take(anyone, 'f') is None


@pytest.mark.parametrize('workers', [{'threads': 1}, {'processes': 1}], ids=str)
def test_a_pool_that_is_stopped_when_it_rests_already_serves_the_next_pass(workers: Any, monkeypatch: Any) -> None:
    rested: list[Any] = []
    usual = Pools.give_back

    def give_back(pools: Pools, pool: Any) -> None:
        usual(pools, pool)
        pool.stop()
        rested.append(pool)

    monkeypatch.setattr(Pools, 'give_back', give_back)
    with Infinite(range(6), parallel_map(lambda x, setup: x, **workers, setup=int), batch_size=3, prefetch=0) as it:
        assert [[batch.tolist() for batch in it] for _ in range(3)] == [[[0, 1, 2], [3, 4, 5]]] * 3
    assert len(rested) == 3
    assert len(set(map(id, rested))) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Of one run for the next


def with_one() -> tuple[Pools, Pool]:
    pools, pool = Pools(), Pool()
    pools.give_back(pool)
    return pools, pool


def test_the_next_run_gets_the_pools_of_the_one_before_and_two_at_once_share_none() -> None:
    spare, (pools, pool) = Spare(), with_one()
    assert spare.threads == []
    spare.keep(pools)
    assert spare.threads == pool.threads
    assert spare.take() is pools
    assert spare.take() is not pools
    assert pool.log == ['rests']


def test_pools_of_an_earlier_run_are_closed_if_they_do_something_else() -> None:
    spare, (pools, pool) = Spare(), with_one()
    spare.keep(pools)
    pools = spare.take()
    assert pools.take(anyone, 'f') is pool
    pools.give_back(pool)
    assert pools.take(anyone, 'edited') is pool  # within a run, which does not see an edit
    pools.give_back(pool)
    spare.keep(pools)
    assert spare.take().take(anyone, 'edited') is None
    assert pool.log[-1] == 'closed'


def test_of_two_runs_that_ended_the_pools_of_the_last_are_kept() -> None:
    spare, (first, one), (second, other) = Spare(), with_one(), with_one()
    spare.keep(first)
    spare.keep(second)
    assert (one.log, other.log) == (['rests', 'closed'], ['rests'])
    assert spare.take() is second


def test_after_the_end_nothing_is_kept_until_the_next_run() -> None:
    spare, (first, one), (second, other) = Spare(), with_one(), with_one()
    spare.keep(first)
    spare.close()
    spare.keep(second)
    assert one.log == other.log == ['rests', 'closed']
    spare.take()
    pools, pool = with_one()
    spare.keep(pools)
    assert pool.log == ['rests']
    spare.drop()
    assert pool.log == ['rests', 'closed']
