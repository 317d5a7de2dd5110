"""One item on its way: what it has before there is an outcome, and how large a packed outcome is."""

from itpipe._workers.task import Call, Packed, Task


def test_a_task_has_no_outcome_yet() -> None:
    task = Task((3, 1))
    assert (task.key, task.value, task.error) == ((3, 1), None, None)
    assert [task.settled, task.fatal, task.item_failed] == 3 * [False]


def test_a_packed_outcome_holds_its_pickle_and_its_buffers() -> None:
    assert Packed(b'abc').nbytes == 3
    assert Packed(b'abc', failed=True, buffers=[bytearray(10), b'12']).nbytes == 15


def test_two_calls_are_the_same_only_if_they_are_one() -> None:
    task = Task(0)
    call = Call(task, b'', ())
    assert call == call
    assert call != Call(task, b'', ())
