"""The seeds of the random steps of a run."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from itpipe._core.rng import fresh_seed, step_key

__all__ = ['Seeds', 'StepSeed']


_PLACES: Final = ''  # which is not the name of a step


class StepSeed(NamedTuple):
    """What the draws of a random step depend on, apart from the item."""

    seed: int
    name: str
    number: int
    pass_: int

    @property
    def key(self) -> int:
        """The key of the step, see `rng.step_key`."""
        return step_key(*self)


class Seeds:
    """Gives each random step of a run its key, by the step's name and by how many of that name were asked for before.

    A step takes the first seed that is given: its own, the run's (`seed`), or that of the source in front of it
    (`fallback`). Otherwise it takes the entropy of the run, which is drawn once, when it is first needed.
    """

    def __init__(
        self, seed: int | None = None, pass_: int = 0, fallback: int | None = None, entropy: int | None = None
    ):
        self.pass_ = pass_
        self._run_seed, self._fallback = seed, fallback
        self._entropy: list[int] = [] if entropy is None else [entropy]  # shared by all copies
        self._counts: Counter[str] = Counter()

    @property
    def seeded(self) -> bool:
        """Whether a step without a seed of its own gets one that the user gave."""
        return self._run_seed is not None or self._fallback is not None

    @property
    def seed(self) -> int:
        """The seed of the steps that have none of their own."""
        for seed in (self._run_seed, self._fallback):
            if seed is not None:
                return seed
        if not self._entropy:
            self._entropy.append(fresh_seed())
        return self._entropy[0]

    @property
    def entropy(self) -> int | None:
        """The entropy that was drawn, None if none was."""
        return self._entropy[0] if self._entropy else None

    def next(self, name: str, seed: int | None = None) -> int:
        """The key of the next random step of this name."""
        return self.next_step(name, seed).key

    def next_step(self, name: str, seed: int | None = None) -> StepSeed:
        """What the draws of the next random step of this name depend on."""
        count = self._counts[name]
        self._counts[name] += 1
        return StepSeed(self.seed if seed is None else seed, name, count, self.pass_)

    def next_place(self) -> int:
        """The number of the next function of the pipeline, which is the same in each pass."""
        self._counts[_PLACES] += 1
        return self._counts[_PLACES]

    def copy(self) -> Seeds:
        """Seeds that have counted the same steps so far, and count on by themselves."""
        seeds = self._twin()
        seeds._counts = self._counts.copy()
        return seeds

    def branch(self, fallback: int | None) -> Seeds:
        """The seeds of a stream inside of this one, with its own source. Both count together."""
        seeds = self._twin()
        seeds._fallback = self._fallback if fallback is None else fallback
        return seeds

    def in_pass(self, number: int) -> Seeds:
        """The seeds of a pass over a stream that is read several times within this pass. Both count together.

        No two passes over the stream may have the same number. To count the same steps in each of them, keep a `copy()`
        from before the first one, and begin each of the others with `kept.copy().in_pass(number)`.
        """
        seeds = self._twin()
        seeds.pass_ = number
        return seeds

    def _twin(self) -> Seeds:
        twin = Seeds.__new__(Seeds)
        vars(twin).update(vars(self))  # `copy.copy` fails while the interpreter shuts down
        return twin
