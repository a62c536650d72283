from pathlib import Path

import psutil
import pytest

from benchmarks import cold_start
from benchmarks.bodies import draw_photograph
from benchmarks.processes import free_port, serving
from benchmarks.servers import Version, ours
from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_the_first_mask_of_the_shipped_version_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    port, version = free_port(), Version(REPOSITORY / "models", "lesion-unet", "production")
    service = ours(version, "openvino-int8")
    url = f"http://127.0.0.1:{port}/segment"
    others = set(psutil.Process().children())
    environment = service.environment(port)
    with serving(service.command, environment, url, tmp_path / "log", draw_photograph(0)):
        [server] = set(psutil.Process().children()) - others
        loaded = {Path(mapped.path).name for mapped in server.memory_maps()}
    assert any(name.startswith("libopenvino") for name in loaded)
    # Its import alone takes longer than all the rest of the start.
    assert not any(name.startswith("libtorch") for name in loaded)


@pytest.mark.slow
def test_the_benchmark_prints_each_start_and_the_median(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["cold_start", "--times", "1"])
    assert cold_start.main() == 0
    first, median = capsys.readouterr().out.splitlines()
    seconds, cpu = first.split(", ")[:2]
    assert median == f"median of 1: {seconds}, {cpu}"
