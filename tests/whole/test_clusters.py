"""On clusters: what is promised of workers holds for those of dask, Ray and MPI, each run for real on this machine.

The tests with an executor run for dask and Ray in this process. For MPI, `test_under_mpi` runs them once more where
mpiexec has started Python three times: one process runs pytest, two are its workers.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strategies
from clusters import UNDER_MPI, launching, needs_mpiexec, opened
from hypothesis import given
from hypothesis import strategies as st
from reference import bits, build, expected
from running import LIMIT, ROOT, session, through_json, wait_until
from strategies import examples, pipes

from itpipe import (
    Infinite,
    NotPicklable,
    batch_by,
    combine,
    combine_lists,
    parallel_map,
    sample,
    shuffle,
    stream,
    take,
    with_rng,
)
from itpipe._workers.executors import ExecutorPool

from .test_promises import run_all
from .test_resume import interrupted

pytestmark = [
    pytest.mark.long,
    pytest.mark.leaves_threads('a cluster starts and ends threads and connections when it likes'),
    pytest.mark.filterwarnings('ignore:itpipe. nothing is known of'),
]
HERE = Path(__file__)
MODULES = {'dask': 'distributed', 'ray': 'ray', 'mpi': 'mpi4py'}
not_here = pytest.mark.skipif(UNDER_MPI not in os.environ, reason='runs in test_under_mpi')
outside = pytest.mark.skipif(UNDER_MPI in os.environ, reason='starts processes that MPI does not know')


@pytest.fixture(scope='module', params=['dask', 'ray', pytest.param('mpi', marks=not_here)])
def executor(request: pytest.FixtureRequest) -> Iterator[Any]:
    pytest.importorskip(MODULES[request.param])
    with opened(request.param) as executor:
        yield executor


@pytest.fixture(scope='module')
def executors(executor: Any, executors_with_processes: dict[str, Any]) -> dict[str, Any]:
    """The executors of random pipelines, with the cluster in the place of processes."""
    return {**executors_with_processes, 'processes': executor}


def noisy(x: int, rng: Any) -> tuple[int, Any]:
    return x, rng.normal(size=3)


@given(pipes(modes=strategies.in_this_process | strategies.remote))
@examples(300)
def test_a_random_pipeline_gives_the_same(executors: Any, pipe: Any) -> None:
    flow = expected(pipe)
    assert run_all(build(pipe, executors), flow) == list(map(bits, flow.values))


@given(pipes(one_shot=False, most=4, modes=strategies.in_this_process | strategies.remote), st.data())
@examples(300)
def test_a_run_goes_on_on_a_cluster_or_off_it(executors: Any, pipe: Any, data: Any) -> None:
    flow = expected(pipe)
    got, _ = interrupted(data, pipe, executors, flow, strategies.in_this_process | strategies.remote)
    assert got == list(map(bits, flow.values))


def test_as_many_calls_are_under_way_as_keep_the_workers_busy(executor: Any) -> None:
    assert ExecutorPool(executor, lambda key, value: value).max_pending == 4


@pytest.mark.parametrize('ordered', [True, False])
def test_a_training_goes_on_elsewhere(executor: Any, ordered: bool) -> None:
    """From the cluster to this process and back, in the middle of an epoch."""

    def batches(workers: Any) -> Any:
        made = parallel_map(with_rng(noisy), **workers) if workers else with_rng(noisy)
        return Infinite(stream(range(40), seed=3) | shuffle(40) | made, batch_size=4, batches_per_epoch=5)

    remote, here, threads = {'executor': executor}, {}, {'threads': 2}
    if not ordered:  # which is another pipeline than without workers
        remote, here, threads = ({**workers, 'ordered': False} for workers in (remote, threads, threads))
    got, state = [], None
    for workers, count in [(here, 3), (remote, 4), (threads, 2), (remote, 6), (here, 5)]:
        with batches(workers) as batch_iter:
            if state is not None:
                batch_iter.load_state_dict(state)
            more = (batch for _ in range(5) for batch in batch_iter)
            got += itertools.islice(more, count)
            more.close()
            state = through_json(batch_iter.state_dict())
    with batches({}) as batch_iter:
        serial = [batch for _ in range(4) for batch in batch_iter]
    rows = [[(x, noise.tobytes()) for each in made for x, noise in zip(*each, strict=True)] for made in (got, serial)]
    assert len(rows[0]) == len(rows[1]) == 80
    assert rows[0] == rows[1] if ordered else sorted(rows[0]) == sorted(rows[1])


def test_whole_batches(executor: Any) -> None:
    def batches(**workers: Any) -> list[Any]:
        source = sample(np.arange(100), seed=0) | take(30)
        made = with_rng(noisy) | batch_by(4) | combine
        return [noise.tobytes() for _, noise in source | (parallel_map(made, **workers) if workers else made)]

    assert batches(executor=executor) == batches()


@pytest.mark.parametrize('size', [10, 1 << 17])
def test_a_dataset_is_looked_up_there_or_here(executor: Any, size: int) -> None:
    """One of more than 256 KiB stays here: it would travel with each call."""

    class Dataset:
        def __init__(self) -> None:
            self.data = np.arange(size)

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> tuple[int, int]:
            return int(self.data[index % 10]), os.getpid()

    got = list(sample(Dataset(), seed=0) | take(20) | parallel_map(lambda pair: pair, executor=executor))
    assert [value for value, _ in got] == [value for value, _ in sample(Dataset(), seed=0) | take(20)]
    assert (os.getpid() in {pid for _, pid in got}) == (size > 10)


def test_an_error_names_its_item(executor: Any) -> None:
    run = iter(range(9) | parallel_map(lambda x: 1 // (x - 4), executor=executor, in_flight=3))
    assert [next(run) for _ in range(4)] == [-1, -1, -1, -1]
    with pytest.raises(ZeroDivisionError) as caught:
        next(run)
    (note,) = caught.value.__notes__
    assert re.fullmatch(r'itpipe: raised in parallel_map\(<lambda>, executor=.+, in_flight=3\), item 4', note)
    assert caught.traceback[-1].name == '<lambda>'


def test_errors_may_be_skipped_or_tried_again(executor: Any, tmp_path: Path) -> None:
    def once(x: int) -> int:
        marker = tmp_path / str(x)
        if x % 3 == 0 and not marker.exists():
            marker.touch()
            raise OSError(x)
        return x

    skipped = parallel_map(lambda x: x // (x % 3), executor=executor, on_error='skip')
    assert list(range(6) | skipped) == [1, 1, 4, 2]
    again = parallel_map(once, executor=executor, retries=1, retry_on=OSError, backoff=0.001)
    assert list(range(6) | again) == [*range(6)]


def test_what_cannot_be_pickled(executor: Any) -> None:
    with pytest.raises(NotPicklable, match='the function cannot be pickled'):
        list([1] | parallel_map(lambda x, file=sys.stdout: x, executor=executor))
    with pytest.raises(NotPicklable, match='the result cannot be pickled'):
        list([1] | parallel_map(lambda x: iter(lambda: 0, 1).__next__ and (y for y in 'a'), executor=executor))


def test_an_item_is_sent_as_it_was(executor: Any) -> None:
    """Though its array is filled anew for the next one."""

    def filled() -> Iterator[Any]:
        array = np.zeros(1000)
        for n in range(20):
            array[:] = n
            yield array

    assert list(filled() | parallel_map(np.sum, executor=executor)) == [1000.0 * n for n in range(20)]


def test_what_a_cache_holds_is_made_once_in_each_worker(executor: Any) -> None:
    """What `setup` is for threads and processes."""

    @cache
    def opened() -> str:
        return f'{os.getpid()}: {os.urandom(8).hex()}'

    made = set(range(30) | parallel_map(lambda _: opened(), executor=executor))
    assert 1 <= len(made) == len({each.partition(':')[0] for each in made}) <= 2


def test_a_run_that_is_left_early_leaves_the_cluster_usable(executor: Any) -> None:
    for _ in range(20):
        run = iter(range(1000) | parallel_map(abs, executor=executor))
        assert [next(run), next(run)] == [0, 1]
        run.close()
    assert list(range(9) | parallel_map(abs, executor=executor)) == [*range(9)]


# ---------------------------------------------------------------------------------------------------------------------
# Workers that are lost


def kill_one(folder: Path) -> Any:
    """A function that kills its process, at one item, once."""

    def noisy_once(x: int, rng: Any) -> Any:
        if x == 7:
            try:
                (folder / 'killed').touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return noisy(x, rng)

    return noisy_once


@pytest.mark.filterwarnings('ignore:.*:UserWarning:distributed')
def test_a_worker_that_dies_loses_nothing(executor: Any, request: Any, tmp_path: Path) -> None:
    if 'mpi' in request.node.name:
        pytest.skip('MPI ends all of its processes then, see below')
    source = sample(range(40), seed=1) | take(60)
    serial = [(x, noise.tobytes()) for x, noise in source | with_rng(noisy, name='noise')]
    run = iter(source | parallel_map(with_rng(kill_one(tmp_path), name='noise'), executor=executor))
    assert [(x, noise.tobytes()) for x, noise in run] == serial
    assert (tmp_path / 'killed').exists()


def test_an_item_that_keeps_killing_workers_ends_the_run(executor: Any, request: Any) -> None:
    if 'mpi' in request.node.name:
        pytest.skip('MPI ends all of its processes then, see below')
    run = iter(
        range(9) | parallel_map(lambda x: os.kill(os.getpid(), signal.SIGKILL) if x == 4 else x, executor=executor)
    )
    got = []
    with pytest.raises(Exception, match=r'\w') as caught:
        for x in run:
            got.append(x)
    assert got == [0, 1, 2, 3]
    assert type(caught.value).__name__ in ('KilledWorker', 'WorkerCrashedError')
    assert caught.value.__notes__[0].endswith('), item 4')
    assert list(range(9) | parallel_map(abs, executor=executor)) == [*range(9)]


# ---------------------------------------------------------------------------------------------------------------------
# MPI, and scripts

UNTIL_INTERRUPTED = """
import sys, time
from clusters import opened
from itpipe import Infinite, parallel_map

