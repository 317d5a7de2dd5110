"""Items made by Ray: `RayExecutor` makes each call of a `parallel_map` a task of Ray, on whatever machines there are.

Here Ray runs on this machine. On a cluster that is there, `ray.init('auto')` joins it.
"""
# requires: ray

import os

import numpy as np
import ray

from itpipe import Infinite, RayExecutor, apply, batch_by, combine, parallel_map, sample, with_rng

PATHS = [(length, angle) for length in (50, 100, 200) for angle in (0.1, 0.3, 0.5)]


def main():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        executor = RayExecutor(num_cpus=1, max_retries=3)  # the options of `ray.remote`
        print(f'{executor.num_workers} calls at once')
        remote = read(executor=executor)
    finally:
        ray.shutdown()
    local = read(threads=2)

    print(f'{len(remote)} batches of shape {remote[0]["path"].shape}')
    here = {os.getpid()}
    elsewhere = {int(process) for batch in remote for process in batch['process']} - here
    print(f'made by {len(elsewhere)} processes of Ray')
    same = all(np.array_equal(a['path'], b['path']) for a, b in zip(remote, local, strict=True))
    print(f'the same as made here, to the last bit: {same}')


def read(**workers):
    """The first batches; the workers make whole batches, so a call of Ray is one batch."""
    whole = apply(with_rng(walk)) | batch_by(8) | combine
    batches = sample(PATHS, seed=0) | parallel_map(whole, **workers)
    with Infinite(batches, batches_per_epoch=10) as batch_iter:
        return list(batch_iter)


def walk(parameters, rng):
    """A walk in the plane whose direction changes a little with each step: a model is to tell by how much."""
    length, angle = parameters
    directions = np.cumsum(rng.normal(0, angle, 200))
    steps = np.stack([np.cos(directions), np.sin(directions)]) * (np.arange(200) < length)
    return {'path': np.cumsum(steps, axis=1), 'angle': angle, 'process': os.getpid()}


if __name__ == '__main__':
    main()
