"""An `Infinite` in the shape of a `DataLoader`, for trainers that ask for one."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from itpipe._engine.epochs import Epochs
from itpipe._engine.fingerprint import batching, items_in_batch
from itpipe._engine.stacks import user_stacklevel
from itpipe._engine.stream import Stream
from itpipe.integrations.lightning import closing_callback
from itpipe.integrations.transformers import trainer_callback

from ._tensors import need_torch

__all__ = ['Loader', 'loader']

B = TypeVar('B')
C = TypeVar('C', covariant=True)


class _BatchIter(Protocol[C]):
    """What a loader uses of an `Infinite`."""

    _epochs: Epochs

    def __iter__(self) -> Iterator[C]: ...
    def __len__(self) -> int: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...
    def close(self) -> None: ...


def loader(batch_iter: _BatchIter[B]) -> Loader[B]:
    """An `Infinite` in the shape of torch's `DataLoader`, for trainers that ask for one.

    Hugging Face's `Trainer` takes it from `get_train_dataloader`. With the loader's `trainer_callback`, it goes on
    exactly where a checkpoint was made. `Accelerator.prepare` leaves the loader as it is. So give the `Infinite` a
    `shard` where there are several ranks, and end it with `to_device`. Lightning takes it, and takes the `Infinite`
    itself, too.

    Each `iter()` is the next epoch. `len()` is the number of batches in an epoch, if that is known. `batch_size` is the
    number of items in a batch, None if it is not always the same. `dataset` gives the batches of the current epoch by
    their numbers, and `sampler` gives these numbers; trainers use them to skip batches. `set_epoch` has no effect, as
    the `Infinite` goes from epoch to epoch by itself. `state_dict` and `load_state_dict` are those of the `Infinite`,
    except that a state from behind the last batch of an epoch goes on with the next epoch, as trainers expect.

    Raises ImportError if torch is not installed, and TypeError if `batch_iter` is not an `Infinite`.

    >>> from itpipe import Infinite
    >>> from itpipe.integrations.torch import loader
    >>> batches = loader(Infinite(range(5), abs, batch_size=2))  # doctest: +SKIP
    >>> len(batches), batches.batch_size, list(batches)  # doctest: +SKIP
    (3, 2, [array([0, 1]), array([2, 3]), array([4])])

    See also: `Infinite`, `to_device`.
    """
    need_torch('loader')
    if not isinstance(getattr(batch_iter, '_epochs', None), Epochs):
        hint = '; write `loader(Infinite(stream))`' if isinstance(batch_iter, Stream) else ''
        raise TypeError(f'loader: `batch_iter` must be an Infinite, got {type(batch_iter).__name__}{hint}')
    return Loader(batch_iter)


class Loader(Generic[B]):
    """What `loader` returns: an `Infinite` in the shape of torch's `DataLoader`."""

    collate_fn = staticmethod(next)
    """Of the list with the number of a batch, `dataset` gives a list with the batch."""
    # Those of a DataLoader without workers: trainers make another one with them.
    num_workers, pin_memory, timeout, persistent_workers = 0, False, 0, False
    worker_init_fn = multiprocessing_context = generator = prefetch_factor = None

    def __init__(self, batch_iter: _BatchIter[B]):
        self.batch_iter = batch_iter
        self._epochs = batch_iter._epochs
        text = self._epochs.codec.text
        self.batch_size = items_in_batch(text) if batching(text) else None
        self.drop_last = bool(self.batch_size) and 'drop_last=True' in batching(text)[-1]
        self.dataset = _Batches(batch_iter)
        self.sampler = _numbers(self)
        self.batch_sampler = _Lists(self.sampler)

    def __iter__(self) -> Iterator[B]:
        state = _gradient_state()
        self.dataset.loaded = False
        epoch = _Batches(self.batch_iter)  # its own, as several may be iterated at once
        try:
            epoch.begin()
            for batch in epoch:
                if state is not None:
                    state.end_of_dataloader = epoch.taken == self._length
                yield batch
                del batch
        finally:
            if state is not None:
                state.end()

    def __len__(self) -> int:
        try:
            return len(self.batch_iter)
        except TypeError as error:
            raise TypeError(
                f"{error}. If a sampler asks: a loader is no dataset; let the Trainer's `get_train_dataloader` return"
                ' it'
            ) from None

    @property
    def _length(self) -> int | None:
        with suppress(TypeError):
            return len(self)
        return None

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: the `Infinite` goes from epoch to epoch by itself."""

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands, see `Infinite.state_dict`."""
        return self.batch_iter.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from this state; behind the last batch of an epoch with the next one."""
        self.batch_iter.load_state_dict(state)
        self.dataset.loaded = True
        if (taken := self._epochs.taken_before) and taken == self._length:
            self._epochs.leave_epoch()

    def close(self) -> None:
        """Close the `Infinite`."""
        self.batch_iter.close()

    @property
    def trainer_callback(self) -> Any:
        """A callback for Hugging Face's `Trainer`: it has the state in the checkpoints, and closes the `Infinite`.

        With it, `trainer.train(resume_from_checkpoint=…)` goes on with the batch behind the checkpoint, without making
        those before it. Each of several ranks goes on from its own state.

        Raises ImportError if `transformers` is not installed.
        """
        return trainer_callback(self)

    @property
    def closing_callback(self) -> Any:
        """A callback for Lightning's `Trainer`, see `Infinite.closing_callback`."""
        return closing_callback(self)

    def __reduce__(self) -> Any:
        return loader, (self.batch_iter,)

    def __repr__(self) -> str:
        return f'loader({self.batch_iter!r})'


