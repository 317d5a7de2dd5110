"""What the data of a source tells of an item."""

import numpy as np
import pytest

from itpipe import Infinite, concat, cycle, explain, mix, shuffle, split, stream, zip_with
from itpipe.tools.origins import origin
from itpipe.tools.pipelines import opened


class Photos:
    """A dataset of a user, with a path for each item."""

    def __init__(self, prefix='', count=8):
        self.count, self.paths = count, [f'{prefix}{n}.png' for n in range(count)]

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return index


def told(made, index):
    return origin(opened(stream(made)).source, index)


def test_the_path_is_that_of_the_item():
    assert told(Photos(), 3) == '3.png'
    assert told(stream(Photos(), seed=1) | shuffle(), 3) == '3.png'


def test_nothing_is_told_of_data_that_tells_nothing():
    few = Photos()
    few.paths = few.paths[:2]  # as those of files with many items each
    for made in ([1, 2, 3], few, iter('abc'), {'a': 1}, (n for n in range(3))):
        assert told(made, 0) == ''


def test_in_a_part_the_place_is_also_that_in_the_whole():
    torch_data = pytest.importorskip('torch.utils.data')
    part, _ = split(Photos(), [0.5, 0.5])
    last = part.indices.tolist()[-1]
    assert told(part, -1).startswith(f'item {last} of <')
    assert told(part, -1).endswith(f'Photos>, {last}.png')
    assert told(torch_data.Subset(part, [0, len(part) - 1]), 1) == told(part, -1)
    plain, _ = split(list(range(8)), [0.5, 0.5])
    assert told(plain, 1) == f'item {plain.indices[1]} of [0, 1, 2, 3, 4, 5, …]'


def test_of_streams_that_are_put_together_it_is_the_own_one():
    a, b = Photos('a'), Photos('b')
    assert told(stream(a) | zip_with(b), (1, 2)) == 'a1.png; b2.png'
    assert told(stream(a) | concat(b), (1, 2)) == 'b2.png'
    assert told(mix(a, b), (0, 2)) == 'a2.png'
    assert told(stream(a) | cycle(2), 2) == 'a2.png'


def test_explain_names_the_file():
    part, _ = split(Photos(), [0.75, 0.25])
    index = int(part.indices[3])
    with Infinite(Photos(), batch_size=4) as batch_iter:
        next(batch_iter())
        assert explain(batch_iter, 3).about == 'row 3 of 4: item 3, in the data at 3 (3.png)'
    with Infinite(part, batch_size=4) as batch_iter:
        assert next(batch_iter())[3] == index
        assert explain(batch_iter, 3).about.startswith(f'row 3 of 4: item 3, in the data at 3 (item {index} of ')
        assert explain(batch_iter, 3).about.endswith(f', {index}.png)')
    assert np.array_equal(part.paths, [f'{n}.png' for n in part.indices])
