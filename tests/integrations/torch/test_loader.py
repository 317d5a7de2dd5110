"""An `Infinite` in the shape of a DataLoader: what trainers touch, and trainings with them that are stopped."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from running import raises

import itpipe
from itpipe import Infinite, batch_by, combine, flatten, parallel_map, shuffle, stream, take
from itpipe.integrations.torch import Loader, loader, to_device

torch = pytest.importorskip('torch')


def numbers(length: int | None = 4, **options: Any) -> Infinite[Any]:
    return Infinite(range(24), shuffle(9), batch_size=2, batches_per_epoch=length, seed=0, **options)


def values(batches: Any) -> list[Any]:
    return [batch.tolist() for batch in batches]


class TestWhatItHas:
    def test_epochs_are_those_of_the_infinite(self) -> None:
        with numbers() as plain, numbers() as batch_iter:
            batches = loader(batch_iter)
            for _ in range(4):
                assert values(batches) == values(plain)
            assert batches.state_dict() == plain.state_dict()
            assert repr(batches) == f'loader({batch_iter!r})'
            assert type(batches) is Loader

    def test_after_a_break_comes_the_next_epoch(self) -> None:
        with numbers() as plain, numbers() as batch_iter:
            batches = loader(batch_iter)
            assert values(islice(batches, 2)) == values(islice(plain, 2))
            assert values(batches) == values(plain)

    def test_its_length(self) -> None:
        assert len(loader(numbers())) == len(loader(numbers()).sampler) == len(loader(numbers()).batch_sampler) == 4
        assert len(loader(numbers(None))) == 12
        reason = (
            'Infinite: there is no len(), as <generator> does not say how many items it has; give `batches_per_epoch`,'
            ' which is then the length. If a sampler asks: a'
        )
        with raises(TypeError, f"{reason} loader is no dataset; let the Trainer's `get_train_dataloader` return it"):
            len(loader(Infinite(i for i in [])))

    @pytest.mark.parametrize(
        ('batch_iter', 'size'),
        [
            (lambda: numbers(), 2),
            (lambda: numbers(threads=2), 2),
            (lambda: Infinite(range(9) | parallel_map(batch_by(3) | combine, threads=1) | to_device('cpu')), 3),
            (lambda: Infinite(range(9), batch_size=lambda items, _: len(items) > 2), None),
            (lambda: Infinite(range(9)), None),
            (lambda: Infinite(range(9) | batch_by(3) | flatten), None),
            (lambda: Infinite(range(9) | batch_by(3) | batch_by(2)), 6),
        ],
    )
    def test_its_batch_size(self, batch_iter: Any, size: int | None) -> None:
        assert loader(batch_iter()).batch_size == size

    def test_it_says_whether_the_last_batch_is_left_out(self) -> None:
        assert loader(numbers(drop_last=True)).drop_last
        assert loader(Infinite(range(9), batch_size=2, drop_last=True, threads=2)).drop_last

    def test_it_has_the_options_of_a_dataloader_without_workers(self) -> None:
        batches, other = loader(numbers()), torch.utils.data.DataLoader([1])
        for name in (
            'drop_last', 'num_workers', 'pin_memory', 'timeout', 'persistent_workers', 'worker_init_fn',
            'multiprocessing_context', 'generator', 'prefetch_factor',
        ):  # fmt: skip
            assert getattr(batches, name) == getattr(other, name)

    def test_set_epoch_has_no_effect(self) -> None:
        with numbers() as plain, numbers() as batch_iter:
            batches = loader(batch_iter)
            batches.set_epoch(7)
            assert values(batches) == values(plain)

    def test_it_is_stateful(self) -> None:
        protocol = pytest.importorskip('torchdata.stateful_dataloader').Stateful
        assert isinstance(loader(numbers()), protocol)

    @pytest.mark.parametrize(
        ('value', 'text'),
        [
            ([1], 'loader: `batch_iter` must be an Infinite, got list'),
            (
                stream([1]) | take(1),
                'loader: `batch_iter` must be an Infinite, got Stream; write `loader(Infinite(stream))`',
            ),
        ],
    )
    def test_wrong_arguments(self, value: Any, text: str) -> None:
        with raises(TypeError, text):
            loader(value)

    @pytest.mark.parametrize('restart', [False, True])
    def test_two_epochs_at_once(self, restart: bool) -> None:
        """As those of the Infinite: with `restart` both have all batches, without they share them."""
        with numbers(restart=restart) as plain, numbers(restart=restart) as batch_iter:
            batches = loader(batch_iter)
            got, expected = ([values(pair) for pair in zip(each, each, strict=False)] for each in (batches, plain))
            assert got == expected
            assert len(got) == 4

    def test_it_is_pickled_before_it_runs(self) -> None:
        other = pickle.loads(pickle.dumps(loader(numbers())))
        with numbers() as plain:
            assert values(other) == values(plain)
        other.close()

    def test_behind_the_last_batch_there_is_none(self) -> None:
        with numbers() as batch_iter:
            batches = loader(batch_iter)
            batches.dataset.begin()
            assert len([batches.dataset[n] for n in range(4)]) == 4
            with raises(IndexError, 'loader: there is no batch 4 in this epoch'):
                batches.dataset[4]


class TestStates:
    @pytest.mark.parametrize('length', [4, None])
    @pytest.mark.parametrize('taken', [1, 3, 4, 5, 11, 12])
    def test_it_goes_on_behind_the_last_batch(self, length: int | None, taken: int) -> None:
        """Behind the last one of an epoch with the next one, as trainers expect."""
        with numbers(length) as batch_iter:
            batches, got = loader(batch_iter), 0
            while got < taken:
                for _ in batches:
                    got += 1
                    if got == taken:
                        state = batches.state_dict()
                        break
        with numbers(length) as plain:
            expected = [batch for _ in range(8) for batch in values(plain)]
        with numbers(length) as batch_iter:
            batches = loader(batch_iter)
            batches.load_state_dict(state)
            each = length or 12
            first = values(batches)
            assert len(first) == each - taken % each
            assert first + values(batches) == expected[taken : taken + len(first) + each]

    @pytest.mark.parametrize('loaded', [True, False])
    @pytest.mark.parametrize('length', [6, None])
    def test_trainers_skip_batches_by_their_numbers(self, length: int | None, loaded: bool) -> None:
        """None is made for that if the state was loaded. If not, a warning says what to do."""
        with numbers(length) as batch_iter:
            epoch = batch_iter()
            for _ in range(3):
                next(epoch)
            state, rest, following = batch_iter.state_dict(), values(epoch), values(batch_iter)
        with numbers(length) as batch_iter:
            batches = loader(batch_iter)
            if loaded:
                batches.load_state_dict(state)
            skipping = torch.utils.data.DataLoader(
                batches.dataset, batch_sampler=Skipping(batches.batch_sampler, 3), collate_fn=batches.collate_fn
            )
            if loaded:
                assert values(skipping) == rest
            else:
                with pytest.warns(UserWarning, match='^loader: the trainer skips 3 batches. They are made only for'):
                    assert values(skipping) == rest
            assert values(batches) == following

    def test_a_trainer_that_asks_again_behind_the_end_skips_none(self) -> None:
        """Without a length it only hears of the end when it asks, and the numbers go on."""
        with numbers(None) as batch_iter:
            batches = loader(batch_iter)
            like_it = {'batch_sampler': batches.batch_sampler, 'collate_fn': batches.collate_fn}
            asked = iter(torch.utils.data.DataLoader(batches.dataset, **like_it))
            first = values(asked)
            assert [next(asked, None) for _ in range(2)] == [None, None]
            assert len(first) == len(values(batches))

    def test_a_trainer_that_does_not_skip_gets_the_rest(self) -> None:
        with numbers(6) as batch_iter:
            epoch = batch_iter()
            for _ in range(4):
                next(epoch)
            state, rest = batch_iter.state_dict(), values(epoch)
        with numbers(6) as batch_iter:
            batches = loader(batch_iter)
            batches.load_state_dict(state)
            whole = torch.utils.data.DataLoader(
                batches.dataset, batch_sampler=batches.batch_sampler, collate_fn=batches.collate_fn
            )
            assert values(whole) == rest

    def test_a_trainer_that_counts_in_other_batches_skips_none(self) -> None:
        """It counts steps: 3 were done. With batches of 4 these are one, and nothing is left out."""
        with numbers(6) as batch_iter:
            epoch = batch_iter()
            for _ in range(4):
                next(epoch)
            state = batch_iter.state_dict()
            rest = [n for batch in values(epoch) for n in batch]
        with Infinite(range(24), shuffle(9), batch_size=4, batches_per_epoch=3, seed=0) as batch_iter:
            batches = loader(batch_iter)
            batches.load_state_dict(state)
            skipping = torch.utils.data.DataLoader(
                batches.dataset, batch_sampler=Skipping(batches.batch_sampler, 2), collate_fn=batches.collate_fn
            )
            assert [n for batch in values(skipping) for n in batch] == rest


class Skipping:
    """A sampler as trainers put it around that of a loader."""

    def __init__(self, sampler: Any, skipped: int):
        self.sampler, self.skipped = sampler, skipped

    def __iter__(self) -> Any:
        return islice(self.sampler, self.skipped, None)


def with_libraries(test: Any) -> Any:
    for mark in (
        pytest.mark.long,
        pytest.mark.filterwarnings('default'),
        pytest.mark.leaves_threads('torch and the trainers keep what they start'),
        pytest.mark.timeout(300),
    ):
        test = mark(test)
    return test


@with_libraries
class TestAccelerate:
    @pytest.fixture
    def accelerator(self) -> Any:
        accelerate = pytest.importorskip('accelerate')
        return accelerate.Accelerator(cpu=True, gradient_accumulation_steps=3)

    def test_prepare_leaves_it(self, accelerator: Any) -> None:
        with numbers() as plain, numbers() as batch_iter:
            batches = loader(batch_iter)
            assert accelerator.prepare(batches) is batches
            assert values(batches) == values(plain)

    def test_what_is_accumulated_is_used_at_the_end_of_an_epoch(self, accelerator: Any) -> None:
        """As with the loaders of accelerate: it is told which batch is the last."""
        model = torch.nn.Linear(1, 1)
        with numbers(5) as batch_iter:
            batches = loader(batch_iter)
            for _ in range(2):
                used = []
                for _ in batches:
                    with accelerator.accumulate(model):
                        used.append(accelerator.sync_gradients)
                assert used == [False, False, True, False, True]
            for _ in batches:
                break
        assert not accelerator.gradient_state.in_dataloader

    def test_its_checkpoints(self, accelerator: Any, tmp_path: Path) -> None:
        with numbers() as batch_iter:
            batches = loader(batch_iter)
            accelerator.register_for_checkpointing(batches)
            epoch = iter(batches)
            next(epoch)
            accelerator.save_state(str(tmp_path))
            rest, following = values(epoch), values(batches)
            accelerator.load_state(str(tmp_path))
            assert (values(batches), values(batches)) == (rest, following)

    def test_it_skips_the_first_batches(self, accelerator: Any) -> None:
        with numbers() as batch_iter:
            batches = loader(batch_iter)
            epoch = iter(batches)
            next(epoch)
            state, rest = batches.state_dict(), values(epoch)
            batches.load_state_dict(state)
            assert values(accelerator.skip_first_batches(batches, 1)) == rest


SCRIPT = """
import json, os, signal, sys, warnings
from pathlib import Path

