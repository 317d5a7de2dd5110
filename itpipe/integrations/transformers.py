"""The callback for Hugging Face's `Trainer` that has the state of a loader in the checkpoints."""

from __future__ import annotations

import warnings
from typing import Any

from .distributed import distributed
from .lightning import Loader, own_state

__all__ = ['trainer_callback']


STALE = (
    'trainer_callback: the checkpoint does not have the states of the ranks, as it was asked for by a callback behind'
    ' this one: put this one last in `callbacks`'
)
MISSING = (
    'trainer_callback: the checkpoint does not have the states of the ranks, as a warning said when it was made: take'
    ' an earlier one'
)


def trainer_callback(loader: Loader) -> Any:
    """A callback that has the state of `loader` in the Trainer's checkpoints, and closes it when training ends."""
    try:
        from transformers import TrainerCallback
        from transformers.trainer_callback import ExportableState
    except ImportError:
        raise ImportError('trainer_callback: it needs transformers: pip install transformers') from None

    class ItpipeState(TrainerCallback, ExportableState):  # type: ignore[misc]
        """Has the states of a loader, those of all ranks, in the checkpoints.

        The class knows its loader, as the Trainer may make another callback of it without arguments.
        """

        states: list[dict[str, Any]] | None = None
        """Those of all ranks, if there are several and they were gathered."""

        def state(self) -> dict[str, Any]:
            """What goes into a checkpoint; only rank 0 is asked."""
            own = loader.state_dict()
            if distributed() is None:
                return {'args': {}, 'attributes': {'states': [own]}}
            # Some callback that was called later may have asked for the checkpoint.
            if self.states is None or own not in self.states:
                warnings.warn(STALE, stacklevel=2)
                return {'args': {}, 'attributes': {'states': []}}
            return {'args': {}, 'attributes': {'states': self.states}}

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.gather(args, control)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.gather(args, control)

        def gather(self, args: Any, control: Any) -> None:
            """Let the checkpoint that may be about to be made have the states of all ranks."""
            if (torch := distributed()) is not None and (control.should_save or _saves_best(args, control)):
                self.states = [{}] * torch.get_world_size()
                torch.all_gather_object(self.states, loader.state_dict())

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
            if saved is not None and not saved['attributes']['states']:
                raise ValueError(MISSING)
            if saved is not None:
                loader.load_state_dict(own_state(saved['attributes']['states'], loader._epochs.codec.shard))

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            loader.close()

    return ItpipeState()


def _saves_best(args: Any, control: Any) -> bool:
    """Whether a checkpoint may follow because the evaluation that is about to begin is the best so far."""
    return bool(control.should_evaluate) and getattr(args, 'save_strategy', None) == 'best'
