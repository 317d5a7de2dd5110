"""A stage of your own: `@stage` makes one of any generator function whose first argument is an iterator over the items.

Here, texts of different lengths are packed into blocks of equal length without any padding, as language models are fed.
"""

from pathlib import Path

import numpy as np

from itpipe import batch_by, combine, filter_by, shuffle, stage, stream

END = 0


@stage
def pack(items, length):
    """Blocks of `length` values, cut from the items one after another; what is left over at the end is dropped."""
    rest = np.array([], np.uint8)
    for item in items:
        rest = np.concatenate([rest, item])
        while len(rest) >= length:
            block, rest = rest[:length], rest[length:]
            yield block


@stage
def watched(items, name):
    """The same items; when the run ends, however it does, says how many there were."""
    count = 0
    try:
        for item in items:
            count += 1
            yield item
    finally:
        print(f'{count} {name}')


def encode(line):
    return np.frombuffer(line.encode() + bytes([END]), np.uint8)


def main():
    lines = Path(__file__).read_text(encoding='utf-8').splitlines()
    batches = (
        stream(lines, seed=0)
        | filter_by(str.strip)
        | shuffle(100)
        | watched('lines read')
        | encode  # a plain function is applied to each item
        | pack(length=40)
        | watched('blocks made')
        | batch_by(4)
        | combine
    )
    print(batches)

    for batch in batches:
        print(f'a batch of shape {batch.shape}, which begins with {bytes(batch[0])}')
        break  # ends the run, and with it all that is upstream

    total = sum(len(batch) for batch in batches)  # another run, from the beginning
    print(f'{total} blocks in all the batches')


if __name__ == '__main__':
    main()