def slow(x):
    time.sleep(0.02)
    return x

if __name__ == '__main__':
    with opened(sys.argv[1]) as executor, Infinite(range(10**6), parallel_map(slow, executor=executor)) as batch_iter:
        for n, _ in enumerate(batch_iter):
            if n == 3:
                print('ready', flush=True)
"""

UNTIL_A_WORKER_DIES = """
import json, os, signal, sys
from pathlib import Path
from clusters import opened
from itpipe import Infinite, combine_lists, parallel_map, stream, with_rng

saved, killed = Path('saved.json'), Path('killed')

def noisy(x, rng):
    if x == 25 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x, rng.random()

if __name__ == '__main__':
    with opened(sys.argv[1]) as executor:
        made = stream(range(40), seed=1) | parallel_map(with_rng(noisy), executor=executor, in_flight=4)
        batch_iter, batches = Infinite(made, batch_size=4, combiner=combine_lists), []
        if saved.exists():
            state, batches = json.loads(saved.read_text())
            batch_iter.load_state_dict(state)
        for batch in batch_iter:
            batches.append(batch)
            Path('new.json').write_text(json.dumps([batch_iter.state_dict(), batches]))
            os.replace('new.json', saved)
"""


def under_mpi(*arguments: str, **options: Any) -> Any:
    """Python three times: one process runs what the arguments say, two are the workers of its pool."""
    return started('mpiexec', '-n', '3', sys.executable, '-m', 'mpi4py.futures', *arguments, **options)


def started(*command: str, **options: Any) -> Any:
    pipes: Any = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    return subprocess.Popen(
        command, env=launching(**{UNDER_MPI: '1'}), text=True, start_new_session=True, **pipes, **options
    )


@outside
@needs_mpiexec()
def test_under_mpi() -> None:
    pytest.importorskip('mpi4py')
    options = ['-q', '--color=no', '-p', 'no:cacheprovider', '-k', 'mpi']
    tests = under_mpi('-m', 'pytest', *options, str(HERE), cwd=HERE.parents[2])
    out, _ = tests.communicate(timeout=LIMIT + 40)
    assert tests.returncode == 0, out
    assert re.search(r'\b1\d passed', out)
    wait_until(lambda: not session(tests.pid), 'processes are left')


@outside
@needs_mpiexec()
def test_mpi_ends_all_processes_where_one_dies_and_the_training_goes_on_from_its_state(tmp_path: Path) -> None:
    pytest.importorskip('mpi4py')
    script = tmp_path / 'train.py'
    script.write_text(UNTIL_A_WORKER_DIES)
    codes = []
    for _ in range(2):
        job = under_mpi(str(script), 'mpi', cwd=tmp_path)
        out, _ = job.communicate(timeout=LIMIT)
        codes.append(job.returncode)
        wait_until(lambda job=job: not session(job.pid), 'processes are left')
    assert codes[0] != 0
    assert codes[1] == 0, out
    batches = json.loads((tmp_path / 'saved.json').read_text())[1]
    serial = stream(range(40), seed=1) | with_rng(lambda x, rng: (x, rng.random()), name='noisy')
    assert [(x, noise) for xs, noises in batches for x, noise in zip(xs, noises, strict=True)] == list(serial)


@outside
@pytest.mark.parametrize('kind', ['dask', 'ray', pytest.param('mpi', marks=needs_mpiexec())])
def test_ctrl_c_in_the_terminal_ends_it_all(tmp_path: Path, kind: str) -> None:
    """It reaches the processes of the cluster, too, which are in the same terminal."""
    pytest.importorskip(MODULES[kind])
    script = tmp_path / 'train.py'
    script.write_text(UNTIL_INTERRUPTED)
    run = under_mpi(str(script), 'mpi') if kind == 'mpi' else started(sys.executable, '-W', 'error', str(script), kind)
    with run:
        said = iter(run.stdout.readline, '')
        assert 'ready\n' in said
        os.killpg(run.pid, signal.SIGINT)
        rest = run.communicate(timeout=LIMIT)[0]
    assert run.returncode != 0
    assert 'KeyboardInterrupt' in rest or kind == 'mpi'  # Open MPI kills them at once
    wait_until(lambda: not session(run.pid), 'processes are left')


# ---------------------------------------------------------------------------------------------------------------------
# The page


def block_of(section: str) -> tuple[str, str]:
    """The script of a section of the page "Clusters", and what it prints."""
    page = (ROOT / 'docs' / 'clusters.md').read_text(encoding='utf-8')
    text = page.partition(f'\n## {section}\n')[2].partition('\n## ')[0]
    (code,), (printed,) = (re.findall(rf'```{kind}\n(.*?)```', text, re.DOTALL) for kind in ('python', 'text'))
    return code, printed


@outside
@pytest.mark.parametrize('section', ['dask', 'Ray', pytest.param('MPI', marks=needs_mpiexec()), 'torchrun'])
def test_the_scripts_of_the_page_print_what_it_shows(tmp_path: Path, section: str) -> None:
    pytest.importorskip({**MODULES, 'torchrun': 'torch'}[section.lower()])
    code, printed = block_of(section)
    script = tmp_path / 'train.py'
    script.write_text(code)
    torchrun = ['-m', 'torch.distributed.run', '--nproc-per-node', '2', '--standalone'] * (section == 'torchrun')
    run = under_mpi(str(script)) if section == 'MPI' else started(sys.executable, *torchrun, str(script))
    out, _ = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, out
    assert {*printed.splitlines()} <= {*out.splitlines()}  # Ray and torchrun print some more
    wait_until(lambda: not session(run.pid), 'processes are left')


UNTIL_A_RANK_DIES = """
import json, os, signal, sys
from pathlib import Path
from itpipe import Infinite, combine_lists, shuffle, stream

