"""A stream that runs in the background and is sliced into epochs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from ._core.checks import integer, positive, truth
from ._core.instead import check_option, did_you_mean
from ._core.keys import ordinals
from ._core.rng import check_seed
from ._core.show import format_value
from ._core.sizes import size
from ._core.steps import Even
from ._engine.epochs import Epoch, Epochs
from ._engine.order import check_alike, dealt
from ._engine.run import keys_of
from ._engine.stream import Stream, as_stage, no_stage, pipe
from .integrations.distributed import rank_of
from .integrations.lightning import closing_callback
from .stages.batch import batch_by
from .stages.combine import combine, combine_lists
from .stages.items import apply
from .stages.pad import combine_pad
from .stages.shard import shard_step

if TYPE_CHECKING:
    from typing import Self, Unpack

    from ._engine.stream import Stage
    from ._engine.types import AnyFunction, Running
    from .errors import Dropped

__all__ = ['Infinite']

B = TypeVar('B', covariant=True)
STALL_TIMEOUT = 60.0
"""Seconds."""


@no_stage('it takes the stream, `Infinite(stream)`')
class Infinite(Generic[B]):
    """Batches made in the background, epoch after epoch.

    `source` is a stream or another iterable, `transforms` are stages, or functions of one item. With `batch_size` (the
    number of items in a batch, or a predicate, see `batch_by`) items are batched and combined by `combiner`, which gets
    `combiner_kwargs`; without it the items of the stream are the batches. `seed` is that of all random stages that have
    none of their own.

    An epoch is `for batch in batch_iter` or `for batch in batch_iter()`: the next `batches_per_epoch` batches of one
    run that goes on, or, without `batches_per_epoch`, what is left of the source. After a `break` the next epoch goes
    on with the next batch. If the source ends, so does the epoch, and the next one starts the source again: shuffled
    and augmented anew, if seeded, reproducibly. Two epochs at once share the run: each batch goes to one of them. A
    warning says, once, that an epoch was shorter than `batches_per_epoch`, or had no batches at all.

    With `restart=True`, as for validation, each epoch is the same: it begins with the first batch, whatever the last
    one left, with the same random numbers, and has at most `batches_per_epoch` batches. Each epoch is a run of its own,
    with its own threads and processes, which end with it. Two epochs at once share nothing.

    One background thread, always the same, runs the stream and keeps `prefetch` batches ready, also between epochs: by
    default as many as it makes in 4 ms, at least 2 and at most 64. `prefetch='512MB'` is as many as hold so much, by
    the estimate that `parallel_map` makes, but at least one. With `prefetch=0` the stream runs in the thread that
    iterates. Nothing starts before the first batch is asked for, and `close()`, leaving `with`, an error or dropping
    the last reference ends everything, an epoch that is being iterated included; after that, the next epoch starts from
    the beginning.

    When a batch has been waited for `stall_timeout` seconds, a `StallWarning` says which items are being worked on, and
    where in your functions; None turns that off. With `prefetch=0` only the waits for `parallel_map` are watched.

    With `shard=(rank, number of ranks)` it is the part of one of several training processes, which together get what
    there is without it. If the number of ranks does not divide that of the items, a few items come a second time, so
    that all ranks get as many: one that ends before the others would leave them waiting. `even='keep'` or `'drop'` says
    otherwise, see the stage `shard`. `shard='env'` asks torch.distributed, if it is initialized, or else the
    environment variables RANK and WORLD_SIZE. Items are dealt in turn, as early as can be: mostly before anything is
    done with them but what counts or orders items, such as `take` and `shuffle`, so that no rank works on items of
    another. `batch_size` and `batches_per_epoch` are those of one rank, and all ranks need the same seed, and data in
    the same order.

    It can be pickled as long as it has not started. A process forked from one in which it has started must `close()`
    it, or make its own, before using it.

    Raises TypeError or ValueError for wrong arguments. While iterating: what your functions raise, as it was raised,
    after the batches before it; `NotRestartable` if the source has ended and cannot be iterated again.

    >>> batch_iter = Infinite(range(16), abs, batch_size=4, batches_per_epoch=2)
    >>> len(batch_iter)
    2
    >>> with batch_iter:
    ...     for epoch in range(2):
    ...         print([batch.tolist() for batch in batch_iter])
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    [[8, 9, 10, 11], [12, 13, 14, 15]]

    See also: `prefetch`, a thread for a part of a stream; `combine`, `combine_pad`, `combine_lists`.
    """

    @overload
    def __init__(self, source: Iterable[B], **options: Unpack[Running]) -> None: ...
    @overload
    def __init__(
        self: Infinite[Any], source: Iterable[Any], transform: Any, /, *transforms: Any, **options: Unpack[Running]
    ) -> None: ...
    @overload
    def __init__(
        self: Infinite[Any],
        source: Iterable[Any],
        *transforms: Any,
        batch_size: int | Callable[[list[Any], Any], object] | None,
        **options: Unpack[Running],
    ) -> None: ...
    @overload
    def __init__(
        self,
        source: Iterable[Any],
        *transforms: Any,
        batch_size: int | Callable[[list[Any], Any], object],
        batches_per_epoch: int | None = None,
        combiner: AnyFunction[B] | Stage[Any, B],
        prefetch: int | str | None = None,
        seed: int | None = None,
        stall_timeout: float | None = STALL_TIMEOUT,
        shard: tuple[int, int] | Literal['env'] | None = None,
        even: Even | None = None,
        restart: bool = False,
        **combiner_kwargs: Any,
    ) -> None: ...
    def __init__(
        self,
        source: Iterable[Any],
        *transforms: Any,
        batch_size: int | Callable[[list[Any], Any], object] | None = None,
        batches_per_epoch: int | None = None,
        combiner: Any = combine,
        prefetch: int | str | None = None,
        seed: int | None = None,
        stall_timeout: float | None = STALL_TIMEOUT,
        shard: tuple[int, int] | Literal['env'] | None = None,
        even: Even | None = None,
        restart: bool = False,
        **combiner_kwargs: Any,
    ):
        for name in combiner_kwargs:
            check_option(name, combiner)
        if batches_per_epoch is not None:
            integer('Infinite', 'batches_per_epoch', batches_per_epoch, least=1)
        ahead = None if prefetch is None else size('Infinite', 'prefetch', prefetch, least=0)
        if stall_timeout is not None:
            positive('Infinite', 'stall_timeout', stall_timeout)
        if batch_size is not None and not callable(batch_size):
            integer('Infinite', 'batch_size', batch_size, least=1)
        stages = [as_stage(each, f'Infinite: `transforms[{n}]`') for n, each in enumerate(transforms)]
        self._stream: Stream[Any] = pipe(source, *stages)
        if batch_size is not None:
            self._stream = self._stream | batch_by(batch_size) | _combiner(combiner, combiner_kwargs)
        elif combiner is not combine or combiner_kwargs:
            given = 'combiner' if combiner is not combine else next(iter(combiner_kwargs))
            raise TypeError(f'Infinite: `{given}` goes with `batch_size`{did_you_mean(given)}')
        steps = self._stream.steps
        if shard is not None:
            share = rank_of('Infinite', shard)
            steps = dealt(steps, shard_step('Infinite', share, 'repeat' if even is None else even))
        elif even is not None:
            raise TypeError('Infinite: `even` goes with `shard`')
        seed, restart = check_seed('Infinite', seed), truth('Infinite', 'restart', restart)
        options = {
            'batches_per_epoch': batches_per_epoch, 'prefetch': prefetch, 'seed': seed, 'shard': shard, 'even': even,
            'restart': restart or None, 'stall_timeout': stall_timeout,
        }  # fmt: skip
        defaults = {'stall_timeout': STALL_TIMEOUT}
        self._options = {name: value for name, value in options.items() if value != defaults.get(name)}
        self._epochs = Epochs(self._stream.source, steps, seed, ahead, stall_timeout, batches_per_epoch, restart)
        check_alike('Infinite', self._stream.source, steps, self._epochs.seeded)

    @property
    def batches_per_epoch(self) -> int | None:
        """The most batches that an epoch has; None for no limit."""
        return self._epochs.batches_per_epoch

    @property
    def restart(self) -> bool:
        """Whether each epoch is the same."""
        return self._epochs.restart

    def __call__(self) -> Iterator[B]:
        """The batches of the next epoch."""
        return Epoch(self._epochs.batches())

    def __iter__(self) -> Iterator[B]:
        return Epoch(self._epochs.batches())

    def __len__(self) -> int:
        if self.batches_per_epoch is None:
            raise TypeError('Infinite: there is no len() without `batches_per_epoch`')
        return self.batches_per_epoch

    def __bool__(self) -> bool:
        return True  # also where there is no len()

    def close(self) -> None:
        """End the run and all that belongs to it, from any thread; the next epoch starts from the beginning.

        Again: does nothing. Raises what your generators raise when they are closed.
        """
        self._epochs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands, as JSON can hold it: behind the batch received last, whatever is made ahead.

        A dict of numbers and text, as `load_state_dict` of an `Infinite` over the same pipeline takes it. Before the
        first batch it is the beginning, of this very run: without a seed, what is drawn instead is in it. After the
        end it is still that of the batch received last.

        It takes some microseconds, and some hundred bytes; with `shuffle` and `reuse` what their buffers hold is in it,
        too, as numbers.

        It never waits for the next batch, whichever thread or function calls it.

        Raises RuntimeError if a signal handler calls it in the very moment in which the state is worked out; behind
        `shuffle` and the like that happens now and then when a batch is received.

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

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Go on where the one stood of which `state` is the `state_dict()`: the next batch is the one behind it.

        Everything that comes is what would have come there, bit for bit: the rest of the epoch, as the next epoch, and
        all that follow. It has to be the same pipeline, with the same options and seeds. How it runs may be different:
        `parallel_map` or not, in threads or processes, how many, how far ahead; and `batches_per_epoch`. The data is
        not compared.

        With `strict=False`, it may be another pipeline, where going on is exact: any one between two passes; in the
        middle of a pass, one with other item-wise stages, with other batches, or with another filter behind all stages
        that remember something. See the page "Reproducible and resumable".

        No function is called again for what was delivered, only for what was on its way: the items in the buffers of
        `shuffle` and `reuse`, an item that `flatten` has given a part of. `sample`, `load_by_random_id` and sequences
        go on at the place itself; a source that has `state_dict` and `load_state_dict` is asked; other sources are read
        up to there. A `stage` of your own runs again from the beginning, with a warning.

        If this has started, its run ends, as by `close()`. Nothing else starts before the next batch is asked for.

        Raises TypeError for what is not a dict; ValueError for what is not a whole state, for that of a newer version
        of itpipe, and for that of another pipeline, with the reason if `strict` is False. Then nothing changes.

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
        self._epochs.load(where, state, truth(where, 'strict', strict))

    @property
    def item_keys(self) -> list[Any]:
        """What identifies the items of the batch received last, each: what `item` takes.

        An item's place in the source, or in what a `stage` of your own gives. Behind `flatten` and `reuse` a pair: the
        key of the item, and the number of the part or repetition. Out of a `mix` a pair: the key in its own stream, and
        the number of the stream.

        See also: `ordinals`, `indices`.
        """
        return keys_of(self._epochs.last.key)

    @property
    def ordinals(self) -> list[int]:
        """The places in the source of the items in the batch received last: which of those that it gave they are.

        >>> from itpipe import flatten
        >>> with Infinite(['ab', 'c', 'de'], flatten, batch_size=4, combiner=list) as batch_iter:
        ...     print(next(batch_iter()), batch_iter.ordinals)
        ['a', 'b', 'c', 'd'] [0, 0, 1, 2]

        See also: `indices`, `item_keys`.
        """
        return [] if (key := self._epochs.last.key) is None else ordinals(key)

    @property
    def indices(self) -> list[Any]:
        """The places in the data of the items in the batch received last.

        Those in the sequence of `sample`, in the `ids` of `load_by_random_id`; for other sources the ordinals. Out of
        a `mix` pairs: the number of the stream, and the place in that.

        Raises RuntimeError behind a `stage` of your own, which does not say of which items it makes what it gives.

        >>> from itpipe import sample
        >>> with Infinite(sample('abcde', seed=0), batch_size=4, combiner=list) as batch_iter:
        ...     print(next(batch_iter()), batch_iter.indices, batch_iter.ordinals)
        ['d', 'd', 'c', 'c'] [3, 3, 2, 2] [0, 1, 2, 3]

        See also: `ordinals`, `item_keys`.
        """
        return self._epochs.last.indices()

    def item(self, key: Any) -> Any:
        """One item, made again by itself, with its randomness, in the pass of the batch received last.

        Otherwise as `Stream.item`: `key` is an ordinal or one of `item_keys`. What is running goes on undisturbed.

        >>> from itpipe import sample, with_rng
        >>> noisy = sample(range(100)) | with_rng(lambda x, rng: x + rng.random())
        >>> with Infinite(noisy, batch_size=3) as batch_iter:
        ...     batch = next(batch_iter())
        ...     print(batch_iter.item(batch_iter.ordinals[2]) == batch[2])
        True

        Raises ValueError if `key` is not the key of an item, LookupError if there is no such item, or it is left out.

        See also: `item_keys`, `Stream.item`.
        """
        return self._epochs.item('Infinite.item', key)

    @property
    def dropped(self) -> list[Dropped]:
        """What `on_error` of `parallel_map` has left out since the start, the last 10,000 at most; also after the end.

        What is prefetched is ahead of the batches, and so may this be.
        """
        return list(self._epochs.dropped.copy())

    @property
    def closing_callback(self) -> Any:
        """A callback for Lightning's `Trainer` that closes this when training ends, however it does.

        It also puts where this stands into Lightning's checkpoints, so that `trainer.fit(…, ckpt_path=…)` goes on
        there. Within an epoch that needs `batches_per_epoch`. Of several ranks each goes on by itself; if their number
        is another, by `merge_states`.

        Raises ImportError if neither `lightning` nor `pytorch_lightning` is installed.
        """
        return closing_callback(self)

    def __repr__(self) -> str:
        options = ''.join(f', {name}={format_value(value)}' for name, value in self._options.items())
        return f'Infinite({self._stream!r}{options})'


def _combiner(combiner: Any, kwargs: dict[str, Any]) -> Any:
    if not kwargs:
        return as_stage(combiner, 'Infinite: `combiner`')
    if combiner not in (combine, combine_pad, combine_lists):
        return apply(combiner, **kwargs)
    try:
        return combiner(**kwargs)
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        hints = ''.join(map(did_you_mean, kwargs))
        raise TypeError(f'Infinite: {error} (arguments that are not its own go to the combiner){hints}') from None
