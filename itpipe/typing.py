"""What type checkers are told about stages. Only they read this: nothing imports it when the program runs.

`Stage[A, B]` takes items of type A and gives items of type B. Of some stages these depend on what stands left of them:
`take(3)` gives what it gets. As `Stage[A, A]` it would be of no type at all, since A is decided where it is made. So
such stages have types of their own, with a `|` that is generic. In truth each of them is a `Stage`.
"""
# mypy: disable-error-code=empty-body

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar, overload

import numpy as np
import numpy.typing as npt

from .run import Run
from .stage import Stage, Stream

A = TypeVar('A', contravariant=True)
B = TypeVar('B', covariant=True)
G = TypeVar('G', bound=np.generic)
K = TypeVar('K')
N = TypeVar('N', bound='Named')
R = TypeVar('R', bound='Item | Overlooked | type[Any] | None')
S = TypeVar('S', bound=Stage[Any, Any])
X = TypeVar('X', bound=Any)  # so bound, pyright allows a lambda to do anything with it
Y = TypeVar('Y', bound=Any)
Z = TypeVar('Z', bound=Any)

# ---------------------------------------------------------------------------------------------------------------------
# Arguments

Array: TypeAlias = npt.NDArray[Any]
Numbers: TypeAlias = np.ndarray[Any, Any] | np.generic | complex
"""What `combine` makes an array of: arrays and numbers."""
Pair: TypeAlias = tuple[Numbers, Numbers]
HalfKnown: TypeAlias = 'tuple[Unknown, object] | tuple[object, Unknown]'
Sampler: TypeAlias = Callable[[np.random.Generator], Any]


class Unknown:
    """Nothing is one. An overload for it, the first one, is for what is Any: no other would be right for that."""


class Named(Protocol):
    """A named tuple."""

    def _asdict(self) -> dict[str, Any]: ...


class Indexed(Sized, Protocol[B]):
    """A list, an array, a torch dataset, …"""

    def __getitem__(self, index: int, /) -> B: ...


class Submits(Protocol):
    """An executor."""

    @property
    def submit(self) -> Callable[..., Any]: ...


class Drawing(TypedDict, total=False):
    """Options of `load_by_random_id` and `mix`."""

    weights: npt.ArrayLike | None
    seed: int | None


class Padding(TypedDict, total=False):
    """Options of `combine_pad`."""

    padding_values: Any
    ratio: Any
    multiple_of: Any
    lengths: Literal[False]


class Running(TypedDict, total=False):
    """Options of `Infinite`."""

    batches_per_epoch: int | None
    prefetch: int | str | None
    seed: int | None
    stall_timeout: float | None
    shard: tuple[int, int] | Literal['env'] | None
    even: Literal['keep', 'drop', 'repeat'] | None
    restart: bool


# ---------------------------------------------------------------------------------------------------------------------
# Functions. No Stage must pass for one, although it can be called; nor, right of `|`, must `take` without its call.


class Item(Protocol):
    """What a function right of `|` may return: what has a `__sizeof__`. Stage and Run say that they have none."""

    def __sizeof__(self) -> int: ...


MYPY = False
if MYPY:  # mypy takes this name for true, others do not

    class Overlooked(Protocol):
        """For mypy no protocol is an Item; this is the one that functions are likely to return."""

        def __iter__(self) -> Any: ...

    class Each(Protocol[A, B]):
        """A function of one item, and no Stage, which mypy would take for one."""

        def __call__(self, item: A, /) -> B: ...
        def __sizeof__(self) -> int: ...

    class AnyFunction(Protocol[B]):
        """A function, and no Stage."""

        def __call__(self, *args: Any, **kwargs: Any) -> B: ...
        def __sizeof__(self) -> int: ...

    class Map(Generic[A, B]):
        """Nothing is one: mypy does not tell what a generic function takes before it sees the items."""

else:

    class Overlooked: ...

    class Each(Protocol[A, B]):
        def __call__(self, item: A, /) -> B: ...

    class AnyFunction(Protocol[B]):
        def __call__(self, *args: Any, **kwargs: Any) -> B: ...

    class Map(Protocol[A, B]):
        def __call__(self, item: A, /, *args: Any, **kwargs: Any) -> B: ...

