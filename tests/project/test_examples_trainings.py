"""The trainings of examples/: each is killed by SIGKILL and goes on, with the losses of one that was left alone."""

import re
import shutil
import signal
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from running import module_of
from scripts import EXAMPLES, ROOT, SECONDS, run_example, skip_without_packages

KILLING = ROOT / 'tests' / 'support' / 'killing.py'
PAGE = ROOT / 'docs' / 'trainings.md'
SETTINGS = {
    'CUDA_VISIBLE_DEVICES': '',  # the tests are not about the arithmetic of devices
    'HF_HUB_OFFLINE': '1',
    'OMP_NUM_THREADS': '1',
    'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
}


class Training(NamedTuple):
    length: tuple[str, ...]
    checkpoint: str  # the option
    killed: str  # how the line begins after which it is killed
    again: str | tuple[str, ...]  # how the first line of what goes on begins
    lines: int | None  # how many of them have a loss, if that does not depend on the length of a text
    launcher: tuple[str, ...] = ()
    status: int = -signal.SIGKILL


TORCHRUN = '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node'
TRAININGS = {
    'ddp.py': Training(('--steps', '25'), '--checkpoint', 'step 17:', 'step 11:', 25, (*TORCHRUN, '2'), 1),
    'hf_trainer.py': Training(('--epochs', '3'), '--output', 'step 17:', 'step 11:', None),
    # Orbax writes in the background: at step 20 it begins once the checkpoint of step 10 is whole.
    'jax_flax.py': Training(('--steps', '25'), '--checkpoints', 'step 22:', ('step 11:', 'step 21:'), 25),
    'keras_fit.py': Training(('--epochs', '3'), '--checkpoints', 'epoch 2:', 'epoch 2:', 3),
    'lightning_fit.py': Training(('--steps', '25'), '--checkpoints', 'step 17:', 'step 15:', 25),
    'pytorch_images.py': Training(('--epochs', '2'), '--checkpoint', 'step 57:', 'step 51:', 90),
    'sklearn_partial_fit.py': Training(('--epochs', '2'), '--checkpoint', 'step 57:', 'step 51:', 88),
}
LONG = [
    pytest.param(name, marks=[pytest.mark.long] * (name != 'sklearn_partial_fit.py'), id=name) for name in TRAININGS
]


def in_full(printed: str) -> list[str]:
    """The lines that have a loss or an accuracy."""
    return [line for line in printed.splitlines() if re.match(r'(step|epoch) \d+: ', line)]


def run(name: str, folder: Path, *options: Any, ranks: str = '', **environment: str) -> list[str]:
    launcher = [*TORCHRUN, ranks] if ranks else TRAININGS[name].launcher
    command = [*launcher, EXAMPLES / name, *TRAININGS[name].length, *options]
    return in_full(run_example(command, folder, **{**SETTINGS, **environment}))


def killed(name: str, folder: Path, *options: Any, **environment: str) -> list[str]:
    """What it prints until it is killed."""
    length, _, last, _, _, launcher, status = TRAININGS[name]
    command = [*launcher, KILLING, last, EXAMPLES / name, *length, *options]
    lines = in_full(run_example(command, folder, status, **{**SETTINGS, **environment}))
    assert lines[-1].startswith(last)
    return lines


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize('name', LONG)
def test_a_training_that_is_killed_goes_on_with_the_same_losses(name, tmp_path):
    skip_without_packages(EXAMPLES / name)
    check(name, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS)
def test_keras_goes_on_with_jax_too(tmp_path):
    skip_without_packages(EXAMPLES / 'keras_fit.py')
    pytest.importorskip('jax')
    check('keras_fit.py', tmp_path, KERAS_BACKEND='jax')


def check(name: str, folder: Path, **environment: str) -> None:
    training = TRAININGS[name]
    alone = run(name, folder, **environment)
    assert training.lines in (None, len([line for line in alone if 'loss' in line]))
    checkpoint = training.checkpoint, folder / 'saved'
    before = killed(name, folder, *checkpoint, **environment)
    after = run(name, folder, *checkpoint, **environment)
    assert after[0].startswith(training.again)
    assert before == alone[: len(before)]
    assert after == alone[-len(after) :]
    assert len(before) + len(after) > len(alone)  # some steps were done again
    if name == 'jax_flax.py':
        assert all(line.endswith(', on 2 devices') for line in alone)


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize('ranks', ['1', '3'])
def test_ddp_goes_on_with_another_number_of_ranks(ranks, tmp_path):
    """All ranks together get the same batches, so the losses differ by rounding only."""
    check_elsewhere('ddp.py', tmp_path, ranks=ranks)


@pytest.mark.long
@pytest.mark.timeout(4 * SECONDS)
def test_jax_goes_on_with_another_number_of_devices(tmp_path):
    lines = check_elsewhere('jax_flax.py', tmp_path, XLA_FLAGS='')
    assert all(line.endswith(', on 1 devices') for line in lines)


