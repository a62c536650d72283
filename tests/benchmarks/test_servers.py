import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import contenders, parse
from benchmarks.bodies import draw_photograph
from benchmarks.peers import triton_setup
from benchmarks.peers.options import ENGINE, PeerOptions
from benchmarks.peers.steps import open_steps, segment
from benchmarks.processes import ROOT, Server, ServerFailedError, free_port, serving
from benchmarks.results import odd, table
from benchmarks.rounds import ALONE, Bench, Load, Plan, Row
from benchmarks.servers import PEERS, Contender, Version, ours, peer
from benchmarks.wires import PNG, TENSORS, WIRES
from tests.fixtures.models import NAME, tiny_registry

LOADS = [Load(callers=2), Load(of_ceiling=0.5)]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Version(tiny_registry(tmp_path_factory.mktemp("registry")).root, NAME, "production")


@pytest.fixture
def photograph() -> bytes:
    return draw_photograph(0, height=96, width=128)


def plan(version: Version, folder: Path, *who: Contender) -> Plan:
    (folder / "bodies").mkdir()
    (folder / "bodies" / "0.jpg").write_bytes(draw_photograph(0, height=96, width=128))
    return Plan(version, who, LOADS, rounds=1, seconds=0.3, warmup_s=0.1, folder=folder)


