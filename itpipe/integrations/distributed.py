"""The rank of this process among all that train together."""

from __future__ import annotations

import os
import sys
from typing import Any

from itpipe._core.checks import check_rank

__all__ = ['distributed', 'rank_of']


def rank_of(where: str, shard: Any) -> tuple[int, int]:
    """The rank and the number of ranks, as `shard` says, or for 'env' as torch.distributed or torchrun says."""
    if isinstance(shard, str) and shard == 'env':
        return _rank_of_process(where)
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise TypeError(f"{where}: `shard` must be (rank, number of ranks) or 'env', got {shard!r}")
    return check_rank(where, shard[0], shard[1], 'shard[0]', 'shard[1]')


def distributed() -> Any:
    """`torch.distributed` if it is initialized, else None."""
    torch: Any = sys.modules.get('torch.distributed')
    return torch if torch is not None and torch.is_available() and torch.is_initialized() else None


def _rank_of_process(where: str) -> tuple[int, int]:
    if (torch := distributed()) is not None:
        return torch.get_rank(), torch.get_world_size()
    variables = {name: os.environ.get(name, '') for name in ('RANK', 'WORLD_SIZE')}
    if missing := [name for name, value in variables.items() if not value]:
        raise ValueError(
            f"{where}: `shard='env'` needs torch.distributed to be initialized, or the environment variables RANK and"
            f' WORLD_SIZE, as torchrun sets them; not set: {", ".join(missing)}'
        )
    for name, value in variables.items():
        if not value.isdecimal():
            raise ValueError(f'{where}: the environment variable {name} must be a number, got {value!r}')
    return check_rank(where, int(variables['RANK']), int(variables['WORLD_SIZE']), 'RANK', 'WORLD_SIZE')
