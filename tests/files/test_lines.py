"""Lines of text files, and JSON in them."""

import bz2
import gzip
import json
import lzma
import zlib

import hypothesis.strategies as st
import pytest
from data_files import lines_of, rows_of
from hypothesis import given
from running import raises, through_json
from strategies import examples

import itpipe.files._lines
from itpipe import parallel_map, shuffle, stream
from itpipe.files import jsonl, lines

texts = st.lists(st.text(st.characters(exclude_characters='\r\n', exclude_categories=['Cs']), max_size=6), max_size=8)


@given(texts, st.booleans(), st.integers(1, 40))
@examples(200)
def test_lines_are_those_of_the_file(tmp_path_factory, texts, ended, block):
    """Wherever the blocks end in which line ends are looked for."""
    path = tmp_path_factory.mktemp('lines') / 'file.txt'
    path.write_text('\n'.join(texts) + '\n' * ended, encoding='utf-8', newline='')
    expected = path.read_text(encoding='utf-8').split('\n')
    if not expected[-1]:
        del expected[-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itpipe.files._lines, 'BLOCK', block)
        assert list(lines(path)) == expected


def test_line_ends_of_windows(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_bytes(b'one\r\n\r\ntwo\r\r\nthree\r')
    assert list(lines(path)) == ['one', '', 'two\r', 'three\r']
    packed = tmp_path / 'file.txt.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert list(lines(packed)) == list(lines(path))


def test_empty_lines_of_json_are_left_out(tmp_path):
    path = tmp_path / 'file.jsonl'
    path.write_text('1\n\n{}\n\n"x"')
    assert list(jsonl(path)) == [1, {}, 'x']


pieces = st.lists(st.sampled_from(['1', '22', '\n', '\r\n', ' ', '\t', '"x y"']), max_size=12).map(''.join)


@given(pieces, st.integers(1, 40))
@examples(200)
def test_values_are_those_of_the_lines_that_are_not_blank(tmp_path_factory, text, block):
    """Plain or compressed, wherever the blocks end, and with or without a last line end."""
    path = tmp_path_factory.mktemp('lines') / 'file.jsonl'
    path.write_text(text, newline='')
    packed = path.with_suffix('.jsonl.gz')
    packed.write_bytes(gzip.compress(text.encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itpipe.files._lines, 'BLOCK', block)
        found = [outcome(jsonl(each)) for each in (path, packed)]
    expected = outcome(map(json.loads, filter(str.strip, text.replace('\r\n', '\n').split('\n'))))
    assert found[0][0] == found[1][0] == expected[0]
    assert found[0][1] == found[1][1]
    assert bool(found[0][1]) == bool(expected[1])


def outcome(values):
    """The values up to an error, and the error with the place that it names, without the file."""
    result = []
    try:
        for value in values:
            result.append(value)
    except ValueError as error:
        return result, (str(error), [note.partition(' of ')[0] for note in getattr(error, '__notes__', [])])
    return result, None


@pytest.mark.parametrize(('suffix', 'library'), [('.gz', gzip), ('.bz2', bz2), ('.xz', lzma)])
def test_compressed_files_are_read_from_the_beginning(tmp_path, suffix, library):
    plain = lines_of(tmp_path / 'plain.jsonl', rows_of(range(5)))
    path = tmp_path / f'packed.jsonl{suffix}'
    path.write_bytes(library.compress(plain.read_bytes() + b'\n'))
    dataset = jsonl([path, plain])
    assert not hasattr(dataset, '__len__')
    described = stream(dataset) | parallel_map(repr, threads=2)
    assert list(described) == list(map(repr, rows_of(range(5)))) * 2
    run = iter(described)
    head = [next(run) for _ in range(7)]
    assert head + list(described.resume(through_json(run.state_dict()))) == list(described)


def test_zstandard(tmp_path):
    """All frames of a file, those without content too, in whatever portions they are read."""
    library = pytest.importorskip('zstandard')
    path = tmp_path / 'packed.txt.zst'
    skipped = b'\x50\x2a\x4d\x18' + (5).to_bytes(4, 'little') + b'table'
    path.write_bytes(library.compress(b'one\ntw') + skipped + library.compress(b'') + library.compress(b'o\nthree'))
    assert list(lines(path)) == ['one', 'two', 'three']
    path.write_bytes(b'')
    assert list(lines(path)) == []
    long = [f'{n**3} {n**5}' for n in range(20_000)]
    path.write_bytes(library.compress('\n'.join(long).encode()))
    assert list(lines(path)) == long


PACKED = {'.gz': gzip.compress, '.bz2': bz2.compress, '.xz': lzma.compress, '.zst': None}


@pytest.mark.parametrize('suffix', PACKED)
def test_a_compressed_file_that_ends_early(tmp_path, suffix):
    """What it has comes first. It is an error, not the end."""
    compress = PACKED[suffix] or pytest.importorskip('zstandard').compress
    path = tmp_path / f'packed.txt{suffix}'
    expected = [f'{n**3} {n**5}' for n in range(20_000)]
    whole = compress('\n'.join(expected).encode())
    for size in (len(whole) // 2, len(whole) - 1, 5):
        path.write_bytes(whole[:size])
        found = []
        with pytest.raises(EOFError) as caught:
            for line in lines(path):
                found.append(line)
        assert caught.value.__notes__ == [f"itpipe: line {len(found) + 1} of '{path}'"]
        assert found == expected[: len(found)]
        found.clear()


@pytest.mark.parametrize('suffix', PACKED)
def test_a_compressed_file_that_is_broken(tmp_path, suffix):
    """The errors are those of the libraries."""
    zstandard = pytest.importorskip('zstandard')
    path = tmp_path / f'packed.txt{suffix}'
    whole = bytearray((PACKED[suffix] or zstandard.compress)('\n'.join(map(str, range(20_000))).encode()))
    whole[len(whole) // 2 : len(whole) // 2 + 50] = bytes(50)
    path.write_bytes(whole)
    with pytest.raises((OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)) as caught:
        list(lines(path))
    assert str(path) in caught.value.__notes__[0]


def test_an_error_names_the_file_and_the_line(tmp_path):
    """The number that an editor shows, plain or compressed, however many lines were left out in front of it."""
    path = tmp_path / 'file.jsonl'
    path.write_text('1\n \n\n{\n')
    packed = tmp_path / 'file.jsonl.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for each in (path, packed):
        with pytest.raises(ValueError, match='^Expecting property name.*: line 1 column 2') as caught:
            list(jsonl(each))
        assert caught.value.__notes__ == [f"itpipe: line 4 of '{each}'"]
    path.write_bytes(b'one\n\xff\n')
    with pytest.raises(UnicodeDecodeError) as caught:
        lines(path)[1]
    assert caught.value.__notes__ == [f"itpipe: line 2 of '{path}'"]


def test_a_file_that_is_not_there(tmp_path):
    with raises(FileNotFoundError, "lines: no file matches '*.nothing'"):
        lines('*.nothing')
    with raises(FileNotFoundError, "jsonl: there is no file 'nothing.jsonl'"):
        jsonl('nothing.jsonl')


def test_what_is_compressed_says_what_it_lacks(tmp_path):
    (tmp_path / 'a.jsonl').write_text('1\n')
    path = tmp_path / 'b.jsonl.gz'
    path.write_bytes(b'')
    values = jsonl([tmp_path / 'a.jsonl', path])
    message = f'jsonl: a compressed file has no length and no index, got {str(path)!r}; unpack it, or shuffle with a'
    with raises(TypeError, f'{message} buffer: `shuffle(1000)`'):
        values[3]
    with raises(TypeError, "object of type 'CompressedLines' has no len()"):
        len(values)
    assert next(iter(stream(values) | shuffle(2))) == 1
