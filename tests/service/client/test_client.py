"""The client against a real process of the service, and against servers that misbehave."""

import asyncio
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from model_core.masks.png import decode_mask, encode_mask
from model_core.masks.rle import encode_rle
from service.client import (
    AccessError,
    AsyncClient,
    BusyError,
    Client,
    FailedError,
    ProblemError,
    RefusedError,
    Retries,
    SentMask,
    ServiceUnreachableError,
    UnexpectedAnswerError,
)
from service.client.results import segmentation_of
from service.client.retries import retry_after_s
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import free_port
from tests.fixtures.service.scripted import Answer, scripted

PHOTO = encode(lesion(48, 64))
PROBLEM_HEADERS = {"Content-Type": "application/problem+json"}
QUICK = Retries(attempts=3, first_wait_s=0.001)
READY = Answer(body=b'{"status": "ok"}')


def problem(status: int, slug: str, **headers: str) -> Answer:
    body = {"type": f"/problems/{slug}", "title": "T", "status": status, "detail": "found"}
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(body).encode(), PROBLEM_HEADERS | more)


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[Client]:
    with Client(served) as client:
        yield client


def test_a_photograph_s_mask_is_an_array_in_its_own_frame(client: Client, tmp_path: Path) -> None:
    found = client.segment(PHOTO)
    assert found.mask.dtype == np.bool_
    assert found.mask.shape == (48, 64)
    assert found.mask[24, 32]
    assert not found.mask[0, 0]
    assert found.area_px == found.mask.sum()
    assert (found.lesion_found, found.model.label) == (True, f"{NAME}@1.0.0")
    (tmp_path / "photo.png").write_bytes(PHOTO)
    assert np.array_equal(client.segment(tmp_path / "photo.png").mask, found.mask)
    assert np.array_equal(client.segment(str(tmp_path / "photo.png")).mask, found.mask)


def test_any_format_comes_as_a_file_s_bytes(client: Client) -> None:
    mask = client.segment(PHOTO, threshold=0.4).mask
    assert np.array_equal(decode_mask(client.segment_as(PHOTO, "png", threshold=0.4)), mask)
    assert json.loads(client.segment_as(PHOTO, "rle"))["category_id"] == 1


def test_masks_are_scored_from_arrays_files_and_run_lengths(client: Client, tmp_path: Path) -> None:
    mask = client.segment(PHOTO).mask
    (tmp_path / "truth.png").write_bytes(encode_mask(mask))
    preds: list[SentMask] = [mask, tmp_path / "truth.png", json.dumps(encode_rle(~mask)).encode()]
    found = client.evaluate([mask, mask, mask], preds=preds, spacing_mm=(0.02, 0.02))
    assert [item.dice for item in found.items] == [1.0, 1.0, 0.0]
    assert found.items[0].hausdorff_95_mm == 0.0
    assert found.summary.n == 3
    assert found.summary.failure_rate == pytest.approx(1 / 3)
    assert found.summary.per_image["dice"] is not None
    assert found.summary.per_image["dice"].mean == pytest.approx(2 / 3)
    assert (found.model, found.threshold) == (None, None)


def test_a_photograph_is_scored_and_drawn_against_an_expert_s_mask(client: Client) -> None:
    mask = client.segment(PHOTO).mask
    found = client.evaluate([mask], images=[PHOTO], model="0.9.0")
    assert found.model is not None
    assert (found.items[0].jaccard, found.model.version) == (1.0, "0.9.0")
    assert client.evaluation_picture(mask, image=PHOTO).startswith(b"\x89PNG")
    assert client.evaluation_picture(mask, pred=mask).startswith(b"\x89PNG")


def test_versions_and_health_can_be_asked_for(client: Client) -> None:
    versions = client.models()
    assert [entry.version for entry in versions.models] == ["0.8.0", "0.9.0", "1.0.0"]
    assert versions.models[2].aliases == ["production"]
    assert versions.serving is not None
    assert versions.reload is None
    detail = client.model()
    assert (detail.version, detail.card["licence"]) == ("1.0.0", "Apache-2.0")
    assert detail.sha256 == versions.serving.sha256
    health = client.health()
    assert (health.alive, health.ready) == (True, True)


def test_a_corrected_mask_is_kept_and_sent_again_where_the_answer_is_lost(
    served: str, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "Jane Doe.png").write_bytes(PHOTO)
    mask = client.segment(PHOTO, threshold=0.4).mask
    kept = client.correct(tmp_path / "Jane Doe.png", ~mask, annotator="b", seconds=3, threshold=0.4)
    assert (kept.annotator, kept.seconds, kept.threshold) == ("b", 3.0, 0.4)
    assert kept.image.height == 48
    assert client.corrections().photographs >= 1

    async def ask() -> str:
        async with AsyncClient(served) as other:
            again = await other.correct(PHOTO, ~mask, annotator="b", seconds=3, threshold=0.4)
            return again.id

    assert asyncio.run(ask()) == kept.id
    with pytest.raises(RefusedError, match="annotator: expected a pseudonym"):
        client.correct(PHOTO, mask, annotator="Jane Doe")
    lost = Answer(201, kept.model_dump_json().encode())
    with scripted(Answer(0), lost) as (url, received), Client(url, retries=QUICK) as other:
        assert other.correct(PHOTO, mask, annotator="b").id == kept.id
        assert b"Jane" not in received[0].body
        assert len(received) == 2


