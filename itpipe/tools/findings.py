"""What `check` finds: `Finding`, and `Findings`, the list of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from itpipe._views.findings import as_html, as_text

__all__ = ['Finding', 'Findings']


class Finding(NamedTuple):
    """Something that is wrong with a stage, or could be better."""

    kind: str
    """A short name, such as `'not-reproducible'`: what `check(…, ignore=…)` takes."""
    stage: str
    """The stage that it is about, as it was written."""
    problem: str
    """What is wrong."""
    fix: str
    """What to do."""


class Findings(list[Finding]):
    """The mistakes that were found, in a list. It prints with fixes, and with a table of the items.

    `hints` are what could be better, and are not counted. `unseen` says what was not looked at, and why, and `notes`
    what the run holds in memory. `table` has for each stage a dict with `'stage'`, `'items'` (what they are), `'bytes'`
    (of one item or batch; None if there was none), `'seconds'` (the least that a call took; None if nothing is called)
    and `'where'` (who calls it).
    """

    def __init__(
        self,
        findings: Iterable[Finding] = (),
        hints: Iterable[Finding] = (),
        notes: Iterable[str] = (),
        table: Sequence[dict[str, object]] = (),
        unseen: Iterable[str] = (),
        items: int = 0,
    ):
        super().__init__(findings)
        self.hints, self.notes, self.table, self.unseen = list(hints), list(notes), list(table), list(unseen)
        self._items = items

    def __repr__(self) -> str:
        return as_text(self, self.hints, self.notes, self.table, self.unseen, self._items)

    def _repr_html_(self) -> str:
        return as_html(self, self.hints, self.notes, self.table, self.unseen, self._items)
