"""examples/resume.py, where running it as it is does not lead: losses that differ, and a save that breaks off."""

import pickle
import re
import sys
from pathlib import Path

import pytest
from running import module_of

for name in ('matplotlib', 'sklearn', 'threadpoolctl'):
    pytest.importorskip(name)

SCRIPT = Path(__file__).parents[2] / 'examples' / 'resume.py'


@pytest.fixture(scope='module')
def resume():
    return module_of(SCRIPT)


@pytest.mark.many(2)
@pytest.mark.parametrize(
    ('changed', 'complaint'),
    [({}, None), ({25: 0.5}, 'the losses differ at step 25'), ({30: None}, 'the losses differ at step 30')],
)
def test_what_is_not_as_if_left_alone_is_a_failure(resume, monkeypatch, capsys, tmp_path, changed, complaint):
    """Another loss, and a step that was left out; not that some steps are done again."""
    alone = {step: 1 / step for step in range(1, 41)}
    parts = [range(1, 14), range(11, 25), range(21, 32), range(31, 41)]

    def run(checkpoint, epochs, workers, kill_at=None):
        if checkpoint.stem == 'alone':
            return alone, False
        losses = {step: changed.get(step, alone[step]) for step in parts.pop(0)}
        return {step: loss for step, loss in losses.items() if loss is not None}, kill_at is not None

    monkeypatch.setattr(resume, 'run', run)
    if complaint is None:
        resume.compare(1, tmp_path / 'out.png')
    else:
        with pytest.raises(SystemExit, match=f'^{complaint}$'):
            resume.compare(1, tmp_path / 'out.png')
    assert (tmp_path / 'out.png').read_bytes().startswith(b'\x89PNG')
    same = f'{40 - len(changed)} of 40 losses are the same, bit for bit; '
    assert same in capsys.readouterr().out


def test_the_old_checkpoint_stays_until_the_new_one_is_whole(resume, monkeypatch, tmp_path):
    path = tmp_path / 'run.pickle'
    resume.save(path, {'step': 10})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.os, 'replace', killed)
        with pytest.raises(KeyboardInterrupt):
            resume.save(path, {'step': 20})
    assert pickle.loads(path.read_bytes()) == {'step': 10}
    resume.save(path, {'step': 30})
    assert pickle.loads(path.read_bytes()) == {'step': 30}
    assert [*tmp_path.iterdir()] == [path]


def test_the_documentation_shows_lines_of_it():
    page = (SCRIPT.parent.parent / 'docs' / 'resuming.md').read_text(encoding='utf-8')
    blocks = re.findall(r'<!-- not run: a part of examples/resume.py.*?```python\n(.*?)```', page, re.DOTALL)
    lines = {line.strip() for line in SCRIPT.read_text(encoding='utf-8').splitlines()}
    assert len(blocks) == 2
    assert {line.strip() for block in blocks for line in block.splitlines()} <= lines


def test_wrong_arguments(resume, monkeypatch, capsys):
    for arguments, complaint in (
        (['--epochs', '0'], '--epochs must be at least 1'),
        (['--out', 'no/such.png'], '--out: there is no folder no'),
    ):
        monkeypatch.setattr(sys, 'argv', ['resume.py', *arguments])
        with pytest.raises(SystemExit, match='2'):
            resume.main()
        assert capsys.readouterr().err.endswith(f'resume.py: error: {complaint}\n')
