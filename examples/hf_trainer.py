"""Trains a small language model with the Trainer of Hugging Face, on lines of text that are tokenized meanwhile.

The lines are those of README.md. With `--output DIR`, kill it whenever you like: the same command goes on from the last
whole checkpoint, with the same losses, bit for bit. It needs `pip install 'itpipe[trainings]'`.
"""
# requires: accelerate, torch, transformers

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from itpipe import Infinite, apply, sample

TEXT = Path(__file__).parents[1] / 'README.md'
LENGTH = 32  # the most tokens of a line


class StreamTrainer(hf.Trainer):
    """Takes the batches as they are, without a DataLoader of its own."""

    def get_train_dataloader(self):
        return self.train_dataset

    def get_eval_dataloader(self, eval_dataset=None):
        return self.eval_dataset


class DataState(hf.TrainerCallback):
    """Saves in each checkpoint where the data was, as the last of its files: with it, the checkpoint is whole."""

    def __init__(self, batch_iter):
        self.batch_iter = batch_iter

    def on_save(self, args, state, control, **kwargs):
        path = Path(args.output_dir, f'checkpoint-{state.global_step}', 'data.json')
        path.write_text(json.dumps(self.batch_iter.state_dict()))

    def on_log(self, args, state, control, logs, **kwargs):
        for name in {'loss', 'eval_loss'} & logs.keys():
            print(f'step {state.global_step}: {name} {logs[name]}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=40, help='how many to train (default: %(default)s)')
    parser.add_argument('--output', type=Path, metavar='DIR', help='save into it, and go on from what is there')
    args = parser.parse_args()
    lines = [line for line in TEXT.read_text(encoding='utf-8').splitlines() if line.strip()]
    tokenizer = train_tokenizer(lines)
    tokenized = apply(tokenizer, truncation=True, max_length=LENGTH)
    collate = hf.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    # Endless: the Trainer counts the steps.
    training = Infinite(sample(lines[40:], seed=0), tokenized, batch_size=16, combiner=collate, threads=2)
    validation = Infinite(lines[:40], tokenized, batch_size=20, combiner=collate, restart=True)

    hf.set_seed(0)
    tokens = {'vocab_size': len(tokenizer), 'n_positions': LENGTH, 'bos_token_id': None, 'eos_token_id': None}
    model = hf.GPT2LMHeadModel(hf.GPT2Config(**tokens, n_embd=32, n_layer=2, n_head=2))
    with TemporaryDirectory() as temporary, training, validation:
        output = args.output or Path(temporary)
        whole = [path.parent for path in output.glob('checkpoint-*/data.json')]
        last = max(whole, key=lambda folder: int(folder.name.split('-')[1]), default=None)
        if last:
            training.load_state_dict(json.loads((last / 'data.json').read_text()))
        trainer = StreamTrainer(
            model,
            hf.TrainingArguments(
                output,
                max_steps=args.steps,
                learning_rate=3e-3,
                logging_steps=1,
                save_steps=10,
                eval_strategy='steps',
                eval_steps=20,
                ignore_data_skip=True,  # the data goes on by itself
                report_to='none',
            ),
            train_dataset=training,
            eval_dataset=validation,
            callbacks=[DataState(training)],
        )
        trainer.remove_callback(hf.ProgressCallback)
        trainer.train(resume_from_checkpoint=last)


def train_tokenizer(lines):
    bpe = Tokenizer(models.BPE(unk_token='?'))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    learner = trainers.BpeTrainer(vocab_size=500, special_tokens=['?', '<pad>'], show_progress=False)
    bpe.train_from_iterator(lines, learner)
    return hf.PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token='?', pad_token='<pad>')


if __name__ == '__main__':
    main()
