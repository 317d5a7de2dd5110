"""Streams one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from itpipe._core.keys import is_count
from itpipe._core.steps import Joins, Pair
from itpipe._engine.branches import Joined, OpenedBranches, branches_of
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

if TYPE_CHECKING:
    from itpipe._engine.stream import Perhaps
    from itpipe._engine.types import AnyIterable, Y

__all__ = ['concat']


@factory
def concat(*others: AnyIterable[Y]) -> Perhaps[Y]:
    """The items of the stream before it, then those of each of the others, as with `itertools.chain`.

    `others` are streams or other iterables. Those without a seed have the seed of the stream before it.

    Raises TypeError for what is not iterable, ValueError if there are no others.

    >>> from itpipe import apply
    >>> list('ab' | concat('cd', [1, 2] | apply(str)))
    ['a', 'b', 'c', 'd', '1', '2']

    See also: `mix`, which takes turns; `cycle`, `zip_with`.
    """
    return Stage((Joins('concat', _Concat, branches_of('concat', 'others', others)),))  # type: ignore[return-value]


class _OpenedConcat(OpenedBranches):
    def start_at(self, entry: dict[str, Any] | None) -> int:
        return 0 if entry is None else entry['at']

    def run(self, at: int) -> Iterator[Pair]:
        for n in range(at, len(self.chains)):
            for key, value in self.chains[n].pairs:
                self.log.append(((key, n), n))
                yield (key, n), value
                del value
            self.chains[n].close()

    def entry(self) -> Any:
        """Only the stream that is being read has a position: those before it have ended, the rest have not begun.

        But weights may have been announced for these, too.
        """
        there = [n == self.at or (n > self.at and chain.told) for n, chain in self.chains.items()]
        branches = [
            chain.state() if is_there else None for chain, is_there in zip(self.chains.values(), there, strict=True)
        ]
        return {'at': self.at, 'branches': branches}


class _Concat(Joined):
    opened = _OpenedConcat
    entry_names: ClassVar = {'at'}

    def fits(self, entry: dict[str, Any]) -> bool:
        return is_count(entry['at']) and entry['at'] < len(self.branches)
