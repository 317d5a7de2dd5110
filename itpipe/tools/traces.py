"""Traces that were written before: what is drawn of them."""

from __future__ import annotations

import json
from collections import defaultdict
from os import PathLike, fspath
from typing import Any, Final

from itpipe._views.plots import Block, Timeline

__all__ = ['timeline_of']

MOST: Final = 30
"""How many steps of the loop are shown if it is not said."""


def timeline_of(path: str | PathLike[str], n: int | None = None) -> list[Block]:
    """The last `n` steps of the loop in a trace that was written to this file, or all, if there are no steps in it.

    Raises OSError if it cannot be read, ValueError if it is no trace.
    """
    try:
        with open(path, encoding='utf-8') as file:
            events = json.load(file)['traceEvents']
        names = {event['tid']: event['args']['name'] for event in events if event['name'] == 'thread_name'}
        spans = [_span(event) for event in events if event['ph'] == 'X']
    except (LookupError, TypeError, ValueError):
        raise ValueError(
            f'plot: `batch` must be the path of a trace, as `trace` writes it, got {fspath(path)!r}'
        ) from None
    if not spans:
        raise ValueError(f'plot: `batch` must be the path of a trace in which something was done, got {fspath(path)!r}')
    asked = sorted(begun for _, begun, _, _, kind in spans if kind == 'ask')
    begin = asked[-min(n or MOST, len(asked))] if asked else 0.0
    tracks = {tid: row for row, tid in enumerate(sorted(names))}
    rows: dict[tuple[str, str], list[tuple[int, float, float]]] = defaultdict(list)
    for tid, begun, ended, name, kind in spans:
        if ended > begin:
            rows[kind, name].append((tracks[tid], max(begun, begin), ended))
    return [Block('', [('', [('', Timeline(tuple(names[tid] for tid in sorted(names)), dict(rows)))])])]


def _span(event: dict[str, Any]) -> tuple[int, float, float, str, str]:
    """The track, the beginning and the end in seconds, the name and the kind."""
    begun = event['ts'] * 1e-6
    return event['tid'], begun, begun + event['dur'] * 1e-6, event['name'], event['cat']
