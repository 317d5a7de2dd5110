"""Sources: `Source` describes one, `Opened` is one at work; `Numbered` is the usual kind, `Seeded` adds a seed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

from itpipe._core.show import format_call

if TYPE_CHECKING:
    from itpipe._core.keys import Key
    from itpipe._core.steps import Pair

    from .functions import ItemFunction
    from .seeds import Seeds
    from .waiting import Stop
    from .weighting import Weighting

__all__ = ['MadeOf', 'Numbered', 'Opened', 'Seeded', 'Source', 'may_skip']


class Source(Protocol):
    """A description of where items come from. Each run opens it once."""

    seed: int | None
    random: bool
    """Whether it draws random numbers, from its own seed or from that of the run."""
    ordered: bool
    """Whether the order of its items does not depend on which of them are made first."""
    one_shot: bool
    """Whether probably only one run can read it, as it is an iterator or has one in it."""
    early: bool
    """Whether its next pass may begin before the last batches of one are consumed. Not if something else counts its
    passes, or would have to go back for the state of an earlier one."""

    @property
    def lasting(self) -> bool:
        """Whether workers may keep their copies of it from pass to pass. Not if somebody tells it which pass it is."""

    @property
    def cheap(self) -> bool:
        """Whether workers need not look its items up: there is no index, or it takes no time, as that of a list."""

    # `skips`, if it has that and it is true: items that cannot be looked up may be left out, see `may_skip`.

    def open(self, seeds: Seeds, stop: Stop) -> Opened: ...

    def fingerprint(self) -> str:
        """What has to be the same if a run goes on from a state, in one line or more."""

    def key_test(self) -> Callable[[Any], bool]:
        """A function that tells whether a key may be one of its own, by the key's form and, if known, the length."""

    def check_entry(self, entry: Any) -> None:
        """Raise ValueError if this cannot be an `Opened.entry` of it."""


def may_skip(source: Source) -> bool:
    """Whether items may be left out behind the source, where they are looked up. Then it has `skips`."""
    return getattr(source, 'skips', False)


class MadeOf(NamedTuple):
    """The streams that a source is made of, for pictures. Such a source has it as `made_of`."""

    call: str
    """How it prints without the streams."""
    streams: tuple[Any, ...]
    labels: tuple[str, ...]
    how: Literal['together', 'again', 'places', 'kept'] = 'together'
    """Whether it takes items of all of them, runs the only one again and again, orders the places of its items, or
    keeps what comes out of it."""


class Opened(Protocol):
    """A source at work."""

    ledger: Any
    """What the run counts, a `Ledger`; set before `start`."""
    stateful: bool
    tracked: bool
    """Whether `commit` will be called. If not, nothing has to be remembered for it. Set before `start`."""

    @property
    def log(self) -> Collection[Any]:
        """What it remembers for `commit`: about the items that the consumer has not received yet."""

    @property
    def weightings(self) -> Sequence[Weighting]:
        """The weights that can be replaced while it runs, its own and those of its branches. Known after `start`."""

    gathers: bool
    """Whether it looks the items of a batch up together."""
    has_look_up: bool
    """Whether it can give indices instead of items, and then there is a function that looks these up."""
    skips: bool
    """Whether that function may raise `LookUpFailed`. Then it is called where items can be left out."""

    def split(self) -> bool:
        """Give indices instead of items; returns whether that can be after all. Called before `start`."""

    def look_up(self) -> ItemFunction:
        """The function that makes items of indices. Called after `start`."""

    def start(self, entry: Any = None) -> Iterator[Pair]:
        """The pairs from the beginning, or from where the consumer of another run stood, which returned this entry."""

    def commit(self, key: Key) -> None:
        """Take note that the consumer has received what was made of `key`."""

    def entry(self) -> Any:
        """Where the consumer stands, as JSON can hold it."""

    def recompute(self, keys: Sequence[Key]) -> dict[Key, Any]:
        """The values of these keys, made again. Keys without a value are left out."""

    def has_key(self, key: Any) -> bool:
        """Whether it may be a key of this source, by its form."""

    def indices(self, keys: Sequence[Any]) -> list[Any]:
        """The indices of these items in the data that the source draws from."""

    def places(self, keys: Sequence[Any]) -> list[Any]:
        """As `indices`, but with the numbers of parts, see `Chain.places`."""


