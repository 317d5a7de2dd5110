"""What a pipeline will run, and where, as the parts of a picture. Nothing runs for it, and no item is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from itpipe._core.show import format_call, format_step, format_value
from itpipe._core.sizes import Bytes
from itpipe._core.steps import Elsewhere, ItemStep, Joins, Step
from itpipe._views.parts import Box, Figures, Flow, Inputs, Node
from itpipe._views.picture import Picture

from .drawn_stats import figures_of
from .indexing import length
from .order import LOOK_UP, Plan, fused, is_by_count, map_items, planned
from .seeds import Seeds
from .source import MadeOf, Seeded, Source
from .waiting import Stop

if TYPE_CHECKING:
    from .stats import Stats

__all__ = ['draw_infinite', 'draw_stage', 'draw_stream']

OF_WORKERS: Final = ('threads', 'processes', 'executor', 'workers', 'in_flight')
"""Options of a `parallel_map` that have a place of their own in the picture."""
Rows: TypeAlias = Iterator[Figures]
NO_ROWS: Final[Rows] = iter(())
OF_STREAM: Final = 'what the item of each stream needs'


def draw_stream(source: Source, steps: Sequence[Step | ItemStep], title: str) -> Picture:
    """A picture of the stream, which runs in the thread that iterates over it."""
    flow, _ = _stream(source, steps)
    return Picture((Box("the loop's thread", (*flow, Node('for item in stream:', kind='loop'))),), title)


def draw_infinite(
    source: Source, steps: Sequence[Step | ItemStep], prefetch: int | None, epoch: str, title: str, stats: Stats
) -> Picture:
    """A picture of an `Infinite` with this limit; `epoch` says what an epoch is. If it has run, it has figures."""
    figures, of_loop = figures_of(stats)
    rows = iter(figures)
    flow, _ = _stream(source, steps, rows=rows)
    ready_now = None if prefetch == 0 else next(rows, None)
    if figures and (next(rows, None) is not None):  # other stages run, as where an index does not agree
        flow, ready_now = _stream(source, steps)[0], None
    loop = Node('for batch in batch_iter:', (epoch,), 'loop', figures=of_loop)
    if prefetch == 0:
        return Picture((Box("the loop's thread", (*flow, loop)),), title)
    ready = 'as many batches ready as it makes in 4 ms'
    if prefetch is not None:
        ready = f'up to {_amount(prefetch, "batch")} ready'
    return Picture((Box('background thread', flow, holds=ready, figures=ready_now), loop), title)


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
    has_look_up = gathers = False
    with suppress(Exception):  # such as that of an iterator that had its one run
        opened = source.open(Seeds(), Stop())
        has_look_up, gathers = opened.has_look_up, opened.gathers
    plan = planned(one_by_one, has_look_up, source.cheap, gathers, complete)
    flow, look_up = _source(source, plan.looks_up, rows)
    if gathers and any(is_by_count(one_by_one[n]) for first in _all_first(plan) for n in first if n != LOOK_UP):
        look_up = tuple(Node(node.title, (*node.notes, 'all of a batch at once'), node.kind) for node in look_up)
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
        notes = [_amount(count) for count in _count(source)] + ['gives their indices'] * split
        node = Node(_shown(source), tuple(notes), 'source', figures=next(rows, None))
        return (node,), (Node('look the item up', kind='look-up'),)
    if made_of.how == 'places':
        flow, look_up = _source(made_of.streams[0].source, True, NO_ROWS)
        notes = ['orders the indices'] + ['looks the items up'] * (not split)
        return (*flow, Node(made_of.call, tuple(notes), figures=next(rows, None))), look_up
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


def _written(step: Step | ItemStep) -> str:
    try:
        return format_step(step)
    except Exception:  # that of an argument
        return f'{step.name}(…)'


def _operators(flow: Flow, steps: Sequence[Step], plan: Plan, look_up: tuple[Node, ...], rows: Rows = NO_ROWS) -> Flow:
    """The flow, and behind it what the plan runs."""
    indices = plan.looks_up
    for first, own in plan.operators:
        before = _done(first, steps, look_up)
        indices, figures = indices and not first, next(rows, None)
        elsewhere = None if own == LOOK_UP else steps[own].elsewhere
        if elsewhere is None:
            nodes = before if own == LOOK_UP else [*before, *_nodes(steps[own], indices)]
            flow = (*flow, *_counted(nodes, figures))
        elif elsewhere.kind == 'thread':
            ahead = f'up to {_amount(elsewhere.limit or 1)} ahead'
            flow = (Box('a thread of its own', flow, call=_written(steps[own]), holds=ahead, figures=figures),)
        else:
            flow = (*flow, replace(_workers(steps[own], elsewhere, before), figures=figures))
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
            done += _nodes(steps[index], indices=False)
    return done


def _nodes(step: Step, indices: bool) -> list[Node]:
    """A step as it was written: item-wise ones, which are done together, one by one."""
    if step.work is map_items:
        return [Node(_written(each)) for each in step.options[0]]
    if step.hidden:
        return []
    notes: tuple[str, ...] = ()
    if step.share is not None:
        notes = (f'the items of rank {step.share[0]} of {step.share[1]}',)
    if step.capacity is not None:
        held = f'up to {_amount(step.capacity, "index" if indices else "item")}'
        return [Node(_written(step), notes, holds=held)]
    return [Node(_written(step), ('of indices',) if indices and not notes else notes)]


def _workers(step: Step, elsewhere: Elsewhere, before: list[Node]) -> Box:
    """The workers of a `parallel_map`, around what they do."""
    inside = [*before, *(Node(_written(each)) for each in elsewhere.steps)]
    own = {name for each in elsewhere.steps for name in each.kwargs}
    options = {name: value for name, value in step.kwargs.items() if name not in {*OF_WORKERS, *own}}
    held = 'as many in flight as needed'
    if elsewhere.limit is not None:
        held = f'up to {_amount(elsewhere.limit)} in flight'
    return Box(
        _who(elsewhere.kind, elsewhere.given), tuple(inside), 'workers', step.name,
        tuple(f'{name}={format_value(value)}' for name, value in options.items()), held,
    )  # fmt: skip


def _who(kind: str, given: Any) -> str:
    if kind == 'executor':
        return f'executor {type(given).__name__}'
    if kind == 'workers':
        return 'threads or processes, whichever are faster'
    if given < 0:
        return f'{kind} on all cores' + (f' but {-1 - given}' if given < -1 else '')
    return f'{given} {kind}' if given != 1 else f'1 {kind.removesuffix("s").removesuffix("e")}'


def _amount(limit: int, what: str = 'item') -> str:
    more = {'item': 'items', 'batch': 'batches', 'index': 'indices'}[what]
    if isinstance(limit, Bytes):
        sizes = ((10**12, 'TB'), (10**9, 'GB'), (10**6, 'MB'), (10**3, 'kB'), (1, 'B'))
        size, unit = next((size, unit) for size, unit in sizes if limit >= size)
        return f'{limit / size:.3g} {unit} of {more}'
    return f'{limit:,} {what if limit == 1 else more}'
