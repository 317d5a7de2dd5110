"""Whether calls are so cheap that the thread of the run makes them itself."""

from __future__ import annotations

from itpipe._core.averages import MovingAverage

__all__ = ['InlinePolicy']


class InlinePolicy:
    """Decides, by the times of calls, whether they are made inline, in the thread of the run, or in workers.

    The first call, which has no other beside it, may start inline mode. Later, many cheap calls in a row do. Calls made
    inline are judged by a moving average, because one call may only have waited for the GIL. A call longer than any GIL
    wait ends inline mode at once. Each end doubles the number of cheap calls that it takes to start again.

    To time a call costs as much as a cheap call. So inline calls are timed in groups, together with what happens
    between them. Only when a group was slow, the next calls are timed one by one.
    """

    CHEAP = 30e-6
    """Seconds; it takes about as long to hand a call to a thread."""
    IN_A_ROW = 16
    """Cheap calls in a row that start inline mode."""
    GROUP = 16
    """Inline calls that are timed together, at most."""
    ONE_BY_ONE = 256
    """Inline calls that are timed one by one after a slow group; the average reaches as far back."""
    GIL_WAIT = 0.005
    """Seconds of one wait for the GIL; no call counts for more in the average."""
    LONGEST_GIL_WAIT = 0.02
    """Seconds; a longer call has not only waited for the GIL."""

    def __init__(self, calibrated: bool = False):
        self.active = False
        """Whether calls are made inline."""
        self.calibrated = calibrated
        """Whether the first call has been timed, or need not be."""
        self._row, self._needed = 0, self.IN_A_ROW
        self._average = MovingAverage(1 / self.ONE_BY_ONE, 0.0)

    def record(self, seconds: float) -> None:
        """Take in how long a call in a worker took."""
        cheap = seconds < self.CHEAP
        if self.calibrated:
            self._row = self._row + 1 if cheap else 0
            cheap = self._row >= self._needed
        self.active = self.active or cheap
        self.calibrated = True

    def record_inline(self, seconds: float) -> None:
        """Take in how long an inline call took."""
        if self._average.add(min(self.GIL_WAIT, seconds)) > self.CHEAP or seconds > self.LONGEST_GIL_WAIT:
            self.to_workers()

    def to_workers(self) -> None:
        """End inline mode."""
        self.active, self._row, self._average.value = False, 0, 0.0
        self._needed = min(2 * self._needed, 1 << 20)
