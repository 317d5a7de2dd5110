"""Numbers as people read them."""

import pytest

from itpipe._views.figures import bytes_of, plural, rate, seconds, share


@pytest.mark.parametrize(
    ('number', 'text'),
    [(1e-7, '0 µs'), (0.00099, '990 µs'), (0.0014, '1 ms'), (0.999, '999 ms'), (1, '1 s'), (99.9, '99.9 s'),
     (99.96, '100 s'), (3599, '3,599 s'), (3600, '1 h 00 min'), (86399, '23 h 59 min')],
)  # fmt: skip
def test_seconds(number, text):
    assert seconds(number) == text


def test_small_and_large_ones():
    assert [rate(number) for number in (0, 0.00123, 99.94, 99.96, 100, 1e7)] == [
        '0', '0.00123', '99.9', '100', '100', '10,000,000',
    ]  # fmt: skip
    assert [share(number) for number in (0, 0.0004, 0.0096, 0.0149, 0.996, 1.5)] == [
        '0 %', '0 %', '1.0 %', '1 %', '100 %', '150 %',
    ]  # fmt: skip
    assert [bytes_of(number) for number in (0, 999, 1000, 1.5e9)] == ['0 B', '999 B', '1 kB', '1.5 GB']
    assert [plural(number, 'batch run') for number in (1, 2)] == ['1 batch run', '2 batch run']
