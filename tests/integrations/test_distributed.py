"""The rank of this process: as it is given, or from torch, JAX, or the environment that a launcher sets."""

import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import launching, needs_mpiexec
from running import LIMIT, raises

from itpipe import Infinite
from itpipe.integrations.distributed import distributed, rank_of

VARIABLES = (
    'RANK',
    'WORLD_SIZE',
    'LOCAL_RANK',
    'TORCHELASTIC_RUN_ID',
    'OMPI_COMM_WORLD_RANK',
    'PMI_RANK',
    'SLURM_STEP_ID',
)
RULE = 'unset the variables that are left over from another run, or give `shard=(rank, number of ranks)`'
TORCHRUN = {'RANK': 5, 'WORLD_SIZE': 8, 'TORCHELASTIC_RUN_ID': 'none'}
OPEN_MPI = {'OMPI_COMM_WORLD_RANK': 1, 'OMPI_COMM_WORLD_SIZE': 4}
OPEN_MPI_ALONE = {'OMPI_COMM_WORLD_RANK': 0, 'OMPI_COMM_WORLD_SIZE': 1}
MPICH = {'PMI_RANK': 2, 'PMI_SIZE': 3}
SALLOC = {'SLURM_JOB_ID': 77, 'SLURM_NTASKS': 4}
SBATCH = SALLOC | {'SLURM_PROCID': 0}
SRUN = SALLOC | {'SLURM_STEP_ID': 0, 'SLURM_PROCID': 3, 'SLURM_STEP_NUM_TASKS': 4}
NODES = SALLOC | {'SLURM_STEP_ID': 0, 'SLURM_PROCID': 1, 'SLURM_STEP_NUM_TASKS': 2}
OF_SRUN = 'SLURM_PROCID, SLURM_STEP_NUM_TASKS'
OF_OPEN_MPI = 'OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE'


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the variables that the machine of the tests may have."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in [*os.environ]:
        if name.startswith('SLURM_'):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def test_a_rank_that_is_given() -> None:
    assert rank_of('f', (1, 3)) == rank_of('f', [np.int64(1), 3]) == (1, 3)
    with raises(TypeError, "f: `shard` must be (rank, number of ranks) or 'env', got 3"):
        rank_of('f', 3)
    with raises(ValueError, 'f: `shard[0]` must be less than `shard[1]` (3), got 3'):
        rank_of('f', (3, 3))


def test_torch_is_asked_only_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'torch.distributed', raising=False)
    assert distributed() is None


def test_the_rank_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('RANK', '2')
    monkeypatch.setenv('WORLD_SIZE', '3')
    with Infinite(range(9), shard='env', even='keep') as batch_iter:
        assert list(batch_iter) == [2, 5, 8]
        assert repr(batch_iter) == "Infinite(range(0, 9), shard='env', even='keep')"
    monkeypatch.setenv('RANK', 'two')
    with raises(ValueError, "Infinite: the environment variable RANK must be a number, got 'two'"):
        Infinite(range(9), shard='env', even='keep')
    monkeypatch.setenv('RANK', '3')
    with raises(ValueError, 'Infinite: `RANK` must be less than `WORLD_SIZE` (3), got 3'):
        Infinite(range(9), shard='env', even='keep')
    monkeypatch.delenv('RANK')
    message = "Infinite: `shard='env'` needs RANK and WORLD_SIZE, as torchrun sets them; not set: RANK"
    with raises(ValueError, message):
        Infinite(range(9), shard='env', even='keep')


@pytest.mark.parametrize(
    ('variables', 'rank'),
    [
        (TORCHRUN, (5, 8)),
        (OPEN_MPI, (1, 4)),
        (MPICH, (2, 3)),
        (SRUN, (3, 4)),
        (SRUN | {'SLURM_STEP_NUM_TASKS': ''}, (3, 4)),  # SLURM_NTASKS is that of the step, too
        (SRUN | {'SLURM_NTASKS': 9}, (3, 4)),  # that of the job, if the step has fewer
        (SRUN | {'SLURM_PROCID': 0, 'SLURM_STEP_NUM_TASKS': 1}, (0, 1)),
        # The innermost launcher counts. Each task of srun may be a torchrun, which numbers them as it likes …
        (SRUN | TORCHRUN, (5, 8)),
        (SRUN | TORCHRUN | {'RANK': 0, 'WORLD_SIZE': 4}, (0, 4)),
        (SRUN | TORCHRUN | {'RANK': 0, 'WORLD_SIZE': 1}, (0, 1)),  # or each has a training of its own
        (OPEN_MPI | TORCHRUN, (5, 8)),
        # … and mpiexec starts its own processes by srun, one on each node.
        (NODES | OPEN_MPI, (1, 4)),
        (NODES | MPICH, (2, 3)),
        (SRUN | {'PMI_RANK': 3, 'PMI_SIZE': 4}, (3, 4)),  # srun --mpi=pmi2
        (SRUN | OPEN_MPI | TORCHRUN, (5, 8)),
        (SBATCH | OPEN_MPI, (1, 4)),
        # What else sets RANK may start several in each task, too.
        (SRUN | {'RANK': 31, 'WORLD_SIZE': 32}, (31, 32)),
        (SRUN | {'RANK': 3, 'WORLD_SIZE': 4}, (3, 4)),
        (SRUN | {'WORLD_SIZE': 4}, (3, 4)),
        (SRUN | {'RANK': 3}, (3, 4)),
        (OPEN_MPI | NODES | {'RANK': 1, 'WORLD_SIZE': 4}, (1, 4)),
    ],
)
def test_the_rank_that_a_launcher_gives(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any], rank: tuple[int, int]
) -> None:
    set_all(monkeypatch, variables)
    assert rank_of('f', 'env') == rank


