"""Trainings with Hugging Face's `Trainer` itself that are stopped and go on: the same batches and losses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import raises

import itpipe
from itpipe import Infinite, batch_by, bucket_by, combine, shuffle, stream, with_rng
from itpipe.integrations.torch import loader, to_torch

torch = pytest.importorskip('torch')


def item(n: int, rng: np.random.Generator) -> dict[str, Any]:
    return {'x': np.array([n, rng.random()], np.float32), 'labels': np.float32(n % 2), 'n': n}


def batches() -> Infinite[Any]:
    """Those of five steps to an epoch."""
    source = stream(range(20), seed=0)
    return Infinite(source | shuffle(7) | with_rng(item) | batch_by(4) | combine | to_torch(), batches_per_epoch=5)


class Model(torch.nn.Module):  # type: ignore[misc]
    """It remembers the batches and losses, and raises an error with the step after `stop`."""

    def __init__(self, stop: int | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.drop = torch.nn.Linear(2, 1), torch.nn.Dropout(0.3)
        self.stop, self.seen = stop, []

    def forward(self, x: Any, labels: Any, n: Any) -> dict[str, Any]:
        if len(self.seen) == self.stop:
            self.end()
        loss = ((self.layer(self.drop(x))[:, 0] - labels) ** 2).mean()
        self.seen.append((n.tolist(), loss.item()))
        return {'loss': loss}

    def end(self) -> None:
        raise InterruptedError


def train(
    where: Path,
    stop: int | None = None,
    checkpoint: Path | None = None,
    callback: bool = True,
    made: Callable[[], Infinite[Any]] = batches,
    **options: Any,
) -> list[Any]:
    """The batches and losses of a training, which is stopped, or goes on from a checkpoint."""
    transformers = pytest.importorskip('transformers')
    pytest.importorskip('accelerate')
    defaults = {'max_steps': 12, 'save_steps': 3, 'report_to': 'none', 'use_cpu': True, 'disable_tqdm': True}
    arguments = transformers.TrainingArguments(str(where), remove_unused_columns=False, **(defaults | options))
    model = Model(stop)
    with made() as batch_iter:
        train_loader = loader(batch_iter)

        class Trainer(transformers.Trainer):  # type: ignore[misc]
            def get_train_dataloader(self) -> Any:
                return train_loader

        trainer = Trainer(model, arguments, callbacks=[train_loader.trainer_callback] if callback else [])
        try:
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        except InterruptedError:
            assert stop is not None
    return model.seen


def last_checkpoint(where: Path) -> Path:
    return max(where.glob('checkpoint-*'), key=lambda path: int(path.name.partition('-')[2]))


def with_trainers(test: Any) -> Any:
    for mark in (
        pytest.mark.filterwarnings('default'),
        pytest.mark.leaves_threads('torch and transformers keep what they start'),
        pytest.mark.timeout(300),
    ):
        test = mark(test)
    return test


@with_trainers
@pytest.mark.long
@pytest.mark.parametrize(
    ('options', 'stops'),
    [
        ({}, [4, 7, 8, 10]),
        ({'max_steps': -1, 'num_train_epochs': 3, 'save_strategy': 'epoch'}, [8]),
        ({'max_steps': 7, 'gradient_accumulation_steps': 2}, [7, 9, 11]),
        ({'ignore_data_skip': True}, [8, 11]),
        ({'restore_callback_states_from_checkpoint': True}, [8]),
    ],
)
def test_it_goes_on_exactly(tmp_path: Path, options: dict[str, Any], stops: list[int]) -> None:
    """The same batches and losses, also where dropout draws."""
    whole = train(tmp_path / 'whole', **options)
    assert len(whole) == (15 if 'num_train_epochs' in options else 12)
    for stop in stops:
        where = tmp_path / f'stopped-{stop}'
        assert train(where, stop, **options) == whole[:stop]
        rest = train(where, checkpoint=last_checkpoint(where), **options)
        assert len(whole) - stop <= len(rest) < len(whole)
        assert rest == whole[-len(rest) :]


def batches_without_a_length() -> Infinite[Any]:
    """Those of about five steps to an epoch."""
    source = stream(range(20), seed=0) | shuffle(7) | with_rng(item)
    lists = bucket_by(lambda each: 1 + each['n'] % 3, window=8, limit=8)
    return Infinite(source | lists | combine | to_torch())


@with_trainers
@pytest.mark.long
def test_it_goes_on_over_the_ends_of_epochs_without_a_length(tmp_path: Path) -> None:
    whole = train(tmp_path / 'whole', made=batches_without_a_length, max_steps=16)
    assert len(whole) == 16
    for stop in (4, 10):
        where = tmp_path / f'stopped-{stop}'
        train(where, stop, made=batches_without_a_length, max_steps=16)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            rest = train(where, checkpoint=last_checkpoint(where), made=batches_without_a_length, max_steps=16)
        assert rest == whole[-len(rest) :]
        assert len(rest) >= 16 - stop
        assert [str(each.message) for each in caught if 'loader:' in str(each.message)] == []


@with_trainers
@pytest.mark.long
def test_without_the_callback_a_warning_says_what_is_done(tmp_path: Path) -> None:
    train(tmp_path, callback=False)
    with pytest.warns(UserWarning, match='loader: the trainer skips 4 batches'):
        assert len(train(tmp_path, checkpoint=tmp_path / 'checkpoint-9', callback=False)) == 3


@with_trainers
@pytest.mark.long
def test_evaluation_has_each_item_once_each_time(tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    source = stream(range(18), seed=0) | with_rng(item) | batch_by(4) | combine | to_torch()
    with batches() as batch_iter, Infinite(source, restart=True) as valid:
        train_loader, valid_loader = loader(batch_iter), loader(valid)

        class Trainer(transformers.Trainer):  # type: ignore[misc]
            def get_train_dataloader(self) -> Any:
                return train_loader

            def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
                return valid_loader

        class Evaluated(Model):
            def forward(self, x: Any, labels: Any, n: Any) -> dict[str, Any]:
                return super().forward(x, labels, n) | {'logits': n}

        seen: list[list[int]] = []
        arguments = transformers.TrainingArguments(
            str(tmp_path), remove_unused_columns=False, report_to='none', use_cpu=True, disable_tqdm=True,
            max_steps=4, eval_strategy='steps', eval_steps=2,
        )  # fmt: skip
        Trainer(
            Evaluated(), arguments, callbacks=[train_loader.trainer_callback], eval_dataset=[None],
            compute_metrics=lambda results: seen.append(results.predictions.tolist()) or {},
        ).train()  # fmt: skip
    assert seen == [[*range(18)]] * 2


SCRIPT = """
import json, os, signal, sys
from pathlib import Path

