"""The callback for Lightning: it closes an `Infinite`, and has it in the checkpoints.

What Lightning calls is imitated here, so that these tests run without it; the last ones train with the real one.
"""

import copy
import json
import os
import re
import subprocess
import sys
import threading
import types
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import raises

import itpipe.integrations.lightning
from itpipe import Infinite, shuffle


@pytest.mark.parametrize('package', ['lightning.pytorch', 'pytorch_lightning'])
def test_the_closing_callback_closes_however_training_ends(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    class Callback:
        pass

    name = ''
    for part in f'{package}.callbacks'.split('.'):
        name = f'{name}.{part}'.strip('.')
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    if package == 'pytorch_lightning':
        monkeypatch.setitem(sys.modules, 'lightning', None)
    sys.modules[f'{package}.callbacks'].Callback = Callback  # type: ignore[attr-defined]

    before = threading.enumerate()
    batch_iter = Infinite(range(10**9), batches_per_epoch=2)
    callback = batch_iter.closing_callback
    assert isinstance(callback, Callback)
    for end in (
        lambda: callback.teardown(None, None, 'fit'),
        lambda: callback.on_exception(None, None, KeyboardInterrupt()),
        lambda: callback.on_exception(trainer=None, pl_module=None, exception=ValueError()),
        lambda: callback.teardown(trainer=None, pl_module=None, stage='test'),
    ):
        assert list(batch_iter) == [0, 1]
        assert threading.enumerate() != before
        end()
        assert threading.enumerate() == before
        end()


def test_without_lightning_there_is_no_closing_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'lightning', None)
    monkeypatch.setitem(sys.modules, 'pytorch_lightning', None)
    with raises(ImportError, 'Infinite.closing_callback: needs Lightning: pip install lightning'):
        Infinite([1]).closing_callback


class Trainer:
    """What the callback asks of Lightning's: what it trains on, whether an epoch ends, and what it is running."""

    interrupted = False

    def __init__(self, loader: Any, last: bool = False, fn: str = 'fit'):
        self.train_dataloader, self.is_last_batch, self.state = loader, last, types.SimpleNamespace(fn=fn)


