"""Streams side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from itpipe._core.checks import truth
from itpipe._core.keys import Key, Zipped
from itpipe._core.steps import Joins, Pair
from itpipe._engine.branches import Joined, LeftOfBranches, OpenedBranches, branches_of
from itpipe._engine.factories import factory
from itpipe._engine.indexing import LookUpFailed
from itpipe._engine.state_checks import key_test
from itpipe._engine.stream import Stage

if TYPE_CHECKING:
    from itpipe._engine.stream import Beside
    from itpipe._engine.types import AnyIterable, X, Y, Z

__all__ = ['zip_with']


@overload
def zip_with(other: AnyIterable[X], /, *, strict: bool = False) -> Beside[X]: ...
@overload
def zip_with(other: AnyIterable[X], second: AnyIterable[Y], /, *, strict: bool = False) -> Beside[X, Y]: ...
@overload
def zip_with(
    other: AnyIterable[X], second: AnyIterable[Y], third: AnyIterable[Z], /, *, strict: bool = False
) -> Beside[X, Y, Z]: ...
@overload
def zip_with(*others: AnyIterable[Any], strict: bool = False) -> Stage[Any, tuple[Any, ...]]: ...
@factory
def zip_with(*others: AnyIterable[Any], strict: bool = False) -> Stage[Any, Any]:
    """Tuples of the next item of the stream before it and the next item of each of the others, as with `zip`.

    `others` are streams or other iterables. Those without a seed have the seed of the stream before it. The result ends
    with the shortest of all. With `strict=True` all must have the same number of items. Later random stages draw the
    same numbers as without the others: those for the first item of the tuple.

    Raises TypeError for others that are not iterable, and if `strict` is not True or False; ValueError if there are no
    others. With `strict=True` it raises ValueError, while iterating, if one stream has ended and another has not.

    >>> from itpipe import apply
    >>> list(['cat.png', 'bird.png'] | apply(str.upper) | zip_with([3, 1]))
    [('CAT.PNG', 3), ('BIRD.PNG', 1)]

    See also: `concat`, `mix`.
    """
    branches = branches_of('zip_with', 'others', others)
    return Stage((Joins('zip_with', _Zip, branches, {'strict': True} if truth('zip_with', 'strict', strict) else {}),))


class _LeftOfElements(LeftOfBranches):
    __slots__ = ()

    def at(self, key: Any) -> Callable[[Any], Any]:
        return lambda value: tuple([self._element(n, part, each) for (part, n), each in zip(key, value, strict=True)])

    def _element(self, n: int, key: Key, value: Any) -> Any:
        try:
            return self.functions[n](key, value)
        except LookUpFailed as failed:
            failed.path = (n, *failed.path)
            raise


class _OpenedZip(OpenedBranches):
    left = _LeftOfElements

    def run(self, at: Any) -> Iterator[Pair]:
        chains = list(self.chains.values())
        numbers = range(len(chains))
        while True:
            keys: list[Key] = []
            values: list[Any] = []
            for chain in chains:
                pair = next(chain.pairs, None)
                if pair is None:
                    self.check_end(len(keys))
                    return
                keys.append(pair[0])
                values.append(pair[1])
            key, item = Zipped(zip(keys, numbers, strict=True)), tuple(values)
            del pair, values  # or the elements are held until the next ones are made
            self.log.append((key, None))
            yield key, item
            del item

    def check_end(self, ended: int) -> None:
        """The stream with this number has ended. If all must end together and another has not, raise an error."""
        if not self.source.strict:
            return
        others = (n for n in range(1, len(self.chains)) if next(self.chains[n].pairs, None) is not None)
        longer = 0 if ended else next(others, None)
        if longer is not None:
            raise ValueError(
                'zip_with: with `strict=True` all streams must have the same number of items,'
                f' but {_named(ended)} ended before {_named(longer)}'
            )

    def last_keys(self, received: Sequence[Any]) -> dict[int, Key]:
        return {n: key for key, n in received[-1]}

    def has_key(self, key: Any) -> bool:
        return (
            isinstance(key, Zipped)
            and len(key) == len(self.chains)
            and all(self.chains[n].has_key(part) for n, part in enumerate(key.keys))
        )

    def found(self, keys: Sequence[Any], within: Callable[[int, Any], list[Any]]) -> list[Any]:
        return [tuple(_alone(within(n, part)) for part, n in key) for key in keys]

    def recompute(self, keys: Sequence[Any]) -> dict[Key, Any]:
        parts = super().recompute([part for key in keys for part in key])
        return {key: tuple([parts[part] for part in key]) for key in keys if all(part in parts for part in key)}


class _Zip(Joined):
    opened = _OpenedZip

    def length(self) -> int:
        return min(map(len, self.branches))

    @property
    def strict(self) -> bool:
        return bool(self.step.kwargs)

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
