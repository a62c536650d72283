"""Many photographs in one request, in the application and against a real process."""

import asyncio
import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.access.body_limits import BatchBytes, BodyByteBudget
from service.api.batch.work import WINDOW, Batch
from service.contract.schemas import BatchLine, BatchProblem
from service.telemetry.prometheus import Telemetry
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem
from tests.fixtures.service.process import free_port, service
from tests.fixtures.service.waiting import wait_until

PNG = encode(lesion(48, 64))
OTHER = encode(lesion(30, 40), "JPEG", quality=95)


def post(client: TestClient, *images: bytes, query: str = "") -> list[dict[str, Any]]:
    response = client.post(f"/segment/batch{query}", files=[("images", each) for each in images])
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def zipped(*images: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for index, image in enumerate(images):
            archive.writestr(f"../../etc/{index}", image)
    return sink.getvalue()


def test_each_line_is_what_segment_answers_in_the_order_sent(client: TestClient) -> None:
    lines = post(client, PNG, OTHER, PNG)
    assert [line.pop("index") for line in lines] == [0, 1, 2]
    for number, (line, image) in enumerate(zip(lines, (PNG, OTHER, PNG), strict=True), 1):
        alone = client.post("/segment?format=rle", files={"image": image}).json()
        assert line == alone | {"id": number, "image_id": number}


def test_a_bad_photograph_is_a_problem_on_its_own_line(client: TestClient) -> None:
    good, bad, empty, last = post(client, PNG, PNG[:100], b"", OTHER)
    BatchLine.model_validate(good)
    BatchLine.model_validate(last)
    problem = BatchProblem.model_validate(bad)
    assert (problem.index, problem.type, problem.status) == (1, "/problems/unreadable-image", 422)
    assert (empty["index"], empty["status"]) == (2, 422)


def test_a_margin_that_the_version_lacks_is_the_fault_of_the_request(client: TestClient) -> None:
    response = client.post("/segment/batch?margin=tight", files=[("images", PNG)])
    problem = assert_problem(response, 422, "invalid-request")
    assert [fault.field for fault in problem.errors or []] == ["margin"]


def test_queries_hold_for_every_photograph(client: TestClient) -> None:
    lines = post(client, PNG, OTHER, query="?measurements=true&threshold=0.3")
    assert all(line["measurements"]["area_px"] == line["area"] for line in lines)
    assert {line["threshold"] for line in lines} == {0.3}


def test_a_zip_comes_in_and_goes_out(client: TestClient) -> None:
    query = "?format=zip&include=png,overlay"
    headers = {"Content-Type": "application/zip", "X-Request-Id": "the-same"}
    data = zipped(PNG, b"no image", OTHER)
    response = client.post(f"/segment/batch{query}", content=data, headers=headers)
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "0001/mask.png",
            "0001/overlay.png",
            "0002/problem.json",
            "0003/mask.png",
            "0003/overlay.png",
        ]
        mask = archive.read("0001/mask.png")
        assert json.loads(archive.read("0002/problem.json"))["index"] == 1
    assert mask == client.post("/segment", files={"image": PNG}).content
    again = client.post(f"/segment/batch{query}", content=data, headers=headers)
    assert again.content == response.content


def test_accept_chooses_the_form(client: TestClient) -> None:
    files = [("images", PNG)]
    headers = {"Accept": "application/zip"}
    response = client.post("/segment/batch", files=files, headers=headers)
    assert response.headers["content-type"] == "application/zip"
    response = client.post("/segment/batch", files=files, headers={"Accept": "text/html"})
    assert_problem(response, 406, "not-acceptable")


@pytest.mark.parametrize(
    ("options", "query", "status", "slug"),
    [
        pytest.param({"files": [("image", PNG)]}, "", 422, "invalid-request", id="field"),
        pytest.param({"files": [("images", PNG)]}, "?bits=8", 422, "invalid-request", id="query"),
        pytest.param(
            {"files": [("images", PNG)]}, "?model=9.9.9", 404, "version-not-found", id="m"
        ),
        pytest.param({"content": b"x"}, "", 415, "unsupported-media-type", id="no type"),
        pytest.param(
            {"content": zipped()[:-1], "headers": {"Content-Type": "application/zip"}},
            "",
            422,
            "invalid-request",
            id="empty ZIP",
        ),
        pytest.param(
            {"content": b"PK", "headers": {"Content-Type": "application/zip"}},
            "",
            400,
            "malformed-body",
            id="half a ZIP",
        ),
    ],
)
def test_a_request_that_is_wrong_from_the_start_has_a_status_of_its_own(
    client: TestClient, options: dict[str, Any], query: str, status: int, slug: str
) -> None:
    assert_problem(client.post(f"/segment/batch{query}", **options), status, slug)


def test_what_goes_wrong_later_is_the_last_line(client: TestClient) -> None:
    *lines, last = post(client, *[PNG] * 65)
    assert [line["index"] for line in lines] == list(range(64))
    assert (last["index"], last["detail"]) == (None, "images: more than 64, the limit")