sys.path[:0] = {paths!r}
import lightning.pytorch as L
import torch

from itpipe import Infinite, batch_by, combine, shuffle, stream
from itpipe.integrations.torch import loader, to_device

where, stop, checkpoint = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.seen = torch.nn.Linear(1, 1), []

    def training_step(self, batch, batch_idx):
        if self.global_step == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        loss = (self.layer(batch[:, None]) ** 2).mean()
        self.seen.append((self.current_epoch, batch_idx, batch.tolist(), loss.item()))
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Data(L.LightningDataModule):
    def setup(self, stage):
        batches = stream(range(40), seed=0) | shuffle(9) | float | batch_by(4) | combine | torch.from_numpy
        self.batches = loader(Infinite(batches | float32 | to_device('cpu'), batches_per_epoch=5))
        self.trainer.callbacks.append(self.batches.closing_callback)

    def train_dataloader(self):
        return self.batches


def float32(batch):
    return batch.float()


model = Model()
saving = L.callbacks.ModelCheckpoint(where, '{{step}}', save_top_k=-1, every_n_train_steps=2)
quiet = {{'logger': False, 'enable_progress_bar': False, 'enable_model_summary': False, 'accelerator': 'cpu'}}
trainer = L.Trainer(max_epochs=3, callbacks=[saving], **quiet)
trainer.fit(model, datamodule=Data(), ckpt_path=checkpoint or None)
(where / 'seen.json').write_text(json.dumps(model.seen))
"""


@with_libraries
def test_a_training_with_lightning_that_is_killed(tmp_path: Path) -> None:
    pytest.importorskip('lightning.pytorch')
    script = tmp_path / 'train.py'
    script.write_text(SCRIPT.format(paths=[str(Path(itpipe.__file__).parents[1])]))

    def run(name: str, stop: int, checkpoint: Path | str = '') -> int:
        where = tmp_path / name
        where.mkdir(exist_ok=True)
        arguments = [sys.executable, script, where, str(stop), checkpoint]
        return subprocess.run(arguments, env=os.environ | {'OMP_NUM_THREADS': '1'}, check=False).returncode

    def seen(name: str) -> str:
        return (tmp_path / name / 'seen.json').read_text()

    assert run('whole', -1) == 0
    assert run('killed', 9) == -signal.SIGKILL
    assert run('again', -1, tmp_path / 'killed' / 'step=8.ckpt') == 0
    whole = json.loads(seen('whole'))
    assert len(whole) == 15
    assert json.loads(seen('again')) == whole[8:]
