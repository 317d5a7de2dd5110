"""Sources that are made of whole streams: what `mix`, `zip_with`, `concat` and `cycle` have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from itpipe._core.keys import Key, is_pair
from itpipe._core.notes import close_after
from itpipe._core.show import Counted, format_call, format_step, same
from itpipe._core.steps import Joins, Pair, Step, draws

from .fingerprint import fingerprint
from .functions import Blames, ItemFunction, Keyed
from .iterators import is_iterable
from .left_out import check_left_out, leaves_look_up
from .source import MadeOf, Opened
from .state_checks import check_position, key_test
from .stream import Stage, Stream, not_iterable, stream

if TYPE_CHECKING:
    from .chain import Chain
    from .seeds import Seeds
    from .waiting import Stop
    from .weighting import Weighting

__all__ = ['Branched', 'Joined', 'LeftOfBranches', 'OpenedBranches', 'branches_of']


def branches_of(where: str, name: str, iterables: Iterable[Any]) -> tuple[Stream[Any], ...]:
    """The iterables as streams.

    Raises, with a message that begins with `where` and `name`, TypeError for what is not iterable, and ValueError if
    there are none.
    """
    result = []
    for n, iterable in enumerate(iterables):
        if isinstance(iterable, Stage) or not is_iterable(iterable):
            raise TypeError(f'{where}: `{name}[{n}]` must be iterable, got {not_iterable(iterable)}')
        if isinstance(iterable, (list, tuple)) and iterable and all(isinstance(each, Stream) for each in iterable):
            kind = type(iterable).__name__
            raise TypeError(f'{where}: `{name}[{n}]` is a {kind} of streams; give them one by one: `{where}(*streams)`')
        result.append(stream(iterable))
    if not result:
        raise ValueError(f'{where}: `{name}` must not be empty')
    return tuple(result)


class Branched:
    """A source whose items come out of several streams, its branches. The class `opened` does the work."""

    name: str
    seed: int | None
    opened: ClassVar[type[OpenedBranches]]
    entry_names: ClassVar[set[str]] = set()
    """The names in its entry of a state, apart from 'branches', the positions of the branches."""

    def __init__(self, branches: tuple[Stream[Any], ...]):
        self.branches = branches
        self.random = any(
            branch.source.seed is None and (branch.source.random or any(map(draws, branch.steps)))
            for branch in branches
        )
        steps = [step for branch in branches for step in branch.steps]
        self.one_shot = any(branch.source.one_shot for branch in branches)
        self.early = all(branch.source.early for branch in branches)
        for branch in branches:
            check_left_out(branch.source, branch.steps, self.name)
        self.skips = any(leaves_look_up(branch.source, branch.steps) for branch in branches)
        self.ordered = all(branch.source.ordered for branch in branches) and not any(
            isinstance(step, Step) and step.yields_as_completed for step in steps
        )

    @property
    def lasting(self) -> bool:
        return all(branch.source.lasting for branch in self.branches)

    @property
    def cheap(self) -> bool:
        return all(branch.source.cheap for branch in self.branches)

    def length(self) -> int:
        """How many items there are in all branches; raises TypeError if one does not say."""
        return sum(map(len, self.branches))

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        return self.opened(self, seeds, stop)

    def key_test(self) -> Callable[[Any], bool]:
        tests = [key_test(branch.source, branch.steps) for branch in self.branches]
        return lambda key: is_pair(key) and key[1] < len(tests) and tests[key[1]](key[0])

    def check_entry(self, entry: Any) -> None:
        if entry is None:
            return
        if not isinstance(entry, dict) or entry.keys() != {'branches', *self.entry_names}:
            raise ValueError(f'what it says of `{self.name}` cannot be')
        positions = entry['branches']
        if not isinstance(positions, list) or len(positions) != len(self.branches):
            raise ValueError(f'it is of a `{self.name}` of another number of streams')
        for branch, position in zip(self.branches, positions, strict=True):
            check_position(branch.source, branch.steps, position)
        if not self.fits(entry):
            raise ValueError(f'what it says of `{self.name}` cannot be')

    def fits(self, entry: dict[str, Any]) -> bool:
        """Whether the rest of the entry, apart from the positions, can be one of this source."""
        return True

    __hash__ = None  # type: ignore[assignment]


def fingerprints(branches: Iterable[Stream[Any]]) -> list[str]:
    """What must be the same in the branches when a run goes on: indented lines."""
    return [f'  {line}' for branch in branches for line in fingerprint(branch.source, branch.steps).splitlines()]


class Joined(Branched):
    """The source that a `Joins` step makes. Its branches: the stream in front of the step, and the step's arguments."""

    def __init__(self, left: Stream[Any], step: Joins):
        self.left, self.step, self.name = left, step, step.name
        others = tuple(argument for argument in step.args if isinstance(argument, Stream))
        super().__init__((left, *others))
        self.seed = left.source.seed

    @property
    def made_of(self) -> MadeOf:
        args = tuple(argument for argument in self.step.args if not isinstance(argument, Stream))
        labels = tuple(map(str, range(len(self.branches))))
        return MadeOf(format_call(self.name, args, self.step.kwargs), self.branches, labels)

    def fingerprint(self) -> str:
        others = self.branches[1:]
        args = (Counted(len(others), 'stream'),) if others else self.step.args
        head = format_call(self.name, args, {})
        return '\n'.join([fingerprint(self.left.source, self.left.steps), head, *fingerprints(others)])

    def __repr__(self) -> str:
        return f'{self.left!r} | {format_step(self.step)}'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Joined) and same((self.left, self.step), (other.left, other.step))

    __hash__ = None


