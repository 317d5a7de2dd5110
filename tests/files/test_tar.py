"""Items in tar files."""

import gzip
import io
import tarfile

import pytest
from data_files import tar_of
from running import raises

from itpipe import parallel_map, stream
from itpipe.files import tar


def test_members_of_one_stem_are_an_item(tmp_path):
    path = tar_of(
        tmp_path / 'a.tar',
        {
            'x/1.jpg': b'image', 'x/1.seg.png': b'mask', 'x/2.jpg': b'other', 'README': b'-', 'y.d/2.jpg': b'third',
        },
    )  # fmt: skip
    assert list(tar(path)) == [
        {'__key__': 'x/1', 'jpg': b'image', 'seg.png': b'mask'},
        {'__key__': 'x/2', 'jpg': b'other'},
        {'__key__': 'y.d/2', 'jpg': b'third'},
    ]


def test_folders_and_links_are_left_out(tmp_path):
    path = tmp_path / 'a.tar'
    with tarfile.open(path, 'w') as archive:
        folder = tarfile.TarInfo('x.d')
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        link = tarfile.TarInfo('x.jpg')
        link.type, link.linkname = tarfile.SYMTYPE, 'y.jpg'
        archive.addfile(link)
    assert len(tar(path)) == 0


def test_the_last_items_are_read_from_files_of_any_kind(tmp_path):
    members = {'a' * 150 + f'/{n}.bin': bytes([n]) * n * 1000 for n in range(4)}  # a long name takes more heads
    with tarfile.open(tmp_path / 'pax.tar', 'w', format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            (tmp_path / 'member').write_bytes(data)
            archive.add(tmp_path / 'member', name)
    dataset = tar([tmp_path / 'pax.tar', tar_of(tmp_path / 'gnu.tar', members)])
    assert [item['bin'] for item in dataset] == [*members.values()] * 2


def test_a_compressed_file_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / 'a.tar'
    path.write_bytes(gzip.compress(tar_of(tmp_path / 'b.tar', {'a.txt': b'x' * 1000}).read_bytes()))
    with pytest.raises(ValueError, match=r'(?m)it must be a whole, uncompressed tar file$') as caught:
        len(tar(path))
    assert str(path) in str(caught.value)


def test_a_sparse_member_is_refused(tmp_path):
    """What is stored is a map and the parts that are not zero, and not what the file holds."""
    path = tmp_path / 'a.tar'
    stored = b'1\n600\n3\n'.ljust(512, b'\0') + b'abc'
    head = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'b.bin', 'GNU.sparse.realsize': '603'}
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
        for name, data, pax in [('a.bin', b'x', {}), ('b.bin', stored, head)]:
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(data), pax
            archive.addfile(member, io.BytesIO(data))
    with tarfile.open(path) as archive:
        assert archive.extractfile('b.bin').read() == bytes(600) + b'abc'
    message = f"tar: member 'b.bin' of '{path}' is a sparse file, which is not read; write the file without `--sparse`"
    with raises(ValueError, message, f"itpipe: the index of '{path}'"):
        len(tar(path))


@pytest.mark.parametrize('left', [700, 1024, 1200, 1536 + 100])
def test_a_file_that_was_cut_off_is_noticed(tmp_path, left):
    path = tar_of(tmp_path / 'a.tar', {'a.txt': b'x' * 300, 'b.txt': b'y' * 300})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises((ValueError, OSError)) as caught:
        list(tar(path))
    said = str(caught.value) + ''.join(getattr(caught.value, '__notes__', []))
    assert str(path) in said
    assert '.txt' in said


def test_an_item_that_cannot_be_read_may_be_skipped(tmp_path, monkeypatch):
    path = tar_of(tmp_path / 'a.tar', {f'{n}.txt': bytes(2000) for n in range(3)})
    dataset = tar(path)
    usual = dataset.read

    def read(part, begin, size, what, more):
        return usual(part, begin + 7000 * (what == "member '1.txt'"), size, what, more)

    monkeypatch.setattr(dataset, 'read', read)
    assert list(stream(dataset) | parallel_map(len, threads=1, on_error='skip')) == [2, 2]
    with raises(OSError, 'tar: the file ends after 168 of 2000 bytes', f"itpipe: member '1.txt' of '{path}'"):
        dataset[1]