def check_elsewhere(name: str, folder: Path, **changed: str) -> list[str]:
    """What it prints where it was killed and goes on in another way: the same losses, but for rounding."""
    training = TRAININGS[name]
    skip_without_packages(EXAMPLES / name)
    killed(name, folder, training.checkpoint, folder / 'saved')
    copy = shutil.copytree if (folder / 'saved').is_dir() else shutil.copy
    copy(folder / 'saved', folder / 'copy')
    same = run(name, folder, training.checkpoint, folder / 'saved')
    other = run(name, folder, training.checkpoint, folder / 'copy', **changed)
    assert same[0].startswith(training.again)
    assert len(other) == len(same)
    for one, two in zip(other, same, strict=True):
        (step, loss), (same_step, same_loss) = (re.match(r'(.*): loss ([^,]*)', line).groups() for line in (one, two))
        assert step == same_step
        assert float(loss) == pytest.approx(float(same_loss), rel=1e-5)
    return other


@pytest.mark.long
@pytest.mark.parametrize('name', TRAININGS)
def test_help(name, tmp_path):
    skip_without_packages(EXAMPLES / name)
    assert f' {TRAININGS[name].checkpoint} ' in run_example([EXAMPLES / name, '--help'], tmp_path, **SETTINGS)


def test_the_page_has_the_whole_script_of_the_port():
    port = PAGE.read_text(encoding='utf-8').partition('### A port in five minutes')[2]
    shown = re.search(r'^```python\n(.*?)^```$', port, re.MULTILINE | re.DOTALL)[1]
    assert shown == (EXAMPLES / 'pytorch_images.py').read_text(encoding='utf-8')


def loaded(name: str) -> Any:
    skip_without_packages(EXAMPLES / name)
    return module_of(EXAMPLES / name)


def test_ddp_refuses_ranks_that_would_have_other_batches(monkeypatch):
    ddp = loaded('ddp.py')
    monkeypatch.setattr(ddp, 'dist', SimpleNamespace(get_rank=lambda: 0, get_world_size=lambda: 5))
    with pytest.raises(SystemExit, match='^the number of ranks must divide 48, got 5$'):
        ddp.train(1, None)


def test_images_are_there_only_if_all_were_written(tmp_path, monkeypatch):
    images = loaded('pytorch_images.py')
    digits = SimpleNamespace(images=np.zeros((4, 8, 8)), target=[0, 1, 0, 1])
    monkeypatch.setattr(images, 'load_digits', lambda: digits)

    def killed(self, target):
        raise KeyboardInterrupt

    folder = tmp_path / 'digits'
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), 'rename', killed)
        with pytest.raises(KeyboardInterrupt):
            images.write_digits(folder)
    assert not folder.exists()
    images.write_digits(folder)
    assert len([*folder.glob('*/*.jpeg')]) == 4
    assert [*tmp_path.iterdir()] == [folder]


@pytest.mark.long
def test_a_checkpoint_of_keras_counts_only_if_it_is_whole(tmp_path, monkeypatch):
    keras_fit = loaded('keras_fit.py')
    model = SimpleNamespace(save=lambda path: path.touch())
    batch_iter = SimpleNamespace(state_dict=lambda: {'batch': 1})

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras_fit.os, 'replace', killed)
        with pytest.raises(KeyboardInterrupt):
            keras_fit.save(tmp_path / '3.json', model, batch_iter)
    assert [*tmp_path.glob('*.json')] == []
    keras_fit.save(tmp_path / '3.json', model, batch_iter)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['3.json', '3.keras']


@pytest.mark.parametrize('name', TRAININGS)
def test_a_training_is_short_and_says_what_to_install(name):
    source = (EXAMPLES / name).read_text(encoding='utf-8')
    assert source.count('\n') < 100
    [extra] = re.findall(r"`pip install 'itpipe\[(\w+)\]'`", source)
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    installed = {re.split(r'\W', line.replace('-', '_'))[0] for line in project['optional-dependencies'][extra]}
    names = {'PIL': 'pillow', 'sklearn': 'scikit_learn', 'orbax.checkpoint': 'orbax_checkpoint'}
    [required] = re.findall(r'^# requires: (.+)$', source, re.MULTILINE)
    assert {names.get(package, package) for package in required.split(', ')} <= installed


def test_the_documentation_shows_lines_of_each():
    """A part of each training, line for line, or the whole, behind a comment that names it."""
    shown = dict.fromkeys(TRAININGS, 0)
    parts = r'<!-- not run: (?:a part|the whole) of examples/(\S+), which is -->\s*```python\n(.*?)```'
    for name, code in re.findall(parts, PAGE.read_text(encoding='utf-8'), re.DOTALL):
        lines = {line.strip() for line in (EXAMPLES / name).read_text(encoding='utf-8').splitlines()}
        assert {line.strip() for line in code.splitlines()} - {'...'} <= lines
        shown[name] += 1
    assert set(shown.values()) == {1}
