"""What an item consists of, also if some of it cannot be read."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .indexing import as_runtime_error, has_index, index_agrees, length, note_length
from .iterators import close_iterator, close_own, is_plain, iterator_of

if TYPE_CHECKING:
    from .waiting import Stop

__all__ = ['Broken', 'parts_of', 'reported_at']


@dataclass(frozen=True, slots=True)
class Broken:
    """In the place of a part that cannot be read, or of all that are left."""

    error: Exception


def parts_of(value: Any, first: int, stop: Stop | None = None, close: bool = False) -> Generator[tuple[int, Any]]:
    """The parts of an iterable from the number `first` on, with their numbers. Those that cannot be read are `Broken`.

    What has a length and an index goes on behind such a part. Anything else ends there. In the end its iterator is
    closed, an open file only if `close`.
    """
    if not is_plain(value) and has_index(value) and index_agrees(value):
        for number in range(first, length(value) or 0):
            yield number, _at(value, number)
        return
    number, iterator = 0, None
    try:
        iterator = iterator_of(value, stop)
        for number, part in enumerate(iterator):
            if number >= first:
                yield number, part
            number += 1  # if the next one raises, it is that
            del part
    except Exception as error:
        if (at := reported_at(number, first)) is not None:
            yield at, Broken(error)
    finally:
        if close:
            close_iterator(iterator)
        else:
            close_own(iterator, value)


def _at(value: Any, number: int) -> Any:
    try:
        return value[number]
    except StopIteration as error:
        return Broken(as_runtime_error(error, value, number))
    except Exception as error:
        note_length(error, value, number)
        return Broken(error)


def reported_at(number: int, first: int) -> int | None:
    """Where an error counts that ends an item at a number, if the item is read from `first` on.

    Nowhere, if it is the one in whose place something came out before.
    """
    return None if number == first - 1 else max(number, first)