sys.path[:0] = {paths!r}
from tests.integrations.test_transformers import Model, last_checkpoint, train

where, stop, again = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ['again']
Model.end = lambda self: os.kill(os.getpid(), signal.SIGKILL)
seen = train(where, stop, last_checkpoint(where) if again else None)
(where / 'seen.json').write_text(json.dumps(seen))
"""


@with_trainers
@pytest.mark.long
def test_a_training_that_is_killed(tmp_path: Path) -> None:
    root = Path(itpipe.__file__).parents[1]
    script = tmp_path / 'train.py'
    script.write_text(SCRIPT.format(paths=[str(root), str(root / 'tests' / 'support')]))

    def run(name: str, stop: int, *more: str) -> int:
        where = tmp_path / name
        where.mkdir(exist_ok=True)
        return subprocess.run([sys.executable, script, where, str(stop), *more], check=False).returncode

    assert run('whole', -1) == 0
    assert run('killed', 8) == -signal.SIGKILL
    assert run('killed', -1, 'again') == 0
    whole, rest = (json.loads((tmp_path / name / 'seen.json').read_text()) for name in ('whole', 'killed'))
    assert rest == whole[6:]


# ---------------------------------------------------------------------------------------------------------------------
# What the Trainer calls, imitated


@pytest.fixture
def _transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('transformers', 'transformers.trainer_callback'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules['transformers'].TrainerCallback = type('TrainerCallback', (), {})  # type: ignore[attr-defined]
    sys.modules['transformers.trainer_callback'].ExportableState = type('ExportableState', (), {})  # type: ignore[attr-defined]


def control(save: bool = False, evaluate: bool = False) -> Any:
    return types.SimpleNamespace(should_save=save, should_evaluate=evaluate)


@pytest.mark.usefixtures('_transformers')
def test_a_checkpoint_that_a_callback_behind_asks_for_has_the_latest_state() -> None:
    with Infinite(range(20), batch_size=2, batches_per_epoch=5) as batch_iter:
        train_loader = loader(batch_iter)
        callback, epoch = train_loader.trainer_callback, iter(train_loader)
        next(epoch)
        callback.on_step_end(None, None, control(save=True))
        next(epoch)
        callback.on_step_end(None, None, control())
        assert callback.state()['attributes']['states'] == [train_loader.state_dict()]


@pytest.mark.usefixtures('_transformers')
def test_with_several_ranks_a_checkpoint_never_has_old_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where `save_strategy='best'` decides behind the evaluation, nor where a callback behind asks for it."""
    with Infinite(range(40), batch_size=2, batches_per_epoch=5, seed=0, shard=(0, 2)) as batch_iter:
        train_loader = loader(batch_iter)
        callback, epoch = train_loader.trainer_callback, iter(train_loader)
        gathered = types.SimpleNamespace(
            get_world_size=lambda: 2, all_gather_object=lambda into, own: into.__setitem__(slice(None), [own, own])
        )
        monkeypatch.setattr(itpipe.integrations.transformers, 'distributed', lambda: gathered)
        next(epoch)
        callback.on_step_end(types.SimpleNamespace(save_strategy='best'), None, control(evaluate=True))
        assert callback.state()['attributes']['states'] == [train_loader.state_dict()] * 2
        next(epoch)
        callback.on_step_end(types.SimpleNamespace(save_strategy='steps'), None, control(evaluate=True))
        with pytest.warns(UserWarning, match='^trainer_callback: the checkpoint does not have the states of the ranks'):
            saved = callback.state()
        trained = types.SimpleNamespace(global_step=2, stateful_callbacks={'ItpipeState': saved})
        with pytest.raises(ValueError, match='^trainer_callback: the checkpoint does not have the states of the ranks'):
            callback.on_train_begin(None, trained, control())


