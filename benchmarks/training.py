"""Images a second of our training loop beside the notebook's: `python -m benchmarks.training`.

All take turns in one process, on the same drawn photographs: the notebook's loop as its description
has it, our loop with the notebook's network, and our loop with the default recipe at each of its
sizes.
"""

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.latency import middle, spread
from benchmarks.machine import conditions
from model_core.network.losses import LOSSES, deep_supervised
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from trainer.config import Stage, TrainConfig, load_config
from trainer.data.cache import open_cache
from trainer.data.drawn import write_drawn
from trainer.data.layouts import read_manifest
from trainer.data.prepare import prepare
from trainer.data.samples import Sample, write_samples
from trainer.training.augment import Augment
from trainer.training.batches import batches
from trainer.training.distributed import SINGLE_PROCESS
from trainer.training.loop import Job, new_state, train_step
from trainer.training.run import training_samples

CONFIGS = Path(__file__).parent.parent / "trainer" / "configs"
NOTEBOOK = "notebook's loop"
OURS = "our loop, notebook's network"
RECIPE = "our loop, default recipe"
TRAINING_PASSES = 3
"""Work of a step in forward passes: the backward pass costs two."""


@dataclass
class Contender:
    """One loop.

    Attributes:
        name: For the table.
        step: Trains on one batch and gives its number of images.
        gflop: Of the network, forwards and backwards, for one image.
        epochs: How often an image is seen so, in the recipe's whole run.
        rates: Images/s of each round.
    """

    name: str
    step: Callable[[], int]
    gflop: float
    epochs: int = 1
    rates: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> float:
        """Images/s over whole steps of at least so many seconds together."""
        began, seen = time.perf_counter(), 0
        while not seen or time.perf_counter() - began < seconds:
            seen += self.step()
        _finish_work()
        return seen / (time.perf_counter() - began)


class PerImage(Dataset[tuple[Tensor, Tensor]]):
    """The notebook's data: each image is opened, resized, flipped and made a tensor on its own."""

    def __init__(self, samples: list[Sample], size: int) -> None:
        self._samples, self._size = samples, (size, size)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Pillow.open(self._samples[index].image).convert("RGB")
        mask = Pillow.open(self._samples[index].mask).convert("L")
        image = image.resize(self._size, Pillow.Resampling.BILINEAR)
        mask = mask.resize(self._size, Pillow.Resampling.NEAREST)
        if torch.rand(()) < 0.5:
            image = image.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
            mask = mask.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return pixels, (torch.from_numpy(np.array(mask)) > 127)[None].float()


def notebook(config: TrainConfig, samples: list[Sample], loader_workers: int) -> Contender:
    """The notebook's loop: a `DataLoader`, fp32, BCE with logits, Adam."""
    device, stage = SINGLE_PROCESS.device, config.stages[0]
    model = UNet(config.model).to(device).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=config.optim.lr)
    loss_of = nn.BCEWithLogitsLoss()
    loader = DataLoader(
        PerImage(samples, stage.size), stage.batch, shuffle=True, drop_last=True,
        num_workers=loader_workers, persistent_workers=loader_workers > 0,
    )  # fmt: skip
    endless = (batch for _ in itertools.count() for batch in loader)

    def step() -> int:
        images, masks = (part.to(device) for part in next(endless))
        optimiser.zero_grad()
        loss = loss_of(model(images), masks)
        loss.backward()
        optimiser.step()
        loss.item()
        return len(images)

    return Contender(NOTEBOOK, step, gflop(config.model, stage.size))


def ours(name: str, config: TrainConfig, stage: Stage, samples: list[Sample]) -> Contender:
    """Our loop on one of a config's sizes, from the cache to the averaged weights."""
    state = new_state(config, SINGLE_PROCESS.device, None)
    state.model.train()
    bf16 = SINGLE_PROCESS.in_bf16(config.optim.bf16)
    job = Job(config, Path(), state, SINGLE_PROCESS, state.model.forward_all, bf16, total=10**6)
    cache = open_cache(samples, replace(config.preprocess, size=stage.size), config.data / "cache")
    augment = Augment(config.augment)

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        for epoch in itertools.count():
            yield from batches(cache, stage, config, epoch, 0, SINGLE_PROCESS.device)

    waiting = endless()

    def step() -> int:
        images, masks = next(waiting)
        train_step(job, augment, images, masks)
        return len(images)

    return Contender(name, step, gflop(config.model, stage.size), stage.epochs)


