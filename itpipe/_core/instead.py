"""What to use instead of options that loaders of other libraries have and `Infinite` does not."""

from __future__ import annotations

from contextlib import suppress
from inspect import signature
from typing import Any, Final

__all__ = ['check_option', 'did_you_mean']

OWN: Final = (
    'batch_size', 'batches_per_epoch', 'combiner', 'digest', 'even', 'prefetch', 'processes', 'record', 'restart',
    'seed', 'shard', 'stall_timeout', 'threads', 'workers',
)  # fmt: skip
_WORKERS = (
    "give `processes`, `threads` or `workers='auto'`, or put `parallel_map(function, processes=…)` among the transforms"
)
_SHUFFLE = (
    'put the stage `shuffle()` among the transforms, `shuffle(buffer_size)` if the source has no index, or begin with'
    ' `sample(dataset)`'
)
_EPOCHS = 'each `for` loop over it is an epoch'
_RNG = 'each item has a random generator of its own, see `with_rng`; give a `seed`'
_RANK = 'give `shard=(rank, number of ranks)`'
INSTEAD: Final = {
    'batch_sampler': '`batch_size` may be a function that says which items make a batch, see `batch_by`',
    'buffer_size': f'to make batches ahead, give `prefetch`; to shuffle, {_SHUFFLE}',
    'collate_fn': 'give `combiner`',
    'drop_last': 'put `batch_by(size, drop_last=True)` and the combiner last in the transforms, with no `batch_size`',
    'epochs': _EPOCHS,
    'generator': _RNG,
    'in_order': 'give `ordered` to `parallel_map`',
    'multiprocessing_context': _WORKERS,
    'n_jobs': _WORKERS,
    'num_epochs': _EPOCHS,
    'num_replicas': _RANK,
    'num_workers': _WORKERS,
    'persistent_workers': _WORKERS,
    'pin_memory': 'pin the tensors of a batch in the combiner',
    'prefetch_factor': 'give `prefetch`, the number of batches that are made ahead',
    'random_state': _RNG,
    'rank': _RANK,
    'rng': _RNG,
    'sampler': 'begin with `sample(dataset)`, or with the sampler, and look its indices up in a `parallel_map`',
    'shuffle': _SHUFFLE,
    'timeout': 'give `stall_timeout`, the seconds after which a warning says what is waited for',
    'weights': 'begin with `sample(dataset, weights=…)`',
    'worker_init_fn': 'give `setup` to `parallel_map`',
    'world_size': _RANK,
}


def check_option(name: str, combiner: Any) -> None:
    """Raise TypeError for an option of another library, unless it is a parameter of the combiner."""
    if (instead := INSTEAD.get(name)) is None:
        return
    with suppress(TypeError, ValueError):  # some builtins have no signature
        if name in signature(combiner).parameters:
            return
    raise TypeError(f'Infinite: there is no `{name}`: {instead}')


def did_you_mean(name: str) -> str:
    """The end of an error message about an option that may be misspelt."""
    from difflib import get_close_matches  # takes a while to import

    close = [] if name in OWN else get_close_matches(name, OWN, n=1)
    return f': did you mean `{close[0]}`?' if close else ''
