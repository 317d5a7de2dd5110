"""Which objects names stand for."""

import textwrap
import types

import pytest

from itpipe._core.bindings import Bindings, uses_of
from itpipe._core.contents import Contents

CELL = """
    import helpers

    N = 1
    CONFIG = {'size': 64, 'not yet': None}
    MEAN = [1, 2]
    opened = None
    count = 0

    class Decoder:
        factor = 2

        def __init__(self):
            self.mode, self.file, self.calls = 'RGB', None, 0

        def __call__(self, x):
            self.calls += 1
            return helper(x)

    decoder = Decoder()

    def helper(x):
        return x * N

    def f(x):
        global opened, count
        opened = opened or open
        count += 1
        return decoder(x) + CONFIG['size'] + MEAN[0] + helpers.SCALE + missing
"""


def cell(name='__main__'):
    helpers = types.ModuleType('helpers')
    helpers.SCALE = 1
    namespace = {'__name__': name}
    source = textwrap.dedent(CELL).replace('import helpers', '')
    namespace['helpers'] = helpers
    exec(source, namespace)
    return namespace


def set_code(n):
    n['helper'].__code__ = (lambda x: x).__code__


@pytest.mark.parametrize(
    ('edit', 'name'),
    [
        (lambda n: n.update(N=2), 'N'),
        (lambda n: n.update(helper=lambda x: x), 'helper'),
        (lambda n: n.update(missing=1), 'missing'),
        (lambda n: n['CONFIG'].update(size=128), 'size'),
        (lambda n: n['CONFIG'].clear(), 'size'),
        (lambda n: n['MEAN'].__setitem__(0, 5), '0'),
        (lambda n: n['MEAN'].clear(), '0'),
        (lambda n: setattr(n['helpers'], 'SCALE', 3), 'SCALE'),
        (lambda n: setattr(n['Decoder'], 'factor', 3), 'factor'),
        (lambda n: setattr(n['decoder'], 'mode', 'L'), 'mode'),
        (set_code, 'a function'),
        (lambda n: n.update(size=3, more=1), None),
        (lambda n: n['CONFIG'].update({'more': 1, 'not yet': 2}), None),
        (lambda n: n['MEAN'].append(3), None),
        (lambda n: n.update(opened=1, count=2), None),
        (lambda n: setattr(n['decoder'], 'file', object()), None),
        (lambda n: setattr(n['decoder'], 'calls', 7), None),
    ],
)
def test_what_is_bound_anew_is_seen_but_not_what_the_functions_bind(edit, name):
    namespace = cell()
    contents = Contents(namespace['f'])
    assert contents.changed() is None
    edit(namespace)
    assert contents.changed() == name


def test_large_containers_are_not_looked_into():
    bindings, many, few = Bindings(), dict.fromkeys(range(100), 1), {'a': 1}
    bindings.add_elements(many)
    bindings.add_elements(few)
    changed = bindings.changes()
    many[3] = 2
    assert changed() is None
    few['a'] = 2
    assert changed() == 'a'


def test_many_records_are_not_looked_at_one_by_one():
    records = [{'path': str(n)} for n in range(1000)]
    contents = Contents(records)
    records[999]['path'] = 'another'
    assert contents.changed() is None
    assert contents.hash != Contents(records).hash


def test_uses_of_the_code_within():
    def f(x):
        return [a.b(y) for y in x], (lambda: c.d)  # noqa: F821

    assert uses_of(f.__code__) == (['a', 'c'], [], [], [], ['a', 'b', 'c', 'd'])