@pytest.mark.usefixtures('_transformers')
def test_each_rank_goes_on_by_its_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all ranks are gathered before rank 0 is asked for them."""

    def rank(n: int, ranks: int = 2) -> Any:
        return loader(Infinite(range(40), shuffle(9), batch_size=2, batches_per_epoch=5, seed=0, shard=(n, ranks)))

    ranks = [rank(n) for n in range(2)]
    callbacks = [each.trainer_callback for each in ranks]
    epochs = [iter(each) for each in ranks]
    for epoch in epochs:
        for _ in range(3):
            next(epoch)
    states = [each.state_dict() for each in ranks]
    gathered = types.SimpleNamespace(
        get_world_size=lambda: 2, all_gather_object=lambda into, own: into.__setitem__(slice(None), states)
    )
    monkeypatch.setattr(itpipe.integrations.transformers, 'distributed', lambda: gathered)
    save, none = control(save=True), control()
    callbacks[0].on_step_end(None, None, none)
    assert callbacks[0].states is None
    callbacks[0].on_step_end(None, None, save)
    saved = json.loads(json.dumps(callbacks[0].state()))
    rests = [[batch.tolist() for batch in epoch] for epoch in epochs]

    trained = types.SimpleNamespace(global_step=3, stateful_callbacks={'ItpipeState': saved})
    for n in range(2):
        again = rank(n)
        again.trainer_callback.on_train_begin(None, trained, none)
        assert [batch.tolist() for batch in again] == rests[n]
        again.trainer_callback.on_train_end(None, trained, none)
        ranks[n].close()
    alone = rank(0, ranks=1)
    alone.trainer_callback.on_train_begin(None, trained, none)
    got = [*alone, *islice(alone, 2)]
    assert {x for batch in got for x in batch.tolist()} == {x for rest in rests for batch in rest for x in batch}
    alone.close()


@pytest.mark.usefixtures('_transformers')
def test_a_training_that_begins_loads_nothing() -> None:
    with Infinite(range(8), batch_size=2, batches_per_epoch=4) as batch_iter:
        train_loader = loader(batch_iter)
        callback = train_loader.trainer_callback
        begun = types.SimpleNamespace(global_step=0, stateful_callbacks={'ItpipeState': callback.state()})
        next(iter(train_loader))
        state = train_loader.state_dict()
        callback.on_train_begin(None, begun, None)
        assert train_loader.state_dict() == state


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with raises(ImportError, 'trainer_callback: it needs transformers: pip install transformers'):
        loader(Infinite([1])).trainer_callback
