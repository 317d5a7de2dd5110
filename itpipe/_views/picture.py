"""A picture of a pipeline, to look at, to print and to save."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from .mermaid import mermaid
from .parts import Flow
from .svg import svg

__all__ = ['Picture']


class Picture:
    """A picture of a pipeline, from the source at the top to the loop at the bottom.

    Notebooks show it. `svg` is the text of an SVG file, which follows the light or dark mode of its viewer. `mermaid`,
    and `str(picture)`, is the text of a Mermaid flowchart, for Markdown. It does not change when the pipeline goes on.

    See also: `Stream.draw`, `Stage.draw`, `Infinite.draw`, `Run.draw`.
    """

    def __init__(self, flow: Flow, title: str):
        self._flow, self._title = flow, title

    @property
    def svg(self) -> str:
        """The text of an SVG file."""
        return svg(self._flow, f'the pipeline {self._title}')

    @property
    def mermaid(self) -> str:
        """The text of a Mermaid flowchart."""
        return mermaid(self._flow)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file: SVG if its name ends with `.svg`, Mermaid if it ends with `.mmd`.

        Raises ValueError for another name, and OSError if it cannot be written.
        """
        target = Path(path)
        if target.suffix not in ('.svg', '.mmd'):
            raise ValueError(f"Picture.save: `path` must end with '.svg' or '.mmd', got {str(path)!r}")
        target.write_text(self.svg if target.suffix == '.svg' else f'{self.mermaid}\n', encoding='utf-8')

    def __str__(self) -> str:
        return self.mermaid

    def __repr__(self) -> str:
        return f"<Picture of {self._title}; save it with .save('pipeline.svg')>"

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x: auto">{self.svg}</div>'
