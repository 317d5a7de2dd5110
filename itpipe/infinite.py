"""A stream that runs in the background and is sliced into epochs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from ._core.checks import auto, in_use, integer, not_async, positive, truth
from ._core.instead import check_options, check_text, check_transform, did_you_mean, no_attribute
from ._core.keys import keys_of, ordinals
from ._core.rng import check_seed
from ._core.show import format_step, format_value, shortened
from ._core.sizes import size
from ._core.snapshots import snapshot
from ._core.steps import ItemStep, Step
from ._engine.lengths import count_items
from ._engine.order import check_alike, dealt
from ._engine.stream import Stage, Stream, as_stage, no_stage, pipe
from ._engine.weighting import check_kept
from .integrations.distributed import distributed, rank_of
from .stages.batch import batch_by
from .stages.combine import combine, combine_lists
from .stages.items import apply
from .stages.parallel import parallel_map
from .stages.prefetch import as_run
from .stages.shard import Even, shard_step

if TYPE_CHECKING:
    from typing import Self, Unpack

    import numpy.typing as npt

    from ._engine.stats import Stats
    from ._engine.tracing import Tracing
    from ._engine.types import AnyFunction, AnyIterable, Running
    from ._views.picture import Picture
    from .errors import Dropped

__all__ = ['Infinite']

B = TypeVar('B', covariant=True)
STALL_TIMEOUT = 60.0
"""Seconds."""
MAX_TEXT = 2000
"""Characters of what an `Infinite` looks like in a record."""


@no_stage('it takes the stream, `Infinite(stream)`')
class Infinite(Generic[B]):
    """Batches made in the background, epoch after epoch.

    `source` is a stream or another iterable, but not text. `transforms` are stages, or functions of one item.
    `batch_size` is the number of items in a batch, or a predicate, see `batch_by`. With `drop_last=True`, a last batch
    with fewer items is left out. `combiner` makes a batch of the items and gets `combiner_kwargs`. Without
    `batch_size`, the items of the stream are the batches. `seed` is the seed of all random stages that have no seed of
    their own.

    With `threads=N`, `processes=N` or `workers='auto'`, workers make whole batches. For each batch, a worker looks the
    items up in the dataset, calls the transforms for each of them, and combines them. These are the transforms behind
    the last one that is not item-wise, such as `shuffle`; those before it run in the background thread. It is short for
    `parallel_map(… | batch_by(batch_size) | combiner, processes=N)`, see there what a dataset must allow. A negative N
    counts from the number of usable cores, 0 is as without it, and `batch_size` must be an int. `'auto'` finds out
    while it runs whether threads or processes are faster, and how many, see `parallel_map`. The batches are the same.

    An epoch is `for batch in batch_iter` or `for batch in batch_iter()`. It has the next `batches_per_epoch` batches of
    one run. The run goes on from epoch to epoch, also after a `break`. Without `batches_per_epoch`, an epoch has the
    rest of the source. If the source ends, so does the epoch. The next epoch starts the source again: it is shuffled
    and augmented anew, and reproducibly if there is a seed. The workers of `parallel_map` stay from pass to pass. Two
    epochs at the same time share the run: each batch goes to one of them. A warning says, once, that an epoch was
    shorter than `batches_per_epoch`, or had no batches at all.

    With `restart=True`, as for validation, all epochs are the same. Each begins with the first batch, has the same
    random numbers, and has at most `batches_per_epoch` batches. Each is a run of its own. The next one has its workers.
    Two epochs at the same time share nothing.

    One background thread runs the stream and keeps `prefetch` batches ready, also between epochs. The default is as
    many as it makes in 4 ms, at least 2 and at most 64. At the end of the source it goes on with the next pass, so that
    the next epoch need not wait; but not if the source is an iterator, has a `state_dict`, or has `set_epoch`.
    `prefetch='512MB'` keeps at least one batch ready, and more while their size, as `parallel_map` estimates it, is
    within 512 MB. With `prefetch=0`, the stream runs in the thread that iterates. Nothing starts before the first batch
    is asked for. Everything ends with `close()`, at the end of `with`, with an error, or when the last reference is
    dropped. An epoch that is being iterated ends, too. The next epoch then starts from the beginning.

    If a batch takes longer than `stall_timeout` seconds, a `StallWarning` says which items are being worked on, and
    where in your functions. None turns this off. With `prefetch=0`, only the waits for `parallel_map` are watched.

    With `shard=(rank, number of ranks)` it gives the part of one of several training processes (ranks). Together they
    get the items that there are without `shard`. If the number of items is not a multiple of the number of ranks, a few
    items come a second time, so that all ranks get the same number. Otherwise the ranks that end last would wait for
    the others forever. `even='keep'` and `even='drop'` are other choices, see the stage `shard`. `shard='env'` takes
    rank and number from torch.distributed or jax.distributed if it is initialized, or else from the environment
    variables that torchrun, mpiexec or srun sets. Items are dealt to the ranks in turn and as early as possible:
    usually after the stages that count or order items, such as `take` and `shuffle`, and before all others. So no rank
    works on items of another one. `batch_size` and `batches_per_epoch` are those of one rank. All ranks need the same
    seed, and the same data in the same order.

    With `record='run.log'` it writes into that file which items were in each batch that you received. The command
    `itpipe` makes any of these batches again, says what each epoch held, and where two runs differ first. With
    `digest=True` it also writes a digest of each batch, by which other bits are noticed. A file that is there is
    continued. With `shard`, each rank has a file of its own, such as `run.rank1.log`. If writing fails, a warning says
    so, once, and the run goes on without it. See the page "See inside a run".

    It can be pickled before it has started. If a process is forked after the start, the new process must `close()` it
    before using it, or make its own.

    Raises TypeError or ValueError for wrong arguments, and OSError if `record` cannot be written. While iterating,
    raises what your functions raise, unchanged and after the batches before it, and `NotRestartable` if the source has
    ended and cannot be iterated again.

    >>> batch_iter = Infinite(range(16), abs, batch_size=4, batches_per_epoch=2)
    >>> len(batch_iter)
    2
    >>> with batch_iter:
    ...     for epoch in range(2):
    ...         print([batch.tolist() for batch in batch_iter])
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    [[8, 9, 10, 11], [12, 13, 14, 15]]
    >>> with Infinite(range(7), abs, batch_size=4, threads=2) as batch_iter:
    ...     print([batch.tolist() for batch in batch_iter])
    [[0, 1, 2, 3], [4, 5, 6]]

    See also: `parallel_map`; `prefetch`, a thread for a part of a stream; `combine`, `combine_pad`, `combine_lists`.
    """

    @overload
    def __init__(self, source: AnyIterable[B], **options: Unpack[Running]) -> None: ...
    @overload
    def __init__(
        self: Infinite[Any], source: AnyIterable[Any], transform: Any, /, *transforms: Any, **options: Unpack[Running]
    ) -> None: ...
    @overload
    def __init__(
        self: Infinite[Any],
        source: AnyIterable[Any],
        *transforms: Any,
        batch_size: int | Callable[[list[Any], Any], object] | None,
        **options: Unpack[Running],
    ) -> None: ...
    @overload
    def __init__(
        self,
        source: AnyIterable[Any],
        *transforms: Any,
        batch_size: int | Callable[[list[Any], Any], object],
        drop_last: bool = False,
        batches_per_epoch: int | None = None,
        combiner: AnyFunction[B] | Stage[Any, B],
        prefetch: int | str | None = None,
        seed: int | None = None,
        stall_timeout: float | None = STALL_TIMEOUT,
        shard: tuple[int, int] | Literal['env'] | None = None,
        even: Even | None = None,
        restart: bool = False,
        threads: int | None = None,
        processes: int | None = None,
        workers: Literal['auto'] | None = None,
        record: str | os.PathLike[str] | None = None,
        digest: bool = False,
        **combiner_kwargs: Any,
    ) -> None: ...
    def __init__(
        self,
        source: AnyIterable[Any],
        *transforms: Any,
        batch_size: int | Callable[[list[Any], Any], object] | None = None,
        drop_last: bool = False,
        batches_per_epoch: int | None = None,
        combiner: Any = combine,
        prefetch: int | str | None = None,
        seed: int | None = None,
        stall_timeout: float | None = STALL_TIMEOUT,
        shard: tuple[int, int] | Literal['env'] | None = None,
        even: Even | None = None,
        restart: bool = False,
        threads: int | None = None,
        processes: int | None = None,
        workers: Literal['auto'] | None = None,
        record: str | os.PathLike[str] | None = None,
        digest: bool = False,
        **combiner_kwargs: Any,
    ):
        from ._engine.epochs import Epochs  # and with it all that runs

        check_text(source)
        check_options(combiner_kwargs, combiner)
        if batches_per_epoch is not None:
            integer('Infinite', 'batches_per_epoch', batches_per_epoch, least=1)
        ahead = None if prefetch is None else size('Infinite', 'prefetch', prefetch, least=0)
        if stall_timeout is not None:
            positive('Infinite', 'stall_timeout', stall_timeout)
        if batch_size is not None and not callable(batch_size):
            integer('Infinite', 'batch_size', batch_size, least=1)
        if truth('Infinite', 'drop_last', drop_last) and (batch_size is None or callable(batch_size)):
            raise TypeError('Infinite: `drop_last` goes with a `batch_size` that is an int')
        for n, transform in enumerate(transforms):
            check_transform(f'Infinite: `transforms[{n}]`', transform)
        stages = [as_stage(transform, f'Infinite: `transforms[{n}]`') for n, transform in enumerate(transforms)]
        chosen = _workers(batch_size, threads=threads, processes=processes, workers=workers)
        self._stream: Stream[Any] = pipe(source, *stages)
        if batch_size is not None:
            _check_places(stages)
            lists = batch_by(batch_size) if callable(batch_size) else batch_by(batch_size, drop_last)
            batches = lists | _combiner(combiner, combiner_kwargs)
            self._stream = _in_workers(self._stream, batches, chosen) if chosen else self._stream | batches
        elif combiner is not combine or combiner_kwargs:
            given = 'combiner' if combiner is not combine else next(iter(combiner_kwargs))
            meant = did_you_mean(given)
            raise TypeError(
                f'Infinite: there is no `{given}`{meant}'
                if meant
                else f'Infinite: `{given}` goes with `batch_size`{_as_last_stage(stages, combiner)}'
            )
        steps = self._stream.steps
        share = None if shard is None else rank_of('Infinite', shard)
        if share is not None:
            steps = dealt(steps, shard_step('Infinite', share, 'repeat' if even is None else even))
        elif even is not None:
            raise TypeError('Infinite: `even` goes with `shard`')
        seed, restart = check_seed('Infinite', seed), truth('Infinite', 'restart', restart)
        options = {
            'batches_per_epoch': batches_per_epoch, 'prefetch': prefetch, 'seed': seed, 'shard': shard, 'even': even,
            'restart': restart or None, 'stall_timeout': stall_timeout, 'record': record, 'digest': digest or None,
        }  # fmt: skip
        defaults = {'stall_timeout': STALL_TIMEOUT}
        self._options = {name: value for name, value in options.items() if value != defaults.get(name)}
        if truth('Infinite', 'digest', digest) and record is None:
            raise TypeError('Infinite: `digest` goes with `record`')
        recorder = None
        if record is not None:
            from ._engine.record_paths import check_path
            from ._engine.recording import Recorder, recording

            if recording.get():
                about = {'infinite': repr(self)[:MAX_TEXT], 'batches_per_epoch': batches_per_epoch, 'restart': restart}
                recorder = Recorder(check_path(record, share and share[0]), digest, about)
        self._epochs = Epochs(
            self._stream.source, steps, seed, ahead, stall_timeout, batches_per_epoch, restart, recorder,
            as_run(steps, ahead, prefetch), distributed,
        )  # fmt: skip
        check_alike('Infinite', self._stream.source, steps, self._epochs.seeded)
        check_kept(self._stream.source, steps)

    @property
    def batches_per_epoch(self) -> int | None:
        """The most batches that an epoch has; None for no limit."""
        return self._epochs.batches_per_epoch

    @property
    def restart(self) -> bool:
        """Whether all epochs are the same."""
        return self._epochs.restart

    def __call__(self) -> Iterator[B]:
        """The batches of the next epoch."""
        return self._epochs.epoch()

    def __iter__(self) -> Iterator[B]:
        return self._epochs.epoch()

    def __len__(self) -> int:
        """How many batches an epoch has: `batches_per_epoch`, or as many as one pass over the source gives.

        Raises TypeError, with the reason, if that is not known.
        """
        if self.batches_per_epoch is not None:
            return self.batches_per_epoch
        otherwise = '; give `batches_per_epoch`, which is then the length'
        return count_items('Infinite', self._epochs.source, self._epochs.steps, otherwise)

    def __bool__(self) -> bool:
        return True  # also where there is no len()

    def close(self) -> None:
        """End the run and all that belongs to it, from any thread. The next epoch starts from the beginning.

        A second call does nothing. Raises what your generators raise when they are closed.
        """
        self._epochs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stats(self) -> Stats:
        """What the run has done so far: what each stage did, how long the loop waited, what limits, what would help.

        It can be called at any time, from any thread, and takes about 0.2 ms, or 1 ms with processes. After the end it
        gives the final figures; before the first batch, it is empty. With `restart=True`, it is that of the last epoch.

        >>> with Infinite(range(64), abs, batch_size=4, threads=2) as batch_iter:
        ...     for batch in batch_iter:
        ...         pass
        ...     stats = batch_iter.stats()
        >>> stats.loop.items, stats.stages[0].name, stats.stages[0].items_out >= 64
        (16, 'range(0, 64)', True)

        See also: `watch`, which shows it while it runs.
        """
        return self._epochs.stats()

    def trace(self, path: str | PathLike[str], limit: int = 100_000) -> Tracing:
        """Write a trace of what runs while a `with` block does, which Perfetto (https://ui.perfetto.dev) opens.

        It is in the Trace Event Format of Chrome, as JSON. There is a track for each thread and process, with what it
        does and where it waits, and one for each buffer, with how many items it holds. Arrows join what was done for
        the same item. The file is written when the block ends. It has the last `limit` spans, of about 200 bytes each.
        Of stages that take microseconds, only one item in many is shown.

        Raises TypeError or ValueError if `path` is no path or `limit` is not a positive int. Raises OSError if the file
        cannot be opened or written, and RuntimeError while another trace is written. An error in the block comes out as
        it is.

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), 'run.json')
        >>> with Infinite(range(8), abs, batch_size=4) as batch_iter, batch_iter.trace(path):
        ...     for batch in batch_iter:
        ...         print(batch)
        [0 1 2 3]
        [4 5 6 7]
        >>> os.path.exists(path)
        True

        See also: `stats`.
        """
        from ._engine.tracing import Tracing  # it takes time, and not everybody needs it

        return Tracing('Infinite.trace', path, limit, self._epochs)

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands: after the batch received last, no matter how many are made ahead.

        It is a dict of numbers and text, which JSON can hold. `load_state_dict` of an `Infinite` over the same pipeline
        takes it. Before the first batch, it is the beginning of this very run: if there is no seed, it holds the number
        that was drawn instead. After the end, it is still that of the batch received last.

        It takes a few microseconds and a few hundred bytes. With `shuffle` and `reuse` it also holds the numbers of the
        items in their buffers.

        It never waits for the next batch, no matter which thread or function calls it.

        Raises RuntimeError if a signal handler calls it at the very moment when the state is being computed. After
        `shuffle` and similar stages, the state is sometimes computed while a batch is received.

        >>> from itpipe import shuffle
        >>> with Infinite(range(8), shuffle(4), batch_size=2, batches_per_epoch=3, seed=0) as batch_iter:
        ...     for batch in batch_iter:
        ...         print(batch)
        ...         state = batch_iter.state_dict()
        ...         break
        [1 0]
        >>> state['pass'], state['batch']
        (0, 1)
        >>> state['position']
        {'source': 6, 'steps': {'shuffle': {'clock': {'t': 2}, 'slots': [5, 4, 2, 3]}}}

        See also: `load_state_dict`; `Stream.resume`, for a run without `Infinite`.
        """
        return self._epochs.state()

    def load_state_dict(self, state: dict[str, Any], strict: bool = True, *, append: bool = False) -> None:
        """Go on from a state that `state_dict()` returned: with the batch after it.

        All batches are the same, bit for bit, as in the run that was stopped: first the rest of the epoch, as the next
        epoch, then all that follow. It has to be the same pipeline, with the same options and seeds. It may run in
        another way: with or without `parallel_map`, in threads or processes, with another number of them, or further
        ahead. `batches_per_epoch` may be different, too. So may `batch_size`, if no stage behind the batches remembers
        anything: the next batch begins where the last one ended, and an epoch that had begun ends with the batch that
        has its last item. The data must be the same: the number of its items is compared, and a few items of lists and
        arrays, floats aside.

        With `strict=False`, it may be another pipeline if it can go on exactly. Between two passes that is any
        pipeline. In the middle of a pass, it may have other item-wise stages, another rule for batches, or another
        filter after all stages that remember something. If batches are then made by another rule, a new epoch begins,
        with a warning. Items of the data may be others, but not their number. See the page "Reproducible and
        resumable".

        With `append=True`, the data may have more items than it had, behind those. The rest of the pass is of the items
        that there were; the new ones come from the next pass on. The source must have a length and an index, with or
        without `shuffle()`. If the number of items is the same, `append` changes nothing.

        No function is called again for items that were delivered. Functions are called again only for items that were
        on their way: those in the buffers of `shuffle` and `reuse`, and an item of which `flatten` has given a part.
        `sample`, `load_by_random_id` and sequences go on at the exact place. A source that has `state_dict` and
        `load_state_dict` goes on from its own state. Other sources are read from their beginning up to the place. A
        `stage` of your own without a `state` runs again from the beginning, with a warning.

        If it has already started, its run ends, as with `close()`. The new run starts when the next batch is asked for.

        Raises TypeError if `state` is not a dict. Raises ValueError if it is not a complete state, or is that of a
        newer version of itpipe, of another pipeline or of other data; with `strict=False` or `append=True` the error
        says why. After an error, nothing has changed.

        >>> def batches():
        ...     return Infinite(range(12), batch_size=2, batches_per_epoch=3)
        >>> with batches() as batch_iter:
        ...     for batch in batch_iter:
        ...         state = batch_iter.state_dict()
        ...         break
        >>> with batches() as batch_iter:
        ...     batch_iter.load_state_dict(state)
        ...     for epoch in range(2):
        ...         print([batch.tolist() for batch in batch_iter])
        [[2, 3], [4, 5]]
        [[6, 7], [8, 9], [10, 11]]

        See also: `state_dict`.
        """
        where = 'Infinite.load_state_dict'
        self._epochs.load(where, state, truth(where, 'strict', strict), truth(where, 'append', append))

    def reweight(self, weights: npt.ArrayLike, at: int | None = None, *, name: str | None = None) -> int:
        """Replace the weights of a `sample`, `load_by_random_id` or `mix` that was made with `reweight=True`.

        They hold from draw `at` on, until others are announced for a later draw. Draws are counted from 0 in each pass.
        Without `at`, it is the first draw that has not been made. Returns the number of the draw.

        The run draws ahead: for the batches that are ready, for items with the workers, for buffers such as that of
        `shuffle`. What was drawn stays. How far ahead the run is depends on time, so the first draw that has not been
        made does too. For the same batches in every run, give `at`: the number of draws so far, `ordinals[-1] + 1`
        without buffers, and some more. If the run is further ahead, an error names the first draw that is possible.

        The weights are in the state, with those announced for later draws: at most 11 bytes for each item, 6 if they
        were 32-bit floats. A run that goes on from there needs no old ones. The next pass, if there is one, begins with
        the weights that were announced last. All ranks have to be told the same weights for the same draws. `name` is
        the one that `sample` or `mix` was given, or else `'sample'`, `'load_by_random_id'` or `'mix'`. It is needed if
        there are several whose weights can be replaced.

        Any thread may call it. It does not wait for the next batch. It may also be called before the first batch, and
        between two epochs.

        Raises TypeError for wrong types. Raises ValueError for wrong weights, for an `at` that was drawn, if it is not
        clear whose weights are meant, and with `restart=True`.

        >>> import numpy as np
        >>> from itpipe import sample
        >>> items = sample(range(4), [1, 1, 0, 0], seed=0, reweight=True)
        >>> with Infinite(items, batch_size=8, batches_per_epoch=2, prefetch=1) as batch_iter:
        ...     batch_iter.reweight([0, 0, 1, 1], at=8)
        ...     print(*batch_iter)
        8
        [1 1 1 0 0 0 1 0] [2 2 3 3 2 3 2 2]

        See also: `sample`, `mix`, `state_dict`.
        """
        return self._epochs.reweight('Infinite.reweight', weights, at, name)

    @property
    def item_keys(self) -> list[Any]:
        """A key for each item of the batch received last. `item` takes such keys.

        The key is the item's number in the source, or in the output of a `stage` of your own. After `flatten` and
        `reuse` it is a pair: the key of the item, and the number of the part or repetition. After `mix` and `concat` it
        is a pair: the key in its own stream, and the number of the stream. After `cycle` it is a pair: the key, and the
        number of the pass. After `zip_with` there is such a pair for each element. For a row of `pack` it is a pair: a
        tuple of the keys of its sequences, and the number of the token at which it begins in the first one. Of a
        `sample` with `reweight=True` it is a pair: the number of the draw, and the index.

        See also: `ordinals`, `indices`.
        """
        return keys_of(self._epochs.last.key)

    @property
    def ordinals(self) -> list[int]:
        """The numbers of the items in the batch received last, counted in the order in which the source gave them.

        After `zip_with` they are those of the first element of each tuple.

        >>> from itpipe import flatten
        >>> with Infinite(['ab', 'c', 'de'], flatten, batch_size=4, combiner=list) as batch_iter:
        ...     print(next(batch_iter()), batch_iter.ordinals)
        ['a', 'b', 'c', 'd'] [0, 0, 1, 2]

        See also: `indices`, `item_keys`.
        """
        return [] if (key := self._epochs.last.key) is None else ordinals(key)

    @property
    def indices(self) -> list[Any]:
        """The indices in the data of the items in the batch received last.

        They are indices into the sequence of `sample`, or into the `ids` of `load_by_random_id`. For other sources they
        are the ordinals. After `mix` and `concat` they are pairs: the number of the stream, and the index in that
        stream. After `zip_with` they are tuples: the index in each stream.

        After `pack` they are those of all sequences in the rows, in order.

        Raises RuntimeError after a `stage` of your own, which does not say which items it used.

        >>> from itpipe import sample
        >>> with Infinite(sample('abcde', seed=0), batch_size=4, combiner=list) as batch_iter:
        ...     print(next(batch_iter()), batch_iter.indices, batch_iter.ordinals)
        ['d', 'd', 'c', 'c'] [3, 3, 2, 2] [0, 1, 2, 3]

        See also: `ordinals`, `item_keys`.
        """
        return self._epochs.last.indices()

    def item(self, key: Any) -> Any:
        """One item, made again separately, with the random numbers that it has in the pass of the batch received last.

        `key` is an ordinal or one of `item_keys`, see `Stream.item`. The run is not disturbed.

        >>> from itpipe import sample, with_rng
        >>> noisy = sample(range(100)) | with_rng(lambda x, rng: x + rng.random())
        >>> with Infinite(noisy, batch_size=3) as batch_iter:
        ...     batch = next(batch_iter())
        ...     print(batch_iter.item(batch_iter.ordinals[2]) == batch[2])
        True

        Raises ValueError if `key` is not the key of an item, LookupError if there is no such item, or if it is left
        out.

        See also: `item_keys`, `Stream.item`.
        """
        return self._epochs.item('Infinite.item', key)

    @property
    def dropped(self) -> list[Dropped]:
        """The items that `on_error` of `parallel_map` has left out since the start; at most the last 10,000.

        They include items of batches that are made ahead. After the end, they are still there.
        """
        return snapshot(self._epochs.dropped)

    @property
    def closing_callback(self) -> Any:
        """A callback for Lightning's `Trainer` that closes this when training ends, for whatever reason.

        It also puts the state into Lightning's checkpoints, so that `trainer.fit(…, ckpt_path=…)` goes on from there.
        In the middle of an epoch, this needs `batches_per_epoch`. Each of several ranks goes on from its own state. If
        the number of ranks has changed, all go on from their merged states, see `merge_states`.

        Raises ImportError if neither `lightning` nor `pytorch_lightning` is installed.
        """
        from .integrations.lightning import closing_callback

        return closing_callback(self)

    def draw(self) -> Picture:
        """A picture of the pipeline as it will run: what in the background thread, and what in which workers.

        If it has run, the picture has figures: how many items came out of each stage, what share of the time it was
        busy, and what limits. It is that of the moment: for another one, draw again.

        Notebooks show it, and also the `Infinite` itself in this way. `picture.save('pipeline.svg')` writes a file,
        `picture.svg` and `picture.mermaid` are texts. Nothing runs for it, and no item is looked up.

        >>> print(Infinite(range(8), abs, batch_size=4, prefetch=2).draw())
        flowchart TD
            subgraph n1["background thread"]
                direction TB
                n2(["range(0, 8)<br/>8 items"])
                n3["apply(abs)"]
                n2 --> n3
                n4["batch_by(4)"]
                n3 --> n4
                n5["apply(combine)"]
                n4 --> n5
            end
            n6(["for batch in batch_iter:<br/>an epoch is one pass over the source"])
            n1 -->|"up to 2 batches ready"| n6

        See also: `Stream.draw`.
        """
        from ._engine.drawing import draw_infinite

        most = self.batches_per_epoch
        epoch = 'an epoch is one pass over the source'
        if most is not None:
            epoch = f'an epoch has {"at most " if self.restart else ""}{most:,} batch{"es" * (most != 1)}'
        if self.restart:
            epoch += ', and each begins again'
        epochs = self._epochs
        return draw_infinite(
            epochs.source, epochs.as_run.steps, epochs.as_run.prefetch, epoch, shortened(self), epochs.stats()
        )

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

    def __repr__(self) -> str:
        options = ''.join(f', {name}={format_value(value)}' for name, value in self._options.items())
        return f'Infinite({self._stream!r}{options})'


