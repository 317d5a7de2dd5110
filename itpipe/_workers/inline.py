"""Whether a function is so cheap that another thread is not worth it."""

from __future__ import annotations

from itpipe._core.averages import MovingAverage

__all__ = ['Pace']


class Pace:
    """Tells by measured times whether calls had better be made in place.

    The first call, which has no other beside it, may show that; later, many cheap calls in a row. In place the average
    counts, over many calls, as one may have had to wait for the interpreter lock; not so what took longer than such a
    wait. Each change of mind makes the next one harder. To time a call costs as much as a cheap one: none is timed
    while several in a row, and all that happened meanwhile, take no longer than as many cheap ones may.
    """

    CHEAP = 30e-6
    """Seconds; handing a call to a thread takes about as long."""
    IN_A_ROW = 16
    UNWATCHED = 16
    AVERAGED = 256
    LOCK = 0.005
    """Seconds; one wait for the interpreter lock …"""
    NOT_THE_LOCK = 0.02
    """… and what is more than a few of them."""

    def __init__(self, known: bool = False):
        self.in_place = False
        self.known = known
        self._row, self._needed = 0, self.IN_A_ROW
        self._average = MovingAverage(1 / self.AVERAGED, 0.0)

    def seen(self, seconds: float) -> None:
        """A call in a worker took so long."""
        cheap = seconds < self.CHEAP
        if self.known:
            self._row = self._row + 1 if cheap else 0
            cheap = self._row >= self._needed
        self.in_place = self.in_place or cheap
        self.known = True

    def still_cheap(self, seconds: float) -> bool:
        """A call in place took so long; whether the next one had better be made in place, too."""
        average = self._average.add(min(self.LOCK, seconds))
        if average > self.CHEAP or seconds > self.NOT_THE_LOCK:
            self.leave()
        return self.in_place

    def leave(self) -> None:
        """Calls in place have come to take too long."""
        self.in_place, self._row, self._average.value = False, 0, 0.0
        self._needed = min(2 * self._needed, 1 << 20)
