"""examples/digits.py, where running it as it is does not lead: MNIST's files, and a model that has not learned."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from running import module_of

for name in ('matplotlib', 'sklearn', 'threadpoolctl', 'tqdm'):
    pytest.importorskip(name)

SCRIPT = Path(__file__).parents[2] / 'examples' / 'digits.py'
USAGE = 'usage: digits.py [-h] [--epochs EPOCHS] [--mnist DIR] [--out OUT]\n'


@pytest.fixture(scope='module')
def digits():
    return module_of(SCRIPT)


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / 'MNIST' / 'raw'
    raw.mkdir(parents=True)
    return raw


def write(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>i4').tobytes()
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == '.gz' else data)


def write_mnist(raw, suffix='', sizes=(40, 10)):
    rng = np.random.default_rng(0)
    written = []
    for part, size in zip(['train', 't10k'], sizes, strict=True):
        images, labels = rng.integers(0, 256, (size, 28, 28), np.uint8), rng.integers(0, 10, size, np.uint8)
        write(raw / f'{part}-images-idx3-ubyte{suffix}', images)
        write(raw / f'{part}-labels-idx1-ubyte{suffix}', labels)
        written.append((images, labels))
    return written


def run(digits, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['digits.py', *map(str, arguments)])
    digits.main()


@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_mnist_is_read_as_torchvision_keeps_it(digits, raw, suffix):
    """All images of both parts, each with its label, from plain and from compressed files."""
    written = write_mnist(raw, suffix)
    for pairs, (images, labels) in zip(digits.read_mnist(raw.parent.parent), written, strict=True):
        assert len(pairs) == len(labels)
        np.testing.assert_array_equal([image for image, _ in pairs], images)
        np.testing.assert_array_equal([label for _, label in pairs], labels)


def test_mnist_that_is_not_there(digits, raw, monkeypatch, capsys):
    """The error says which file is missing, and where it was looked for."""
    write_mnist(raw)
    (raw / 't10k-labels-idx1-ubyte').unlink()
    with pytest.raises(SystemExit, match='2'):
        run(digits, monkeypatch, '--mnist', raw.parent.parent)
    missing = f'there is no t10k-labels-idx1-ubyte and no t10k-labels-idx1-ubyte.gz in {raw}\n'
    assert capsys.readouterr().err == f'{USAGE}digits.py: error: --mnist: {missing}'


def test_mnist_that_is_something_else(digits, raw, monkeypatch, capsys):
    """The error says which file cannot be read."""
    write_mnist(raw)
    path = raw / 'train-images-idx3-ubyte'
    path.write_text('<html>not found</html>')
    with pytest.raises(SystemExit, match='2'):
        run(digits, monkeypatch, '--mnist', raw.parent.parent)
    assert capsys.readouterr().err == f'{USAGE}digits.py: error: --mnist: {path} is not an IDX file of bytes\n'


@pytest.mark.long
def test_a_model_that_has_not_learned_is_a_failure(digits, raw, monkeypatch, capsys, tmp_path):
    """Trained on noise, the script draws its figure and ends with an error that says how far it got."""
    write_mnist(raw)
    monkeypatch.setattr(digits, 'BATCHES_PER_EPOCH', 5)
    with pytest.raises(SystemExit, match=r'^the test accuracy, 0\.\d{4}, is not over 0\.95$'):
        run(digits, monkeypatch, '--mnist', tmp_path, '--epochs', 1, '--out', tmp_path / 'noise.png')
    assert (tmp_path / 'noise.png').read_bytes().startswith(b'\x89PNG')
    assert (tmp_path / 'noise.svg').read_text().startswith('<svg ')
    printed = capsys.readouterr().out
    assert printed.startswith('40 images to train on, 10 to test on\nepoch  1: loss ')
    for text in 'waits behind', ' limits', 'waited for data: ', 'a serial loop would have waited about ', 'drew ':
        assert text in printed