def _workers(batch_size: Any, **given: Any) -> dict[str, Any]:
    """The workers that are given, at most one kind."""
    workers = in_use(given)
    if len(workers) > 1:
        raise TypeError(f'Infinite: give only one of {" and ".join(f"`{name}`" for name in workers)}')
    for name, value in workers.items():
        if batch_size is None:
            raise TypeError(f'Infinite: `{name}` goes with `batch_size`')
        if callable(batch_size):
            raise TypeError(
                f'Infinite: `{name}` goes with an int `batch_size`: workers cannot know which items are in a batch; use'
                ' `parallel_map` for the functions of items'
            )
        if name == 'workers':
            auto('Infinite', value)
        else:
            integer('Infinite', name, value)
    return workers


def _check_places(stages: Sequence[Stage[Any, Any]]) -> None:
    """Raise an error for a transform of items that is only for batches."""
    for n, stage in enumerate(stages):
        for step in stage.steps:
            if isinstance(step, Step) and step.handover is not None:
                raise TypeError(
                    f'Infinite: `transforms[{n}]` gets items, but `{format_step(step)}` is for batches; give'
                    f' `combiner=combine() | {format_step(step)}`'
                )


def _as_last_stage(stages: Sequence[Stage[Any, Any]], combiner: Any) -> str:
    """The end of an error message about a `combiner` where the transforms make lists already."""
    last = stages[-1].steps[-1].name if stages and stages[-1].steps else ''
    if last not in ('batch_by', 'bucket_by') or combiner is combine:
        return ''
    name = f'{combiner.__name__}' if hasattr(combiner, '__name__') else format_value(combiner)
    return f'; or write it as the last stage: `{last}(…), {name}`'


