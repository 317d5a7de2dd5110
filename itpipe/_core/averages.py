"""The average of numbers that keep coming."""

from __future__ import annotations

__all__ = ['MovingAverage']


class MovingAverage:
    """The exponential moving average: a new number has this `weight`, and the numbers before it ever less.

    The first number is the average, unless there is a `value` to start with.

    >>> average = MovingAverage(0.5)
    >>> average.value is None, average.add(8), average.add(4), average.value
    (True, 8, 6.0, 6.0)
    """

    __slots__ = ('value', 'weight')

    def __init__(self, weight: float, value: float | None = None):
        self.weight, self.value = weight, value

    def add(self, number: float) -> float:
        """Take in the number; returns the average."""
        value = self.value
        self.value = value = number if value is None else value + self.weight * (number - value)
        return value
