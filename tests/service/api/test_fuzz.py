"""Mutated files and forms to a real process: never a 5xx, and it neither dies nor grows."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.fuzz import NO_HOARD, Outcome, fire, photographs, shots
from tests.fixtures.service.process import free_port, service

PNG = encode(lesion(48, 64))
GROWTH_BYTES = 64_000_000
"""What a process may gain after its first thousands: caches settle, a leak does not."""


class Process:
    """A service that runs, and how much memory it takes."""

    def __init__(self, url: str, pid: int, log: Path) -> None:
        self.url = url
        self.log = log
        self._process = psutil.Process(pid)

    def memory_bytes(self) -> int:
        """Resident memory of it and of its children."""
        family = [self._process, *self._process.children(recursive=True)]
        return sum(int(each.memory_info().rss) for each in family)


# Fewer would do to see a leak; 10,000 find rarer mutations.
HOW_MANY = [
    pytest.param(3_000, marks=pytest.mark.slow),
    pytest.param(10_000, marks=pytest.mark.foreign),
]


@pytest.fixture(scope="module")
def process(registry_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    port, log = free_port(), tmp_path_factory.mktemp("fuzz") / "log"
    with service(port, registry_root, log, NO_HOARD) as running:
        yield Process(f"http://127.0.0.1:{port}", running.pid, log)
        assert running.poll() is None


def assert_unharmed(process: Process, outcome: Outcome) -> None:
    assert [(shot.kind, shot.target, why) for shot, why in outcome.bad] == []
    response = httpx2.post(f"{process.url}/segment", files={"image": PNG})
    assert response.status_code == 200
    log = process.log.read_text()
    assert "Traceback" not in log
    assert "level=ERROR" not in log


def test_the_same_seed_gives_the_same_requests_and_another_one_others() -> None:
    first, again, other = (list(shots(seed, 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_seed_is_a_photograph_that_is_read(process: Process) -> None:
    for kind, data in photographs().items():
        response = httpx2.post(f"{process.url}/segment", files={"image": data})
        assert response.status_code == 200, (kind, response.text)


def test_300_mutated_requests_harm_nothing(process: Process) -> None:
    outcome = fire(process.url, shots(20_261_127, 300))
    assert_unharmed(process, outcome)
    statuses = {status for _, status in outcome.statuses}
    assert {200, 400, 415, 422} <= statuses


@pytest.mark.parametrize("count", HOW_MANY)
def test_thousands_of_mutated_requests_harm_nothing_and_memory_stays_flat(
    process: Process, count: int
) -> None:
    fuzz = shots(0, count)
    # The first half finds out how large the largest are that each thread ever decodes.
    assert_unharmed(process, fire(process.url, islice(fuzz, count // 2)))
    before = process.memory_bytes()
    assert_unharmed(process, fire(process.url, fuzz))
    after = process.memory_bytes()
    print(f"memory after half: {before / 1e6:.0f} MB, after {count:,}: {after / 1e6:.0f} MB")
    assert after - before < GROWTH_BYTES


@pytest.mark.parametrize("count", HOW_MANY)
def test_memory_stays_flat_over_thousands_of_good_requests(process: Process, count: int) -> None:
    def ask(requests: int) -> None:
        with httpx2.Client(base_url=process.url, timeout=60) as client:
            for number in range(requests):
                form = ("png", "rle")[number % 2]
                response = client.post(f"/segment?format={form}", content=PNG)
                assert response.status_code == 200

    ask(count // 10)
    before = process.memory_bytes()
    ask(count - count // 10)
    assert process.memory_bytes() - before < GROWTH_BYTES / 4
