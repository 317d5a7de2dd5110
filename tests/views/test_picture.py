"""The picture object: what notebooks and files get."""

import pytest

from itpipe._views.parts import Node
from itpipe._views.picture import Picture


@pytest.fixture
def picture() -> Picture:
    return Picture((Node('größe'),), 'größe')


def test_texts(picture: Picture) -> None:
    assert str(picture) == picture.mermaid == 'flowchart TD\n    n1["größe"]'
    assert picture.svg == picture._repr_svg_()
    assert picture._repr_html_() == f'<div style="overflow-x: auto">{picture.svg}</div>'
    assert repr(picture) == "<Picture of größe; save it with .save('pipeline.svg')>"


def test_it_is_saved_by_the_end_of_its_name(picture: Picture, tmp_path) -> None:
    picture.save(tmp_path / 'a.svg')
    picture.save(str(tmp_path / 'a.mmd'))
    assert (tmp_path / 'a.svg').read_text(encoding='utf-8') == picture.svg
    assert (tmp_path / 'a.mmd').read_text(encoding='utf-8') == f'{picture.mermaid}\n'


def test_other_names_are_refused(picture: Picture, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"^Picture.save: `path` must end with '.svg' or '.mmd', got 'a.png'$"):
        picture.save('a.png')
    with pytest.raises(FileNotFoundError):
        picture.save(tmp_path / 'missing' / 'a.svg')