class _Batches(Generic[B]):
    """The batches of the current epoch, which can be taken in order only."""

    def __init__(self, batch_iter: _BatchIter[B]):
        self._batch_iter = batch_iter
        self._epoch: Iterator[B] = iter(())
        self._warned = self._ended = False
        self.taken = 0
        """How many of them were received, also in the run that was stopped."""
        self.loaded = False
        """Whether a state was loaded, which says where to begin, and not the first number that is asked for."""

    def begin(self) -> None:
        """Let the next epoch be the current one."""
        self.taken = self._batch_iter._epochs.taken_before
        self._ended = False
        self._epoch = iter(self._batch_iter)

    def __iter__(self) -> Iterator[B]:
        return self

    def __next__(self) -> B:
        try:
            batch = next(self._epoch)
        except StopIteration:
            self._ended = True
            raise
        self.taken += 1
        return batch

    def __getitem__(self, number: int) -> B:
        try:
            return self._at(number)
        except StopIteration:
            raise IndexError(f'loader: there is no batch {number} in this epoch') from None

    def _at(self, number: int) -> B:
        if self.loaded:  # with another size of batches, the trainer may count otherwise
            self.loaded, self.taken = False, number
        if self._ended:  # without a length, the trainer asks until it is told, and some ask once more
            raise StopIteration
        if self.taken < number and not self._warned:
            self._warned = True
            warnings.warn(
                f'loader: the trainer skips {number - self.taken} batches. They are made only for that, and may be'
                ' others than those that the training had. Give the Trainer `callbacks=[loader.trainer_callback]`: its'
                ' checkpoints then say where to go on',
                stacklevel=user_stacklevel(),
            )
        while self.taken < number:
            next(self)
        return next(self)

    def __getitems__(self, numbers: list[int]) -> Iterator[B]:
        return iter([self._at(number) for number in numbers])


def _numbers(batches: Loader[Any]) -> Any:
    from torch.utils.data import SequentialSampler

    class Numbers(SequentialSampler):  # type: ignore[misc]
        """The numbers of the batches of the next epoch. A subclass, as for others a trainer may put one of its own."""

        def __init__(self) -> None:
            pass

        def __iter__(self) -> Iterator[int]:
            batches.dataset.begin()
            length = batches._length
            yield from count() if length is None else range(length)
            if batches.dataset.taken == length:
                next(batches.dataset, None)  # so that the epoch ends

        def __len__(self) -> int:
            return len(batches)

    return Numbers()


class _Lists:
    """A sampler of batches, for trainers that put one around it: each number in a list."""

    def __init__(self, sampler: Any):
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.sampler:
            yield [number]

    def __len__(self) -> int:
        return len(self.sampler)


def _gradient_state() -> Any:
    """What tells accelerate that a batch is the last one of an epoch, if accelerate is used."""
    if 'accelerate.data_loader' not in sys.modules:
        return None
    from accelerate.data_loader import DataLoaderStateMixin
    from accelerate.state import GradientState

    class State(DataLoaderStateMixin):  # type: ignore[misc]
        _drop_last = True  # it does not know how many items are repeated so that all ranks have the same number

        def __init__(self) -> None:
            self.gradient_state = GradientState()

    state = State()
    state.begin()
    return state
