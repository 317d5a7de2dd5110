"""Streams side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from itpipe._core.checks import truth
from itpipe._core.keys import Key, Zipped
from itpipe._core.steps import Joins, Pair
from itpipe._engine.branches import Joined, OpenedBranches, branches_of
from itpipe._engine.state_checks import key_test
from itpipe._engine.stream import Stage, factory

__all__ = ['zip_with']


@factory
def zip_with(*others: Iterable[Any], strict: bool = False) -> Stage[Any, Any]:
    """Tuples of the next item of the stream before it and of the next one of each of the others, as `zip` makes them.

    `others` are streams or other iterables. It ends with the shortest of all; with `strict=True` all must have the same
    number of items. A random stage behind it draws by the item of the stream before it, as if that came alone. The seed
    of that stream is also the one of others that have none.

    Raises TypeError for what is not iterable, and for a `strict` that is not True or False; ValueError without others,
    and with `strict=True`, while iterating, as soon as one has ended and another has not.

    >>> from itpipe import apply, shuffle, stream
    >>> list(['a.png', 'b.png'] | apply(len) | zip_with([3, 1]))
    [(5, 3), (5, 1)]
    >>> list(stream('abc', seed=0) | shuffle(3) | zip_with(stream('abc') | shuffle(3)))
    [('a', 'b'), ('c', 'c'), ('b', 'a')]

    See also: `concat`, `mix`.
    """
    branches = branches_of('zip_with', 'others', others)
    return Stage((Joins('zip_with', _Zip, branches, {'strict': True} if truth('zip_with', 'strict', strict) else {}),))


class _OpenedZip(OpenedBranches):
    def run(self, at: Any) -> Iterator[Pair]:
        chains = list(self.chains.values())
        while True:
            pairs: list[Pair] = []
            for chain in chains:
                pair = next(chain.pairs, None)
                if pair is None:
                    self.check_end(len(pairs), chains)
                    return
                pairs.append(pair)
            key, values = Zipped.of([key for key, _ in pairs]), tuple([value for _, value in pairs])
            del pair, pairs  # or they are held until the next ones are made
            self.log.append((key, None))
            yield key, values
            del values

    def check_end(self, ended: int, chains: Sequence[Any]) -> None:
        """Raise an error if all must end together, where the one with this number has, and do not."""
        if not self.source.step.kwargs:
            return
        if ended:
            longer = 0
        else:
            longer = next((n for n, chain in enumerate(chains) if n and next(chain.pairs, None) is not None), 0)
            if not longer:
                return
        raise ValueError(
            'zip_with: with `strict=True` all streams must have the same number of items,'
            f' but {_named(ended)} ended before {_named(longer)}'
        )

    def received(self, key: Any) -> None:
        for part, n in key:
            self.chains[n].received(part)

    def has_key(self, key: Any) -> bool:
        return (
            isinstance(key, Zipped)
            and len(key) == len(self.chains)
            and all(self.chains[n].has_key(part) for n, part in enumerate(key.keys))
        )

    def indices(self, keys: Sequence[Any]) -> list[Any]:
        return [tuple(_alone(self.chains[n].indices(part)) for part, n in key) for key in keys]

    def recompute(self, keys: Sequence[Any]) -> dict[Key, Any]:
        parts = super().recompute([part for key in keys for part in key])
        return {key: tuple([parts[part] for part in key]) for key in keys if all(part in parts for part in key)}

    def finish(self, key: Any, value: Any) -> Any:
        return tuple([self.chains[n].finish(part, each) for (part, n), each in zip(key, value, strict=True)])


class _Zip(Joined):
    opened = _OpenedZip

    def key_test(self) -> Callable[[Any], bool]:
        tests = [key_test(branch.source, branch.steps) for branch in self.branches]
        return lambda key: (
            isinstance(key, Zipped)
            and len(key) == len(tests)
            and all(test(part) for test, part in zip(tests, key.keys, strict=True))
        )


def _named(n: int) -> str:
    return f'`others[{n - 1}]`' if n else 'the stream before `zip_with`'


def _alone(indices: list[Any]) -> Any:
    return indices[0] if len(indices) == 1 else tuple(indices)