def test_a_problem_says_what_was_found(client: Client) -> None:
    with pytest.raises(RefusedError) as caught:
        client.segment(b"no photograph")
    assert (caught.value.status, caught.value.slug) == (415, "unsupported-image")
    assert "expected JPEG" in caught.value.detail
    assert caught.value.request_id
    with pytest.raises(RefusedError, match="no such version or alias"):
        client.segment(PHOTO, model="9.9.9")
    with pytest.raises(RefusedError) as caught:
        client.segment(PHOTO, threshold=2, colour="red")
    assert {fault.field for fault in caught.value.faults} == {"threshold", "(unknown)"}
    with pytest.raises(RefusedError, match="413 body-too-large"):
        client.segment(bytes(30_000_000))


def test_a_version_s_name_cannot_leave_its_path(client: Client) -> None:
    with pytest.raises(RefusedError, match="404 no-such-route"):
        client.model("../healthz")


def test_the_async_client_gives_the_same(served: str, client: Client) -> None:
    async def ask() -> list[object]:
        async with AsyncClient(served, connections=2) as other:
            health = await other.health()
            assert health.ready
            masks = await asyncio.gather(*(other.segment(PHOTO) for _ in range(5)))
            mask = masks[0].mask
            scores = await other.evaluate([mask], preds=[mask])
            picture = await other.evaluation_picture(mask, pred=mask)
            png = await other.segment_as(PHOTO, "png")
            with pytest.raises(RefusedError):
                await other.segment(b"")
            return [*masks, scores, picture, png, await other.models(), await other.model()]

    *found, scores, picture, png, versions, detail = asyncio.run(ask())
    mask = client.segment(PHOTO).mask
    assert all(np.array_equal(each.mask, mask) for each in found)  # type: ignore[attr-defined]
    assert scores == client.evaluate([mask], preds=[mask])
    assert picture == client.evaluation_picture(mask, pred=mask)
    assert png == client.segment_as(PHOTO, "png")
    assert (versions, detail) == (client.models(), client.model())


def test_a_busy_service_is_asked_again_as_it_says() -> None:
    busy = problem(503, "queue-full", Retry_After="0"), problem(429, "rate", Retry_After="0")
    with scripted(*busy, READY) as (url, received), Client(url, retries=QUICK) as client:
        assert client.segment_as(PHOTO, "png") == READY.body
        assert [request.body for request in received] == [PHOTO] * 3


def test_patience_ends_with_the_service_s_own_words() -> None:
    with scripted(problem(503, "queue-full", Retry_After="0")) as (url, received):
        with Client(url, retries=QUICK) as client, pytest.raises(BusyError) as caught:
            client.models()
        assert (caught.value.slug, caught.value.retry_after_s) == ("queue-full", 0)
        assert len(received) == 3


def test_nobody_waits_for_longer_than_they_agreed_to() -> None:
    with scripted(problem(503, "corrupt-version", Retry_After="3600")) as (url, received):
        with Client(url) as client, pytest.raises(BusyError) as caught:
            client.models()
        assert (caught.value.retry_after_s, len(received)) == (3600, 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AccessError), (403, AccessError), (422, RefusedError), (500, FailedError)],
)
def test_what_does_not_go_away_is_not_asked_again(status: int, kind: type[ProblemError]) -> None:
    with scripted(problem(status, "some")) as (url, received):
        with Client(url, retries=QUICK) as client, pytest.raises(kind):
            client.models()
        assert len(received) == 1


@pytest.mark.parametrize("status", [500, 502])
def test_a_proxy_that_lost_the_service_is_asked_again(status: int) -> None:
    words = Answer(status, b"Internal Server Error", {"Content-Type": "text/plain"})
    with scripted(words, READY) as (url, received), Client(url, retries=QUICK) as client:
        assert client.segment_as(PHOTO, "png") == READY.body
        assert [request.body for request in received] == [PHOTO] * 2


def test_a_broken_connection_is_made_anew() -> None:
    with scripted(Answer(0), READY) as (url, _), Client(url, retries=QUICK) as client:
        assert client.segment_as(PHOTO, "png") == READY.body

    async def ask(url: str) -> bytes:
        async with AsyncClient(url, retries=QUICK) as client:
            return await client.segment_as(PHOTO, "png")

    with scripted(Answer(0), READY) as (url, received):
        assert asyncio.run(ask(url)) == READY.body
        assert len(received) == 2


