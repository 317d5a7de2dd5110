"""The file that a run is recorded in: sections, one for each time that it was opened, made of frames.

A section begins with `BEGIN`, and its first frame is JSON about the process and the pipeline. Then come frames of these
kinds, each beginning with a byte that says which:

- `JSON`: a run begins, or items were dropped;
- `PLACE`: where the next batch stands: run, epoch, pass, and number in the epoch. It is left out where that follows
  from the batch before: the same, and the next number;
- `BATCHES`: one or two batches: the seconds since the batch before, and the keys;
- `DIGESTED`: the same with the digest of each batch.

A frame may be cut off, and a section may have zeros behind it, if the process or the machine was stopped. The next
section begins behind that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from struct import Struct, error
from typing import Any, Final, NamedTuple, TypeAlias

from .key_bytes import keys_from, keys_to_bytes
from .keys import Key

__all__ = ['BEGIN', 'Frame', 'Received', 'batch_frame', 'frames', 'json_frame', 'place_frame']

BEGIN: Final = b'\n\x00\xffitpipe record 1\xff\x00\n'
"""It is in no frame: JSON is ASCII here, and bytes of keys would have to be these by chance."""
JSON, PLACE, BATCHES, DIGESTED = 1, 2, 3, 4
END: Final = b'\xff'
"""The last byte of a frame of batches: what was cut off may have zeros behind it."""
LENGTH: Final = Struct('<BI')
AT: Final = Struct('<BIIII')
ONE, ONE_DIGESTED = Struct('<BBe'), Struct('<BBeI')
TWO, TWO_DIGESTED = Struct('<BBee'), Struct('<BBeeII')
LONGEST: Final = 65_504.0
"""Seconds, the largest number of two bytes."""
Received: TypeAlias = 'tuple[float, Key, int | None]'
"""A batch: the seconds since the one before, its key, and the digest."""


class Frame(NamedTuple):
    """What a frame says: one of these is given."""

    json: dict[str, Any] | None = None
    place: tuple[int, int, int, int] | None = None
    """Run, epoch, pass, number of the batch in the epoch."""
    batches: list[tuple[float, int | None, Key]] | None = None
    """Seconds, digest, key."""


def json_frame(fields: dict[str, Any]) -> bytes:
    """A frame of JSON."""
    code = json.dumps(fields).encode()
    return LENGTH.pack(JSON, len(code)) + code


def place_frame(run: int, epoch: int, pass_: int, batch: int) -> bytes:
    """The frame that says where the next batch stands."""
    return AT.pack(PLACE, run, epoch, pass_, batch)


def batch_frame(first: Received, second: Received | None = None) -> bytes:
    """The frame of one batch, or of two that follow each other. Both have a digest, or none."""
    seconds, key, digest = first
    try:
        if second is None:
            head = ONE.pack(BATCHES, 1, seconds) if digest is None else ONE_DIGESTED.pack(DIGESTED, 1, seconds, digest)
            return head + keys_to_bytes(key) + END
        seconds2, key2, digest2 = second
        if digest is None:
            return TWO.pack(BATCHES, 2, seconds, seconds2) + keys_to_bytes(key, key2) + END
        head = TWO_DIGESTED.pack(DIGESTED, 2, seconds, seconds2, digest, digest2)
        return head + keys_to_bytes(key, key2) + END
    except OverflowError:  # it was left alone for a day
        return batch_frame(_in_bounds(first), None if second is None else _in_bounds(second))


def _in_bounds(received: Received) -> Received:
    return min(received[0], LONGEST), *received[1:]


def frames(data: bytes) -> Iterator[Frame]:
    """The frames of a section, up to its end or to the first that was cut off."""
    at = 0
    while at < len(data):
        try:
            frame, at = _frame(data, at)
        except (LookupError, ValueError, error):
            return
        yield frame


def _frame(data: bytes, at: int) -> tuple[Frame, int]:
    kind = data[at]
    if kind == JSON:
        _, size = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if at + size > len(data):
            raise ValueError('cut off')
        return Frame(json=json.loads(data[at : at + size])), at + size
    if kind == PLACE:
        return Frame(place=AT.unpack_from(data, at)[1:]), at + AT.size
    if kind not in (BATCHES, DIGESTED):
        raise ValueError('not a frame')
    count = data[at + 1]
    form = ((ONE, ONE_DIGESTED), (TWO, TWO_DIGESTED))[count - 1][kind == DIGESTED]
    _, _, *fields = form.unpack_from(data, at)
    keys, at = keys_from(data, at + form.size, count)
    if data[at] != END[0]:
        raise ValueError('cut off')
    digests = fields[count:] or [None] * count
    return Frame(batches=list(zip(fields[:count], digests, keys, strict=True))), at + 1
