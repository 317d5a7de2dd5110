"""A timeline in the Trace Event Format of Chrome, which Perfetto (https://ui.perfetto.dev) opens."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TextIO, TypeAlias

from .tables import WIDEST, shorten

__all__ = ['Count', 'Span', 'events', 'write']

PID = 1
"""All tracks are shown as threads of one process. The one with this number would be shown as its main thread."""
INSIDE = 0.05
"""Microseconds between the beginning of a slice and its arrow. Perfetto binds an arrow to the slice that began last."""
COLORS = {'wait': 'grey', 'full': 'grey', 'ask': 'terrible'}


class Span(NamedTuple):
    """Something took a while. Times are in seconds."""

    track: str
    """Spans on the same track follow each other, or lie in each other."""
    thread: str
    """The name of the track, which several may have."""
    name: str
    kind: str
    begun: float
    ended: float
    item: str = ''
    """Which item it was, as text."""
    parts: tuple[str, ...] = ()
    """The items that it was about: spans with the same item are joined by arrows."""
    begins: bool = False
    """Whether the items begin here: what had the same names before was in another pass."""


_Place: TypeAlias = 'tuple[float, int, str]'
"""A point of a way: when, on which track, in a slice of which kind, `'begin'` where items begin."""


class Count(NamedTuple):
    """So many were held at that time."""

    name: str
    at: float
    held: int


def events(spans: Sequence[Span], counts: Sequence[Count] = ()) -> Iterator[dict[str, Any]]:
    """The events of the format: names, slices, arrows and counters. Times in it are microseconds."""
    tracks = {span.track: tid for tid, span in enumerate(_tracks(spans), PID + 1)}
    for span in _tracks(spans):
        yield {
            'ph': 'M', 'name': 'thread_name', 'pid': PID, 'tid': tracks[span.track], 'args': {'name': span.thread}
        }  # fmt: skip
    yield {'ph': 'M', 'name': 'process_name', 'pid': PID, 'tid': 0, 'args': {'name': 'itpipe'}}
    short = _shortened([span.name for span in spans])
    held = _shortened([count.name for count in counts])
    ways: dict[str, list[_Place]] = defaultdict(list)
    for span in spans:
        tid, begun, ended = tracks[span.track], _micro(span.begun), _micro(span.ended)
        args = {'item': span.item} if span.item else {}
        if short[span.name] != span.name:
            args['name'] = span.name
        event = {
            'ph': 'X', 'name': short[span.name], 'cat': span.kind, 'pid': PID, 'tid': tid,
            'ts': begun, 'dur': round(ended - begun, 3), 'args': args,
        }  # fmt: skip
        if span.kind in COLORS:
            event['cname'] = COLORS[span.kind]
        yield event
        if ended > begun:
            inside = min(INSIDE, (ended - begun) / 2)
            point = round(ended - inside if span.kind == 'ask' else begun + inside, 3)
            for part in span.parts:
                ways[part].append((point, tid, 'begin' if span.begins else span.kind))
    for number, way in enumerate(way for ways_of_one in ways.values() for way in _split(sorted(ways_of_one))):
        for n, (at, tid, _) in enumerate(way if len(way) > 1 else ()):
            phase = 's' if n == 0 else 'f' if n == len(way) - 1 else 't'
            arrow = {'ph': phase, 'name': 'item', 'cat': 'item', 'id': number, 'pid': PID, 'tid': tid, 'ts': at}
            yield arrow | ({'bp': 'e'} if phase == 'f' else {})
    for count in counts:
        yield {
            'ph': 'C', 'name': f'held: {held[count.name]}', 'pid': PID, 'tid': 0, 'ts': _micro(count.at),
            'args': {'items': count.held},
        }  # fmt: skip


def _tracks(spans: Iterable[Span]) -> list[Span]:
    """A span of each track, in the order from top to bottom: threads, workers by their numbers, and the loop."""
    first: dict[str, Span] = {}
    for span in spans:
        first.setdefault(span.track, span)
    asking = {span.track for span in spans if span.kind == 'ask'}
    return sorted(first.values(), key=lambda span: (span.track in asking, _number(span.thread)))


def _number(name: str) -> int:
    """The number at its end, which workers have."""
    found = re.search(r'\d+$', name)
    return int(found[0]) if found else -1


def _shortened(names: Iterable[str]) -> dict[str, str]:
    """A short name for each, or itself if another one would have the same."""
    short = {name: shorten(name, WIDEST) for name in names}
    times = Counter(short.values())
    return {name: cut if times[cut] == 1 else name for name, cut in short.items()}


def _split(way: list[_Place]) -> Iterator[list[_Place]]:
    """The ways of an item in one pass after another: each ends at the step of the loop, or where the loop gets it."""
    part: list[_Place] = []
    for place in way:
        if part and (part[-1][2] == 'ask' or place[2] == 'begin'):
            if place[2] == 'step':
                part[-1] = place
            yield part
            part = []
        if place[2] != 'step':
            part.append(place)
    if part:
        yield part


def write(file: TextIO, spans: Sequence[Span], counts: Sequence[Count] = ()) -> None:
    """Write it, as JSON, one event in a line."""
    file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
    file.write(',\n'.join(json.dumps(event, ensure_ascii=False) for event in events(spans, counts)))
    file.write('\n]}\n')


def _micro(seconds: float) -> float:
    return round(seconds * 1e6, 3)
