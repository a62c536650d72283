"""What uploads add to the memory of a real process, at their peak and afterwards."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import free_port, service
from tests.fixtures.service.waiting import wait_until

if not Path("/proc/self/clear_refs").exists():
    pytest.skip("the peak of a process's memory is read as on Linux", allow_module_level=True)

PNG = encode(lesion(480, 640))
MEGABYTE = 1_000_000


class Server:
    """A process whose memory can be read."""

    def __init__(self, pid: int, url: str) -> None:
        self.url = url
        self._folder = Path(f"/proc/{pid}")
        self.client = httpx2.Client(timeout=120)

    def post(self, data: bytes) -> int:
        return self.client.post(f"{self.url}/segment", content=data).status_code

    def memory_mb(self, field: str = "VmRSS") -> float:
        found = re.search(rf"{field}:\s+(\d+) kB", (self._folder / "status").read_text())
        assert found
        return int(found[1]) * 1024 / MEGABYTE

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")


@pytest.fixture(scope="module")
def server(registry_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port, log = free_port(), tmp_path_factory.mktemp("memory") / "log"
    patient = {"LESION_DEADLINE_SECONDS": "120"}  # on a busy machine
    with service(port, registry_root, log, patient) as process:
        server = Server(process.pid, f"http://127.0.0.1:{port}")
        for _ in range(10):
            assert server.post(PNG) == 200
        yield server
        server.client.close()


@pytest.mark.slow
def test_a_bomb_that_is_refused_adds_next_to_nothing(server: Server) -> None:
    bombs = [
        encode(Image.new("1", (13_000, 13_000))),
        encode(Image.new("L", (13_000, 13_000)), compress_level=1),
        encode(Image.new("1", (13_000, 13_000)), "TIFF", compression="group4"),
    ]
    before = server.memory_mb()
    server.forget_peak()
    assert [server.post(bomb) for bomb in bombs * 2] == [413] * 6
    added = server.memory_mb("VmHWM") - before
    print(f"six bombs added {added:.1f} MB")
    assert added < 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "mode", "options", "most_mb"),
    [
        pytest.param("JPEG", "RGB", {}, 200, id="JPEG"),
        pytest.param("PNG", "RGB", {"compress_level": 1}, 600, id="PNG"),
        pytest.param("PNG", "RGBA", {"compress_level": 1}, 1_300, id="PNG with alpha"),
        pytest.param("PNG", "I;16", {"compress_level": 1}, 1_300, id="16-bit PNG"),
        pytest.param("WEBP", "RGB", {"quality": 30, "method": 0}, 900, id="WebP"),
    ],
)
def test_one_at_the_pixel_limit_takes_so_much_and_gives_it_back(
    server: Server, kind: str, mode: str, options: dict[str, int], most_mb: float
) -> None:
    data = encode(Image.new(mode, (7_071, 7_071)), kind, **options)
    before = server.memory_mb()
    server.forget_peak()
    assert server.post(data) == 200
    peak = server.memory_mb("VmHWM") - before
    assert server.post(data) == 200  # what the first one left behind is used again
    assert server.post(PNG) == 200
    print(f"{kind} {mode}: {peak:.0f} MB at the peak")
    assert peak < most_mb
    wait_until(lambda: server.memory_mb() - before < 80)
