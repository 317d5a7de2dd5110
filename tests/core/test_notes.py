"""An error says once which stage and which item it comes from, and stays the error that it was."""

from itpipe._core.keys import Batch
from itpipe._core.notes import MAX_NOTES, close_after, note, noted, remark


def test_a_note_names_the_stage_and_the_item() -> None:
    error = KeyError('a')
    assert not noted(error)
    note(error, 'apply(f)', (7, 2))
    note(error, 'the source', None)
    assert error.__notes__ == ['itpipe: raised in apply(f), item 7 (part 2)', 'itpipe: raised in the source']
    assert noted(error)
    assert error.args == ('a',)


def test_an_error_that_is_raised_for_every_item_has_few_notes() -> None:
    error = ValueError()
    for _ in range(2):
        for item in range(MAX_NOTES + 5):
            note(error, 'apply(f)', item)
    assert error.__notes__ == [f'itpipe: raised in apply(f), item {item}' for item in range(MAX_NOTES)]


def test_notes_of_others_do_not_say_where_it_comes_from() -> None:
    error = ValueError()
    remark(error, 'try again')
    assert not noted(error)
    note(error, 'combine()', Batch((1, 2)))
    assert noted(error)


def test_an_error_of_closing_is_noted_on_the_one_before_it() -> None:
    def close() -> None:
        raise OSError('busy')

    error = ValueError('first')
    close_after(error, close)
    close_after(error, lambda: None)
    assert error.__notes__ == ["itpipe: closing raised OSError('busy') as well"]
