"""A stream that runs in the background and is sliced into epochs."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from ._core.checks import integer, positive, truth
from ._core.instead import check_option, did_you_mean
from ._core.keys import END, ordinals
from ._core.notes import close_after
from ._core.rng import check_seed, fresh_seed
from ._core.show import format_value
from ._core.sizes import size
from ._core.steps import Even
from ._engine.chain import is_running, item_again
from ._engine.checkpoint import Pipeline, Place
from ._engine.epochs import Live
from ._engine.order import check_alike, dealt
from ._engine.run import keys_of
from ._engine.seeds import Seeds
from ._engine.stacks import user_stacklevel
from ._engine.stream import Stream, as_stage, no_stage, pipe
from ._engine.waiting import MAX_DROPPED
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
        self._ahead = None if prefetch is None else size('Infinite', 'prefetch', prefetch, least=0)
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
        self._steps, self._shard, self._even = self._stream.steps, shard, even
        if shard is not None:
            even = 'repeat' if even is None else even
            self._steps = dealt(self._steps, shard_step('Infinite', rank_of('Infinite', shard), even))
        elif even is not None:
            raise TypeError('Infinite: `even` goes with `shard`')
        self.batches_per_epoch = batches_per_epoch
        self.restart = truth('Infinite', 'restart', restart)
        self._prefetch = prefetch
        self._seed = check_seed('Infinite', seed)
        check_alike('Infinite', self._stream.source, self._steps, self._seeded)
        self._stall_timeout = stall_timeout
        self._live: Live | None = None
        self._last: Live | None = None
        self._running: set[Live] = set()
        """Of which there is one, but with `restart` one for each epoch that is being iterated."""
        self._place: Place | None = None
        self._warned = self._told_to_restart = False
        self._dropped: deque[Dropped] = deque(maxlen=MAX_DROPPED)
        self._starting = threading.RLock()

    def __call__(self) -> Iterator[B]:
        """The batches of the next epoch."""
        return _Epoch(self._batches())

    def __iter__(self) -> Iterator[B]:
        return _Epoch(self._batches())

    def __len__(self) -> int:
        if self.batches_per_epoch is None:
            raise TypeError('Infinite: there is no len() without `batches_per_epoch`')
        return self.batches_per_epoch

    def __bool__(self) -> bool:
        return True  # also where there is no len()

    def _batches(self) -> Iterator[B]:
        live = self._start()
        most = self.batches_per_epoch
        received = live.epoch()
        try:
            live.epochs += 1
            while most is None or received < most:
                live.check_process()
                try:
                    entry = live.next(received)
                except BaseException as error:
                    close_after(error, partial(self._end, live))
                    raise
                if entry is END:
                    self._warn_of_short(live, received)
                    return
                received += 1
                yield entry
                del entry
            live.epoch()
        finally:
            live.epochs -= 1
            if self.restart:
                live.rewind()
                self._end(live)

    def _warn_of_short(self, live: Live, received: int) -> None:
        """Warn once of an epoch that is shorter than it should be, or has nothing at all."""
        most = self.batches_per_epoch
        enough = received and (most is None or self.restart)  # with which it is the most that an epoch has
        if self._warned or live.closed or live.epochs > 1 or enough:
            return
        self._warned = True
        if received:
            message = (
                f'Infinite: an epoch ended after {received} of `batches_per_epoch={most}` batches, because the source'
                ' ended; the next epoch begins it again'
            )
        else:
            message = (
                'Infinite: an epoch had no batches: the source is empty, or all items were left out, as by `filter_by`,'
                ' or by `drop_last` where there are fewer than make a batch'
            )
        warnings.warn(message, stacklevel=user_stacklevel())

    def _start(self) -> Live:
        with self._starting:
            if self._live is None or self.restart:
                self._dropped = deque(maxlen=MAX_DROPPED)
                place = self._place = self._place or self._beginning()
                source = self._stream.source
                live = Live(source, self._steps, self._seed, self._ahead, self._stall_timeout, self._dropped, place)
                live.finalizer = weakref.finalize(self, live.drop)
                self._live, self._last = live, None
                self._place = Place(place.entropy) if self.restart else None
                self._running.add(live)
            return self._live

    def _leave_epoch(self) -> None:
        """Let the next epoch be a new one, whatever is left of that in which a loaded state was taken."""
        if self.restart:
            self._place = Place((self._place or self._beginning()).entropy)
        else:
            self._start().epoch()

    def _beginning(self) -> Place:
        return Place(None if self._seeded else fresh_seed())

    @property
    def _seeded(self) -> bool:
        return self._seed is not None or self._stream.source.seed is not None

    def _end(self, live: Live) -> None:
        if self._live is live:
            self._last, self._live = live, None  # in this order: another thread may ask for the state
        self._running.discard(live)
        live.finalizer.detach()
        live.close()

    def close(self) -> None:
        """End the run and all that belongs to it, from any thread; the next epoch starts from the beginning.

        Again: does nothing. Raises what your generators raise when they are closed.
        """
        with ExitStack() as closing:
            for live in [*self._running]:
                closing.callback(self._end, live)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _pipeline(self) -> Pipeline:
        return Pipeline(self._stream.source, self._steps, self._seed)

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
        [2 4]
        >>> state['pass'], state['batch']
        (0, 1)
        >>> print(state['pipeline'])
        stream()
        shuffle(4)
        batch_by(2)
        apply(combine)
        Infinite(seed=0)

        See also: `load_state_dict`; `Stream.resume`, for a run without `Infinite`.
        """
        live = self._live or self._last
        if live is None:
            with self._starting:
                live = self._live or self._last  # another thread may have started it
                if live is None:
                    self._place = self._place or self._beginning()
                    return self._pipeline.state(*self._place)
        return self._pipeline.state(*live.place())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the one stood of which `state` is the `state_dict()`: the next batch is the one behind it.

        Everything that comes is what would have come there, bit for bit: the rest of the epoch, as the next epoch, and
        all that follow. It has to be the same pipeline, with the same options and seeds. How it runs may be different:
        `parallel_map` or not, in threads or processes, how many, how far ahead; and `batches_per_epoch`. The data is
        not compared.

        No function is called again for what was delivered, only for what was on its way: the items in the buffers of
        `shuffle` and `reuse`, an item that `flatten` has given a part of. `sample`, `load_by_random_id` and sequences
        go on at the place itself; a source that has `state_dict` and `load_state_dict` is asked; other sources are read
        up to there. A `stage` of your own without a `state` runs again from the beginning, with a warning.

        If this has started, its run ends, as by `close()`. Nothing else starts before the next batch is asked for.

        Raises TypeError for what is not a dict; ValueError for what is not a whole state, for that of a newer version
        of itpipe, and for that of another pipeline. Then nothing changes.

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
        place = self._pipeline.place('Infinite.load_state_dict', state)
        with self._starting:
            live, self._live, self._last, self._place = self._live, None, None, place
        if live is not None:
            self._end(live)

    @property
    def item_keys(self) -> list[Any]:
        """What identifies the items of the batch received last, each: what `item` takes.

        An item's place in the source, or in what a `stage` of your own gives. Behind `flatten` and `reuse` a pair: the
        key of the item, and the number of the part or repetition. Out of a `mix` a pair: the key in its own stream, and
        the number of the stream.

        See also: `ordinals`, `indices`.
        """
        live = self._live or self._last
        return [] if live is None else keys_of(live.key)

    @property
    def ordinals(self) -> list[int]:
        """The places in the source of the items in the batch received last: which of those that it gave they are.

        >>> from itpipe import flatten
        >>> with Infinite(['ab', 'c', 'de'], flatten, batch_size=4, combiner=list) as batch_iter:
        ...     print(next(batch_iter()), batch_iter.ordinals)
        ['a', 'b', 'c', 'd'] [0, 0, 1, 2]

        See also: `indices`, `item_keys`.
        """
        live = self._live or self._last
        return [] if live is None or live.key is None else ordinals(live.key)

    @property
    def indices(self) -> list[Any]:
        """The places in the data of the items in the batch received last.

        Those in the sequence of `sample`, in the `ids` of `load_by_random_id`; for other sources the ordinals. Out of
        a `mix` pairs: the number of the stream, and the place in that.

        Raises RuntimeError behind a `stage` of your own, which does not say of which items it makes what it gives.

        >>> from itpipe import sample
        >>> with Infinite(sample('abcde', seed=0), batch_size=4, combiner=list) as batch_iter:
        ...     print(next(batch_iter()), batch_iter.indices, batch_iter.ordinals)
        ['d', 'c', 'b', 'a'] [3, 2, 1, 0] [0, 1, 2, 3]

        See also: `ordinals`, `item_keys`.
        """
        live = self._live or self._last
        return [] if live is None else live.indices()

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
        known = self._live or self._last or self._place or Place()
        source = self._stream.source
        return item_again(
            'Infinite.item', source, self._steps, Seeds(self._seed, known.pass_, source.seed, known.entropy), key
        )

    @property
    def dropped(self) -> list[Dropped]:
        """What `on_error` of `parallel_map` has left out since the start, the last 10,000 at most; also after the end.

        What is prefetched is ahead of the batches, and so may this be.
        """
        return list(self._dropped.copy())

    @property
    def closing_callback(self) -> Any:
        """A callback for Lightning's `Trainer` that closes this when training ends, however it does.

        It also puts where this stands into Lightning's checkpoints, so that `trainer.fit(…, ckpt_path=…)` goes on
        there. Within an epoch that needs `batches_per_epoch`. Of several ranks each goes on by itself; if their number
        is another, by `merge_states`.

        Raises ImportError if neither `lightning` nor `pytorch_lightning` is installed.
        """
        return closing_callback(self)

    def __getstate__(self) -> dict[str, Any]:
        if self._live is not None:
            raise TypeError('Infinite: it has started and cannot be pickled; pickle it before, or close() it first')
        return {name: value for name, value in self.__dict__.items() if name not in ('_starting', '_dropped', '_last')}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._last = None
        self._dropped = deque(maxlen=MAX_DROPPED)
        self._starting = threading.RLock()

    def __repr__(self) -> str:
        given = {'batches_per_epoch': self.batches_per_epoch, 'prefetch': self._prefetch, 'seed': self._seed}
        options = ''.join(f', {name}={format_value(value)}' for name, value in given.items() if value is not None)
        if self._shard is not None:
            options += f', shard={self._shard!r}' + ('' if self._even is None else f', even={self._even!r}')
        if self.restart:
            options += ', restart=True'
        if self._stall_timeout != STALL_TIMEOUT:
            options += f', stall_timeout={self._stall_timeout}'
        return f'Infinite({self._stream!r}{options})'


class _Epoch(Iterator[B]):
    """The batches of an epoch, for one thread."""

    __slots__ = ('_batches',)

    def __init__(self, batches: Iterator[B]):
        self._batches = batches

    def __next__(self) -> B:
        try:
            return next(self._batches)
        except ValueError as error:
            if is_running(error):
                raise RuntimeError(
                    'Infinite: two threads have asked one epoch for a batch at the same time, or the epoch has asked'
                    ' itself; let each thread iterate over the Infinite by itself, they share its batches'
                ) from None
            raise

    def close(self) -> None:
        """End the iteration, as a `break` does."""
        self._batches.close()  # type: ignore[attr-defined]


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
