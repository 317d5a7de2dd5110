"""Steps with other functions and generators print and draw as before."""

import numpy as np
from numpy.random import Generator

from itpipe import apply, filter_by, map_at, parallel_map, random_apply, sample_args, stream, with_rng
from itpipe.tools.wrapping import noting, with_functions, with_generators


def noisy(x, rng):
    assert isinstance(rng, Generator)
    return x + rng.random()


MADE = [
    with_rng(noisy), apply(map_at(0, with_rng(noisy)) | map_at(0, abs)), random_apply(0.5, map_at(0, with_rng(noisy))),
    sample_args(max, lambda rng: (rng.random(),)), parallel_map(map_at(0, with_rng(noisy)), threads=1),
]  # fmt: skip


def test_generators_note_what_is_drawn_and_draw_the_same():
    for made in MADE:
        notes = []
        stage = type(made)(tuple(with_generators(step, noting(notes)) for step in made.steps))
        assert repr(stage) == repr(made)
        items = [np.array([n]) if made is MADE[0] else (n,) for n in range(4)]
        expected = list(stream(items, seed=0) | made)
        assert not notes
        assert list(stream(items, seed=0) | stage) == expected
        assert notes


def test_functions_are_wrapped_also_within_others():
    called = []

    def wrap(function):
        def wrapped(*args, **kwargs):
            called.append(function)
            return function(*args, **kwargs)

        return wrapped

    for made in [apply(abs), apply(apply(abs) | str), filter_by(abs), parallel_map(apply(abs), threads=1)]:
        called.clear()
        stage = type(made)(tuple(with_functions(step, wrap) for step in made.steps))
        assert repr(stage) == repr(made)
        assert list(stream([-1]) | stage) == list(stream([-1]) | made)
        assert abs in called


def test_long_values_are_cut_short():
    notes = []
    rng = noting(notes)(np.random.default_rng(0))
    rng.normal(size=1000)
    rng.bit_generator
    (note,) = notes
    assert note.startswith('normal(size=1000) → [')
    assert len(note) < 100
