"""What a picture of a pipeline shows: nodes, boxes around them, inputs side by side; items flow from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ['Box', 'Figures', 'Flow', 'Inputs', 'Node', 'Part']


@dataclass(frozen=True)
class Figures:
    """What was counted while it ran."""

    text: str
    share: float | None = None
    """Which part of the time it was at work, from 0 to 1."""
    limits: bool = False
    """Whether it is the bottleneck."""

    def __str__(self) -> str:
        return f'bottleneck: {self.text}' if self.limits else self.text


@dataclass(frozen=True)
class Node:
    """A source, a stage, the loop."""

    title: str
    notes: tuple[str, ...] = ()
    kind: Literal['stage', 'source', 'look-up', 'loop'] = 'stage'
    holds: str = ''
    """How many items may be in it."""
    figures: Figures | None = None


@dataclass(frozen=True)
class Box:
    """A thread, workers or repetitions, around what they do."""

    title: str
    inside: Flow
    kind: Literal['thread', 'workers', 'again'] = 'thread'
    call: str = ''
    """The stage that asks for it."""
    notes: tuple[str, ...] = ()
    holds: str = ''
    figures: Figures | None = None


@dataclass(frozen=True)
class Inputs:
    """Streams side by side, which the next part puts together."""

    flows: tuple[Flow, ...]
    labels: tuple[str, ...]


Part: TypeAlias = Node | Box | Inputs
Flow: TypeAlias = tuple[Part, ...]
