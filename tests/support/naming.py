"""Names of parametrized tests."""

import re


def named(value: object) -> str:
    """What `repr` gives, without the addresses in it, which differ in each process that runs a part of the tests."""
    return re.sub(' at 0x[0-9a-f]+', '', repr(value))