def test_a_service_that_is_away_is_said_to_be() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, retries=QUICK) as client:
        with pytest.raises(ServiceUnreachableError, match="Connection refused"):
            client.segment(PHOTO)
        health = client.health()
        assert (health.alive, health.ready) == (False, False)
        assert url in health.detail
    with Client("127.0.0.1:8000") as client, pytest.raises(ServiceUnreachableError, match="http"):
        client.models()


def test_a_service_without_a_model_is_alive_and_not_ready() -> None:
    answer = problem(503, "not-ready", Retry_After="2")
    with scripted(answer) as (url, received), Client(url) as client:
        health = client.health()
        assert (health.alive, health.ready, len(received)) == (True, False, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, b"<h1>Bad gateway</h1>", {"Content-Type": "text/html"}),
        Answer(301, b"", {"Location": "https://elsewhere.example/"}),
        Answer(422, b"no JSON", PROBLEM_HEADERS),
        Answer(200, b"<h1>Log in</h1>", {"Content-Type": "text/html"}),
        Answer(200, b"[]"),
        Answer(200, b'{"models": 3}'),
    ],
)
def test_an_answer_of_something_else_is_said_to_be(answer: Answer) -> None:
    with scripted(answer) as (url, _), Client(url) as client, pytest.raises(UnexpectedAnswerError):
        client.models()


def test_a_file_s_name_stays_here_and_the_key_is_sent(tmp_path: Path) -> None:
    photo = tmp_path / "Maria_Muster.png"
    photo.write_bytes(PHOTO)
    with scripted(Answer(body=b"PNG")) as (url, received):
        with Client(f"{url}/below", api_key="secret") as client:
            client.segment_as(photo, "png")
            client.evaluation_picture(photo, image=photo)
        assert [request.path for request in received] == [
            "/below/segment?format=png",
            "/below/evaluate?format=png",
        ]
        assert all(request.headers["authorization"] == "Bearer secret" for request in received)
        sent = [f"{request.headers} {request.body!r}" for request in received]
        assert not any("Muster" in text for text in sent)


@pytest.mark.parametrize("key", ["schlüssel", "ключ", "\udcff"])
def test_a_key_of_any_letters_is_for_the_service_to_refuse(key: str) -> None:
    body = b'{"type": "/problems/invalid-key", "title": "No", "status": 401}'
    answer = Answer(401, body, {"Content-Type": "application/problem+json"})
    with (
        scripted(answer) as (url, _),
        Client(url, api_key=key) as client,
        pytest.raises(AccessError),
    ):
        client.models()


def test_what_a_newer_service_adds_is_kept_and_what_is_missing_is_named() -> None:
    body = {
        "segmentation": {"size": [2, 2], "counts": "22"},
        "area": 2,
        "bbox": [1, 0, 1, 2],
        "score": None,
        "model": {"name": "n", "version": "1.0.0", "sha256": "0" * 64, "colour": "red"},
        "image": {"height": 2, "width": 2, "sha256": "0" * 64},
        "threshold": 0.5,
        "lesion_found": True,
        "quality": {"advice": "accept", "reasons": [], "uncertainty": None},
    }
    found = segmentation_of(body)
    assert found.mask.tolist() == [[False, True], [False, True]]
    assert found.annotation["model"]["colour"] == "red"
    with pytest.raises(UnexpectedAnswerError, match="area"):
        segmentation_of({name: value for name, value in body.items() if name != "area"})
    with pytest.raises(UnexpectedAnswerError, match="counts"):
        segmentation_of(body | {"segmentation": {"size": [2, 2], "counts": "2"}})


def test_waits_grow_spread_out_and_end() -> None:
    random.seed(0)
    retries = Retries(attempts=20, first_wait_s=1, longest_wait_s=10)
    lost = httpx.ConnectError("lost")
    for attempt, mean in ((1, 1.0), (2, 2.0), (3, 4.0)):
        waits = [retries.wait_s(attempt, response=None, error=lost) for _ in range(50)]
        assert min(wait for wait in waits if wait) < 0.7 * mean
        assert all(wait is not None and 0.5 * mean <= wait <= 1.5 * mean for wait in waits)
    assert retries.wait_s(19, response=None, error=lost) == 10
    assert retries.wait_s(20, response=None, error=lost) is None
    assert retries.wait_s(1, response=None, error=httpx.ReadTimeout("slow")) is None


@pytest.mark.parametrize(
    ("value", "expected"), [("", None), ("7", 7.0), ("-1", None), ("soon", None), ("٣", None)]
)
def test_retry_after_is_read_where_it_says_something(value: str, expected: float | None) -> None:
    headers = [(b"Retry-After", value.encode())]
    assert retry_after_s(httpx.Response(503, headers=headers)) == expected


def test_retry_after_may_be_a_date() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    found = retry_after_s(httpx.Response(503, headers={"Retry-After": later}))
    assert found is not None
    assert 50 < found <= 60
    assert retry_after_s(httpx.Response(503, headers={"Retry-After": past})) == 0
