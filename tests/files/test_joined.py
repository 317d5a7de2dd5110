"""Items in several files, one after the other."""

from running import raises

from itpipe.files._joined import Joined


class Letters(Joined):
    name = 'letters'

    def __init__(self, *words):
        super().__init__()
        self.words, self.asked = words, 0

    def sizes(self):
        self.asked += 1
        return list(map(len, self.words))

    def item(self, part, place):
        return self.words[part][place]


def test_parts_follow_each_other_and_may_be_empty():
    letters = Letters('', 'ab', '', 'c', '')
    assert (len(letters), ''.join(letters)) == (3, 'abc')
    assert letters.asked == 1


def test_there_may_be_none():
    assert list(Letters()) == list(Letters('')) == []


def test_an_index_that_is_not_there():
    with raises(IndexError, 'letters: there are 3 items, but none with the index 3'):
        Letters('ab', 'c')[3]
