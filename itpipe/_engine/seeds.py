"""The seeds of the random steps of a run."""

from __future__ import annotations

from copy import copy

from itpipe._core.rng import fresh_seed, step_word

__all__ = ['Sites']


class Sites:
    """Numbers the random steps in reading order and gives each its word.

    A step's own seed comes first, then the run's (`seed`), then that of the source it stands behind (`fallback`), and
    fresh entropy, drawn once, where there is none (`entropy`: that of a run that goes on).
    """

    def __init__(
        self, seed: int | None = None, pass_: int = 0, fallback: int | None = None, entropy: int | None = None
    ):
        self._given, self._fallback = seed, fallback
        self.pass_ = pass_
        self._fresh: list[int] = [] if entropy is None else [entropy]
        self._count = [0]

    @property
    def number(self) -> int:
        """How many random steps there were so far."""
        return self._count[0]

    @property
    def seeded(self) -> bool:
        """Whether steps that have no seed of their own get one that was given."""
        return self._given is not None or self._fallback is not None

    @property
    def seed(self) -> int:
        """The seed of the steps that have none of their own."""
        for seed in (self._given, self._fallback):
            if seed is not None:
                return seed
        if not self._fresh:
            self._fresh.append(fresh_seed())
        return self._fresh[0]

    @property
    def entropy(self) -> int | None:
        """The entropy that was drawn; None for none."""
        return self._fresh[0] if self._fresh else None

    def next(self, seed: int | None = None) -> int:
        """The word of the next random step."""
        self._count[0] += 1
        return step_word(self.seed if seed is None else seed, self._count[0] - 1, self.pass_)

    def branch(self, fallback: int | None) -> Sites:
        """The sites of a stream within this one: numbered on, with its own source."""
        sites = copy(self)
        sites._fallback = self._fallback if fallback is None else fallback
        return sites

    def again(self, number: int) -> Sites:
        """The same sites from the one with this number on."""
        sites = copy(self)
        sites._count = [number]
        return sites
