"""Samplers of torch as sources: in each pass a copy of them, which gives what belongs to that pass.

A sampler draws from torch's global generator, or goes on with its own where the last pass ended. So a pass would have
another order if it is read again, or in another process. The copy draws what depends on the seed of the run and the
pass, or goes on from where its generator stands in that pass. For that, what the passes before it drew is drawn again,
which makes no items. `set_epoch` receives the number of the pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from copy import copy
from itertools import chain
from typing import Any

from itpipe._core.show import format_value

__all__ = ['Samplers', 'SamplersPass', 'is_sampler', 'that_deals']

OF_TORCH = ('torch.utils.data.sampler', 'torch.utils.data.distributed')
KEPT = 4
"""For so many of the latest passes it is remembered where generators stood."""


def is_sampler(value: Any) -> bool:
    """Whether it is a sampler of torch, which is not imported for that."""
    return any(kind.__name__ == 'Sampler' and kind.__module__ in OF_TORCH for kind in type(value).__mro__)


def that_deals(source: Any) -> Any:
    """The sampler that deals items to several ranks, if the source is one or reads from one; None if there is none."""
    if hasattr(source, 'source'):  # with a seed of its own
        return that_deals(source.source)
    nested = _nested(getattr(source, 'iterable', None))
    found = (each for each in nested if getattr(each, 'num_replicas', 1) > 1)
    branches = (that_deals(branch.source) for branch in getattr(source, 'branches', ()))
    return next((each for each in chain(found, branches) if each is not None), None)


def _nested(sampler: Any) -> Iterator[Any]:
    """The sampler, and those that it reads from."""
    while is_sampler(sampler):
        yield sampler
        sampler = getattr(sampler, 'sampler', None)


def _copied(sampler: Any) -> Any:
    result = copy(sampler)
    if is_sampler(inner := getattr(sampler, 'sampler', None)):
        result.sampler = _copied(inner)
    return result


class Samplers:
    """A sampler, pass after pass."""

    def __init__(self, sampler: Any):
        self.sampler = sampler
        self._stood: dict[int, list[Any]] = {}
        """Where its own generators stand at the beginnings of passes."""
        self._known = False

    @property
    def random(self) -> bool:
        """Whether it has no generator of its own, and draws by the seed of the run."""
        return any(getattr(each, 'generator', self) is None for each in _nested(self.sampler))

    def check(self, pass_: int) -> None:
        """Warn if the run begins in a later pass, and nobody knows what that changes."""
        if pass_ > 0 and not self._known and not all(map(_says_what_changes, _nested(self.sampler))):
            from .stacks import user_stacklevel

            warnings.warn(
                f'itpipe: the run goes on in pass {pass_} over {format_value(self.sampler)}. If its order changes from'
                ' pass to pass, give it a `set_epoch`, which receives the number of the pass; or use `shuffle()`',
                stacklevel=user_stacklevel(),
            )
        self._known = True

    def in_pass(self, pass_: int, seed: Callable[[], int]) -> Any:
        """A copy of the sampler, as it is at the beginning of a pass."""
        if not self._stood:
            self._stood[0] = _states(self.sampler)
        if self._stood[0]:
            for number in range(max(known for known in self._stood if known <= pass_), pass_):
                self.ended(number, _read(self._begin(number, seed)))
        return self._begin(pass_, seed)

    def ended(self, pass_: int, sampler: Any) -> None:
        """Take note of where the generators of the copy stand behind this pass."""
        self._stood[pass_ + 1] = _states(sampler)
        for old in sorted(self._stood)[1:-KEPT]:
            self._stood.pop(old, None)

    def _begin(self, pass_: int, seed: Callable[[], int]) -> Any:
        import torch

        states = iter(self._stood.get(pass_, ()))
        sampler = _copied(self.sampler)
        for each in _nested(sampler):
            if hasattr(each, 'set_epoch'):
                each.set_epoch(pass_)
            if not _draws(each):
                continue
            if each.generator is None:
                each.generator = torch.Generator().manual_seed(seed())
            else:
                each.generator = torch.Generator(each.generator.device)
                each.generator.set_state(next(states))
        return sampler


class SamplersPass:
    """What a sampler gives in one pass, each time that it is iterated."""

    def __init__(self, samplers: Samplers, pass_: int, seed: Callable[[], int]):
        self._samplers, self._pass, self._seed = samplers, pass_, seed

    def __iter__(self) -> Iterator[Any]:
        sampler = self._samplers.in_pass(self._pass, self._seed)
        yield from sampler
        self._samplers.ended(self._pass, sampler)

    def __repr__(self) -> str:
        return format_value(self._samplers.sampler)


def _draws(sampler: Any) -> bool:
    """Whether it draws from its `generator`: one of torch, or None. Others, such as those of numpy, are left to it."""
    import torch

    generator = getattr(sampler, 'generator', sampler)
    return generator is None or isinstance(generator, torch.Generator)


def _says_what_changes(sampler: Any) -> bool:
    return type(sampler).__module__ in OF_TORCH or hasattr(sampler, 'set_epoch') or _draws(sampler)


def _states(sampler: Any) -> list[Any]:
    return [each.generator.get_state() for each in _nested(sampler) if _draws(each) and each.generator is not None]


def _read(sampler: Any) -> Any:
    for _ in sampler:
        pass
    return sampler