class LeftOfBranches(Keyed, Blames):
    """What the branches have left out, done for an item by the function of its branch, which says what it raises."""

    __slots__ = ('functions',)

    def __init__(self, functions: dict[int, ItemFunction]):
        self.functions = functions

    @property
    def inner(self) -> Iterable[ItemFunction]:
        return self.functions.values()

    def at(self, key: Any) -> Callable[[Any], Any]:
        inner, n = key
        return partial(self.functions[n], inner)

    def in_pass(self, pass_: int) -> LeftOfBranches:
        return type(self)({n: function.in_pass(pass_) for n, function in self.functions.items()})


class OpenedBranches:
    """A `Branched` source at work: a chain for each branch. An item has the key `(key in its branch, branch)`.

    The log has the key of each item that went out, and where the source stood right after it.
    """

    stateful = has_look_up = True
    gathers = False
    tracked = True
    complete = True
    left: ClassVar[type[LeftOfBranches]] = LeftOfBranches

    def __init__(self, source: Any, seeds: Seeds, stop: Stop):
        from .ledgers import Ledger

        self.source, self.seeds, self.stop = source, seeds, stop
        self.skips = source.skips
        self.ledger = Ledger()
        self.chains: dict[int, Chain] = {}
        self.log: deque[tuple[Any, Any]] = deque()
        self.at: Any = None
        """Where it stands behind the item that the consumer received last."""

    def split(self) -> bool:
        self.complete = False
        return True

    def look_up(self) -> ItemFunction:
        return ItemFunction(
            (self.left({n: chain.left for n, chain in self.chains.items()}),), ('',), pass_=self.seeds.pass_
        )

    def start(self, entry: Any = None) -> Iterator[Pair]:
        if not self.tracked:
            self.log = deque(maxlen=0)
        positions = [None] * len(self.source.branches) if entry is None else entry['branches']
        for n, (branch, position) in enumerate(zip(self.source.branches, positions, strict=True)):
            self.chains[n] = self.chain(branch, self.seeds, position, n)
        self.at = self.start_at(entry)
        return self.closing(self.run(self.at))

    def chain(self, branch: Stream[Any], seeds: Seeds, position: Any, n: int = 0) -> Chain:
        from .chain import Chain

        seeds, ledger = seeds.branch(branch.source.seed), self.ledger.branch(n)
        return Chain(
            branch.source, branch.steps, seeds, self.stop, position, self.tracked, complete=self.complete, ledger=ledger
        )

    def start_at(self, entry: dict[str, Any] | None) -> Any:
        """Where `run` starts: at the beginning, or what the entry says of it."""

    def run(self, at: Any) -> Iterator[Pair]:
        """The pairs from there on. Each is logged before it goes out."""
        raise NotImplementedError

    def closing(self, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """The pairs. When they end, by an error or not, all branches are closed."""
        try:
            yield from pairs
        except Exception as error:
            close_after(error, self.close)
            raise
        finally:
            self.close()

    def close(self) -> None:
        with ExitStack() as closing:
            for chain in list(self.chains.values()):
                closing.callback(chain.close)

    @property
    def weightings(self) -> Sequence[Weighting]:
        return [weighting for chain in self.chains.values() for weighting in chain.source.weightings]

    def branch(self, n: int) -> Chain:
        """The chain of the branch with this number."""
        return self.chains[n]

    def commit(self, key: Key) -> None:
        received: list[Any] = [None]
        while received[-1] != key:
            done, self.at = self.log.popleft()
            received.append(done)
        for n, last in self.last_keys(received[1:]).items():
            self.chains[n].last = last
            self.chains[n].commit()

    def last_keys(self, received: Sequence[Any]) -> dict[int, Key]:
        """The last key of each branch among these keys, which the consumer received in this order."""
        return {n: key for key, n in received}

    def entry(self) -> Any:
        return {'branches': [chain.state() for chain in self.chains.values()]}

    def has_key(self, key: Any) -> bool:
        return is_pair(key) and key[1] in range(len(self.chains)) and self.chains[key[1]].has_key(key[0])

    def indices(self, keys: Sequence[Any]) -> list[Any]:
        return self.found(keys, lambda n, key: self.branch(n).indices(key))

    def places(self, keys: Sequence[Any]) -> list[Any]:
        return self.found(keys, lambda n, key: self.branch(n).places(key))

    def found(self, keys: Sequence[Any], within: Callable[[int, Any], list[Any]]) -> list[Any]:
        """Where the items are, from where they are within their branches."""
        return [(n, index) for key, n in keys for index in within(n, key)]

    def recompute(self, keys: Sequence[Any]) -> dict[Key, Any]:
        wanted: dict[int, list[Key]] = {}
        for key, n in dict.fromkeys(keys):
            wanted.setdefault(n, []).append(key)
        result: dict[Key, Any] = {}
        for n, own in wanted.items():
            chain = self.branch(n)
            result |= {(key, n): value for key, value in chain.recompute(len(chain.operators) - 1, own).items()}
        return result
