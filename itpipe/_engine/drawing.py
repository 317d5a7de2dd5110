"""What a pipeline will run, and where, as the parts of a picture. Nothing runs for it, and no item is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from itpipe._core.show import format_call
from itpipe._core.steps import ItemStep, Joins, Step
from itpipe._views.parts import Box, Figures, Flow, Inputs, Node
from itpipe._views.picture import Picture

from .drawn_stats import figures_of
from .drawn_steps import amount, nodes_of, workers_of, written
from .indexing import length
from .order import LOOK_UP, Plan, fused, is_by_count, planned, size_together
from .seeds import Seeds
from .source import MadeOf, Seeded, Source
from .waiting import Stop

if TYPE_CHECKING:
    from .stats import Stats

__all__ = ['draw_infinite', 'draw_stage', 'draw_stream']

Rows: TypeAlias = Iterator[Figures]
NO_ROWS: Final[Rows] = iter(())
OF_STREAM: Final = 'what the item of each stream needs'


def draw_stream(source: Source, steps: Sequence[Step | ItemStep], title: str, stats: Stats | None = None) -> Picture:
    """A picture of the stream, which runs in the thread that iterates over it; with the figures of a run."""
    flow, _, figures = _with_figures(source, steps, stats, buffers=0)
    loop = Node('for item in stream:', kind='loop', figures=figures)
    return Picture((Box("the loop's thread", (*flow, loop)),), title)


def draw_infinite(
    source: Source, steps: Sequence[Step | ItemStep], prefetch: int | None, epoch: str, title: str, stats: Stats
) -> Picture:
    """A picture of an `Infinite` with this limit; `epoch` says what an epoch is. If it has run, it has figures."""
    flow, ready_now, figures = _with_figures(source, steps, stats, buffers=0 if prefetch == 0 else 1)
    loop = Node('for batch in batch_iter:', (epoch,), 'loop', figures=figures)
    if prefetch == 0:
        return Picture((Box("the loop's thread", (*flow, loop)),), title)
    ready = '2 to 64 batches ready: those made in 4 ms'
    if prefetch is not None:
        ready = f'up to {amount(prefetch, "batch")} ready'
    return Picture((Box('background thread', flow, holds=ready, figures=ready_now), loop), title)


def _with_figures(
    source: Source, steps: Sequence[Step | ItemStep], stats: Stats | None, buffers: int
) -> tuple[Flow, Figures | None, Figures | None]:
    """The parts of a stream, the figures of the buffer behind it, if there is one, and those of the loop."""
    figures, of_loop = ([], None) if stats is None else figures_of(stats)
    rows = _Counted(figures)
    flow, _ = _stream(source, steps, rows=rows)
    if rows.asked + buffers == len(figures):
        return flow, next(rows, None), of_loop
    # Before the start; or other stages run, as where an index does not give what iterating does.
    return _stream(source, steps)[0], None, of_loop


class _Counted(Iterator[Figures]):
    """The figures of the stages, and how many were asked for."""

    def __init__(self, figures: list[Figures]):
        self._left = iter(figures)
        self.asked = 0

    def __next__(self) -> Figures:
        self.asked += 1
        return next(self._left)


def draw_stage(steps: Sequence[Step | ItemStep | Joins], title: str) -> Picture:
    """A picture of the stage, whose items may come from anywhere."""
    flow: Flow = (Node('items of any source', kind='look-up'),)
    before: list[Step | ItemStep] = []
    for step in steps:
        if not isinstance(step, Joins):
            before.append(step)
            continue
        flow, before = _steps(flow, before), []
        streams = [each for each in step.args if hasattr(each, 'source')]
        if streams:
            flows = (flow, *(_stream(each.source, each.steps)[0] for each in streams))
            flow = (Inputs(flows, tuple(map(str, range(len(flows))))),)
        args = tuple(each for each in step.args if not hasattr(each, 'source'))
        flow = (*flow, Node(format_call(step.name, args, step.kwargs)))
    return Picture(_steps(flow, before), title)


def _steps(flow: Flow, steps: Sequence[Step | ItemStep]) -> Flow:
    one_by_one = fused(steps)
    return _operators(flow, one_by_one, planned(one_by_one, has_look_up=False), ())


def _stream(
    source: Source, steps: Sequence[Step | ItemStep], complete: bool = True, rows: Rows = NO_ROWS
) -> tuple[Flow, tuple[Node, ...]]:
    """The parts of a stream, and what it leaves to whom its items go. `rows` are the figures of its stages."""
    one_by_one = fused(steps)
    has_look_up = gathers = skips = False
    with suppress(Exception):  # such as that of an iterator that had its one run
        opened = source.open(Seeds(), Stop())
        has_look_up, gathers, skips = opened.has_look_up, opened.gathers, opened.skips
    plan = planned(one_by_one, has_look_up, source.cheap, gathers, complete, skips)
    flow, look_up = _source(source, plan.looks_up, rows)
    batches = any(is_by_count(one_by_one[n]) for first in _all_first(plan) for n in first if n != LOOK_UP)
    if gathers and (batches or (skips and size_together(plan, one_by_one, gathers) > 1)):
        together = {'look-up': ('all of a batch at once',)}
        look_up = tuple(replace(node, notes=(*node.notes, *together.get(node.kind, ()))) for node in look_up)
    left = tuple(_done(plan.left, one_by_one, look_up))
    return _operators(flow, one_by_one, plan, look_up, rows), left


def _all_first(plan: Plan) -> list[tuple[int, ...]]:
    return [*(first for first, _ in plan.operators), plan.left]


def _source(source: Source, split: bool, rows: Rows) -> tuple[Flow, tuple[Node, ...]]:
    """The parts of a source, and of its look-up, if it gives indices."""
    made_of: MadeOf | None = getattr(source, 'made_of', None)
    if made_of is None:
        if isinstance(source, Seeded) and hasattr(source.source, 'made_of'):
            flow, look_up = _source(source.source, split, rows)
            return (*flow, Node(format_call('stream', (), {'seed': source.seed}))), look_up
        notes = [amount(count) for count in _count(source)] + ['gives their indices'] * split
        node = Node(_shown(source), tuple(notes), 'source', figures=next(rows, None))
        return (node,), (Node('look the item up', kind='look-up'),)
    if made_of.how == 'places':
        flow, look_up = _source(made_of.streams[0].source, True, NO_ROWS)
        node = Node(made_of.call, ('orders the indices',))
        if split:
            return (*flow, replace(node, figures=next(rows, None))), look_up
        if look_up[1:]:
            return (*flow, *_counted([node, *look_up], next(rows, None))), ()
        return (*flow, replace(node, notes=(*node.notes, 'looks the items up'), figures=next(rows, None))), ()
    if made_of.how == 'kept':
        made = made_of.streams[0]
        flow, look_up = _source(made.source, split, NO_ROWS)
        nodes = [node for step in fused(made.steps) for node in nodes_of(step, indices=False)]
        nodes.append(Node(made_of.call, ('what it has is not made again',)))
        return (flow, (*look_up, *nodes)) if split else ((*flow, *_counted(nodes, next(rows, None))), ())
    streams = [_stream(each.source, each.steps, not split, rows) for each in made_of.streams]
    flows, left = zip(*streams, strict=True)
    figures = next(rows, None)
    if made_of.how == 'again':
        return (Box('again and again', flows[0], 'again', made_of.call, figures=figures),), left[0]
    ways = tuple(f'{n}: {" | ".join(map(_in_short, nodes)) or "nothing"}' for n, nodes in enumerate(left))
    look_up = (Node(OF_STREAM, ways, 'look-up'),) if any(left) else ()
    return (Inputs(flows, made_of.labels), Node(made_of.call, figures=figures)), look_up


def _in_short(node: Node) -> str:
    return f'({", ".join(node.notes)})' if node.title == OF_STREAM else node.title


def _count(source: Any) -> Iterable[int]:
    """How many items the data of the source has, if it says so."""
    with suppress(Exception):
        data = source.sequence if hasattr(source, 'sequence') else source.iterable
        count = length(getattr(data, 'ids', data))
        if count is not None:
            yield count


def _shown(source: Source) -> str:
    try:
        return repr(source)
    except Exception:  # that of the user's data
        return f'<{type(getattr(source, "iterable", source)).__name__}>'


def _operators(flow: Flow, steps: Sequence[Step], plan: Plan, look_up: tuple[Node, ...], rows: Rows = NO_ROWS) -> Flow:
    """The flow, and behind it what the plan runs."""
    indices = plan.looks_up
    for first, own in plan.operators:
        before = _done(first, steps, look_up)
        indices, figures = indices and not first, next(rows, None)
        elsewhere = None if own == LOOK_UP else steps[own].elsewhere
        if elsewhere is None:
            nodes = before if own == LOOK_UP else [*before, *nodes_of(steps[own], indices)]
            flow = (*flow, *_counted(nodes, figures))
        elif elsewhere.kind == 'thread':
            ahead = 'those made in 4 ms ahead'
            if elsewhere.limit is not None:
                ahead = f'up to {amount(elsewhere.limit)} ahead'
            flow = (Box('a thread of its own', flow, call=written(steps[own]), holds=ahead, figures=figures),)
        else:
            flow = (*flow, replace(workers_of(steps[own], elsewhere, before), figures=figures))
    return flow


def _counted(nodes: list[Node], figures: Figures | None) -> list[Node]:
    """The nodes of one step, the last with its figures."""
    if not nodes or figures is None:
        return nodes
    if len(nodes) > 1:
        figures = replace(figures, text=f'{len(nodes)} together: {figures.text}')
    return [*nodes[:-1], replace(nodes[-1], figures=figures)]


def _done(indices: Iterable[int], steps: Sequence[Step], look_up: tuple[Node, ...]) -> list[Node]:
    """What is done first, or left: the look-up and item-wise steps, also for each item of a batch of indices."""
    done: list[Node] = []
    for index in indices:
        if index == LOOK_UP:
            done += look_up
        elif not is_by_count(steps[index]):
            done += nodes_of(steps[index], indices=False)
    return done
