"""The items of a run after each stage, made again one stage after the other, with the numbers that the run draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

from itpipe._core.keys import Key, Zipped, as_key
from itpipe._core.show import format_step
from itpipe._core.steps import ItemStep, Stateless, Step
from itpipe._engine.branches import Joined, OpenedBranches
from itpipe._engine.chain import Chain
from itpipe._engine.resources import Resource
from itpipe._engine.seeds import Seeds
from itpipe._engine.source import Opened, Seeded, Source
from itpipe._engine.stream import Stream
from itpipe._engine.waiting import Stop

from .copying import UNKNOWN, copied
from .rewriting import rewritten
from .single_steps import single_steps, workers_of
from .wrapping import noting, with_generators

__all__ = ['View', 'views']


class View(NamedTuple):
    """What came out of one stage."""

    stage: str
    """The stage as it was written; of the source, the source."""
    values: dict[Key, Any]
    """The items that were asked for, or what they are made of, by their keys."""
    branch: tuple[int, ...] = ()
    """In which stream it is, where streams are put together: `(1,)` is the second one of a `mix`."""
    drawn: tuple[str, ...] = ()
    """The random numbers that its functions have drawn, as calls of the generator and what these gave."""
    at: int = -1
    """Which of all steps of the pipeline it is, as `change` of `views` counts them; -1 for a source."""


def views(
    source: Source,
    steps: Sequence[Step | ItemStep],
    seeds: Seeds,
    key: Any,
    change: Callable[[int, Step], Step] = lambda _, step: step,
) -> list[View]:
    """The item or batch with this key after the source and after each stage, up to the last one that gives such a key.

    The stages of a `parallel_map` are views of their own, and run in this thread, without timeouts. In front of a batch
    come all its items; in front of `mix`, `zip_with`, `concat` and `cycle` come the views of the streams that the item
    is made of. Nothing is known of what stands before a `stage` of the user's own. The values are copies, where they
    can be copied. `change` may put another step in the place of each, and gets its number.

    An item that a stage leaves out is missing from there on. Raises ValueError for what is not a key of this stream,
    and what the functions of the stages raise.
    """
    key = as_key(key)
    seen: dict[tuple[int, int], dict[Key, Any]] = {}
    drawn: dict[tuple[int, int], list[str]] = {}
    notes: list[str] = []
    single: list[Step] = []
    wrap = noting(notes)

    def prepared(step: Step) -> Step:
        single.append(with_generators(change(len(single), step), wrap))
        return single[-1]

    def look(chain: Any, index: int, values: dict[Key, Any]) -> None:
        seen.setdefault((id(chain), index), {}).update((key, _snapshot(value)) for key, value in values.items())
        drawn.setdefault((id(chain), index), []).extend(notes)
        notes.clear()

    with ExitStack() as closing:
        resources: list[Resource] = []
        described = _one_by_one(Stream(source, tuple(steps)), resources, prepared)
        for resource in resources:
            resource.open()
            closing.callback(resource.close)
        stop = Stop()
        chain = Chain(described.source, described.steps, seeds, stop, tracked=False)
        closing.callback(chain.close)
        indices = range(len(chain.operators) - 1, -2, -1)
        last = next((index for index in indices if chain.has_key(key, index)), None)
        if last is None:
            raise ValueError(f'there is no item with the key {key!r}')
        stop.made_again = look
        chain.recompute(last, [key])
        numbers = {id(step): number for number, step in enumerate(single)}
        return [
            view._replace(drawn=tuple(drawn[place]), at=numbers.get(id(step), -1))
            for view, place, step in _views(chain, seen, ())
        ]


def _views(
    chain: Chain, seen: dict[tuple[int, int], dict[Key, Any]], branch: tuple[int, ...]
) -> Iterator[tuple[View, tuple[int, int], Step | None]]:
    source: Any = chain.source
    of_source = seen.get((id(chain), -1), {})
    if isinstance(source, OpenedBranches):
        parts = [part for key in of_source for part in (key if isinstance(key, Zipped) else [key])]
        for n in sorted({n for _, n in parts}):  # type: ignore[misc]
            yield from _views(source.branch(n), seen, (*branch, n))
    if (id(chain), -1) in seen:
        described: Any = chain.described[0]
        yield View(_name(described.written), of_source, branch), (id(chain), -1), None
    for index, operator in enumerate(chain.operators):
        if (id(chain), index) in seen:
            yield View(format_step(operator.step), seen[id(chain), index], branch), (id(chain), index), operator.step


def _name(source: Any) -> str:
    while type(source) is Seeded:  # and not a kind of it that prints otherwise
        source = source.source
    return format_step(source.step) if isinstance(source, Joined) else repr(source)


def _snapshot(value: Any) -> Any:
    copy = copied(value)
    return value if copy is UNKNOWN else copy


# ---------------------------------------------------------------------------------------------------------------------
# The same stream with an operator for each stage


def _one_by_one(stream: Stream[Any], resources: list[Resource], prepared: Callable[[Step], Step]) -> Stream[Any]:
    """The stream with single steps, each prepared. What its functions get from `setup` is added to `resources`."""

    def single(steps: tuple[Step | ItemStep, ...]) -> list[Step]:
        given = (workers.resource for step in steps if (workers := workers_of(step)) is not None)
        resources.extend(resource for resource in given if resource is not None)
        return [prepared(_of_items(step)) for step, _ in single_steps(steps)]

    return rewritten(stream, single, _Plain)


def _of_items(step: Step) -> Step:
    """The step, or if it needs indices, one that lets all pass: it has not left out what is made again here."""
    if isinstance(step, Stateless) and step.by_index:
        return replace(step, work=lambda items, *_: items, by_index=False)
    return step


class _Plain:
    """A source that gives items, never indices that are looked up later."""

    def __init__(self, source: Source, written: Source):
        self.source, self.written = source, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        opened: Any = self.source.open(seeds, stop)
        opened.has_look_up = False
        return opened  # type: ignore[no-any-return]