@pytest.mark.parametrize(
    ('variables', 'found'),
    [
        (SRUN | {'RANK': 0, 'WORLD_SIZE': 1}, f'rank 0 of 1 (RANK, WORLD_SIZE), but rank 3 of 4 ({OF_SRUN})'),
        (OPEN_MPI | {'RANK': 0, 'WORLD_SIZE': 4}, f'rank 0 of 4 (RANK, WORLD_SIZE), but rank 1 of 4 ({OF_OPEN_MPI})'),
        # What mpiexec has set is left over in all tasks of srun.
        (NODES | OPEN_MPI_ALONE, f'rank 0 of 1 ({OF_OPEN_MPI}), but rank 1 of 2 ({OF_SRUN})'),
        (NODES | {'PMI_RANK': 0, 'PMI_SIZE': 1}, f'rank 0 of 1 (PMI_RANK, PMI_SIZE), but rank 1 of 2 ({OF_SRUN})'),
        (NODES | {'PMI_RANK': 0, 'PMI_SIZE': 2}, f'rank 0 of 2 (PMI_RANK, PMI_SIZE), but rank 1 of 2 ({OF_SRUN})'),
        (MPICH | OPEN_MPI_ALONE, f'rank 0 of 1 ({OF_OPEN_MPI}), but rank 2 of 3 (PMI_RANK, PMI_SIZE)'),
        (NODES | OPEN_MPI_ALONE | {'RANK': 1}, f'rank 0 of 1 ({OF_OPEN_MPI}), but rank 1 of 2 ({OF_SRUN})'),
        (MPICH | {'WORLD_SIZE': 8}, 'WORLD_SIZE=8, but rank 2 of 3 (PMI_RANK, PMI_SIZE)'),
        (MPICH | {'RANK': 0}, 'RANK=0, but rank 2 of 3 (PMI_RANK, PMI_SIZE)'),
    ],
)
def test_where_processes_would_be_the_same_rank(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any], found: str
) -> None:
    """As from RANK and WORLD_SIZE in the profile of a shell, or in the image of a container."""
    set_all(monkeypatch, variables)
    with raises(ValueError, f"f: `shard='env'` found {found}: {RULE}"):
        rank_of('f', 'env')


@pytest.mark.parametrize(
    'variables',
    [
        SALLOC,  # a shell that waits for `srun`
        SALLOC | {'SLURM_PROCID': 0, 'SLURM_STEP_ID': 0xFFFFFFFA, 'SLURM_STEP_NUM_TASKS': 1},  # that of newer ones
        SBATCH,  # the script of a job, before `srun`
        SBATCH | {'SLURM_NTASKS': 1},
    ],
)
def test_a_process_of_a_job_that_srun_did_not_start(monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any]) -> None:
    set_all(monkeypatch, variables)
    message = (
        "f: `shard='env'` finds no rank, as this process is in the SLURM job 77, but was not started by srun: write"
        ' `srun python …`, or for a single process `shard=(0, 1)`'
    )
    with raises(ValueError, message):
        rank_of('f', 'env')


def test_a_process_that_has_the_others_as_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, MPICH | {'PMI_RANK': 0})
    monkeypatch.setattr(sys, 'orig_argv', ['python', '-u', '-m', 'mpi4py.futures', 'train.py'])
    message = (
        "f: `shard='env'` found rank 0 of 3 (PMI_RANK, PMI_SIZE), but the others are workers of mpi4py.futures: leave"
        ' out `shard`'
    )
    with raises(ValueError, message):
        rank_of('f', 'env')
    monkeypatch.setattr(sys, 'orig_argv', ['python', 'train.py', '-m', 'fast'])
    assert rank_of('f', 'env') == (0, 3)


