"""Lines of text files, and JSON in them."""

import bz2
import gzip
import lzma

import hypothesis.strategies as st
import pytest
from data_files import lines_of, rows_of
from hypothesis import given
from running import raises, through_json
from strategies import examples

import itpipe.files._lines
from itpipe import parallel_map, stream
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
    path.write_bytes(b'one\r\n\r\ntwo\r\n')
    assert list(lines(path)) == ['one', '', 'two']


def test_empty_lines_of_json_are_left_out(tmp_path):
    path = tmp_path / 'file.jsonl'
    path.write_text('1\n\n{}\n\n"x"')
    assert list(jsonl(path)) == [1, {}, 'x']


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
    library = pytest.importorskip('zstandard')
    path = tmp_path / 'packed.txt.zst'
    path.write_bytes(library.compress(b'one\ntwo\n'))
    assert list(lines(path)) == ['one', 'two']


def test_a_line_that_is_no_json_names_the_file_and_the_place(tmp_path):
    path = tmp_path / 'file.jsonl'
    path.write_text('1\n{\n')
    with pytest.raises(ValueError, match='^Expecting property name') as caught:
        jsonl(path)[1]
    assert caught.value.__notes__ == [f"itpipe: bytes 2 to 4 of '{path}'"]
    packed = tmp_path / 'file.jsonl.gz'
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ValueError, match='^Expecting property name') as caught:
        list(jsonl(packed))
    assert caught.value.__notes__ == [f"itpipe: line 1 of '{packed}'"]


def test_a_file_that_is_not_there(tmp_path):
    with raises(FileNotFoundError, "lines: no file matches '*.nothing'"):
        lines('*.nothing')
    with pytest.raises(FileNotFoundError):
        len(lines(tmp_path / 'nothing'))
