"""What a source is, described and at work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from itpipe._core.keys import Key
from itpipe._core.steps import Pair, Step

from .seeds import Seeds
from .waiting import Stop

__all__ = ['Opened', 'Source']


class Source(Protocol):
    """Where items come from: a description, which `open` makes live, once per run."""

    seed: int | None
    random: bool
    """Whether it draws, by its own seed or that of the run."""
    ordered: bool
    """Whether the order of its items does not depend on which of them are made first."""

    one_shot: bool
    """Whether it is likely that only one run can read it."""

    def open(self, seeds: Seeds, stop: Stop) -> Opened: ...

    def fingerprint(self) -> str:
        """What has to be the same where a run goes on, in one line or more."""

    def key_test(self) -> Callable[[Any], bool]:
        """What says whether such a key can come out of it, by its form and the number of items, if that is known."""

    def check_entry(self, entry: Any) -> None:
        """Raise ValueError for what is no `Opened.entry` of it."""


class Opened(Protocol):
    """A source at work."""

    stateful: bool
    tracked: bool
    """Whether `commit` will be called; set before `start`. If not, nothing has to be remembered for it."""

    @property
    def log(self) -> Collection[Any]:
        """What it remembers for that, of what the consumer has not received yet."""

    def apart(self) -> Step | None:
        """From now on, give where the items lie instead of them; returns the step that looks them up, if there is one.

        Called before `start`.
        """

    def start(self, entry: Any = None) -> Iterator[Pair]:
        """The pairs from the beginning, or from where the consumer of another run stood when this was its entry."""

    def commit(self, key: Key) -> None:
        """The consumer has received what was made of `key`."""

    def entry(self) -> Any:
        """Where the consumer stands, as JSON can hold it."""

    def remake(self, keys: Sequence[Key]) -> dict[Key, Any]:
        """The values of these keys, made again, where there are such."""

    def gives(self, key: Any) -> bool:
        """Whether it is a key of this source, by its form."""

    def indices(self, keys: Sequence[Any]) -> list[Any]:
        """Where the values of these keys lie in what the source draws from."""
