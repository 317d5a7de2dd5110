"""The callback for Lightning's `Trainer` that closes an `Infinite`, and saves its state in checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Protocol

from itpipe._engine.epochs import Epochs
from itpipe._engine.merging import merge_states

from .distributed import distributed

__all__ = ['Loader', 'closing_callback', 'own_state']

LOSES_BATCH = (
    'Infinite.closing_callback: without len(), Lightning takes one batch ahead of the training, so a training that is'
    ' resumed within an epoch leaves out that batch: give `batches_per_epoch`'
)
GOES_ON = (
    'Infinite.closing_callback: without `restart=True`, an Infinite for validation or test goes on where the sanity'
    ' check, `limit_val_batches` or the last epoch left it, so it has other items each time: write'
    ' `Infinite(…, restart=True)`'
)


class Loader(Protocol):
    """What the callbacks use of an `Infinite`, or of a loader made from one."""

    _epochs: Epochs

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...
    def close(self) -> None: ...


def closing_callback(batch_iter: Loader) -> Any:
    """A callback that closes `batch_iter` when training ends, and has its state in the checkpoints."""
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        try:
            from pytorch_lightning.callbacks import Callback
        except ImportError:
            raise ImportError('Infinite.closing_callback: needs Lightning: pip install lightning') from None

    class Closing(Callback):  # type: ignore[misc]
        """Closes an `Infinite`, and has its state in the checkpoints.

        Lightning saves and loads the states of loaders by itself, but only those of rank 0. It does not load the state
        of a checkpoint that was made at the end of an epoch. Behind the last batch of an epoch, it does not begin the
        next one.
        """

        def __init__(self, batch_iter: Loader):
            self.batch_iter, self.epochs = batch_iter, batch_iter._epochs
            self.saved: dict[str, Any] | None = None

        # These hooks and not `state_dict`, with which there could be only one callback of this class.
        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            state = self.batch_iter.state_dict()
            length = self.epochs.batches_per_epoch
            if length is None and state['batch'] and trainer.train_dataloader is self.batch_iter:
                warnings.warn(LOSES_BATCH, stacklevel=2)
            # The trainer's epoch may be shorter than that of `batch_iter`.
            ended = trainer.is_last_batch or state['batch'] == length or self.epochs.restart
            states = [state]
            # If the training was interrupted, the other ranks may not come here.
            if not trainer.interrupted and (torch := distributed()) is not None:
                torch.all_gather_object(states := [state] * torch.get_world_size(), state)
            checkpoint.setdefault('itpipe', []).append({'states': states, 'ended': bool(ended)})

        def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            if trainer.state.fn == 'fit' and checkpoint.get('itpipe'):
                saved = checkpoint['itpipe'].pop(0)  # callbacks load in the order in which they saved
                states, own = saved['states'], own_state(saved['states'], self.epochs.codec.shard)
                self.saved = {'state': own, 'ended': saved['ended']}
                loop = checkpoint.get('loops', {}).get('fit_loop', {}).get('state_dict', {})
                if 'combined_loader' in loop:  # Lightning loads it by itself
                    loop['combined_loader'] = [
                        own if _same(state, states[0]) else state for state in loop['combined_loader']
                    ]
                if self.epochs.batches_per_epoch is None:
                    self.load()  # before Lightning takes the first batch

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.load()  # after Lightning may have loaded by itself

        def load(self) -> None:
            if self.saved is not None:
                self.batch_iter.load_state_dict(self.saved['state'])
                if self.saved['ended']:
                    self.epochs.leave_epoch()
                self.saved = None

        def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
            _warn_of(trainer.val_dataloaders)

        def on_test_batch_start(self, trainer: Any, *_: Any) -> None:
            _warn_of(trainer.test_dataloaders)

        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.saved = None
            self.batch_iter.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.batch_iter.close()

    return Closing(batch_iter)


def own_state(states: list[dict[str, Any]], shard: list[int] | None) -> dict[str, Any]:
    """The state that this rank has to load, of those that all ranks saved."""
    if shard is None:
        torch = distributed()
        return states[0 if torch is None else torch.get_rank() % len(states)]
    return next((state for state in states if state['shard'] == shard), None) or merge_states(states)


def _same(one: Any, other: dict[str, Any]) -> bool:
    return isinstance(one, dict) and all(one.get(name) == other[name] for name in ('pipeline', 'check'))


def _warn_of(loaders: Any) -> None:
    """Warn of each `Infinite` that goes on where its last epoch ended, once."""
    for loader in _leaves(loaders):
        epochs = getattr(loader, '_epochs', None)
        if isinstance(epochs, Epochs) and not epochs.restart and not epochs.warned_of_restart:
            epochs.warned_of_restart = True
            warnings.warn(GOES_ON, stacklevel=2)


def _leaves(loaders: Any) -> Iterator[Any]:
    """All loaders that Lightning was given, which may be in lists and dicts."""
    if isinstance(loaders, (dict, list, tuple)):
        for inner in loaders.values() if isinstance(loaders, dict) else loaders:
            yield from _leaves(inner)
    else:
        yield loaders
