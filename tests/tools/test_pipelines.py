"""Pipelines by their names."""

import sys

import pytest

from itpipe import Infinite, shuffle, stream
from itpipe.tools.pipelines import found, opened

CODE = """
from itpipe import Infinite, stream
batches = Infinite(range(8), batch_size=2, record='/nowhere/run.log')
numbers = stream(range(3))
number = 3
class Data:
    batches = batches
def make():
    return numbers
def wrong():
    return 3
def failing():
    raise ValueError('mine')
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The path of a module without its ending, in the folder of the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    (tmp_path / 'pipelines_here.py').write_text(CODE.replace("record='/nowhere/run.log'", ''))
    yield 'pipelines_here'
    sys.modules.pop('pipelines_here', None)


@pytest.mark.parametrize('ending', ['', '.py'])
def test_a_pipeline_is_found_by_its_name(ending, place):
    assert isinstance(found(f'{place}{ending}:batches'), Infinite)
    assert found(f'{place}{ending}:Data.batches') is found(f'{place}{ending}:batches')
    assert found(f'{place}{ending}:make') is found(f'{place}{ending}:numbers')


def test_a_script_that_reads_its_arguments_gets_none(place, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', given := ['itpipe', 'check', f'{place}:batches'])
    script = tmp_path / f'{place}.py'
    code = 'import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument("--n", type=int, default=3)\n'
    script.write_text(f'{code}n = parser.parse_args().n\n{script.read_text()}')
    assert isinstance(found(f'{place}:batches'), Infinite)
    assert sys.argv is given


@pytest.mark.parametrize(
    ('name', 'kind', 'message'),
    [
        ('pipelines_here', ValueError, "a pipeline is named `module:attribute` or `file.py:attribute`, got 'pipelines"),
        (':batches', ValueError, 'a pipeline is named'),
        ('pipelines_here:nothing', LookupError, "there is no 'nothing' in 'pipelines_here'"),
        ('nowhere_at_all:batches', LookupError, "there is no module 'nowhere_at_all', neither here nor installed"),
        ('nowhere.at.all:batches', LookupError, "there is no module 'nowhere.at.all'"),
        ('nowhere.py:batches', LookupError, "there is no file 'nowhere.py'"),
        ('pipelines_here:number', TypeError, 'a pipeline must be an Infinite or a stream, got int'),
        ('pipelines_here:wrong', TypeError, 'a pipeline must be an Infinite or a stream, got int'),
        ('pipelines_here:failing', ValueError, 'mine'),
    ],
)
def test_what_is_not_there_is_an_error(name, kind, message, place):
    with pytest.raises(kind, match=message):
        found(name)


def test_a_file_with_the_name_of_another_module_is_refused(place, tmp_path):
    (tmp_path / 'random.py').write_text('batches = []')
    with pytest.raises(LookupError, match="'random.py' has the name of another module, .*; give it a name of its own"):
        found('random.py:batches')


def test_a_pipeline_says_in_what_it_differs(tmp_path):
    made = stream(range(9)) | shuffle(3)
    with Infinite(made, seed=1) as batch_iter:
        text = batch_iter.state_dict()['pipeline']
        assert opened(batch_iter).differs(text) is None
    assert opened(Infinite(made, seed=2)).differs(text) == (
        'which has `Infinite(seed=1)` where this one has `Infinite(seed=2)`'
    )
