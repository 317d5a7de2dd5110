"""The names of `dpipe.batch_iter` with its calling conventions, so that a script of its users changes one import.

`from dpipe.batch_iter import …` becomes `from itpipe.dpipe import …`. Each name is a line or two over the real thing:

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

What is kept is how things are called: sources answer `next()`, samplers take no argument, `apply_at(0, f)` and its kin
are functions of one item that return tuples and pass further arguments on to `f`. What is better: order is kept,
errors arrive as they were raised, and what is random is reproducible. All of it can be mixed with the real thing.

Randomness. The `random_state` of the source, or `Infinite(seed=…)`, seeds the functions behind it, too. In a stream,
`random_apply` and `sample_args` draw from each item's own generator, in threads and processes just as in order; called
as functions of one item, from a fresh one every time, which `f.item(x, seed=0)` fixes. The global state of
`numpy.random` and `random` is neither read nor changed, except by functions of yours that do so themselves.
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
