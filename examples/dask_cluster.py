"""Items made on a dask cluster: `executor=` takes anything with a method `submit`, such as the client of a cluster.

The cluster here is two processes of this machine; one of many machines is used in the same way.
"""
# requires: distributed

import os

import numpy as np
from distributed import Client, LocalCluster

from itpipe import Infinite, batch_by, combine, parallel_map, sample, with_rng

FREQUENCIES = np.linspace(1, 10, 50)


def main():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        print(f'a cluster of {len(cluster.workers)} workers')
        remote = read(executor=client)
    local = read(threads=2)

    print(f'{len(remote)} batches of shape {remote[0]["signal"].shape}')
    for where, batches in [('on the cluster', remote), ('here', local)]:
        processes = {int(process) for batch in batches for process in batch['process']}
        print(f'made {where} by the processes {sorted(processes)}')

    same = all(np.array_equal(a['signal'], b['signal']) for a, b in zip(remote, local, strict=True))
    print(f'the same as made here, to the last bit: {same}')


def read(**workers):
    """The first batches, made by these workers."""
    batches = sample(FREQUENCIES, seed=0) | parallel_map(with_rng(simulate), **workers) | batch_by(16) | combine
    with Infinite(batches, batches_per_epoch=10) as batch_iter:
        return list(batch_iter)


def simulate(frequency, rng):
    """An oscillation that fades, seen through noise: what a model is to tell the frequency of."""
    time = np.linspace(0, 1, 200)
    signal = np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi)) * np.exp(-time)
    return {'signal': signal + rng.normal(0, 0.1, 200), 'frequency': frequency, 'process': os.getpid()}


if __name__ == '__main__':
    main()
