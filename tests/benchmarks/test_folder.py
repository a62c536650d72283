from pathlib import Path

import pytest

from benchmarks import folder
from benchmarks.bodies import draw_photograph
from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import open_steps
from benchmarks.servers import Version
from tests.fixtures.models import NAME, tiny_registry

PHOTOGRAPHS = [draw_photograph(seed, height=96, width=128) for seed in range(3)]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Version(tiny_registry(tmp_path_factory.mktemp("registry")).root, NAME, "production")


def test_threads_write_the_masks_that_one_loop_writes(version: Version, tmp_path: Path) -> None:
    steps = open_steps(PeerOptions(root=str(version.root), name=NAME, version="production",
                                   engine="auto", port=0))  # fmt: skip
    source, *outs = (tmp_path / name for name in ("photographs", "loop", "threads"))
    for each in (source, *outs):
        each.mkdir()
    names = [source / f"{number}.jpg" for number in range(len(PHOTOGRAPHS))]
    for name, photograph in zip(names, PHOTOGRAPHS, strict=True):
        name.write_bytes(photograph)
    folder.loop(steps, names, outs[0])
    folder.threads(steps, names, outs[1])
    masks = [{path.name: path.read_bytes() for path in out.iterdir()} for out in outs]
    assert masks[0] == masks[1]
    assert sorted(masks[0]) == ["0.jpg.png", "1.jpg.png", "2.jpg.png"]


@pytest.mark.slow
def test_every_way_makes_all_masks_of_a_folder(version: Version) -> None:
    rows = folder.measure(version, "pytorch-fp32", PHOTOGRAPHS, count=4, rounds=1)
    assert [row["way"] for row in rows] == [
        folder.LOOP, folder.THREADS, folder.NNUNET, folder.PREDICT, folder.SERVICE,
    ]  # fmt: skip
    assert all(row["masks_per_s"] > 0 and row["cpu_ms"] > 0 for row in rows)
