"""torch's DataLoader with worker processes: made in the clone it works, as the workers of an inherited one are the master's."""
# zoo: full

import torch
from harness import family
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):
    def __len__(self) -> int:
        return 32

    def __getitem__(self, n: int) -> torch.Tensor:
        return torch.tensor(n * n)


def total() -> int:
    return sum(int(batch.sum()) for batch in DataLoader(Squares(), batch_size=4, num_workers=2))


expected = sum(n * n for n in range(32))
assert total() == expected
master, clones = family(lambda vmid: total())
assert [master, *clones] == [expected] * 4, (master, clones)
