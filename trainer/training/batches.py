"""The order in which a run sees its images, and the batches of an epoch."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainer.config import Stage, TrainConfig
from trainer.data.cache import Cache


def steps(stage: Stage, samples: int) -> int:
    """Count the steps of an epoch: whole batches, at least one."""
    return max(1, samples * stage.passes // stage.batch)


def batches(
    cache: Cache, stage: Stage, config: TrainConfig, epoch: int, done: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (N, 3, S, S) and masks (N, 1, S, S), float32 0 to 1, after `done` steps.

    With teachers, their mean probability of lesion is a second channel of the masks.
    The order depends on seed and epoch alone, so that a resumed epoch goes on where it stopped.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    passes = [epoch_order(cache.datasets, config.shares, generator) for _ in range(stage.passes)]
    order = torch.cat(passes)
    for step in range(done, steps(stage, len(cache))):
        rows = order[step * stage.batch : (step + 1) * stage.batch].sort().values.numpy()
        images = torch.from_numpy(cache.images[rows]).to(device)
        masks = torch.from_numpy(cache.masks[rows]).to(device)[:, None].float()
        if cache.teachers:
            maps = torch.stack([torch.from_numpy(teacher[rows]) for teacher in cache.teachers])
            taught = maps.to(device).float().mean(dim=0) / 255
            masks = torch.cat([masks, taught[:, None]], dim=1)
        yield images.permute(0, 3, 1, 2) / 255, masks


def epoch_order(
    datasets: list[str], shares: dict[str, float], generator: torch.Generator
) -> Tensor:
    """Shuffle the rows of an epoch: each once without `shares`, else as these divide them.

    A dataset larger than its share shows a random part of itself; a smaller one is repeated.

    Args:
        datasets: Name of the dataset of every row.
        shares: Share of the epoch's rows by dataset, 0 to 1; the datasets not named fill the rest
            in proportion to their rows.
        generator: Decides the order.

    Returns:
        int64 (len(datasets),), or shorter where no dataset fills the rest.
    """
    total = len(datasets)
    if not shares:
        return torch.randperm(total, generator=generator)
    rest = ""
    wanted = {name: round(share * total) for name, share in shares.items()}
    wanted[rest] = total - sum(wanted.values())
    drawn = []
    for name, count in wanted.items():
        own = [
            row
            for row, dataset in enumerate(datasets)
            if name == (dataset if dataset in shares else rest)
        ]
        rows = torch.tensor(own, dtype=torch.int64)
        passes = -(-count // len(rows)) if own else 0
        shuffled = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(passes)]
        drawn.append(torch.cat([rows[:0], *shuffled])[:count])
    order = torch.cat(drawn)
    return order[torch.randperm(len(order), generator=generator)]
