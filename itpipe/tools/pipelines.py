"""Pipelines that are named on the command line, and the batches that they make again."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from itpipe._core.keys import Key, describe, ordinals
from itpipe._core.steps import ItemStep, Step
from itpipe._engine.chain import Chain, item_again
from itpipe._engine.checkpoint import StateCodec
from itpipe._engine.fingerprint import difference
from itpipe._engine.seeds import Seeds
from itpipe._engine.source import Source
from itpipe._engine.stream import Stream
from itpipe.infinite import Infinite

__all__ = ['Pipeline', 'found', 'opened']

MORE: Final = 2
MARGIN: Final = 10_000
"""What came from an iterator is not looked for behind so many times as many items as it should be at, and so many."""


class Pipeline(NamedTuple):
    """What a stream or an `Infinite` does, without a run."""

    value: Any
    source: Source
    steps: Sequence[Step | ItemStep]
    seed: int | None

    def seeds(self, pass_: int, entropy: int | None) -> Seeds:
        """The seeds of a pass. If the pipeline has no seed, they come from what was drawn for the run."""
        return Seeds(self.seed, pass_, self.source.seed, entropy)

    def made_again(self, key: Key, pass_: int, entropy: int | None, number: int = 0) -> Any:
        """What had this key in this pass. Raises LookupError or ValueError if there is no such item.

        If it comes from an iterator, all that comes before it is made, too: at least the first `number`, and on until
        all items are of far behind.
        """
        seeds = self.seeds(pass_, entropy)
        if not self.source.one_shot:
            return item_again('replay', self.source, self.steps, seeds, key)
        chain = Chain(self.source, self.steps, seeds, tracked=False)
        last = MORE * max(ordinals(key)) + MARGIN
        try:
            for count, (found, value) in enumerate(chain.pairs):
                if found == key:
                    return value
                if count > number and min(ordinals(found)) > last:  # the iterator may have no end
                    break
        finally:
            chain.close()
        raise LookupError(f'replay: there is no {describe(key)}')

    def indices(self, keys: Sequence[Key], pass_: int, entropy: int | None, parts: bool = False) -> list[Any]:
        """Where the items of these batches lie in the data; with `parts`, as `Chain.places` tells them apart.

        Raises RuntimeError if a stage does not say that, ValueError if the pipeline has no such keys.
        """
        chain = Chain(self.source, self.steps, self.seeds(pass_, entropy), tracked=False)
        try:
            if wrong := [key for key in keys if not chain.has_key(key)]:
                raise ValueError(f'the pipeline has nothing with the key {wrong[0]}')
            return [index for key in keys for index in (chain.places(key) if parts else chain.indices(key))]
        finally:
            chain.close()

    def differs(self, text: str) -> str | None:
        """In what it differs from the pipeline with this text in its states, in words."""
        own = StateCodec(self.source, self.steps, self.seed).text
        return None if own == text else difference(text, own)

    def close(self) -> None:
        """End what it has started."""
        if isinstance(self.value, Infinite):
            self.value.close()


def opened(value: Any) -> Pipeline:
    """What is known of a stream, or of an `Infinite`. Raises TypeError for anything else."""
    if isinstance(value, Infinite):
        epochs = value._epochs
        return Pipeline(value, epochs.source, epochs.steps, epochs.seed)
    if isinstance(value, Stream):
        return Pipeline(value, value.source, value.steps, None)
    raise TypeError(f'a pipeline must be an Infinite or a stream, got {type(value).__name__}')


def found(name: str) -> Any:
    """The stream or `Infinite` with this name: `module:attribute` or `path/to/file.py:attribute`.

    A function is called, without arguments, and must return one. Raises ValueError, LookupError or TypeError if there
    is none, and what the code raises when it is imported.
    """
    place, colon, attribute = name.rpartition(':')
    if not (place and colon and attribute):
        raise ValueError(f'a pipeline is named `module:attribute` or `file.py:attribute`, got {name!r}')
    value = _module(place)
    for part in attribute.split('.'):
        if not hasattr(value, part):
            raise LookupError(f'there is no {part!r} in {place!r}')
        value = getattr(value, part)
    if not isinstance(value, (Infinite, Stream)) and callable(value):
        value = value()
    opened(value)
    return value


def _module(place: str) -> Any:
    if not place.endswith('.py'):
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(0, here)
        if not _is_module(place):
            raise LookupError(f'there is no module {place!r}, neither here nor installed')
        return _imported(place)
    path = Path(place).resolve()
    if not path.is_file():
        raise LookupError(f'there is no file {place!r}')
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = _imported(path.stem)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise LookupError(f'{place!r} has the name of another module, {module.__file__}; give it a name of its own')
    return module


def _imported(name: str) -> Any:
    """The module. While it is imported, the command line is that of a script without arguments."""
    given, sys.argv = sys.argv, [name]
    try:
        return importlib.import_module(name)
    finally:
        sys.argv = given


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what it would be in
        return False
