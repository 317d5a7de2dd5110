"""Reading records. What is written into them is tested in `engine/test_recording.py`."""

import pytest

from itpipe import Infinite
from itpipe._core.keys import Batch
from itpipe._core.record_frames import BEGIN, batch_frame, json_frame, place_frame
from itpipe.tools.records import chosen, read


def section(*runs, head=None):
    """A section of runs: (resumed, pass, epoch, first batch, keys)."""
    frames = [json_frame(head or {})]
    for number, (resumed, pass_, epoch, batch, keys) in enumerate(runs, 1):
        frames.append(json_frame({'run': number, 'time': f't{number}', 'entropy': 7, 'resumed': resumed}))
        frames.append(place_frame(number, epoch, pass_, batch))
        frames += [batch_frame((1.0, key, None)) for key in keys]
    return BEGIN + b''.join(frames)


def steps(path):
    return [[(step.epoch, step.batch, step.key) for step in training.steps] for training in read(path)]


@pytest.mark.parametrize(
    ('resumed', 'expected'),
    [
        # it was received before
        ((True, 0, 0, 1, [11, 12, 13]), [(3, 0, 10), (3, 1, 11), (3, 2, 12), (3, 3, 13)]),
        # the next one
        ((True, 0, 0, 3, [13]), [(3, 0, 10), (3, 1, 11), (3, 2, 12), (3, 3, 13)]),
        # the next epoch
        ((True, 0, 0, 0, [13]), [(3, 0, 10), (3, 1, 11), (3, 2, 12), (4, 0, 13)]),
        ((True, 1, 1, 0, [10]), [(3, 0, 10), (3, 1, 11), (3, 2, 12), (4, 0, 10)]),
        # nothing was received
        ((True, 0, 0, 0, []), [(3, 0, 10), (3, 1, 11), (3, 2, 12)]),
    ],
)
def test_where_a_run_goes_on(resumed, expected, tmp_path):
    path = tmp_path / 'run.log'
    path.write_bytes(section((False, 0, 3, 0, [10, 11, 12])) + section(resumed))
    assert steps(path) == [expected]


def test_a_run_that_goes_on_without_the_record_of_what_it_goes_on_from(tmp_path):
    path = tmp_path / 'run.log'
    path.write_bytes(section((True, 2, 0, 5, [1, 2])))
    assert steps(path) == [[(0, 5, 1), (0, 6, 2)]]


def test_damage_within_a_section_ends_it_and_the_next_one_is_read(tmp_path):
    path = tmp_path / 'run.log'
    damaged = section((False, 0, 0, 0, [1])) + place_frame(9, 0, 0, 0) + batch_frame((1.0, 2, None))
    path.write_bytes(damaged + section((False, 0, 0, 0, [Batch((3, 4))])))
    assert steps(path) == [[(0, 0, 1)], [(0, 0, (3, 4))]]


def test_what_is_no_record_is_refused(tmp_path):
    path = tmp_path / 'notes.txt'
    path.write_text('notes')
    with pytest.raises(ValueError, match=r"notes.txt' is not a record that `Infinite\(…, record=…\)` has written"):
        read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / 'nothing')


def test_a_training_is_chosen_by_its_number(tmp_path):
    path = tmp_path / 'run.log'
    path.write_bytes(section((False, 0, 0, 0, [1])) + section((False, 0, 0, 0, [2])))
    trainings = read(path)
    assert [chosen(trainings, n).steps[0].key for n in (None, 1, 2)] == [2, 1, 2]
    for n in (0, 3, -1):
        with pytest.raises(LookupError, match=f'it has the runs 1 to 2, and no run {n}'):
            chosen(trainings, n)
    with pytest.raises(LookupError, match='nothing was recorded in it'):
        chosen([], None)


def test_many_batches_are_read_fast_enough(tmp_path):
    path = tmp_path / 'run.log'
    with Infinite(range(10**6), batch_size=10, record=path, batches_per_epoch=10**4) as batch_iter:
        for _ in batch_iter:
            pass
    (training,) = read(path)
    assert training.steps[-1].key == tuple(range(99_990, 100_000))