def gflop(config: UNetConfig, size: int) -> float:
    """Work of training on one image, 10^9 multiplications and additions; convolutions alone."""
    with torch.device("meta"):
        model, image = UNet(config).train(), torch.zeros(1, 3, size, size)
        with FlopCounterMode(display=False) as counter:
            outputs = model.forward_all(image)
            truth = torch.zeros(1, 1, size, size)
            deep_supervised(LOSSES["bce"], outputs, truth)
    return TRAINING_PASSES * float(counter.get_total_flops()) / 1e9


def matrix_gflops(dtype: torch.dtype, side: int, seconds: float) -> float:
    """10^9 operations a second of a square matrix product on the device: the best of its calls."""
    left, right = (
        torch.randn(side, side, device=SINGLE_PROCESS.device).to(dtype) for _ in range(2)
    )
    best, until = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < until or math.isinf(best):
        began = time.perf_counter()
        left @ right
        _finish_work()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e9


def recipe_rate(stages: list[Contender]) -> float:
    """Images seen a second over a recipe's whole run: its sizes weigh by their epochs."""
    seconds = sum(stage.epochs / middle(stage.rates) for stage in stages)
    return sum(stage.epochs for stage in stages) / seconds


def report(contenders: list[Contender], rates: dict[str, float]) -> dict[str, object]:
    """The figures, as JSON values; `fraction` is of the fp32 matrix rate."""
    base = middle(contenders[0].rates)
    rows = [
        {
            "name": each.name,
            "images_per_s": middle(each.rates),
            "spread": spread(each.rates),
            "rounds": each.rates,
            "times_notebook": middle(each.rates) / base,
            "gflop_per_image": each.gflop,
            "fraction_of_fp32_matrix_rate": middle(each.rates) * each.gflop / rates["float32"],
        }
        for each in contenders
    ]
    recipe = recipe_rate([each for each in contenders if each.name.startswith(RECIPE)])
    whole = {"images_per_s": recipe, "times_notebook": recipe / base}
    return {"matrix_gflops": rates, "rows": rows, "default_recipe": whole}


def print_table(found: dict[str, object]) -> None:
    """The report for the terminal."""
    print(f"{'loop':36}{'images/s':>10}{'+-%':>6}{'x notebook':>12}{'of fp32 rate':>14}")
    rows = found["rows"]
    assert isinstance(rows, list)
    for row in rows:
        print(
            f"{row['name']:36}{row['images_per_s']:10.2f}{100 * row['spread']:6.0f}"
            f"{row['times_notebook']:12.2f}{row['fraction_of_fp32_matrix_rate']:14.2f}"
        )
    print(f"default recipe, an image seen: {found['default_recipe']}")
    print(f"matrix products, GFLOP/s: {found['matrix_gflops']}")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8, help="of each loop in each round")
    parser.add_argument("--images", type=int, default=64, help="drawn photographs")
    parser.add_argument("--sides", type=int, nargs=2, default=[768, 1024], help="of those, px")
    parser.add_argument("--width", type=int, help="of both networks, for a quick look")
    parser.add_argument("--loader-workers", type=int, default=0, help="of the notebook's loader")
    parser.add_argument("--matrix-side", type=int, default=2048)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/training.json"))
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Measure, print, write."""
    options = parse(words)
    found: dict[str, object] = {
        "conditions": conditions(),
        "arguments": vars(options) | {"out": ""},
    }
    with tempfile.TemporaryDirectory(prefix="training-") as name:
        folder = Path(name)
        source = folder / "drawn"
        height, width = options.sides
        write_drawn(source, count=options.images, seed=0, height=height, width=width)
        write_samples(prepare(read_manifest(source)).samples, folder)
        contenders = _contenders(folder, options)
        for each in contenders:
            each.step()  # the first one allocates
        for _ in range(options.rounds):
            for each in contenders:
                each.rates.append(each.measure(options.seconds))
                print(f"{each.name}: {each.rates[-1]:.2f} images/s", file=sys.stderr, flush=True)
    rates = {
        str(dtype).removeprefix("torch."): matrix_gflops(dtype, options.matrix_side, 3)
        for dtype in (torch.float32, torch.bfloat16)
    }
    found |= report(contenders, rates)
    print_table(found)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")
    return 0


def _contenders(data: Path, options: argparse.Namespace) -> list[Contender]:
    def load(name: str) -> TrainConfig:
        config = replace(load_config(CONFIGS / f"{name}.toml", data=data), datasets=())
        if not options.width:
            return config
        return replace(config, model=replace(config.model, width=options.width))

    plain, recipe = load("notebook"), load("default")
    samples = [sample for sample in training_samples(plain) if sample.part == "train"]
    return [
        notebook(plain, samples, options.loader_workers),
        ours(OURS, plain, plain.stages[0], samples),
        *(ours(f"{RECIPE}, {stage.size} px", recipe, stage, samples) for stage in recipe.stages),
    ]


def _finish_work() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