def test_a_peer_that_is_not_installed_is_named_with_the_reason(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.servers.find_spec", lambda _: None)
    missing = peer("litserve", version, "null")
    rows = Bench(plan(version, tmp_path, missing), lambda _: None).run()
    assert [(row.server, row.load) for row in rows] == [("litserve", "2 callers")]
    text = table(rows)
    assert "litserve is not installed" in text
    assert ".[bench]" in text


def test_a_server_is_measured_loaded_and_weighed(version: Version, tmp_path: Path) -> None:
    tiny = replace(
        ours(version, "null"),
        label="tiny",
        command=(sys.executable, "-m", "tests.benchmarks.tiny_server"),
        environment=lambda port: {"PORT": str(port)},
    )
    (row,) = Bench(plan(version, tmp_path, tiny), lambda _: None).run()
    assert not row.skipped
    assert row.median("requests_per_s") > 0  # the machine may be busy
    assert row.median("resident_mb") > 5
    assert row.median("server_cpu_ms") > 0
    assert row.rounds[0]["backends"] == ["sleep"]


def test_a_server_that_is_kept_starts_once_for_all_rounds(version: Version, tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = f"open({str(started)!r}, 'a').write('x'); import runpy; runpy.run_module("
    code += "'tests.benchmarks.tiny_server', run_name='__main__')"
    tiny = replace(
        ours(version, "null"),
        command=(sys.executable, "-c", code),
        environment=lambda port: {"PORT": str(port)},
    )
    thrice = replace(plan(version, tmp_path, tiny), rounds=3, keep=True)
    (row,) = Bench(thrice, lambda _: None).run()
    assert (row.skipped, len(row.rounds)) == ("", 3)
    assert started.read_text() == "x"


@pytest.mark.slow
def test_our_service_is_measured_with_a_constant_in_the_networks_place(
    version: Version, tmp_path: Path
) -> None:
    (row,) = Bench(plan(version, tmp_path, ours(version, "null")), lambda _: None).run()
    assert not row.skipped
    assert row.median("requests_per_s") > 1
    assert row.median("resident_mb") > 50
    assert row.median("server_cpu_ms") > 0
    assert row.rounds[0]["backends"] == ["null"]
    assert odd([row]) == []


def test_an_engine_that_fails_alone_ends_no_run(version: Version, tmp_path: Path) -> None:
    nowhere = replace(version, root=tmp_path / "nowhere")
    tiny = replace(
        ours(nowhere, "pytorch-fp32"),
        command=(sys.executable, "-m", "tests.benchmarks.tiny_server"),
        environment=lambda port: {"PORT": str(port)},
    )
    alone, served, offered = Bench(plan(nowhere, tmp_path, tiny), lambda _: None).run()
    assert "benchmarks.ceiling failed" in alone.skipped
    assert len(served.rounds) == 1
    assert (len(offered.rounds), "engine alone" in offered.skipped) == (0, True)


def test_a_server_that_does_not_start_says_why(tmp_path: Path, photograph: bytes) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the registry is nowhere')"]
    url = f"http://127.0.0.1:{free_port()}/segment"
    with (
        pytest.raises(ServerFailedError, match="the registry is nowhere"),
        serving(command, {}, url, tmp_path / "log", photograph),
    ):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", PEERS)
def test_an_installed_peer_answers_masks_of_the_same_engine(
    name: str, batch: int, version: Version, tmp_path: Path
) -> None:
    contender = peer(name, version, "pytorch-fp32", batch=batch)
    if contender.skipped:
        pytest.skip(contender.skipped)
    rows = Bench(plan(version, tmp_path, contender), lambda _: None).run()
    assert [row.skipped for row in rows] == ["", "", ""]
    assert odd(rows) == []
    assert {row.load for row in rows} == {"", "2 callers", "50% offered"}
    assert min(row.median("requests_per_s") for row in rows) > 1


@pytest.mark.slow
def test_the_whole_command_leaves_a_table_a_json_and_a_picture(
    version: Version, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks", "--registry", str(version.root)]
    command += ["--engines", "auto", "null", "--servers", "service", "naive", "--rounds", "2"]
    # A rate that the service keeps up with: this engine alone answers a thousand times a second.
    command += ["--callers", "1", "--open-loop", "0.02", "--seconds", "0.5", "--warmup", "0.1"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "engine alone" in run.stdout
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["conditions"]["cores"] >= 1
    assert [len(row["rounds"]) for row in found["rows"]] == [2] * 7
    assert (tmp_path / "requests_per_second.png").stat().st_size > 1000


def test_options_reach_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = PeerOptions(root="r", name=NAME, version="1.0.0", engine="auto", port=1, batch=4)
    for name, value in sent.environment().items():
        monkeypatch.setenv(name, value)
    assert PeerOptions.read() == sent


def test_every_peer_runs_on_every_engine_and_ours_comes_first(version: Version) -> None:
    arguments = parse(["--engines", "auto", "null", "--peer-workers", "1", "2"])
    found = [(each.engine, each.label) for each in contenders(arguments, version)]
    pairs = [[name, f"{name} x2"] for name in PEERS if name != "naive"]
    labels = ["service", "naive", *(label for pair in pairs for label in pair)]
    assert found == [(engine, label) for engine in ("auto", "null") for label in labels]


def test_triton_gets_a_tensor_of_bytes_and_gives_one() -> None:
    wire = WIRES[TENSORS]
    call = wire.call(b"\xff\xd8 a photograph")
    head = int(call.headers["Inference-Header-Content-Length"])
    (image,) = json.loads(call.body[:head])["inputs"]
    assert (image["datatype"], image["shape"]) == ("BYTES", [1, 1])
    assert call.body[head:] == b"\x0f\0\0\0\xff\xd8 a photograph"
    assert image["parameters"]["binary_data_size"] == 4 + 15
    answer = b'{"outputs":[]}' + b"\x0b\0\0\0" + PNG + b"..."
    assert wire.mask({"Inference-Header-Content-Length": "14"}, answer) == PNG + b"..."
    with pytest.raises(ValueError, match="not a PNG"):
        wire.mask({}, b'{"error":"no model"}')


def test_tritons_python_finds_here_what_it_has_not(tmp_path: Path) -> None:
    triton_setup.add_paths(tmp_path)
    code = (
        f"import site, sys; site.addsitedir({str(tmp_path)!r}); import numpy; print(sys.path[-1])"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")  # the line that mends its lock ran, too
    assert run.stdout.strip().endswith("site-packages")


def test_a_peer_may_have_its_own_number_of_processes(version: Version) -> None:
    words = ["--engines", "auto", "--peer-workers", "1", "--servers", "service", "ray:2", "mosec"]
    found = [each.label for each in contenders(parse(words), version)]
    assert found == ["service", "ray x2", "mosec"]


@pytest.mark.parametrize("text", ["raay", "ray:0", "ray:x", "naive:2", "service:2"])
def test_a_server_that_is_none_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--servers", text])
    assert f"invalid server value: '{text}'" in capsys.readouterr().err


def test_a_peer_whose_answers_have_no_headers_of_ours_logs_its_engine(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ready\nengine: openvino-int8\nengine: openvino-int8\nover\n")
    server = Server([], {}, "", tmp_path / "log")
    assert server.logged(ENGINE) == ["openvino-int8"]


def test_steps_without_a_network_read_the_card_alone(version: Version) -> None:
    options = PeerOptions(root=str(version.root), name=NAME, version="production", engine="auto",
                          port=0)  # fmt: skip
    whole, apart = open_steps(options), open_steps(options, network=False)
    photograph = draw_photograph(0, height=96, width=128)
    pixels, known = apart.before(photograph)
    assert (pixels == whole.before(photograph)[0]).all()
    assert apart.after(whole.network(pixels[None])[0], known) == segment(whole, photograph)
    assert apart.backend == "null"


def test_a_row_that_another_engine_answered_is_unsound() -> None:
    alone = Row("auto", ALONE, rounds=[{"backend": "openvino-int8", "requests_per_s": 30.0}])
    good = Row("auto", "a", "8 callers", [{"backends": ["openvino-int8"], "requests_per_s": 27.0}])
    bad = Row("auto", "b", "8 callers", [{"backends": ["pytorch-cpu-fp32"]}])
    wrong = Row("auto", "c", "8 callers", [{"backends": [], "errors": {"status 503": 2}}])
    assert odd([alone, good]) == []
    assert len(odd([alone, good, bad, wrong])) == 2
    assert "0.90" in table([alone, good])
