"""Data of which some items cannot be looked up."""

from typing import Any

BAD = (2, 5, 11)


class Data:
    """The tens, but some of them are broken."""

    def __init__(self, size: int = 12, bad: tuple[int, ...] = BAD):
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        if index in self.bad:
            raise ValueError(f'{index} is broken')
        return 10 * index


class Together(Data):
    """The same, of which several items can be looked up at once."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.asked: list[list[int]] = []

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.asked.append(list(indices))
        return [self[index] for index in indices]


def more(x: Any) -> Any:
    return ('more', x)
