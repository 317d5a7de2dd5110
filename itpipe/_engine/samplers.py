"""Samplers as sources: of those of torch in each pass a copy, which gives what belongs to that pass.

A sampler draws from torch's global generator, or goes on with its own where the last pass ended. So a pass would have
another order if it is read again, or in another process. The copy draws what depends on the seed of the run and the
pass, or goes on from where its generator stands in that pass. For that, what the passes before it drew is drawn again,
which makes no items. `set_epoch` receives the number of the pass.

A sampler of the user's own may count its passes, which a copy would forget. So it is read itself, unless its generator
or its `set_epoch` says what changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from copy import copy
from itertools import chain
from typing import TYPE_CHECKING, Any

from itpipe._core.show import format_value

if TYPE_CHECKING:
    from .waiting import Stop

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
        sampler = _inner(sampler)


def _inner(sampler: Any) -> Any:
    """The one that it reads from, if it has it itself: a property may compute it, and a copy needs another one."""
    return getattr(sampler, '__dict__', {}).get('sampler')


def _copied(sampler: Any) -> Any:
    result = copy(sampler)
    if is_sampler(inner := _inner(sampler)):
        result.sampler = _copied(inner)
    return result


class Samplers:
    """A sampler, pass after pass."""

    def __init__(self, sampler: Any):
        self.sampler = sampler
        self._stood: dict[int, list[Any]] = {}
        """Where its own generators stand at the beginnings of passes."""
        self._last = -1
        """The pass that was begun last."""

    @property
    def copied(self) -> bool:
        """Whether a copy gives what belongs to a pass. If not, it is read itself."""
        return all(map(_says_what_changes, _nested(self.sampler)))

    @property
    def random(self) -> bool:
        """Whether it has no generator of its own, and draws by the seed of the run."""
        return self.copied and any(getattr(each, 'generator', self) is None for each in _nested(self.sampler))

    def check(self, pass_: int, position: int) -> None:
        """Warn if a run goes on at this position of a pass, and nobody knows whether the order is the same."""
        follows = position == 0 and pass_ in (0, self._last + 1)
        self._last = pass_
        if not follows and not self.copied:
            from .stacks import user_stacklevel

            warnings.warn(
                f'itpipe: the run goes on in pass {pass_} over {format_value(self.sampler)}. If its order changes from'
                ' pass to pass, or depends on a global generator, give it a `generator` of torch, or a `set_epoch`,'
                ' which receives the number of the pass; or use `shuffle()`',
                stacklevel=user_stacklevel(),
            )

    def in_pass(self, pass_: int, seed: Callable[[], int], stop: Stop) -> Any:
        """The sampler, or a copy of it, as it is at the beginning of a pass."""
        if not self.copied:
            for each in _nested(self.sampler):
                if hasattr(each, 'set_epoch'):
                    each.set_epoch(pass_)
            return self.sampler
        if not self._stood:
            self._stood[0] = _states(self.sampler)
        if self._stood[0]:
            for number in range(max(known for known in self._stood if known <= pass_), pass_):
                self.ended(number, self._read(self._begin(number, seed), stop))
        return self._begin(pass_, seed)

    def _read(self, sampler: Any, stop: Stop) -> Any:
        """The copy, read to its end, and so its generators where the next pass begins."""
        try:
            len(sampler)
        except (AttributeError, NotImplementedError, TypeError):
            raise ValueError(
                f'{format_value(self.sampler)} has a `generator`, but no len(), so it may be endless, and where its'
                ' next pass begins is not known: give it a `__len__`, or a `set_epoch` and no `generator`'
            ) from None
        for _ in sampler:
            stop.check()
        return sampler

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

    def __init__(self, samplers: Samplers, pass_: int, seed: Callable[[], int], stop: Stop):
        self._samplers, self._pass, self._seed, self._stop = samplers, pass_, seed, stop

    def __iter__(self) -> Iterator[Any]:
        sampler = self._samplers.in_pass(self._pass, self._seed, self._stop)
        yield from sampler
        if sampler is not self._samplers.sampler:
            self._samplers.ended(self._pass, sampler)

    def __repr__(self) -> str:
        return format_value(self._samplers.sampler)


def _draws(sampler: Any) -> bool:
    """Whether it draws from its `generator`: one of torch, or None. Others, such as those of numpy, are left to it."""
    import torch

    generator = getattr(sampler, '__dict__', {}).get('generator', sampler)
    return generator is None or isinstance(generator, torch.Generator)


def _says_what_changes(sampler: Any) -> bool:
    """Whether it is of torch, or has a generator of torch or a `set_epoch` on which its order depends."""
    if type(sampler).__module__ in OF_TORCH or hasattr(sampler, 'set_epoch'):
        return True
    return getattr(sampler, 'generator', None) is not None and _draws(sampler)


def _states(sampler: Any) -> list[Any]:
    return [each.generator.get_state() for each in _nested(sampler) if _draws(each) and each.generator is not None]
