"""The global random generators, seeded for each item: for functions that draw from them."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ['SeedGlobals']


class SeedGlobals:
    """Wraps a function: before each call, the global generators are seeded from the item's own generator.

    Unpickled in a process of a pool, it leaves them as they are after the call. Here, where single items are made
    again, it restores them.
    """

    def __init__(self, restore: bool = True):
        self.restore = restore

    def __call__(self, rng: np.random.Generator, f: Callable[..., Any]) -> Callable[..., Any]:
        def seeded(*item: Any, **named: Any) -> Any:
            with _restored() if self.restore else nullcontext():
                knew_torch = _seed(rng)
                result = f(*item, **named)
                if not knew_torch and 'torch' in sys.modules:
                    _check(sys.modules['torch'])
                return result

        return seeded

    def __reduce__(self) -> Any:
        return SeedGlobals, (False,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeedGlobals)

    def __hash__(self) -> int:
        return hash(SeedGlobals)


def _seed(rng: np.random.Generator) -> bool:
    """Seed each generator with as many bits of its own as it takes; returns whether torch is imported."""
    a, b, c, d, *words, seed = rng.bit_generator.random_raw(9).tolist()  # a tenth of the time of `integers`
    random.seed(a | b << 64 | c << 128 | d << 192)
    np.random.seed([half for word in words for half in (word & (1 << 32) - 1, word >> 32)])  # noqa: NPY002
    if (torch := sys.modules.get('torch')) is not None:
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` takes longer than most functions
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed)
    return torch is not None


def _check(torch: Any) -> None:
    """Raise an error if the function imported torch and drew from its generator, which was not seeded before."""
    used = torch.default_generator
    fresh = torch.Generator().manual_seed(used.initial_seed())  # that seed is another one in every process
    if not torch.equal(used.get_state(), fresh.get_state()):
        raise RuntimeError(
            'parallel_map: with `seed_globals`, torch must be imported before the function is called: import it outside'
            ' of the function'
        )


@contextmanager
def _restored() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch: Any = sys.modules.get('torch')
    torch_state = None if torch is None else torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        if torch_state is not None:
            torch.default_generator.set_state(torch_state)
