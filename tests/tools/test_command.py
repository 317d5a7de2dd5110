"""The command `itpipe`, as it is used."""

import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from running import ROOT, environment

import itpipe
from itpipe._core.version import VERSION
from itpipe.tools.command import COMMANDS, main

TRAIN = """
import sys
import numpy as np
from itpipe import Infinite, shuffle, with_rng

def augmented(x, rng):
    return {'image': np.full((2, 2), x) + ERROR * (x == 17) + rng.random(), 'label': x}

def make(**options):
    return Infinite(
        range(100), shuffle(20), with_rng(augmented), batch_size=4, batches_per_epoch=5, seed=0, shard=SHARD, **options
    )

batches = make(record='RECORD', digest=True)

if __name__ == '__main__':
    with batches:
        for epoch in range(3):
            for batch in batches:
                pass
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    names = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - names:
        if name.startswith('train'):
            del sys.modules[name]


def trained(folder, name='train', record='run.log', error=0, shard=None):
    """A script that has trained, and was recorded."""
    code = TRAIN.replace('RECORD', record).replace('ERROR', str(error)).replace('SHARD', repr(shard))
    path = folder / f'{name}.py'
    for file, content in after_training(path.name, code).items():
        (folder / file).write_bytes(content)
    return path


@cache
def after_training(name, code):
    """The files that are there when a script has run: in an interpreter of its own, once for all tests."""
    with TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(code)
        env = environment() | {'RANK': '1', 'WORLD_SIZE': '2'}
        subprocess.run([sys.executable, name], check=True, timeout=60, env=env, cwd=folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def run(capsys, *arguments):
    """The exit status, and what was written to both channels."""
    try:
        status = main([str(each) for each in arguments])
    except SystemExit as error:
        status = error.code
    return status, *capsys.readouterr()


def test_a_batch_is_made_again_by_another_process(folder):
    trained(folder)
    command = [sys.executable, '-m', 'itpipe', 'replay', 'run.log', '--pipeline', 'train.py:batches', '--step', '7']
    done = subprocess.run(
        [*command, '--save', 'batch.npz'],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=folder,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    first, places, *parts, saved, last = done.stdout.splitlines()
    assert re.fullmatch(r'step 7: epoch 1, batch 2, pass 0: items (\d+, ){3}\d+', first)
    assert places == f'places in the data: {first.partition("items ")[2]}'
    assert parts[0].startswith("  ['image']  float64 (4, 2, 2), ")
    assert (saved, last) == ('saved to batch.npz', 'it has the bits that were recorded')
    with np.load(folder / 'batch.npz') as batch:
        assert batch['label'].tolist() == [int(n) for n in re.findall(r'\d+', first.partition('items')[2])]


def test_other_code_gives_other_bits(folder, capsys):
    trained(folder)
    trained(folder, 'train_new', 'new.log', error=1)
    steps = [run(capsys, 'replay', 'run.log', '--pipeline', 'train_new:batches', '--step', n)[:2] for n in range(15)]
    (wrong,) = [n for n, (status, _) in enumerate(steps) if status == 1]
    assert steps[wrong][1].endswith('it has OTHER bits than were recorded\n')
    status, out, _ = run(capsys, 'diff', 'run.log', 'new.log')
    assert (status, out.splitlines()[-1][:50]) == (
        1,
        f'the first difference is at step {wrong}: the same items wi'[:50],
    )
    both = ('--pipeline', 'train.py:batches', '--pipeline', 'train_new.py:batches')
    status, out, _ = run(capsys, 'diff', 'run.log', 'new.log', *both)
    assert (status, out.splitlines()[-1]) == (1, 'the first stage that differs is `with_rng(augmented)`')


def test_a_record_of_a_rank_sets_the_rank(folder, capsys):
    trained(folder, shard='env')
    before = dict(os.environ)
    status, out, err = run(capsys, 'replay', 'run.rank1.log', '--pipeline', 'train.py:batches', '--step', -1)
    assert (status, err) == (0, '')
    assert out.endswith('it has the bits that were recorded\n')
    assert dict(os.environ) == before


def test_a_pipeline_that_differs_is_noted(folder, capsys):
    trained(folder)
    (folder / 'train_other.py').write_text(
        'import train\nfrom itpipe import Infinite\nb = Infinite(range(9), seed=1)\n'
    )
    status, _out, err = run(capsys, 'replay', 'run.log', '--pipeline', 'train_other:b', '--step', 1)
    assert status == 2
    assert 'note: the record is that of another pipeline, which has `Infinite(seed=0)` where this one has' in err
    assert 'itpipe replay: train_other:b does not have these items: replay: `key` must be an ordinal' in err


def test_a_report(folder, capsys):
    trained(folder)
    for more in ((), ('--pipeline', 'train:batches'), ('--run', 1)):
        status, out, err = run(capsys, 'report', 'run.log', *more)
        assert (status, err) == (0, '')
        assert '  epoch 2: steps 10 to 14, pass 0, 5 batches, ' in out
        assert out.count('    20 items, each once\n') == 3


def test_no_difference(folder, capsys):
    trained(folder)
    status, out, err = run(capsys, 'diff', 'run.log', 'run.log')
    assert (status, out, err) == (0, 'no difference in 15 steps: the same items and the same bits\n', '')


def test_a_pipeline_is_shown(folder, capsys):
    trained(folder)
    assert run(capsys, 'show', 'train:batches') == (
        0, 'range(0, 100)\n| shuffle(20)\n| with_rng(augmented)\n| batch_by(4)\n| apply(combine)\n', ''
    )  # fmt: skip
    assert run(capsys, 'draw', 'train:batches') == run(capsys, 'show', 'train:batches')
    assert run(capsys, 'show', 'train:make', '--mermaid')[1].startswith('flowchart TD\n')
    assert run(capsys, 'show', 'train:make', '--save', 'train.svg') == (0, 'saved to train.svg\n', '')
    assert '</svg>' in (folder / 'train.svg').read_text()
    assert run(capsys, 'show', 'train:make', '--save', 'train.png')[0] == 2


REPLAY = ('replay', 'run.log', '--pipeline')


def test_a_pipeline_is_checked(folder, capsys):
    trained(folder)
    status, out, err = run(capsys, 'check', 'train:batches')
    assert (status, err) == (0, '')
    assert 'with_rng(augmented)' in out
    (folder / 'train_wrong.py').write_text(
        'batches = lambda: stream([1, 2]) | (lambda x: None)\nfrom itpipe import stream\n'
    )
    assert run(capsys, 'check', 'train_wrong:batches', '--items', 1)[0] == 1
    assert run(capsys, 'check', 'train_wrong:batches', '--ignore', 'returns-none')[0] == 0


WRONG = {
    ('replay', 'nothing.log', '--pipeline', 'train:batches', '--step', '0'): 'nothing.log: No such file or directory',
    ('replay', 'train.py', '--pipeline', 'train:batches', '--step', '0'): "train.py: 'train.py' is not a record that",
    (*REPLAY, 'train', '--step', '0'): 'a pipeline is named `module:attribute` or',
    (*REPLAY, 'train:nothing', '--step', '0'): "there is no 'nothing' in 'train'",
    (*REPLAY, 'train:batches', '--step', '15'): 'the run has no step 15: it has 0 to 14',
    (*REPLAY, 'train:batches', '--step', '0', '--run', '2'): 'run.log: it has the runs 1 to 1, and no run 2',
    (*REPLAY, 'train:batches', '--step', '0', '--save', 'x.jpg'): '--save needs a file that ends with .npz or .pkl',
    (*REPLAY, 'train:batches', '--step', '0', '--save', 'no/x.pkl'): 'the batch cannot be saved: [Errno 2]',
    ('diff', 'run.log', 'nothing.log'): 'nothing.log: No such file or directory',
    ('diff', 'run.log', 'run.log', *['--pipeline', 'train:batches'] * 3): 'give --pipeline once, or twice',
    ('report', 'nothing.log'): 'nothing.log: No such file or directory',
    ('report', 'run.log', '--steps', '14:16'): '--steps must be within 0:15, the steps that were recorded, got 14:16',
    ('report', 'run.log', '--run', '9'): 'run.log: it has the runs 1 to 1, and no run 9',
    ('check', 'train:batches', '--items', '0'): '--items must be at least 1, got 0',
    ('check', 'train:batches', '--ignore', 'bugs'): '`ignore` must be kinds of findings, ',
    ('show', 'nowhere:batches'): "there is no module 'nowhere', neither here nor installed",
}


def test_wrong_use_is_an_error_without_a_traceback(folder, capsys):
    trained(folder)
    for arguments, message in WRONG.items():
        status, _, err = run(capsys, *arguments)
        assert status == 2
        assert err.startswith(f'itpipe {arguments[0]}: {message}')
        assert err.count('\n') == 1
    for arguments in (
        (),
        ('replay',),
        ('nothing',),
        ('replay', 'run.log', '--pipeline', 'a:b', '--step', 'x'),
        ('report', 'run.log', '--steps', '3'),
    ):
        status, _, err = run(capsys, *arguments)
        assert status == 2
        assert err.startswith('usage: itpipe')


def test_errors_of_the_users_code_are_raised_as_they_are(folder):
    (folder / 'train_broken.py').write_text('def make():\n    raise ValueError("mine")\n')
    with pytest.raises(ValueError, match='^mine$'):
        main(['show', 'train_broken:make'])


def test_help_explains_each_command_with_an_example(capsys):
    status, out, _ = run(capsys, '--help')
    commands = re.findall(r'^    (\w+) ', out, re.MULTILINE)
    assert (status, {'replay', 'diff', 'report', 'show', 'check'} <= {*commands}) == (0, True)
    assert 'exit status: 0 all is well; 1 something was found; 2' in out
    for command in commands:
        status, out, _ = run(capsys, command, '--help')
        assert status == 0
        assert f'    itpipe {command} ' in out
        assert max(map(len, out.splitlines())) <= 120
    assert run(capsys, '--version')[1] == f'itpipe {itpipe.__version__}\n'


def test_the_version_is_that_of_the_distribution_and_the_script_is_installed():
    project = tomllib.loads((Path(ROOT) / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    assert project['dynamic'] == ['version']  # read from `_core/version.py`, see `project/test_package.py`
    assert itpipe.__version__ == VERSION
    assert project['scripts'] == {'itpipe': 'itpipe.tools.command:main'}


def test_output_may_end_early(folder):
    trained(folder)
    command = f'{sys.executable} -m itpipe report run.log | true; {sys.executable} -m itpipe report run.log >/dev/full'
    done = subprocess.run(
        ['bash', '-c', command],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=folder,
        check=False,
    )
    assert done.stderr == 'itpipe report: [Errno 28] No space left on device\n'
    assert done.returncode == 2


@pytest.mark.parametrize(
    ('command', 'instead'),
    [
        ('explain', 'print(itpipe.explain(batch_iter))'),
        ('stats', 'print(batch_iter.stats())'),
        ('watch', 'with itpipe.watch(batch_iter): …'),
    ],
)
def test_what_looks_into_a_run_of_this_process_is_no_command(capsys, command, instead):
    text = f'itpipe {command}: there is no such command; in Python: `{instead}`\n'
    assert run(capsys, command, 'train:batches') == (2, '', text)
    assert run(capsys, command) == (2, '', text)


def test_ctrl_c_ends_it_quietly(capsys, monkeypatch):
    def interrupted(given):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, 'doctor', interrupted)
    assert run(capsys, 'doctor') == (130, '', '')
