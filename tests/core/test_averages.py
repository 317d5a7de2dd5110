"""The moving average of measured numbers."""

import pytest

from itpipe._core.averages import MovingAverage


def test_the_first_number_is_the_average() -> None:
    average = MovingAverage(0.1)
    assert average.value is None
    assert average.add(5) == 5
    assert average.value == 5


def test_each_further_number_has_its_weight() -> None:
    average = MovingAverage(0.1)
    average.add(10)
    assert average.add(20) == pytest.approx(11)
    assert average.add(1) == pytest.approx(10)


def test_it_may_start_from_a_value() -> None:
    average = MovingAverage(1 / 4, 0.0)
    assert average.add(8) == 2
    assert average.value == 2


def test_it_follows_the_numbers() -> None:
    average = MovingAverage(0.1)
    for number in [1000.0, *100 * [10.0]]:
        value = average.add(number)
    assert value == pytest.approx(10, rel=0.01)
