"""Items made by MPI: the workers are processes that mpiexec has started, on as many machines as it was told.

    mpiexec -n 3 python -m mpi4py.futures examples/mpi_pool.py

One of the three runs this script, and two are its workers. If one of them dies, MPI ends all of them. So the script
writes down where it stands after each batch; started again, it goes on there: give it a number of batches.
"""
# requires: mpi4py

import json
import os
import sys
from pathlib import Path

from mpi4py.futures import MPIPoolExecutor

from itpipe import Infinite, parallel_map, sample, with_rng

SAVED = Path('mpi_pool.json')


def main(most):
    with MPIPoolExecutor() as pool:
        made = sample([0.5, 1.0, 2.0], seed=0) | parallel_map(with_rng(simulate), executor=pool)
        with Infinite(made, batch_size=8, batches_per_epoch=20) as batch_iter:
            if SAVED.exists():
                batch_iter.load_state_dict(json.loads(SAVED.read_text()))
                print('goes on at batch', batch_iter.state_dict()['batch'])
            for number, (scales, ends) in enumerate(batch_iter, 1):
                save(batch_iter.state_dict())
                print('scales', scales[:3], 'ends', ends[:3].round(2))
                if number == most:
                    return
    SAVED.unlink()
    print('done')


def save(state):
    new = SAVED.with_suffix('.new')
    new.write_text(json.dumps(state))
    os.replace(new, SAVED)  # there is always a whole one


def simulate(scale, rng):
    """Where a random walk ends."""
    return scale, rng.normal(0, scale, 1000).sum()


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