class LooksUp(Protocol):
    """How a `Numbered` source looks up its items: a `LookUp`, or a `FailingLookUp`."""

    @property
    def function(self) -> ItemFunction: ...
    @property
    def gathers(self) -> bool: ...
    @property
    def skips(self) -> bool: ...


class Numbered:
    """A source at work whose n-th item has the key n.

    `read(n)` gives the pairs from the n-th on, `pick` makes single items again. `indices` tells for keys where their
    items lie in what the source draws from. If items can be looked up there, `read_indices(n)` gives the indices from
    the n-th on, and `looked_up` makes items of them; `agrees` says whether these are those of `read`.
    """

    ledger: Any = None
    stateful = False
    tracked = True
    log = ()
    weightings: Sequence[Weighting] = ()

    def __init__(
        self,
        read: Callable[[int], Iterator[Pair]],
        pick: Callable[[Sequence[Any]], dict[Key, Any]],
        indices: Callable[[Sequence[Any]], list[Any]] = list,
        read_indices: Callable[[int], Iterator[Pair]] | None = None,
        looked_up: LooksUp | None = None,
        agrees: Callable[[], bool] | None = None,
    ):
        self.read, self.pick, self.indices = read, pick, indices
        self._read_indices, self._looked_up, self._agrees = read_indices, looked_up, agrees
        self.has_look_up = looked_up is not None
        self.gathers = looked_up is not None and looked_up.gathers
        self.skips = looked_up is not None and looked_up.skips
        self.position = 0

    def split(self) -> bool:
        assert self._read_indices is not None
        if self._agrees is not None and not self._agrees():
            return False
        self.read = self._read_indices
        indices = self.indices  # not by `self`, which would hold itself then, and what it reads
        self.pick = lambda keys: dict(zip(keys, indices(keys), strict=True))
        return True

    def look_up(self) -> ItemFunction:
        assert self._looked_up is not None
        return self._looked_up.function

    def start(self, entry: Any = None) -> Iterator[Pair]:
        self.position = entry['position'] if isinstance(entry, dict) else entry or 0
        return self.read(self.position)

    def commit(self, key: Any) -> None:
        self.position = key + 1

    def entry(self) -> Any:
        return self.position

    def places(self, keys: Sequence[Any]) -> list[Any]:
        return self.indices(keys)

    def recompute(self, keys: Sequence[Key]) -> dict[Key, Any]:
        return self.pick(keys)

    def has_key(self, key: Any) -> bool:
        return isinstance(key, int) and key >= 0


class Seeded:
    """A source that gives the stages behind it another seed."""

    def __init__(self, source: Source, seed: int | None):
        self.source, self.seed = source, seed
        self.random, self.ordered, self.one_shot = source.random, source.ordered, source.one_shot
        self.early, self.skips = source.early, may_skip(source)

    def over(self, source: Source) -> Self:
        """The same over another source."""
        result = copy(self)
        result.source = source
        return result

    @property
    def lasting(self) -> bool:
        return self.source.lasting

    @property
    def cheap(self) -> bool:
        return self.source.cheap

    def length(self) -> int:
        length: Callable[[], int] = self.source.length  # type: ignore[attr-defined]
        return length()

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        return self.source.open(seeds, stop)

    def key_test(self) -> Callable[[Any], bool]:
        return self.source.key_test()

    def check_entry(self, entry: Any) -> None:
        self.source.check_entry(entry)

    def fingerprint(self) -> str:
        return f'{self.source.fingerprint()}\n{format_call("stream", (), {"seed": self.seed})}'

    def __repr__(self) -> str:
        return format_call('stream', (self.source,), {'seed': self.seed})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seeded) and (self.source, self.seed) == (other.source, other.seed)

    __hash__ = None  # type: ignore[assignment]
