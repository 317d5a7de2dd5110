"""A dataset with an index and a length, and nothing else."""

from dataclasses import dataclass, field


@dataclass
class Data:
    """The numbers up to `size`; it remembers which were looked up in this process."""

    size: int = 40
    seen: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        if index >= self.size:
            raise IndexError(index)
        self.seen.append(index)
        return index
