"""The rank of this process among all that train together."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from typing import Any, NamedTuple

from itpipe._core.checks import check_rank

__all__ = ['distributed', 'rank_of']

TORCHRUN = 'RANK', 'WORLD_SIZE'
MPI = ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'), ('PMI_RANK', 'PMI_SIZE')
"""Of Open MPI; of MPICH and those made from it, such as Intel's."""
NO_STEP = 0xFFFFFFF0
"""From here on, SLURM's numbers of steps stand for the script of a job, an interactive shell and the like."""
BY_HAND = 'give `shard=(rank, number of ranks)`'
LEFT_OVER = 'unset the variables that are left over from another run'


class _Rank(NamedTuple):
    rank: int
    ranks: int
    source: str

    @classmethod
    def checked(cls, where: str, numbers: dict[str, int], *names: str) -> _Rank:
        rank, ranks = names
        return cls(*check_rank(where, numbers[rank], numbers[ranks], rank, ranks), ', '.join(names))

    def __str__(self) -> str:
        return f'rank {self.rank} of {self.ranks} ({self.source})'


def rank_of(where: str, shard: Any) -> tuple[int, int]:
    """The rank and the number of ranks, as `shard` says, or for 'env' as this process or its environment says."""
    if isinstance(shard, str) and shard == 'env':
        return (_of_libraries(where) or _of_environment(where))[:2]
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise TypeError(f"{where}: `shard` must be (rank, number of ranks) or 'env', got {shard!r}")
    return check_rank(where, shard[0], shard[1], 'shard[0]', 'shard[1]')


def distributed() -> Any:
    """`torch.distributed` if it is initialized, else None."""
    torch: Any = sys.modules.get('torch.distributed')
    return torch if torch is not None and torch.is_available() and torch.is_initialized() else None


def _of_libraries(where: str) -> _Rank | None:
    found = []
    if (torch := distributed()) is not None:
        found.append(_Rank(torch.get_rank(), torch.get_world_size(), 'torch.distributed'))
    jax: Any = sys.modules.get('jax')
    if getattr(getattr(jax, 'distributed', None), 'is_initialized', bool)():
        found.append(_Rank(jax.process_index(), jax.process_count(), 'jax.distributed'))
    if len({said[:2] for said in found}) > 1:
        raise ValueError(f"{where}: `shard='env'` found {found[0]}, but {found[1]}: {BY_HAND}")
    return found[0] if found else None


def _of_environment(where: str) -> _Rank:
    """What `RANK` and `WORLD_SIZE` say, or else the launcher that started this process last."""
    given = _numbers(where, TORCHRUN)
    all_launched = _launched(where)
    if len(given) == 2:
        named = _Rank.checked(where, given, *TORCHRUN)
        # Each task of srun may be a torchrun, which starts several ranks. It numbers the tasks as it likes.
        return named if 'TORCHELASTIC_RUN_ID' in os.environ else _last(where, [named, *all_launched])
    if not all_launched:
        raise ValueError(f"{where}: `shard='env'` {_needs(given)}")
    launched = _last(where, all_launched)
    if ('-m', 'mpi4py.futures') in pairwise(sys.orig_argv):
        raise ValueError(
            f"{where}: `shard='env'` found {launched}, but the others are workers of mpi4py.futures: leave out `shard`"
        )
    for name, number in given.items():
        if number != (launched.rank if name == 'RANK' else launched.ranks):
            raise ValueError(f"{where}: `shard='env'` found {name}={number}, but {launched}: {LEFT_OVER}, or {BY_HAND}")
    return launched


def _last(where: str, found: list[_Rank]) -> _Rank:
    """The first of these: the launcher that started this process last, if none of the others shows that it did not."""
    first, *others = found
    for other in others:
        if _would_double(first, other):
            raise ValueError(f"{where}: `shard='env'` found {first}, but {other}: {LEFT_OVER}, or {BY_HAND}")
    return first


def _would_double(named: _Rank, launched: _Rank) -> bool:
    """Whether several of the processes that were launched would be the same rank."""
    return named.ranks < launched.ranks or (named.ranks == launched.ranks and named.rank != launched.rank)


def _launched(where: str) -> list[_Rank]:
    """What mpiexec says, which may have been started in a step of SLURM, and what srun says."""
    found = [_Rank.checked(where, numbers, *names) for names in MPI if len(numbers := _numbers(where, names)) == 2]
    tasks = 'SLURM_STEP_NUM_TASKS' if os.environ.get('SLURM_STEP_NUM_TASKS') else 'SLURM_NTASKS'
    numbers = _numbers(where, ('SLURM_STEP_ID', 'SLURM_PROCID', tasks))
    if len(numbers) == 3 and numbers['SLURM_STEP_ID'] < NO_STEP:
        found.append(_Rank.checked(where, numbers, 'SLURM_PROCID', tasks))
    return found


def _numbers(where: str, names: tuple[str, ...]) -> dict[str, int]:
    """The values of those of these variables that are set."""
    values = {name: value for name in names if (value := os.environ.get(name))}
    for name, value in values.items():
        if not value.isdecimal():
            raise ValueError(f'{where}: the environment variable {name} must be a number, got {value!r}')
    return {name: int(value) for name, value in values.items()}


def _needs(given: dict[str, int]) -> str:
    if given:
        missing = [name for name in TORCHRUN if name not in given]
        return f'needs RANK and WORLD_SIZE, as torchrun sets them; not set: {", ".join(missing)}'
    if job := os.environ.get('SLURM_JOB_ID'):
        return (
            f'finds no rank, as this process is in the SLURM job {job}, but was not started by srun: write `srun python'
            ' …`, or for a single process `shard=(0, 1)`'
        )
    return (
        'needs torch.distributed or jax.distributed to be initialized, or the environment variables that torchrun,'
        ' mpiexec or srun sets, and finds none of these: for a single process, give `shard=(0, 1)`'
    )
