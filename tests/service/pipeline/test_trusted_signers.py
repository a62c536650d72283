"""A service that trusts some keys loads only what they signed: at its start, later, and by name."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.errors import ConfigError, CorruptVersionError
from model_core.registry.registry import Registry
from service.app import create_app
from service.settings import Settings
from tests.fixtures.models import NAME, tiny_registry
from tests.fixtures.service.problems import assert_problem
from tests.fixtures.service.reloading import LOOK_S, PNG, models, reloads, serving, wait_for
from tests.fixtures.service.waiting import wait_until
from tests.fixtures.signing import new_key, seal
from trainer.release.sign import signer

OLD, NEW = "1.0.0", "1.1.0"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A signed version in production, and a newer one that nobody signed."""
    new_key(tmp_path, "ours")
    new_key(tmp_path, "stranger")
    registry = tiny_registry(tmp_path / "models", OLD, NEW)
    registry.sign(NAME, OLD, signer(tmp_path / "ours.key"))
    registry.promote(NAME, OLD)
    return registry


def trusting(registry: Registry) -> FastAPI:
    return create_app(
        Settings(
            model_registry=registry.root,
            trusted_signers=registry.root.parent / "trusted-ours",
            reload_seconds=LOOK_S,
            backend="pytorch-fp32",
        )
    )


def test_a_signed_version_serves_and_the_log_says_who_signed(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with TestClient(trusting(registry)) as client:
        assert serving(client) == OLD
    assert "signatures=checked trusted=ours.pub" in caplog.messages
    assert re.search(r"loaded=lesion-unet@1\.0\.0 .* signed_by=ours\.pub", caplog.text)


def test_where_nothing_is_checked_the_log_says_so(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    create_app(Settings(model_registry=registry.root)).state.parts.versions.load_production()
    assert "signatures=unchecked reason=LESION_TRUSTED_SIGNERS is not set" in caplog.messages
    assert "signed_by" not in caplog.text


@pytest.mark.parametrize("by", [None, "stranger"])
def test_what_no_trusted_key_signed_does_not_start(registry: Registry, by: str | None) -> None:
    if by:
        registry.sign(NAME, NEW, signer(registry.root.parent / f"{by}.key"))
    registry.promote(NAME, NEW)
    expected = r"by none of the trusted keys: ours\.pub" if by else r"1\.1\.0 is not signed"
    with pytest.raises(CorruptVersionError, match=expected):
        trusting(registry).state.parts.versions.load_production()


def test_a_promotion_of_what_is_not_signed_leaves_the_former_one_until_it_is_signed(
    registry: Registry,
) -> None:
    with TestClient(trusting(registry)) as client:
        registry.promote(NAME, NEW)
        wait_until(lambda: reloads(client, "failed") >= 2)
        assert "1.1.0 is not signed: expected a model.sig" in models(client)["reload"]["error"]
        assert serving(client) == OLD
        registry.sign(NAME, NEW, signer(registry.root.parent / "ours.key"))
        wait_for(client, NEW)


def test_weights_changed_with_the_cards_hashes_do_not_go_live(registry: Registry) -> None:
    registry.sign(NAME, NEW, signer(registry.root.parent / "ours.key"))
    folder = registry.root / NAME / NEW
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    seal(folder)
    with TestClient(trusting(registry)) as client:
        registry.promote(NAME, NEW)
        wait_until(lambda: models(client)["reload"])
        error = models(client)["reload"]["error"]
        assert (
            error == "model.sig is of other files than these: card.json, model.safetensors differ"
        )
        assert serving(client) == OLD


def test_a_version_that_is_not_signed_is_refused_by_name(registry: Registry) -> None:
    with TestClient(trusting(registry)) as client:
        for reference in (NEW, f"{NAME}@{NEW}"):
            response = client.post(f"/segment?model={reference}", files={"image": PNG})
            problem = assert_problem(response, 503, "corrupt-version")
            assert "1.1.0 is not signed" in str(problem.detail)
        assert serving(client) == OLD


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("nowhere", "it cannot be read"), ("empty", "there is no key in it"), ("bad", "x.pub is no")],
)
def test_trusted_keys_that_cannot_be_read_stop_the_start(
    registry: Registry, tmp_path: Path, folder: str, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.pub").write_text("no key")
    settings = Settings(model_registry=registry.root, trusted_signers=tmp_path / folder)
    expected = f"^LESION_TRUSTED_SIGNERS is {re.escape(str(tmp_path / folder))}: {reason}"
    with pytest.raises(ConfigError, match=expected):
        create_app(settings).state.parts.versions.load_production()
