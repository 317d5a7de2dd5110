"""What the tests of `itpipe.dpipe` share."""

import pytest


def called(*args, **kwargs):
    """What it was called with."""
    return args, kwargs


def pair(*args, **kwargs):
    return (*args, *kwargs.values())


def refuses(error, message, f, *args, **kwargs):
    with pytest.raises(error) as caught:
        f(*args, **kwargs)
    assert str(caught.value) == message


def plain(iterator):
    yield from iterator
