"""The names of `dpipe.batch_iter` with its calling conventions, so that a script of its users changes one import.

`from dpipe.batch_iter import …` becomes `from itpipe.dpipe import …`. Each name is a thin layer over one of itpipe:

========================================  =============================================
dpipe                                     itpipe
========================================  =============================================
Infinite(…, buffer_size=4)                Infinite(…, prefetch=4)
make_infinite_batch_iter(…)               Infinite(…), with batches_per_epoch
sample(…, random_state=0)                 sample(…, seed=0)
load_by_random_id(…, random_state=0)      load_by_random_id(…, seed=0)
unpack_args(f)                            unpack(f)
apply_at(0, f)                            map_at(0, f)
multiply(f)                               map_all(f)
zip_apply(f, g)                           zip_apply(f, g)
random_apply(p, f)                        random_apply(p, f)
sample_args(f, x=sampler)                 sample_args(f, x=sampler), of the item's rng
Threads(f, n_workers=4)                   parallel_map(f, threads=4)
Loky(f, n_workers=4)                      parallel_map(f, processes=4)
Iterator(g, …)                            stage(g)(…)
ExpirationPool(…), expiration_pool(…)     reuse(…)
combine_batches                           combine_lists
combine_to_arrays                         combine
combine_pad(…), pad_batch_equal(…)        combine_pad(…)
========================================  =============================================

The calling conventions are kept: sources answer `next()`, samplers take no argument, `apply_at(0, f)` and the like are
functions of one item that return tuples and pass further arguments on to `f`. Some things are better: order is kept,
errors arrive as they were raised, random numbers are reproducible. The names can be mixed with those of itpipe.

Randomness. The `random_state` of the source, or `Infinite(seed=…)`, also seeds the functions behind it. In a stream,
`random_apply` and `sample_args` draw from each item's own generator, in threads and processes, too. Called as functions
of one item, they draw from a fresh generator every time; `f.item(x, seed=0)` fixes it. The global states of
`numpy.random` and `random` are not read or changed, unless your own functions do so.
"""

from itpipe._core.public import publish as _publish

from .combiner import combine_batches, combine_pad, combine_to_arrays
from .expiration_pool import ExpirationPool, expiration_pool
from .pipeline import Infinite, Iterator, Loky, Threads, make_infinite_batch_iter
from .sources import load_by_random_id, sample
from .utils import apply_at, multiply, pad_batch_equal, random_apply, sample_args, unpack_args, zip_apply

__all__ = [
    'ExpirationPool',
    'Infinite',
    'Iterator',
    'Loky',
    'Threads',
    'apply_at',
    'combine_batches',
    'combine_pad',
    'combine_to_arrays',
    'expiration_pool',
    'load_by_random_id',
    'make_infinite_batch_iter',
    'multiply',
    'pad_batch_equal',
    'random_apply',
    'sample',
    'sample_args',
    'unpack_args',
    'zip_apply',
]

_publish(globals())