rank, killed = os.environ['RANK'], Path('killed')
saved = Path(f'saved{rank}.json')
batches = Infinite(stream(range(40)) | shuffle(40), batch_size=2, combiner=combine_lists, seed=0, shard='env')
with batches as batch_iter:
    state, got = json.loads(saved.read_text()) if saved.exists() else (None, [])
    if state is not None:
        batch_iter.load_state_dict(state)
    for batch in batch_iter:
        got.append(batch)
        Path(f'new{rank}.json').write_text(json.dumps([batch_iter.state_dict(), got]))
        os.replace(f'new{rank}.json', saved)
        if rank == '1' and len(got) == 5 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


@outside
def test_torchrun_starts_ranks_again_and_they_go_on(tmp_path: Path) -> None:
    pytest.importorskip('torch')
    script = tmp_path / 'train.py'
    script.write_text(UNTIL_A_RANK_DIES)
    options = ['--standalone', '--nproc-per-node', '2', '--max-restarts', '1']
    run = started(sys.executable, '-m', 'torch.distributed.run', *options, str(script), cwd=tmp_path)
    out, _ = run.communicate(timeout=LIMIT)
    assert run.returncode == 0, out
    assert (tmp_path / 'killed').exists()
    for rank in range(2):
        made = stream(range(40)) | shuffle(40)
        with Infinite(made, batch_size=2, combiner=combine_lists, seed=0, shard=(rank, 2)) as batch_iter:
            assert json.loads((tmp_path / f'saved{rank}.json').read_text())[1] == list(batch_iter)
