"""What Lightning's `Trainer` has to be told of an `Infinite`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .infinite import Infinite

__all__ = ['closing_callback']

AHEAD = (
    'Infinite.closing_callback: Lightning takes a batch ahead of the training where there is no len(), and one that is'
    ' resumed within an epoch goes on without that batch: give `batches_per_epoch`'
)


def closing_callback(batch_iter: Infinite[Any]) -> Any:
    """A callback that closes `batch_iter` when training ends, and has it in the checkpoints."""
    try:
        from lightning.pytorch.callbacks import Callback
    except ImportError:
        try:
            from pytorch_lightning.callbacks import Callback
        except ImportError:
            raise ImportError('Infinite.closing_callback: needs Lightning: pip install lightning') from None

    class Closing(Callback):  # type: ignore[misc]
        """Closes an `Infinite`, and has it in the checkpoints.

        Lightning saves and loads the states of loaders by itself, but does not load that of a checkpoint made at the
        end of an epoch, and behind the last batch of one it does not begin the next.
        """

        def __init__(self, batch_iter: Infinite[Any]):
            self.batch_iter = batch_iter
            self.saved: dict[str, Any] | None = None

        # These hooks and not `state_dict`, with which there could be only one callback of this class.
        def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            state = self.batch_iter.state_dict()
            length = self.batch_iter.batches_per_epoch
            if length is None and state['batch'] and trainer.train_dataloader is self.batch_iter:
                warnings.warn(AHEAD, stacklevel=2)
            # The trainer's epoch may be shorter than that of `batch_iter`.
            ended = trainer.is_last_batch or state['batch'] == length
            checkpoint.setdefault('itpipe', []).append({'state': state, 'ended': bool(ended)})

        def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
            if trainer.state.fn == 'fit' and checkpoint.get('itpipe'):
                self.saved = checkpoint['itpipe'].pop(0)  # callbacks load in the order in which they have saved
                if self.batch_iter.batches_per_epoch is None:
                    self.load()  # before Lightning takes the first batch

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.load()  # again what Lightning may have loaded by itself

        def load(self) -> None:
            if self.saved is not None:
                self.batch_iter.load_state_dict(self.saved['state'])
                if self.saved['ended']:
                    self.batch_iter._leave_epoch()
                self.saved = None

        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.saved = None
            self.batch_iter.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.batch_iter.close()

    return Closing(batch_iter)