def _in_workers(stream: Stream[Any], batches: Stage[Any, Any], workers: dict[str, Any]) -> Stream[Any]:
    """The batches, made in workers together with what the last steps do to single items."""
    steps = stream.steps
    last = max((n for n, step in enumerate(steps, 1) if not isinstance(step, ItemStep)), default=0)
    one_by_one: Any = Stage(steps[last:])
    made, here = list(batches.steps), list[Any]()
    while _stays(made[-1]):
        here.insert(0, made.pop())
    for step in made:
        if isinstance(step, Step) and step.handover is not None:
            raise TypeError(
                f'Infinite: with workers, `{format_step(step)}` must be the end of `combiner`, as only this process can'
                ' do that; call what stands behind it in the loop, or leave out the workers'
            )
    whole: Any = parallel_map(one_by_one | Stage(tuple(made)), **workers)
    return pipe(Stream(stream.source, steps[:last]), whole, *([Stage(tuple(here))] if here else []))


def _stays(step: Any) -> bool:
    """Whether a step at the end is done in this process: because others cannot, or it would be dearer there."""
    return step.stays if isinstance(step, ItemStep) else step.handover is not None


def _combiner(combiner: Any, kwargs: dict[str, Any]) -> Any:
    not_async('Infinite: `combiner`', combiner)
    if not kwargs:
        return as_stage(combiner, 'Infinite: `combiner`')
    from .stages.pad import combine_pad

    if combiner not in (combine, combine_pad, combine_lists):
        return apply(combiner, **kwargs)
    try:
        return combiner(**kwargs)
    except TypeError as error:
        if not str(error).startswith(f'{combiner.__name__}: there is no '):
            raise
        raise TypeError(f'Infinite: {error} (options that are not its own go to the combiner)') from None