def test_without_a_launcher() -> None:
    message = (
        "f: `shard='env'` needs torch.distributed or jax.distributed to be initialized, or the environment variables"
        ' that torchrun, mpiexec or srun sets, and finds none of these: for a single process, give `shard=(0, 1)`'
    )
    with raises(ValueError, message):
        rank_of('f', 'env')


def initialized_torch(rank: int, ranks: int) -> Any:
    return types.SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, get_rank=lambda: rank, get_world_size=lambda: ranks
    )


def test_the_rank_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'torch.distributed', torch := initialized_torch(1, 2))
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '1')
    assert list(Infinite(range(4), shard='env', even='keep', prefetch=0)) == [1, 3]
    torch.is_initialized = lambda: False
    assert list(Infinite(range(4), shard='env', even='keep', prefetch=0)) == [0, 1, 2, 3]


def test_the_rank_of_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    initialized = types.SimpleNamespace(is_initialized=lambda: True)
    jax = types.SimpleNamespace(distributed=initialized, process_index=lambda: 2, process_count=lambda: 3)
    monkeypatch.setitem(sys.modules, 'jax', jax)
    set_all(monkeypatch, SRUN)
    assert rank_of('f', 'env') == (2, 3)
    monkeypatch.setitem(sys.modules, 'torch.distributed', initialized_torch(2, 3))
    assert rank_of('f', 'env') == (2, 3)
    monkeypatch.setitem(sys.modules, 'torch.distributed', initialized_torch(0, 3))
    message = (
        "f: `shard='env'` found rank 0 of 3 (torch.distributed), but rank 2 of 3 (jax.distributed): give `shard=(rank,"
        ' number of ranks)`'
    )
    with raises(ValueError, message):
        rank_of('f', 'env')
    monkeypatch.delitem(sys.modules, 'torch.distributed')
    initialized.is_initialized = lambda: False
    assert rank_of('f', 'env') == (3, 4)


def test_the_environment_is_not_read_if_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert list(Infinite(range(4), prefetch=0)) == [0, 1, 2, 3]


# ---------------------------------------------------------------------------------------------------------------------
# Launched for real

SCRIPT = """
import json, os, sys
from pathlib import Path
from itpipe import Infinite, combine_lists, shuffle, stream

library, folder = sys.argv[1:3]
if library == 'torch':
    import torch.distributed
    torch.distributed.init_process_group('gloo')
    for name in ('RANK', 'WORLD_SIZE'):
        del os.environ[name]
if library == 'jax':
    import jax
    jax.distributed.initialize(sys.argv[3], num_processes=2, process_id=int(sys.argv[4]))
with Infinite(stream(range(11)) | shuffle(11), batch_size=2, combiner=combine_lists, seed=0, shard='env') as batch_iter:
    batches = list(batch_iter)
Path(folder, f'{os.getpid()}.json').write_text(json.dumps(batches))
if library == 'torch':
    torch.distributed.destroy_process_group()
"""


def launch(folder: Path, *commands: list[str], library: str = 'none', more: tuple[str, ...] = ()) -> None:
    """The commands with the script behind; it gives each of the ranks its part of a run."""
    script = folder / 'script.py'
    script.write_text(SCRIPT)
    started = []
    for number, command in enumerate(commands):
        numbered = [argument.replace('NUMBER', str(number)) for argument in more]
        started.append(
            subprocess.Popen(
                [*command, str(script), library, str(folder), *numbered],
                env=launching(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in started:
        out, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, out
    parts = [json.loads(path.read_text()) for path in folder.glob('*.json')]
    assert len(parts) == 2
    items = [item for batches in parts for batch in batches for item in batch]
    assert (len(items), {*items}) == (12, {*range(11)})  # the first comes again, so that both have six


@needs_mpiexec()
def test_with_mpiexec(tmp_path: Path) -> None:
    launch(tmp_path, ['mpiexec', '-n', '2', sys.executable])


@pytest.mark.long
def test_with_srun(tmp_path: Path) -> None:
    try:
        subprocess.run(['sinfo'], check=True, capture_output=True, timeout=LIMIT)
    except (OSError, subprocess.SubprocessError):
        pytest.skip('needs SLURM, and a controller that answers')
    launch(tmp_path, ['srun', '-n', '2', sys.executable])


@pytest.mark.long
@pytest.mark.parametrize('library', ['none', 'torch'])
def test_with_torchrun(tmp_path: Path, library: str) -> None:
    pytest.importorskip('torch')
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    launch(tmp_path, [sys.executable, *torchrun], library=library)


@pytest.mark.long
def test_with_jax(tmp_path: Path) -> None:
    pytest.importorskip('jax')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{free.getsockname()[1]}'
    launch(tmp_path, [sys.executable], [sys.executable], library='jax', more=(address, 'NUMBER'))
