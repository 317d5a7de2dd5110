"""The order in which steps run: neighbouring item-wise steps as one, and `shard` as early as that is right."""

import weakref
from typing import Any

import pytest

from itpipe import (
    apply,
    batch_by,
    exclude,
    filter_by,
    flatten,
    parallel_map,
    prefetch,
    shard,
    shuffle,
    skip,
    take,
    with_rng,
)
from itpipe._engine.order import fused, last_shard, planned, running


def names(steps: Any) -> list[str]:
    return [step.name for step in steps]


def test_neighbouring_item_wise_steps_run_as_one() -> None:
    steps = (apply(abs) | apply(str) | take(3) | apply(len)).steps
    assert names(fused(steps)) == ['map_items', 'take', 'map_items']
    assert fused(()) == []


@pytest.mark.parametrize(
    ('stage', 'expected'),
    [
        (apply(abs) | shard(0, 2), ['shard', 'map_items']),
        (apply(abs) | parallel_map(str, threads=2) | shard(0, 2), ['shard', 'map_items', 'parallel_map']),
        (apply(abs) | skip(1) | shard(0, 2), ['skip', 'shard', 'map_items']),
        (apply(abs) | exclude(3) | shard(0, 2), ['exclude', 'shard', 'map_items']),
        (filter_by(abs) | shard(0, 2), ['filter_by', 'shard']),
        (flatten | shard(0, 2), ['flatten', 'shard']),
        (batch_by(2) | shard(0, 2), ['batch_by', 'shard']),
        (apply(abs) | shuffle(3) | batch_by(2), ['map_items', 'shuffle', 'batch_by']),
    ],
    ids=repr,
)
def test_shard_runs_before_the_item_wise_steps_in_front_of_it(stage: Any, expected: list[str]) -> None:
    steps = fused(stage.steps)
    order = running(steps)
    assert names(steps[place] for place in order) == expected


@pytest.mark.parametrize(
    ('stage', 'expected'),
    [
        (apply(abs) | exclude(3), ['exclude', 'map_items']),
        (
            apply(abs) | parallel_map(str, threads=2) | prefetch(2) | exclude(3),
            ['exclude', 'map_items', 'parallel_map', 'prefetch'],
        ),
        (apply(abs) | filter_by(abs) | exclude(3), ['exclude', 'map_items', 'filter_by']),
        (parallel_map(abs, threads=2, on_error='skip') | exclude(3), ['exclude', 'parallel_map']),
        (
            apply(abs) | shuffle(3) | exclude(3) | apply(abs) | exclude(4),
            ['shuffle', 'exclude', 'exclude', 'map_items', 'map_items'],
        ),
        (filter_by(abs) | shuffle(3) | exclude(3), ['filter_by', 'shuffle', 'exclude']),
        (
            apply(abs) | parallel_map(abs, threads=1, ordered=False) | apply(abs) | exclude(3),
            ['map_items', 'parallel_map', 'exclude', 'map_items'],
        ),
        (apply(abs) | shard(0, 2) | apply(abs) | exclude(3), ['shard', 'exclude', 'map_items', 'map_items']),
        (flatten | apply(abs) | exclude(3), ['flatten', 'exclude', 'map_items']),
        (parallel_map(apply(abs) | batch_by(2) | len, threads=2) | exclude(3), ['batch_by', 'exclude', 'parallel_map']),
    ],
    ids=repr,
)
def test_what_is_excluded_is_left_out_before_anything_is_done_for_it(stage: Any, expected: list[str]) -> None:
    """But behind the steps that remember which items came to them."""
    steps = fused(stage.steps)
    assert names(steps[own] for _, own in planned(steps, has_look_up=False).operators) == expected


def test_the_last_shard_is_found() -> None:
    steps = (shard(0, 2) | prefetch(1) | shard(1, 3) | apply(abs)).steps
    assert last_shard(steps) == 2
    assert last_shard(steps, least=4) is last_shard(apply(abs).steps) is None


class Item:
    pass


@pytest.mark.parametrize('stage', [with_rng(lambda x, rng: Item()), apply(lambda x: Item())], ids=['keyed', 'plain'])
def test_an_item_that_is_timed_is_not_held_while_the_loop_works_on_it(stage: Any) -> None:
    run = iter(range(2) | stage)
    item = next(run)  # the first one is timed
    assert run._probe.made == 1
    held = weakref.ref(item)
    del item
    assert held() is None
    run.close()