# ---------------------------------------------------------------------------------------------------------------------
# Stages


class Same(Stage[Any, Any]):
    """T → T."""

    @overload  # type: ignore[override]
    def __or__(self, other: S) -> S: ...
    @overload
    def __or__(self, other: AnyFunction[R]) -> Stage[Any, R]: ...
    def __or__(self, other: Any) -> Any: ...
    def __ror__(self, iterable: Iterable[X]) -> Stream[X]: ...
    def __call__(self, iterable: Iterable[X]) -> Run[X]: ...


class Perhaps(Stage[Any, Any], Generic[B]):
    """T → T | B."""

    def __ror__(self, iterable: Iterable[X]) -> Stream[X | B]: ...


class Lists(Stage[Any, list[Any]]):
    """T → list[T]."""

    @overload  # type: ignore[override]
    def __or__(self, other: Same) -> Lists: ...
    @overload
    def __or__(self, other: Parts) -> Same: ...
    @overload
    def __or__(self, other: Stage[list[X], Y]) -> Stage[X, Y]: ...
    @overload
    def __or__(self, other: Each[list[Any], R]) -> Stage[Any, R]: ...
    def __or__(self, other: Any) -> Any: ...
    def __ror__(self, iterable: Iterable[X]) -> Stream[list[X]]: ...
    def __call__(self, iterable: Iterable[X]) -> Run[list[X]]: ...


class Parts(Stage['Iterable[Any]', Any]):
    """Iterable[T] → T."""

    def __ror__(self, iterable: Iterable[Iterable[X]]) -> Stream[X]: ...
    @overload
    def __call__(self) -> Parts: ...
    @overload
    def __call__(self, iterable: Iterable[Iterable[X]]) -> Run[X]: ...
    def __call__(self, iterable: Any = ()) -> Any: ...


class ByItem(Protocol[A, B]):
    """A stage that gives for each item of type A one of type B: `Changed`, `Combined`."""

    def _by_item(self, item: A, /) -> B: ...


class Changed(Stage[Any, Any]):
    """Tuples, lists and dicts with other elements."""

    @overload
    def __ror__(self, iterable: Iterable[Unknown]) -> Stream[Any]: ...
    @overload
    def __ror__(self, iterable: Iterable[N]) -> Stream[N]: ...
    @overload
    def __ror__(self, iterable: Iterable[tuple[Any, ...]]) -> Stream[tuple[Any, ...]]: ...
    @overload
    def __ror__(self, iterable: Iterable[list[Any]]) -> Stream[list[Any]]: ...
    @overload
    def __ror__(self, iterable: Iterable[Mapping[K, Any]]) -> Stream[dict[K, Any]]: ...
    def __ror__(self, iterable: Any) -> Any: ...
    @overload
    def _by_item(self, item: Unknown, /) -> Any: ...
    @overload
    def _by_item(self, item: N, /) -> N: ...
    @overload
    def _by_item(self, item: tuple[Any, ...], /) -> tuple[Any, ...]: ...
    @overload
    def _by_item(self, item: list[Any], /) -> list[Any]: ...
    @overload
    def _by_item(self, item: Mapping[K, Any], /) -> dict[K, Any]: ...
    def _by_item(self, item: Any, /) -> Any: ...


class Combined(Stage['Iterable[Any]', Any]):
    """What `combine` and `combine_pad` make of lists of items."""

    @overload
    def _by_item(self, item: Iterable[Unknown | Named], /) -> Any: ...
    @overload
    def _by_item(self, item: Iterable[HalfKnown], /) -> tuple[Any, Any]: ...
    @overload
    def _by_item(self, item: Iterable[Pair], /) -> tuple[Array, Array]: ...
    @overload
    def _by_item(self, item: Iterable[tuple[Any, ...]], /) -> tuple[Any, ...]: ...
    @overload
    def _by_item(self, item: Iterable[Mapping[K, Any]], /) -> dict[K, Any]: ...
    @overload
    def _by_item(self, item: Iterable[npt.NDArray[G]], /) -> npt.NDArray[G]: ...
    @overload
    def _by_item(self, item: Iterable[Any], /) -> Any: ...
    def _by_item(self, item: Any, /) -> Any: ...
