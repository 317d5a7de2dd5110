"""A stream again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from itpipe._core.checks import integer
from itpipe._core.keys import Key, is_count, is_pair
from itpipe._core.steps import Joins, Pair
from itpipe._engine.branches import Joined, OpenedBranches
from itpipe._engine.factories import factory
from itpipe._engine.functions import Blames, ItemFunction, Keyed
from itpipe._engine.state_checks import key_test
from itpipe._engine.stream import Stage, Stream
from itpipe._engine.weighting import may_change

if TYPE_CHECKING:
    from itpipe._engine.chain import Chain
    from itpipe._engine.seeds import Seeds
    from itpipe._engine.source import MadeOf
    from itpipe._engine.stream import Same
    from itpipe._engine.waiting import Stop
    from itpipe._engine.weighting import Weighting

__all__ = ['cycle']

KEPT: Final = 64
"""Chains of earlier passes, for items of these passes that are still in a buffer, such as that of a `shuffle`."""


@factory
def cycle(n: int | None = None) -> Same:
    """The stream before it, `n` times, or without end if `n` is None. Each pass is shuffled and augmented anew.

    Each pass runs the whole stream again, so its source must not be a one-shot iterator. The passes are those of an
    `Infinite` over the stream: the first gives the same items as the stream without `cycle`. If `n` is None, a pass
    without items is the last one, so an empty stream does not loop forever.

    Raises TypeError if `n` is neither an int nor None, ValueError if it is negative. While iterating, it raises
    `NotRestartable` if the source cannot be read again.

    >>> from itpipe import shuffle, stream, take
    >>> list(stream('abc', seed=0) | shuffle(3) | cycle(2))
    ['a', 'c', 'b', 'c', 'a', 'b']
    >>> list('ab' | cycle() | take(5))
    ['a', 'b', 'a', 'b', 'a']

    See also: `Infinite`, which does this by itself; `reuse`, which repeats items.
    """
    if n is not None:
        n = integer('cycle', 'n', n, least=0)
    return Stage((Joins('cycle', _Cycle, () if n is None else (n,)),))  # type: ignore[return-value]


class _LeftOfPasses(Keyed, Blames):
    """What each pass has left out, done by the function that it is in that pass."""

    __slots__ = ('function', 'latest', 'n', 'outer')

    def __init__(self, function: ItemFunction, outer: int, n: int | None):
        self.function, self.outer, self.n = function, outer, n
        self.latest: dict[int, ItemFunction] = {}

    @property
    def inner(self) -> Iterable[ItemFunction]:
        return (self.function,)

    def at(self, key: Any) -> Callable[[Any], Any]:
        inner, p = key
        if (function := self.latest.get(p)) is None:
            if len(self.latest) >= KEPT:
                self.latest = {}
            function = self.latest[p] = self.function.in_pass(_number(self.outer, self.n, p))
        return partial(function, inner)

    def in_pass(self, pass_: int) -> _LeftOfPasses:
        return _LeftOfPasses(self.function, pass_, self.n)

    def __reduce__(self) -> Any:
        return _LeftOfPasses, (self.function, self.outer, self.n)


class _OpenedCycle(OpenedBranches):
    """There is a chain for each pass between the one of the consumer and the one being read, both included."""

    def __init__(self, source: _Cycle, seeds: Seeds, stop: Stop):
        super().__init__(source, seeds, stop)
        from itpipe._engine.pools import Pools

        stop.pools = stop.pools or Pools()
        self.fresh = seeds.copy()  # before the random steps of the first pass are counted
        self.again = lru_cache(KEPT)(self.pass_again)

    def start(self, entry: Any = None) -> Iterator[Pair]:
        if not self.tracked:
            self.log = deque(maxlen=0)
        self.at, position = (0, None) if entry is None else (entry['pass'], entry['branches'][0])
        self.chains[self.at] = self.pass_chain(self.at, self.seeds, position)
        return self.closing(self.run(self.at, position is not None))

    def pass_chain(self, p: int, seeds: Seeds, position: Any = None) -> Chain:
        return self.chain(self.source.left, seeds.in_pass(_number(seeds.pass_, self.source.n, p)), position)

    def look_up(self) -> ItemFunction:
        left = _LeftOfPasses(self.chains[self.at].left, self.seeds.pass_, self.source.n)
        return ItemFunction((left,), ('',), pass_=self.seeds.pass_)

    def pass_again(self, p: int) -> Chain:
        return self.pass_chain(p, self.fresh.copy())

    @property
    def weightings(self) -> Sequence[Weighting]:
        return ()  # it refuses what has some

    def branch(self, n: int) -> Chain:
        return self.chains.get(n) or self.again(n)

    def run(self, at: int, begun: bool) -> Iterator[Pair]:  # type: ignore[override]
        p = at
        while self.source.n is None or p < self.source.n:
            if p not in self.chains:
                self.chains[p] = self.pass_again(p)
            self.ledger.branch(0).follow((p, *self.ledger.path))
            for key, value in self.chains[p].pairs:
                begun = True
                self.log.append(((key, p), p))
                yield (key, p), value
                del value
            self.chains[p].close()
            if not self.tracked:
                del self.chains[p]
            if not begun and self.source.n is None:
                return
            p, begun = p + 1, False

    def commit(self, key: Key) -> None:
        super().commit(key)
        for p in [p for p in list(self.chains) if p < self.at]:
            del self.chains[p]

    def entry(self) -> Any:
        return {'branches': [self.branch(self.at).state()], 'pass': self.at}

    def has_key(self, key: Any) -> bool:
        return _has_pass(key, self.source.n) and self.branch(self.at).has_key(key[0])

    def found(self, keys: Sequence[Any], within: Callable[[int, Any], list[Any]]) -> list[Any]:
        return [index for key, p in keys for index in within(p, key)]


class _Cycle(Joined):
    opened = _OpenedCycle
    entry_names: ClassVar = {'pass'}

    def __init__(self, left: Stream[Any], step: Joins):
        if may_change(left.source):
            raise ValueError(
                'cycle: it must not stand behind `reweight=True`, as each of its passes would begin with the weights'
                ' that were given first; put `cycle` into the streams of the `mix`, before it'
            )
        super().__init__(left, step)
        self.n: int | None = step.args[0] if step.args else None

    @property
    def made_of(self) -> MadeOf:
        return super().made_of._replace(how='again')

    def length(self) -> int:
        if self.n is None:
            raise TypeError('`cycle` has no end')
        return self.n * len(self.left)

    def key_test(self) -> Callable[[Any], bool]:
        test = key_test(self.left.source, self.left.steps)
        return lambda key: _has_pass(key, self.n) and test(key[0])

    def fits(self, entry: dict[str, Any]) -> bool:
        return is_count(entry['pass']) and (self.n is None or entry['pass'] < max(1, self.n))


def _number(outer: int, n: int | None, p: int) -> int:
    """A number for the pass `p` within an outer pass, which no other pass over the stream has."""
    return (outer << 32 if n is None else outer * n) + p


def _has_pass(key: Any, n: int | None) -> bool:
    return is_pair(key) and is_count(key[1]) and (n is None or key[1] < n)
