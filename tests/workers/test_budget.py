"""How many items fit into a number of bytes."""

from typing import Any

import numpy as np
import pytest

from itpipe._workers.budget import PER_WORKER, MemoryBudget
from itpipe._workers.task import Packed, Task


def came(budget: MemoryBudget, task: Task, value: Any = None, error: Exception | None = None) -> None:
    task.value, task.error, task.settled = value, error, True
    budget.settled.append(task)


def entered(budget: MemoryBudget, key: int, size: int) -> Task:
    task = Task(key)
    budget.add(task, bytes(size))
    return task


def test_before_a_result_has_come_there_may_be_as_many_as_workers() -> None:
    budget = MemoryBudget(1000)
    assert budget.max_pending(0, 3) == 3
    tasks = [entered(budget, key, 10) for key in range(3)]
    assert budget.max_pending(3, 3) == 3
    came(budget, tasks[0], b'')
    assert budget.max_pending(3, 3) == 3 + (1000 - 20) // 10


def test_an_item_that_is_kept_counts_until_its_result_is_asked_for() -> None:
    budget = MemoryBudget(1000)
    task = entered(budget, 0, 100)
    task.item = bytes(100)
    came(budget, task, bytes(50))
    assert budget.max_pending(1, 8) == 1 + (1000 - 150) // 150
    budget.remove(task)
    assert budget.max_pending(0, 8) == 1000 // 150


def test_before_a_result_has_come_the_items_count() -> None:
    budget = MemoryBudget(100)
    for key in range(3):
        assert budget.max_pending(key, 8) > key
        entered(budget, key, 30)
    assert budget.max_pending(3, 8) == 3


def test_as_many_fit_as_items_and_results_hold() -> None:
    """An item of 10 bytes whose result is expected to have 90 takes a tenth of 1000 bytes; a result alone, 90."""
    budget = MemoryBudget(1000)
    tasks = [entered(budget, 0, 10)]
    came(budget, tasks[0], bytes(90))
    while budget.max_pending(len(tasks), 4) > len(tasks):
        tasks.append(entered(budget, len(tasks), 10))
    assert len(tasks) == 10
    for task in tasks[1:]:
        came(budget, task, bytes(90))
    assert budget.max_pending(10, 4) == 11
    tasks.append(entered(budget, 10, 10))
    assert budget.max_pending(11, 4) <= 11
    for task in tasks[:2]:
        budget.remove(task)
    assert budget.max_pending(9, 4) == 9 + (1000 - 8 * 90 - 100) // 100


def test_one_item_always_fits() -> None:
    budget = MemoryBudget(10)
    task = entered(budget, 0, 1000)
    assert budget.max_pending(1, 4) == 1
    came(budget, task, bytes(5000))
    assert budget.max_pending(1, 4) == 1
    budget.remove(task)
    assert budget.max_pending(0, 4) == 1


def test_items_that_seem_to_hold_nothing_are_limited_by_the_number_of_workers() -> None:
    budget = MemoryBudget(10**9)
    came(budget, entered(budget, 0, 0), 5)
    assert budget.max_pending(1, 3) == 3 * PER_WORKER


def test_items_that_come_to_hold_nothing() -> None:
    budget = MemoryBudget(10**9)
    for key in range(10**4):  # what is expected of the next one is as near to nothing as it gets
        task = entered(budget, key, int(key == 0))
        came(budget, task, bytes(key == 0))
        budget.remove(task)
    assert budget.max_pending(0, 3) == 3 * PER_WORKER


def test_a_result_that_is_asked_for_before_it_is_known_to_have_come() -> None:
    budget = MemoryBudget(100)
    task = entered(budget, 0, 10)
    task.value = bytes(50)
    budget.remove(task)
    came(budget, task)
    assert budget.max_pending(0, 8) == 100 // 60


@pytest.mark.parametrize(
    ('value', 'error'), [(None, ValueError()), (Packed(b'', failed=True), None)], ids=['here', 'in a process']
)
def test_errors_say_nothing_about_results(value: Any, error: Exception | None) -> None:
    budget = MemoryBudget(1000)
    task = entered(budget, 0, 10)
    came(budget, task, value, error)
    budget.remove(task)
    assert budget.max_pending(0, 3) == 3
    came(budget, entered(budget, 1, 10), bytes(90))
    assert budget.max_pending(1, 3) == 1 + (1000 - 90) // 100


def test_items_that_are_parts_of_one_volume_hold_it_once() -> None:
    budget, volume = MemoryBudget(100_000), np.zeros(10_000, np.uint8)
    tasks = [Task(key) for key in range(3)]
    for task in tasks:
        budget.add(task, volume[:10])
    for task in tasks:
        came(budget, task, volume[5:])
    assert budget.max_pending(3, 1000) > 3 + (100_000 - 3 * 10_000) // 10_000


def test_a_dataset_of_more_than_the_limit_does_not_make_workers_take_turns() -> None:
    """Of which the items are views: no waiting makes it go away."""
    budget, dataset = MemoryBudget(1000), np.zeros(10_000, np.uint8)
    for key in range(100):
        task = Task(key)
        budget.add(task, dataset[key:])
        came(budget, task, 0)
        assert budget.max_pending(1, 8) >= 1
        budget.remove(task)
    assert budget.max_pending(1, 8) >= 8


def test_items_that_are_copied_hold_what_they_show() -> None:
    budget = MemoryBudget(10_000, copied=True)
    task = Task(0)
    budget.add(task, np.zeros(100_000, np.uint8)[:10])
    came(budget, task, bytes(90))
    budget.remove(task)
    assert budget.max_pending(0, 8) == 10_000 // 100


def test_emptied_it_counts_only_new_tasks_and_expects_as_much_of_them() -> None:
    budget = MemoryBudget(1000)
    task = entered(budget, 0, 100)
    came(budget, task, bytes(50))
    entered(budget, 1, 100)
    other = budget.emptied()
    assert other.max_pending(0, 8) == 1000 // 150
    came(budget, task, bytes(50))
    assert other.max_pending(0, 8) == 1000 // 150
    assert other.emptied() is other
