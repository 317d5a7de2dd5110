"""Runs that go on in the middle, compared with one that was left alone."""

import itertools
import json


def check_goes_on_from_everywhere(stream, other, count, elsewhere):
    """Stop after each number of items, resume, take one more, and resume once more: the items are those of one run.

    After the numbers in `elsewhere` the run goes on in `other`, the same stream with other workers. The stream has
    `count` items.
    """
    whole = list(stream)
    assert len(whole) == count
    for first in range(count + 1):
        run = iter(stream)
        assert list(itertools.islice(run, first)) == whole[:first]
        again = (other if first in elsewhere else stream).resume(json.loads(json.dumps(run.state_dict())))
        run.close()
        assert list(itertools.islice(again, 1)) == whole[first : first + 1]
        state = json.loads(json.dumps(again.state_dict()))
        again.close()
        assert list(stream.resume(state)) == whole[first + 1 :]