def test_a_body_cut_off_answers_what_was_whole(client: TestClient) -> None:
    request = httpx2.Request("POST", "http://x", files=[("images", PNG), ("images", PNG)])
    body = request.read()[:-200]
    headers = {"Content-Type": request.headers["content-type"]}
    response = client.post("/segment/batch", content=body, headers=headers)
    first, last = map(json.loads, response.text.splitlines())
    assert first["index"] == 0
    assert (last["index"], last["type"]) == (None, "/problems/malformed-body")


class _Connected:
    """A request whose caller stays until it is told to leave."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}


def test_few_are_worked_on_at_a_time_and_all_stop_when_the_caller_leaves() -> None:
    async def run() -> tuple[int, int]:
        begun, ended = [0], [0]
        request = _Connected()

        async def arriving() -> Any:
            for _ in range(100):
                yield b"x"

        async def work(index: int, content: object) -> dict[str, bytes]:
            begun[0] += 1
            try:
                await asyncio.sleep(0 if index == 0 else 60)
            finally:
                ended[0] += 1
            return {"line": b"1"}

        share = BatchBytes(BodyByteBudget(1_000, Telemetry()))
        answers = Batch(request, arriving(), work, share).answers()  # type: ignore[arg-type]
        await anext(answers)
        await asyncio.sleep(0.05)
        assert begun[0] == WINDOW + 1
        await answers.aclose()
        await asyncio.sleep(0.05)
        return begun[0], ended[0]

    begun, ended = asyncio.run(run())
    assert begun == ended == WINDOW + 1


@pytest.fixture(scope="module")
def process(
    registry_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, psutil.Process, Path]]:
    """A real process that takes batches of any number."""
    port, log = free_port(), tmp_path_factory.mktemp("batch") / "log"
    settings = {"LESION_MAX_BATCH_IMAGES": "100000", "LESION_MAX_BATCH_BYTES": "10000000000"}
    with service(port, registry_root, log, settings) as found:
        yield port, psutil.Process(found.pid), log


def multipart(images: Iterator[bytes]) -> Iterator[bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\n'
    for image in images:
        yield head + image + b"\r\n"
    yield b"--x--\r\n"


TYPE = {"Content-Type": "multipart/form-data; boundary=x"}


def test_answers_come_while_photographs_are_still_sent(
    process: tuple[int, psutil.Process, Path],
) -> None:
    port, _, _ = process
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        pieces = multipart(iter([PNG, PNG]))
        head = "POST /segment/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"{head}Content-Type: {TYPE['Content-Type']}\r\n\r\n".encode())
        first = next(pieces) + b"--x"  # the delimiter that ends the first part
        connection.sendall(f"{len(first):x}\r\n".encode() + first + b"\r\n")
        answer = b""
        while b'"index":0' not in answer:
            answer += connection.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200")
        rest = b"".join(pieces).removeprefix(b"--x")
        connection.sendall(f"{len(rest):x}\r\n".encode() + rest + b"\r\n0\r\n\r\n")
        while b"0\r\n\r\n" not in answer[-10:]:
            answer += connection.recv(10_000)
        assert answer.count(b'"index":1') == 1


def noisy(seed: int) -> bytes:
    """A photograph whose file is large for its size."""
    rng = np.random.default_rng(seed)
    return encode(Image.fromarray(rng.integers(0, 255, (400, 450, 3), np.uint8)), "BMP")


@pytest.mark.slow
def test_memory_stays_the_same_however_many_photographs_come(
    process: tuple[int, psutil.Process, Path],
) -> None:
    port, watched, _ = process
    image = noisy(0)  # 540 kB
    url = f"http://127.0.0.1:{port}/segment/batch"

    def send(count: int) -> tuple[int, int]:
        """Lines of the answer, and the most memory that was in use meanwhile."""
        peak, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                peak[0] = max(peak[0], watched.memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            content = multipart(image for _ in range(count))
            response = httpx2.post(url, content=content, headers=TYPE, timeout=60)
        finally:
            done.set()
            watching.join()
        lines = response.text.splitlines()
        assert all("index" in json.loads(line) for line in lines[:: max(1, count // 20)])
        return len(lines), peak[0]

    send(30)
    few, before = send(30)
    many, after = send(200)  # 108 MB
    assert (few, many) == (30, 200)
    assert after - before < 30_000_000


def test_a_caller_who_leaves_ends_the_work(process: tuple[int, psutil.Process, Path]) -> None:
    port, _, log = process

    def metric(name: str) -> float:
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)  # absent at first

    done = 'lesion_stage_duration_seconds_count{stage="infer"}'
    before = metric(done)
    pieces = list(multipart(iter([noisy(0)] * 300)))
    length = sum(map(len, pieces))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST /segment/batch HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        connection.sendall(f"{head}Content-Type: {TYPE['Content-Type']}\r\n\r\n".encode())
        for piece in pieces[:20]:
            connection.sendall(piece)
    wait_until(lambda: metric("lesion_queue_depth") == 0)
    assert metric(done) - before <= 20
    assert "Traceback" not in log.read_text()
