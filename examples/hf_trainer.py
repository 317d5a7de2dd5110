"""Trains a small language model with the Trainer of Hugging Face, on lines of text that are tokenized meanwhile.

The lines are those of README.md. With `--output DIR`, kill it whenever you like: the same command goes on from the last
whole checkpoint, with the same losses, bit for bit. It needs `pip install 'itpipe[trainings]'`.
"""
# requires: accelerate, torch, transformers

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from itpipe import Infinite, apply, shuffle
from itpipe.integrations.torch import loader

TEXT = Path(__file__).parents[1] / 'README.md'
LENGTH = 32  # the most tokens of a line


class StreamTrainer(hf.Trainer):
    """Takes the batches as they are, without a DataLoader of its own, and prints the losses."""

    def get_train_dataloader(self):
        return self.train_dataset

    def get_eval_dataloader(self, eval_dataset=None):
        return self.eval_dataset

    def log(self, logs, *args, **kwargs):
        super().log(logs, *args, **kwargs)
        for name in {'loss', 'eval_loss'} & logs.keys():
            print(f'step {self.state.global_step}: {name} {logs[name]}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=3, help='how many to train (default: %(default)s)')
    parser.add_argument('--output', type=Path, metavar='DIR', help='save into it, and go on from what is there')
    args = parser.parse_args()
    lines = [line for line in TEXT.read_text(encoding='utf-8').splitlines() if line.strip()]
    tokenizer = train_tokenizer(lines)
    tokenized = apply(tokenizer, truncation=True, max_length=LENGTH)
    collate = hf.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    # An epoch has every line once, in an order of its own; a validation has all the others.
    training = Infinite(lines[40:], shuffle(), tokenized, batch_size=8, combiner=collate, threads=2, seed=0)
    validation = Infinite(lines[:40], tokenized, batch_size=20, combiner=collate, restart=True)

    hf.set_seed(0)
    tokens = {'vocab_size': len(tokenizer), 'n_positions': LENGTH, 'bos_token_id': None, 'eos_token_id': None}
    model = hf.GPT2LMHeadModel(hf.GPT2Config(**tokens, n_embd=32, n_layer=2, n_head=2))
    with TemporaryDirectory() as temporary, training, validation:
        output = args.output or Path(temporary)
        batches = loader(training)
        trainer = StreamTrainer(
            model,
            hf.TrainingArguments(
                output,
                num_train_epochs=args.epochs,
                learning_rate=3e-3,
                logging_steps=1,
                save_steps=10,
                eval_strategy='epoch',
                report_to='none',
            ),
            train_dataset=batches,
            eval_dataset=loader(validation),
            callbacks=[batches.trainer_callback],  # it has the state of the data in the checkpoints
        )
        trainer.remove_callback(hf.ProgressCallback)
        whole = [path.parent for path in output.glob('checkpoint-*/trainer_state.json')]  # the last file of each
        last = max(whole, key=lambda folder: int(folder.name.split('-')[1]), default=None)
        trainer.train(resume_from_checkpoint=last)


def train_tokenizer(lines):
    bpe = Tokenizer(models.BPE(unk_token='?'))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    learner = trainers.BpeTrainer(vocab_size=500, special_tokens=['?', '<pad>'], show_progress=False)
    bpe.train_from_iterator(lines, learner)
    return hf.PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token='?', pad_token='<pad>')


if __name__ == '__main__':
    main()
