"""The file of a record: what is written comes back, up to where it was cut off."""

import pytest

from itpipe._core.keys import Batch
from itpipe._core.record_frames import BEGIN, Frame, batch_frame, frames, json_frame, place_frame

WRITTEN = [
    (json_frame({'a': 'ä\x00ÿ'}), Frame(json={'a': 'ä\x00ÿ'})),
    (place_frame(1, 2, 3, 4), Frame(place=(1, 2, 3, 4))),
    (batch_frame((0.5, Batch((3, 1)), None)), Frame(batches=[(0.5, None, Batch((3, 1)))])),
    (batch_frame((0.5, 7, 2**32 - 1)), Frame(batches=[(0.5, 2**32 - 1, 7)])),
    (batch_frame((0.5, 7, None), (2.0, (3, 1), None)), Frame(batches=[(0.5, None, 7), (2.0, None, (3, 1))])),
    (batch_frame((0.5, 7, 1), (2.0, 8, 2)), Frame(batches=[(0.5, 1, 7), (2.0, 2, 8)])),
    (batch_frame((1e9, 7, None)), Frame(batches=[(65504.0, None, 7)])),
    (batch_frame((1.0, 7, 1), (1e9, 8, 2)), Frame(batches=[(1.0, 1, 7), (65504.0, 2, 8)])),
]


def test_frames_come_back():
    assert list(frames(b''.join(code for code, _ in WRITTEN))) == [frame for _, frame in WRITTEN]


def test_what_was_cut_off_is_left_out_wherever_that_was():
    codes = [code for code, _ in WRITTEN]
    whole, ends = b''.join(codes), [sum(map(len, codes[:n])) for n in range(len(codes) + 1)]
    for cut in range(len(whole) + 1):
        complete = max(n for n, end in enumerate(ends) if end <= cut)
        assert list(frames(whole[:cut])) == [frame for _, frame in WRITTEN[:complete]]


@pytest.mark.parametrize('damage', [b'\0' * 4096, b'\xff' * 9, b'\x01\x02\0\0\0{{', b'\x03\x07\0\0'])
def test_what_is_no_frame_ends_a_section(damage):
    assert list(frames(WRITTEN[1][0] + damage)) == [WRITTEN[1][1]]


def test_json_does_not_look_like_the_beginning_of_a_section():
    assert BEGIN not in json_frame({'name': BEGIN.decode('latin-1')})