@pytest.fixture
def _lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('lightning', 'lightning.pytorch', 'lightning.pytorch.callbacks'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules['lightning.pytorch.callbacks'].Callback = object  # type: ignore[attr-defined]


def numbers(length: int | None = 4, start: int = 0) -> Infinite[Any]:
    return Infinite(range(start, start + 12), shuffle(6), batches_per_epoch=length, seed=0)


def save(trainer: Trainer, *callbacks: Any) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {}
    for callback in callbacks:
        callback.on_save_checkpoint(trainer, None, checkpoint)
    return checkpoint


@pytest.mark.usefixtures('_lightning')
@pytest.mark.parametrize('taken', range(1, 5))
@pytest.mark.parametrize('length', [4, 6])
def test_a_checkpoint_goes_on_behind_the_last_batch(taken: int, length: int) -> None:
    """Within an epoch with the rest of it, at its end with the next, though `batch_iter` has more for this one."""
    with numbers(length) as batch_iter:
        first = batch_iter()
        for _ in range(taken):
            next(first)
        checkpoint = save(Trainer(batch_iter, last=taken == 4), batch_iter.closing_callback)
        rest = [*first] if taken < 4 else []
        following = [*batch_iter]
    with numbers(length) as batch_iter:
        callback = batch_iter.closing_callback
        trainer = Trainer(batch_iter)
        callback.on_load_checkpoint(trainer, None, checkpoint)
        batch_iter.load_state_dict(numbers(length).state_dict())  # as Lightning does, of its own accord
        callback.on_train_start(trainer, None)
        if taken < 4:
            assert [*batch_iter] == rest
        assert [*batch_iter] == following
        state = batch_iter.state_dict()
        callback.on_train_start(trainer, None)  # of another `fit`
        assert batch_iter.state_dict() == state


@pytest.mark.usefixtures('_lightning')
def test_each_of_several_goes_on_by_its_own_state() -> None:
    with numbers() as train, numbers(2, start=100) as valid:
        epoch = train()
        next(epoch)
        assert len([*valid]) == 2
        checkpoint = save(Trainer(train), train.closing_callback, valid.closing_callback)
        rest = [*epoch], [*valid]
    with numbers() as train, numbers(2, start=100) as valid:
        callbacks = train.closing_callback, valid.closing_callback
        for callback in callbacks:
            callback.on_load_checkpoint(Trainer(train), None, checkpoint)
        for callback in callbacks:
            callback.on_train_start(Trainer(train), None)
        assert ([*train], [*valid]) == rest


@pytest.mark.usefixtures('_lightning')
def test_a_checkpoint_says_nothing_to_what_is_tested() -> None:
    """Nor does one in which there is nothing of this, as those of other programs."""
    with numbers() as batch_iter:
        first = [*batch_iter]
        checkpoint = save(Trainer(batch_iter), batch_iter.closing_callback)
    for trainer, given in ((Trainer(batch_iter, fn='test'), checkpoint), (Trainer(batch_iter), {})):
        with numbers() as batch_iter:
            callback = batch_iter.closing_callback
            callback.on_load_checkpoint(trainer, None, given)
            callback.on_train_start(trainer, None)
            assert [*batch_iter] == first


@pytest.mark.usefixtures('_lightning')
def test_without_a_length_only_the_end_of_an_epoch_is_exact_and_a_warning_says_so() -> None:
    with numbers(None) as batch_iter:
        epoch = batch_iter()
        next(epoch)
        with pytest.warns(UserWarning, match='^' + re.escape(itpipe.integrations.lightning.LOSES_BATCH) + '$'):
            save(Trainer(batch_iter), batch_iter.closing_callback)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            save(Trainer(None), batch_iter.closing_callback)  # one for validation, whose batches are not counted
            assert len([*epoch]) == 11
            checkpoint = save(Trainer(batch_iter, last=True), batch_iter.closing_callback)
        following = [*batch_iter]
    with numbers(None) as batch_iter:
        callback = batch_iter.closing_callback
        callback.on_load_checkpoint(Trainer(batch_iter), None, checkpoint)
        ahead = batch_iter()
        got = [next(ahead)]  # as Lightning does before the training starts
        callback.on_train_start(Trainer(batch_iter), None)
        assert [*got, *ahead] == following


class Distributed(types.ModuleType):
    """As `torch.distributed` on each rank in turn, of which the states are known."""

    rank = 0

    def __init__(self, *states: dict[str, Any]):
        self.states = states

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def get_rank(self) -> int:
        return self.rank

    def get_world_size(self) -> int:
        return len(self.states)

    def all_gather_object(self, gathered: list[Any], state: dict[str, Any]) -> None:
        assert state == self.states[self.rank]
        gathered[:] = self.states


def one_of(rank: int, ranks: int) -> Infinite[Any]:
    return Infinite(range(21), shuffle(6), batches_per_epoch=4, seed=0, shard=(rank, ranks))


def loaded(checkpoint: dict[str, Any], batch_iter: Infinite[Any]) -> None:
    """Into `batch_iter` and, before the training starts, by Lightning itself."""
    checkpoint, callback = copy.deepcopy(checkpoint), batch_iter.closing_callback
    callback.on_load_checkpoint(Trainer(batch_iter), None, checkpoint)
    stranger, own = checkpoint['loops']['fit_loop']['state_dict']['combined_loader']
    assert stranger == {'of': 'another'}
    batch_iter.load_state_dict(own)
    callback.on_train_start(Trainer(batch_iter), None)


@pytest.mark.usefixtures('_lightning')
@pytest.mark.filterwarnings('ignore:Infinite. an epoch')  # of the last items there are fewer
@pytest.mark.parametrize('ranks', [1, 2, 3, 4])
def test_each_rank_goes_on_by_its_own_state_and_another_number_by_that_of_all(
    ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    olds = [one_of(rank, 3) for rank in range(3)]
    epochs = [old() for old in olds]
    got = [next(epoch) for epoch in epochs for _ in range(3)]
    torch = Distributed(*(old.state_dict() for old in olds))
    monkeypatch.setitem(sys.modules, 'torch.distributed', torch)
    checkpoint = save(Trainer(olds[0]), olds[0].closing_callback)
    loaders = [{'of': 'another'}, olds[0].state_dict()]
    checkpoint['loops'] = {'fit_loop': {'state_dict': {'combined_loader': loaders}}}

    rest = []
    for rank in range(ranks):
        with one_of(rank, ranks) as batch_iter:
            loaded(checkpoint, batch_iter)
            within = [*batch_iter]
            assert len(within) == 1
            following = (item for _ in range(4) for item in batch_iter)
            rest.append([*within, *islice(following, 12 // ranks - 1)])
    if ranks == 3:
        assert rest == [[*epoch, *old] for epoch, old in zip(epochs, olds, strict=True)]
    assert sorted(sum(rest, got)) == [*range(21)]
    for old in olds:
        old.close()


@pytest.mark.usefixtures('_lightning')
def test_ranks_that_are_not_dealt_items_go_on_by_their_own_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a seed each has other randomness."""

    def batches() -> Infinite[Any]:
        return Infinite(range(12), shuffle(12), batches_per_epoch=4)

    olds = [batches(), batches()]
    epochs = [old() for old in olds]
    for epoch in epochs:
        next(epoch)
    torch = Distributed(*(old.state_dict() for old in olds))
    monkeypatch.setitem(sys.modules, 'torch.distributed', torch)
    checkpoint = save(Trainer(olds[0]), olds[0].closing_callback)
    checkpoint['loops'] = {'fit_loop': {'state_dict': {'combined_loader': [{'of': 'another'}, olds[0].state_dict()]}}}
    for torch.rank, (epoch, old) in enumerate(zip(epochs, olds, strict=True)):
        with batches() as batch_iter, old:
            loaded(checkpoint, batch_iter)
            assert [*batch_iter] == [*epoch]


@pytest.mark.usefixtures('_lightning')
def test_what_is_saved_because_one_rank_failed_does_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with one_of(1, 2) as batch_iter:
        monkeypatch.setitem(sys.modules, 'torch.distributed', Distributed())
        trainer = Trainer(batch_iter)
        trainer.interrupted = True
        checkpoint = save(trainer, batch_iter.closing_callback)
        rest = [*batch_iter]
    with one_of(1, 2) as batch_iter, one_of(0, 2) as other:
        callback = batch_iter.closing_callback
        callback.on_load_checkpoint(Trainer(batch_iter), None, copy.deepcopy(checkpoint))
        callback.on_train_start(Trainer(batch_iter), None)
        assert [*batch_iter] == rest
        with raises(ValueError, 'merge_states: `states` must be one of each rank of 2, got those of rank 1 of 2'):
            other.closing_callback.on_load_checkpoint(Trainer(other), None, checkpoint)


@pytest.mark.long
@pytest.mark.filterwarnings('default')
@pytest.mark.leaves_threads('torch and Lightning keep what they start')
@pytest.mark.timeout(300)
def test_a_training_with_lightning_itself_goes_on_exactly(tmp_path: Path) -> None:
    """From checkpoints after each step, and from those at the ends of epochs: batches and losses are the same."""
    torch = pytest.importorskip('torch')
    lightning = pytest.importorskip('lightning.pytorch')

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(1, 1), []

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = (self.layer(torch.from_numpy(batch)) ** 2).mean()
            self.seen.append((self.current_epoch, batch_idx, batch.tolist(), loss.item()))
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.1)

    def fit(checkpoint: Path | None = None, **when: Any) -> list[Any]:
        torch.manual_seed(0)
        data = np.arange(40, dtype=np.float32)[:, None]
        batch_iter = Infinite(data, shuffle(20), batch_size=4, batches_per_epoch=3, seed=0)
        saving = lightning.callbacks.ModelCheckpoint(tmp_path, '{step}', save_top_k=-1, **when)
        quiet = {'logger': False, 'enable_progress_bar': False, 'enable_model_summary': False, 'accelerator': 'cpu'}
        model = Model()
        callbacks = [saving, batch_iter.closing_callback]
        lightning.Trainer(max_epochs=4, callbacks=callbacks, **quiet).fit(model, batch_iter, ckpt_path=checkpoint)
        return model.seen

    for when, count in (({'every_n_train_steps': 1}, 10), ({'save_on_train_epoch_end': True}, 4)):
        whole = fit(**when)
        checkpoints = {int(path.stem.removeprefix('step=')): path for path in tmp_path.glob('*.ckpt')}
        assert len(whole) == 10
        assert len(checkpoints) == count
        for step, path in checkpoints.items():
            path.rename(tmp_path / f'{step}.old')
        for step in checkpoints:
            assert fit(tmp_path / f'{step}.old', **when) == whole[step:]
        for path in tmp_path.iterdir():
            path.unlink()


@pytest.mark.many(2)
@pytest.mark.filterwarnings('default')
@pytest.mark.leaves_threads('torch and Lightning keep what they start')
@pytest.mark.timeout(300)
@pytest.mark.parametrize('restart', [True, False])
def test_validation_sees_the_same_items_each_time_or_a_warning_says_what_to_write(restart: bool) -> None:
    """After the sanity check, and where `limit_val_batches` ends it."""
    torch = pytest.importorskip('torch')
    lightning = pytest.importorskip('lightning.pytorch')

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(1, 1), [[]]

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.layer(torch.tensor(batch, dtype=torch.float32)[:, None]).mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.seen[-1].append(batch.tolist())

        def on_validation_epoch_end(self) -> None:
            self.seen.append([])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    train = Infinite(range(40), batch_size=4, batches_per_epoch=3, seed=0)
    valid = Infinite(range(40), shuffle(40), batch_size=4, batches_per_epoch=5, seed=0, restart=restart)
    model = Model()
    quiet = {'logger': False, 'enable_progress_bar': False, 'enable_model_summary': False, 'accelerator': 'cpu'}
    callbacks = [train.closing_callback, valid.closing_callback]
    trainer = lightning.Trainer(
        max_epochs=2, limit_val_batches=3, enable_checkpointing=False, callbacks=callbacks, **quiet
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        trainer.fit(model, train, valid)
    told = [str(each.message) for each in caught if 'Infinite' in str(each.message)]
    assert told == [itpipe.integrations.lightning.GOES_ON] * (not restart)
    sanity, first, second, _ = model.seen
    assert (len(sanity), len(first)) == (2, 3)
    assert (sanity == first[:2] and first == second) is restart


@pytest.mark.filterwarnings('error')
def test_loaders_of_others_are_not_warned_of() -> None:
    class Loader(list[int]):
        restart = False

    itpipe.integrations.lightning._warn_of([Loader(), {'more': Infinite(range(2), batch_size=1, restart=True)}, None])


RANKS = """
import json, sys
import lightning.pytorch as L
import torch
from itpipe import Infinite, combine_lists, shuffle

where, place, ranks, steps, checkpoint = sys.argv[1:]


def batches(shard):
    options = {'batch_size': 2, 'batches_per_epoch': 4, 'seed': 0, 'combiner': combine_lists}
    return Infinite(range(60), shuffle(20), shard=shard, **options)


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.seen = torch.nn.Linear(1, 1), []

    def training_step(self, batch, batch_idx):
        self.seen.append([self.current_epoch, batch_idx, batch, self.layer.weight.item()])
        return (self.layer(torch.tensor(batch, dtype=torch.float32)[:, None]) ** 2).mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def on_train_end(self):
        with open(f'{where}/{self.global_rank}.json', 'w') as file:
            json.dump(self.seen, file)


class Data(L.LightningDataModule):
    def setup(self, stage):
        self.batch_iter = batches('env')
        self.trainer.callbacks.append(self.batch_iter.closing_callback)

    def train_dataloader(self):
        return self.batch_iter


saving = L.callbacks.ModelCheckpoint(where, '{step}', save_top_k=-1, every_n_train_steps=1)
quiet = {'logger': False, 'enable_progress_bar': False, 'enable_model_summary': False, 'accelerator': 'cpu'}
trainer = L.Trainer(devices=int(ranks), strategy='ddp', max_steps=int(steps), callbacks=[saving], **quiet)
if place == 'setup':
    trainer.fit(Model(), datamodule=Data(), ckpt_path=checkpoint or None)
else:
    batch_iter = batches((trainer.global_rank, trainer.world_size))
    trainer.callbacks.append(batch_iter.closing_callback)
    trainer.fit(Model(), batch_iter, ckpt_path=checkpoint or None)
"""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_ranks_with_lightning_itself_go_on_exactly_and_others_with_each_item_once(tmp_path: Path) -> None:
    pytest.importorskip('torch')
    pytest.importorskip('lightning.pytorch')
    script = tmp_path / 'train.py'
    script.write_text(RANKS)

    def fit(place: str, ranks: int, steps: int, checkpoint: Path | str = '') -> list[Any]:
        where = tmp_path / f'{place}-{ranks}'
        where.mkdir()
        environment = os.environ | {'PYTHONPATH': str(Path(itpipe.__file__).parents[1]), 'OMP_NUM_THREADS': '1'}
        subprocess.run(
            [sys.executable, script, where, place, str(ranks), str(steps), checkpoint], env=environment, check=True
        )
        return [json.loads(path.read_text()) for path in sorted(where.glob('*.json'))]

    whole = fit('setup', 2, 15)
    assert sorted(item for rank in whole for _, _, batch, _ in rank for item in batch) == [*range(60)]
    checkpoint = tmp_path / 'setup-2' / 'step=6.ckpt'
    assert fit('trainer', 2, 15, checkpoint) == [rank[6:] for rank in whole]
    rest = fit('trainer', 1, 24, checkpoint)
    assert len(rest) == 1
    seen = [*(rank[:6] for rank in whole), *rest]
    assert sorted(item for rank in seen for _, _, batch, _ in rank for item in batch) == [*range(60)]
