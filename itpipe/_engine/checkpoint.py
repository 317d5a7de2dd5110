"""What is saved of a run, and how a run of this pipeline goes on from it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from itpipe._core.rng import fresh_seed
from itpipe._core.show import shortened
from itpipe._core.steps import ItemStep, State, Step

from .dealing import deal
from .fingerprint import (
    batching,
    differ_in_batch_size,
    differ_in_reweight,
    differ_in_weights,
    difference,
    items_in_batch,
    names_in,
    pipeline_text,
)
from .order import last_shard
from .same_data import DataDifference, count_in, data_difference, data_text, first_items, may_grow
from .stacks import user_stacklevel
from .state_checks import (
    FORMAT,
    Position,
    check_position,
    checksum,
    is_merged,
    listed,
    named,
    rank_in_words,
    ranks_of,
    read_state,
)  # fmt: skip
from .weighting import may_change

if TYPE_CHECKING:
    from .source import Source

__all__ = ['Position', 'StateCodec']


class StateCodec:
    """Writes and reads the states of one pipeline."""

    def __init__(self, source: Source, steps: Sequence[Step | ItemStep], seed: int | None = None):
        self.source, self.steps, self.seed = source, steps, seed
        self.seeded = seed is not None or source.seed is not None
        self.shard: list[int] | None = None
        if (index := last_shard(steps)) is not None:
            self.shard = list(steps[index].share)  # type: ignore[union-attr,arg-type]
        self.text = pipeline_text(source, steps, seed)
        self._of_pass: tuple[int, str, Callable[[Position], int]] | None = None
        """The number of a pass, what is known of the data in it, and what makes the checksum of a position in it."""

    def state(self, position: Position) -> State:
        """The position as JSON can hold it."""
        if (known := self._of_pass) is None or known[0] != position.pass_:  # data may grow from pass to pass
            data = data_text(self.source)
            known = self._of_pass = position.pass_, data, checksum(self.text, data, self.shard)
        _, data, check = known
        return {
            'itpipe': FORMAT,
            'pipeline': self.text,
            'data': data,
            'shard': self.shard,
            'entropy': position.entropy,
            'pass': position.pass_,
            'batch': position.batch,
            'position': position.in_pass,
            'check': check(position),
        }

    def read(self, where: str, state: Any, strict: bool = True) -> Position:
        """The position whose state this is; raises TypeError or ValueError, naming `where`, for anything else.

        The size of a batch may be another one. If it is not `strict`, all of the pipeline and the data may, where this
        one can go on exactly.
        """
        position = read_state(where, 'state', state)
        rank, text = state['shard'], state['pipeline']
        if is_merged(rank) and self.shard is not None:
            names = names_in(text)
            try:
                position = position._replace(in_pass=named(deal(listed(position.in_pass, names), *self.shard), names))
            except (AttributeError, LookupError, TypeError, ValueError):
                raise ValueError(f'{where}: `state` is damaged: it does not say what is left for each rank') from None
            rank = self.shard
        found = data_difference(state.get('data', ''), data_text(self.source))
        grown = found is not None and found.more > 0 and may_grow(self.source)
        if found is not None and grown:  # before the text, where `shuffle()` has the number, too
            _check_other_data(where, found, position, strict, grown)
        if text != self.text and (rank is None) == (self.shard is None):  # or else, that is what differs
            position = self._read_edited(where, text, position, strict and not differ_in_batch_size(text, self.text))
        if found is not None:
            _check_other_data(where, found, position, strict, grown)
        if rank != self.shard:
            merged = 'what `merge_states` makes of the states of all ranks goes on with any number of them'
            if is_merged(rank):
                merged = 'one process goes on with it as the only rank: `shard=(0, 1)`, or the stage `shard(0, 1)`'
            elif self.shard is None:
                merged += ', with `shard=(0, 1)` also in one process'
            raise ValueError(
                f'{where}: `state` is that of {rank_in_words(rank)}, this is {rank_in_words(self.shard)}; {merged}'
            )
        try:
            check_position(self.source, self.steps, position.in_pass)
        except ValueError as error:
            raise ValueError(f'{where}: `state` is damaged: {error}') from None
        return position

    def read_appended(self, where: str, state: Any, strict: bool = True) -> tuple[Position, StateCodec]:
        """The position whose state this is, where items may have been appended to the data since, and a codec.

        The source of the codec has only the items that there were, for the rest of the pass. Raises what `read` raises,
        and ValueError if items cannot be appended.
        """
        read_state(where, 'state', state)
        count, own = count_in(state.get('data', '')), count_in(data_text(self.source))
        if count is None or own is None:
            raise ValueError(
                f'{where}: `append=True` is for one source with a length and an index: `stream(data)`, with or without'
                f' `shuffle()`, got {shortened(self.source)}'
            )
        if own <= count:
            return self.read(where, state, strict), self
        before = StateCodec(first_items(where, self.source, count), self.steps, self.seed)
        position = before.read(where, state, strict)
        return position, self if position.in_pass is None else before

    def batches(self, where: str, state: State) -> int:
        """How many batches of this pipeline have what was received of the epoch in those of the state.

        If batches are made as they were, these are as many, also where there are other ranks. If not, an epoch that has
        begun ends where it would have ended by its items: with the batch that has the last one.
        """
        batches: int = state['batch']
        if batches == 0 or batching(state['pipeline']) == batching(self.text):
            return batches
        there, here = items_in_batch(state['pipeline']), items_in_batch(self.text)
        ranks, ranks_here = ranks_of(state['shard']), ranks_of(self.shard)
        if there is None or here is None or ranks is None or ranks_here is None:
            warnings.warn(
                f'{where}: batches are made by another rule than in `state`, so it is not known what is left of the'
                ' epoch: a new one begins with the next batch',
                stacklevel=user_stacklevel(),
            )
            return 0
        return batches * there * ranks // (here * ranks_here)

    def _read_edited(self, where: str, text: str, position: Position, strict: bool) -> Position:
        from .edits import edited  # seldom needed

        differs = differ_in_reweight(text, self.source) or difference(text, self.text)
        message = f'{where}: `state` is that of another pipeline, {differs}'
        try:
            in_pass = edited(position.in_pass, text, self.text)
        except ValueError as error:
            if strict and differ_in_weights(text, self.text):
                message += (
                    '; begin with its `weights`, and with `reweight=True` if it had that; then replace them by'
                    ' `reweight`'
                    if may_change(self.source)
                    else '; `strict=False` takes other weights between two passes only'
                )
            raise ValueError(message if strict else f'{message}; this one cannot go on there: {error}') from None
        if strict:
            raise ValueError(f'{message}; with `strict=False`, this one goes on there')
        entropy = fresh_seed() if position.entropy is None and not self.seeded else position.entropy
        return position._replace(in_pass=in_pass, entropy=entropy)


def _check_other_data(where: str, found: DataDifference, position: Position, strict: bool, grown: bool) -> None:
    """Raise ValueError if the run does not go on with other data."""
    if found.more and position.in_pass is not None:
        how = 'in the middle of a pass, the number has to be the same'
    elif strict:
        how = 'with `strict=False`, this one goes on there'
    else:
        return
    if grown:
        how = 'with `append=True`, the new ones come from the next pass on'
    raise ValueError(f'{where}: `state` is that of other data, {found.words}; {how}')
