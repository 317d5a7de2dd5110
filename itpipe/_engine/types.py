"""What type checkers are told about stages. Only they read this: nothing imports it when the program runs.

`Stage[A, B]` takes items of type A and gives items of type B. For some stages these types depend on what stands left of
them: `take(3)` gives what it gets. `Stage[A, A]` does not work for it, since A would be decided when the stage is made.
So such stages have types of their own, with a generic `|`. At runtime each of them is a `Stage`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable, Sized
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from .failures import OnError

A = TypeVar('A', contravariant=True)
B = TypeVar('B', covariant=True)
F = TypeVar('F', bound='Fields')
G = TypeVar('G', bound=np.generic)
K = TypeVar('K')
N = TypeVar('N', bound='Named')
R = TypeVar('R', bound='Item | Overlooked | type[Any] | None')
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
AnyIterable: TypeAlias = Iterable[X] | AsyncIterable[X]
"""What can be read: by `for`, or by `async for`."""
Sampler: TypeAlias = Callable[[np.random.Generator], Any]


class Unknown:
    """A type without values. An overload for it comes first, and is chosen for items of type Any."""


class Named(Protocol):
    """A named tuple."""

    def _asdict(self) -> dict[str, Any]: ...


class Fields(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Indexed(Sized, Protocol[B]):
    """A list, an array, a torch dataset, …"""

    def __getitem__(self, index: int, /) -> B: ...


class Submits(Protocol):
    """An executor."""

    @property
    def submit(self) -> Callable[..., Any]: ...


class Drawing(TypedDict, total=False):
    """Options of `load_by_random_id`."""

    weights: npt.ArrayLike | None
    seed: int | None
    name: str | None
    reweight: bool
    on_error: OnError
    max_errors: float | None


class Mixing(TypedDict, total=False):
    """Options of `mix`."""

    weights: npt.ArrayLike | Callable[[int], npt.ArrayLike] | None
    seed: int | None
    name: str | None
    reweight: bool


class Shaping(TypedDict, total=False):
    """Options of `combine_pad` with which the result has the same type."""

    padding_values: Any
    ratio: Any
    multiple_of: Any
    to: Any
    edges: Any


class Padding(Shaping, total=False):
    """Options of `combine_pad` for a batch alone."""

    lengths: Literal[False]
    mask: Literal[False]


class Running(TypedDict, total=False):
    """Options of `Infinite`."""

    drop_last: bool
    batches_per_epoch: int | None
    prefetch: int | str | None
    seed: int | None
    stall_timeout: float | None
    shard: tuple[int, int] | Literal['env'] | None
    even: Literal['keep', 'drop', 'repeat'] | None
    restart: bool
    threads: int | None
    processes: int | None
    workers: Literal['auto'] | None
    record: str | os.PathLike[str] | None
    digest: bool


# ---------------------------------------------------------------------------------------------------------------------
# Functions. A Stage must not be taken for one, although it can be called. Nor must `take` without its call.


class Item(Protocol):
    """What a function right of `|` may return: anything with `__sizeof__`. Stage and Run claim to have none."""

    def __sizeof__(self) -> int: ...


MYPY = False
if MYPY:  # mypy takes this name for true, others do not

    class Overlooked(Protocol):
        """mypy takes no protocol for an Item. Of all protocols, functions return this one most often."""

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
        """A type without values: mypy cannot tell what a generic function takes before it sees the items."""

else:

    class Overlooked: ...

    class Each(Protocol[A, B]):
        def __call__(self, item: A, /) -> B: ...

    class AnyFunction(Protocol[B]):
        def __call__(self, *args: Any, **kwargs: Any) -> B: ...

    class Map(Protocol[A, B]):
        def __call__(self, item: A, /, *args: Any, **kwargs: Any) -> B: ...
