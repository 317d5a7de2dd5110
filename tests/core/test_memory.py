"""The bytes that several values hold together."""

from typing import Any

import numpy as np
from running import HAS_GIL

from itpipe._core.memory import MIN_SHARED, Held


def large() -> Any:
    return np.zeros(MIN_SHARED, np.uint8)


def test_what_several_values_hold_counts_once_and_as_long_as_one_of_them_does() -> None:
    held, owner, other = Held(), large(), large()
    crops = [held.add((owner[i : i + 2], b'12')) for i in range(3)]
    assert [each.added for each in crops] == [MIN_SHARED + 2, 2, 2]
    assert held.total == MIN_SHARED + 6
    last = held.add([other, owner])
    assert held.total == 2 * MIN_SHARED + 6
    for each in crops:
        held.remove(each)
    assert held.total == 2 * MIN_SHARED
    held.remove(last)
    assert held.total == 0


def test_copies_share_nothing() -> None:
    held, owner = Held(), large()
    copies = [
        held.add([owner[:2], np.broadcast_to(np.uint8(0), MIN_SHARED), memoryview(owner)], True) for _ in range(3)
    ]
    assert held.total == 3 * (2 + 2 * MIN_SHARED)
    for each in copies:
        held.remove(each)
    assert held.total == 0


def test_what_comes_again_after_it_had_gone_is_held_elsewhere_and_counts_no_more() -> None:
    held, dataset = Held(), large()
    first = held.add(dataset[:1])
    held.remove(first)
    again = [held.add((dataset[i:], b'1')) for i in range(3)]
    assert held.total == 3
    for each in again:
        held.remove(each)
    assert held.total == 0


def test_what_has_gone_for_good_is_not_taken_for_what_has_its_place_now() -> None:
    """Memory that comes free is soon used again, and objects are known by where they are."""
    held, places = Held(), set()
    for _ in range(100):
        value = large()
        places.add(id(value))
        holding = held.add(value)
        assert held.total == MIN_SHARED
        del value
        held.remove(holding)
    assert len(places) < 100 or not HAS_GIL


def test_what_cannot_be_referred_to_weakly_counts_each_time() -> None:
    held, value = Held(), bytes(MIN_SHARED)
    for _ in range(3):
        holding = held.add(value)
        assert held.total == MIN_SHARED
        held.remove(holding)
