"""The rules of the Trace Event Format for what itpipe writes: those that Perfetto's importer has."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

__all__ = ['check_trace']


def check_trace(trace: Any) -> None:
    """Raise an error for what Perfetto would not show, or not where it belongs."""
    slices: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    arrows: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    named = set()
    for event in trace['traceEvents']:
        assert event['ph'] in {'M', 'X', 'C', 's', 't', 'f'}, event
        assert isinstance(event['name'], str), event
        assert type(event['pid']) is int, event
        assert type(event['tid']) is int, event
        if event['ph'] == 'M':
            assert event['name'] in {'thread_name', 'process_name'}, event
            assert isinstance(event['args']['name'], str), event
            named.add((event['pid'], event['tid']))
            continue
        assert event['ts'] >= 0, event
        if event['ph'] == 'X':
            assert event['dur'] >= 0, event
            slices[event['pid'], event['tid']].append((event['ts'], event['ts'] + event['dur']))
        elif event['ph'] == 'C':
            assert all(type(value) in (int, float) for value in event['args'].values()), event
        else:
            arrows[event['cat'], event['id']].append(event)
    assert slices.keys() <= named
    for track, spans in slices.items():
        _check_nested(track, spans)
    for way in arrows.values():
        way.sort(key=lambda event: (event['ts'], 'stf'.index(event['ph'])))
        assert [event['ph'] for event in way] == ['s', *'t' * (len(way) - 2), 'f'], way
        for event in way:  # an arrow is bound to the slice that it lies in
            around = slices[event['pid'], event['tid']]
            assert any(begun - 0.01 <= event['ts'] <= ended + 0.01 for begun, ended in around), event


def _check_nested(track: tuple[int, int], spans: list[tuple[float, float]]) -> None:
    open_until: list[float] = []
    for begun, ended in sorted(spans, key=lambda span: (span[0], -span[1])):
        while open_until and open_until[-1] <= begun + 0.01:
            open_until.pop()
        assert not open_until or ended <= open_until[-1] + 0.01, (track, begun, ended, open_until)
        open_until.append(ended)
