"""The rank of this process."""

from __future__ import annotations

import os
import sys
from typing import Any

from itpipe._core.checks import check_rank

__all__ = ['distributed', 'rank_of']


def rank_of(where: str, shard: Any) -> tuple[int, int]:
    """The rank and the number of ranks that `shard` says; for 'env', of the process."""
    if isinstance(shard, str) and shard == 'env':
        return _rank_of_process(where)
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise TypeError(f"{where}: `shard` must be (rank, number of ranks) or 'env', got {shard!r}")
    return check_rank(where, shard[0], shard[1], 'shard[0]', 'shard[1]')


def distributed() -> Any:
    """`torch.distributed` where it is initialized, else None."""
    torch: Any = sys.modules.get('torch.distributed')
    return torch if torch is not None and torch.is_available() and torch.is_initialized() else None


def _rank_of_process(where: str) -> tuple[int, int]:
    if (torch := distributed()) is not None:
        return torch.get_rank(), torch.get_world_size()
    given = {name: os.environ.get(name, '') for name in ('RANK', 'WORLD_SIZE')}
    if not all(given.values()):
        raise ValueError(
            f"{where}: `shard='env'` needs torch.distributed to be initialized, or the environment variables RANK and"
            f' WORLD_SIZE, as torchrun sets them; not set: {", ".join(name for name in given if not given[name])}'
        )
    for name, value in given.items():
        if not value.isdecimal():
            raise ValueError(f'{where}: the environment variable {name} must be a number, got {value!r}')
    return check_rank(where, int(given['RANK']), int(given['WORLD_SIZE']), 'RANK', 'WORLD_SIZE')
