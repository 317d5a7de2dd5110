"""One state of the states of all ranks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .dealing import check_dealt, merge
from .fingerprint import difference, names_in
from .same_data import data_difference
from .state_checks import MERGED, checksum, in_written_order, is_merged, listed, named, rank_in_words, read_state
from .weighting import check_told_alike

__all__ = ['merge_states']


def merge_states(states: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One state, made of the states of all ranks. Any number of ranks can go on from it.

    `states` are the `state_dict()`s of all ranks of one run, in any order, taken in the same pass over the source. Each
    of the new ranks loads the result. Then they get the items that no rank had received before, each item once, with
    the same randomness. Items that were in the buffers of `shuffle` or `reuse` are dealt to the new ranks as well. The
    batches of each rank hold other items, because the number of ranks is different. But where number of ranks times
    batch size stays the same, so do the items that all ranks together get in one step.

    If the number of ranks stays the same, this is not needed: each rank loads its own state.

    Raises TypeError if `states` is not an iterable of dicts. Raises ValueError for incomplete states, for states of
    different pipelines or passes, and if there is not one state of each rank. Also raises ValueError if a stage counts
    the items of its rank: `take`, `skip`, or a stage of your own after `shard`.

    >>> from itpipe import Infinite
    >>> def batches(rank, ranks):
    ...     return Infinite(range(12), batch_size=2, shard=(rank, ranks))
    >>> states = []
    >>> for rank in range(2):
    ...     with batches(rank, 2) as batch_iter:
    ...         print(next(batch_iter()))
    ...         states.append(batch_iter.state_dict())
    [0 2]
    [1 3]
    >>> with batches(0, 1) as batch_iter:
    ...     batch_iter.load_state_dict(merge_states(states))
    ...     print(*batch_iter)
    [4 5] [6 7] [8 9] [10 11]

    See also: `Infinite.load_state_dict`, `shard`.
    """
    where = 'merge_states'
    if isinstance(states, dict) or not isinstance(states, Iterable):
        raise TypeError(f'{where}: `states` must be the states of all ranks, got {type(states).__name__}')
    states = list(states)
    positions = [read_state(where, f'states[{n}]', state) for n, state in enumerate(states)]
    if not states:
        raise ValueError(f'{where}: `states` must not be empty')
    for n, (state, position) in enumerate(zip(states, positions, strict=True)):
        if state['shard'] is None and re.search(r'^\s*shard\(', state['pipeline'], re.MULTILINE):
            raise ValueError(
                f'{where}: `states[{n}]` is that of a run with `shard` in a stream that another stage joins or repeats,'
                ' such as `zip_with` or `cycle`; such a run goes on in the same number of ranks only'
            )
        if state['shard'] is None or is_merged(state['shard']):
            raise ValueError(f'{where}: `states[{n}]` is that of {rank_in_words(state["shard"])}')
        if state['pipeline'] != states[0]['pipeline']:
            raise ValueError(
                f'{where}: `states[{n}]` is that of another pipeline than `states[0]`,'
                f' {difference(state["pipeline"], states[0]["pipeline"])}'
            )
        if (found := data_difference(state.get('data', ''), states[0].get('data', ''))) is not None:
            raise ValueError(f'{where}: `states[{n}]` is that of other data than `states[0]`, {found.words}')
        if position.pass_ != positions[0].pass_:
            raise ValueError(
                f'{where}: `states` must have been taken in the same pass over the source, but `states[0]` was taken in'
                f' pass {positions[0].pass_}, `states[{n}]` in pass {position.pass_}'
            )
    ranks = states[0]['shard'][1]
    given = [state['shard'] for state in states]
    if len(given) != ranks or sorted(given) != [[rank, ranks] for rank in range(ranks)]:
        raise ValueError(
            f'{where}: `states` must be one of each rank of {ranks},'
            f' got those of {", ".join(map(rank_in_words, given))}'
        )
    check_told_alike(where, [position.in_pass for position in positions])
    names = names_in(states[0]['pipeline'])
    positions = [position._replace(in_pass=listed(position.in_pass, names)) for position in positions]
    for n, position in enumerate(positions):
        try:
            check_dealt(position.in_pass)
        except ValueError as error:
            raise ValueError(f'{where}: `states[{n}]` is damaged: {error}') from None
    by_rank = sorted(zip(states, positions, strict=True), key=lambda pair: pair[0]['shard'])
    try:
        in_pass = named(merge(where, [position.in_pass for _, position in by_rank]), names)
    except (AttributeError, LookupError, TypeError):  # they differ in what they say of a step
        raise ValueError(f'{where}: `states` are damaged: they do not say the same of the steps') from None
    first, position = by_rank[0]
    merged = position._replace(batch=max(position.batch for position in positions), in_pass=in_written_order(in_pass))
    shard = [MERGED, ranks]
    check = checksum(first['pipeline'], first.get('data', ''), shard)(merged)
    return first | {'shard': shard, 'batch': merged.batch, 'position': merged.in_pass, 'check': check}
