"""The callback for Hugging Face's `Trainer` that has the state of a loader in the checkpoints."""

from __future__ import annotations

from typing import Any

from .distributed import distributed
from .lightning import Loader, own_state

__all__ = ['trainer_callback']


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

        def state(self) -> dict[str, Any]:
            """What goes into a checkpoint; only rank 0 is asked."""
            return {'args': {}, 'attributes': {'states': self.states or [loader.state_dict()]}}

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.gather(control)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.gather(control)

        def gather(self, control: Any) -> None:
            """Let the checkpoint that is about to be made have the states of all ranks."""
            if control.should_save:
                self.states = [loader.state_dict()]
                if (torch := distributed()) is not None:
                    states: list[Any] = [None] * torch.get_world_size()
                    torch.all_gather_object(states, self.states[0])
                    self.states = states

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            saved = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
            if saved is not None:
                loader.load_state_dict(own_state(saved['attributes']['states'], loader._epochs.codec.shard))

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            loader.close()

    return ItpipeState()
