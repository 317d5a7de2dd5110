"""Small files of the kinds that `itpipe.files` reads."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, 'w') as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def rows_of(numbers: range) -> list[dict[str, Any]]:
    return [{'id': n, 'text': f'text {n}', 'parts': [n] * (n % 3)} for n in numbers]


def tables_of(folder: Path, kind: str, rows: int = 20, files: int = 2, group: int = 4) -> list[Path]:
    """Files of the rows 0 to `rows` - 1, in row groups or record batches of `group`."""
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    paths = []
    for number, part in enumerate(np.array_split(np.arange(rows), files)):
        table = pyarrow.Table.from_pylist(rows_of(range(int(part[0]), int(part[-1]) + 1)))
        paths.append(folder / f'part-{number}.{kind}')
        if kind == 'parquet':
            parquet.write_table(table, paths[-1], row_group_size=group)
        else:
            with pyarrow.ipc.new_file(paths[-1], table.schema) as writer:
                writer.write_table(table, max_chunksize=group)
    return paths


def lines_of(path: Path, values: list[Any], end: str = '\n') -> Path:
    path.write_text(''.join(json.dumps(value) + end for value in values))
    return path


def images_of(folder: Path, kinds: dict[str, int]) -> Path:
    """Images of one colour, which tells their number, in a folder for each kind."""
    library = pytest.importorskip('PIL.Image')
    number = 0
    for kind, count in kinds.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            library.new('RGB', (6, 4), (number, 0, 255)).save(folder / kind / f'{n:03}.png')
            number += 1
    return folder
