"""What a registry promises wherever it lies: in a folder, in memory, in a bucket."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
import s3fs  # type: ignore[import-untyped]

from model_core.card import dump_card
from model_core.errors import (
    ConfigError,
    CorruptVersionError,
    GateError,
    InputError,
    RegistryUnavailableError,
    VersionExistsError,
    VersionNotFoundError,
)
from model_core.registry.local_store import file_sha256
from model_core.registry.object_store import open_store
from model_core.registry.registry import GOLDEN, WEIGHTS, Registry
from tests.fixtures.models import CARD, NAME, VERSION
from tests.fixtures.registry_writer import PICTURE, REPOSITORY

Open = Callable[[str], Registry]


def publish(registry: Registry, weights: Path, *versions: str) -> None:
    """Publish versions and promote each to production."""
    for version in versions:
        registry.publish(replace(CARD, version=version), weights, PICTURE)
        registry.promote(NAME, version)


def write(place: str, path: str, data: bytes) -> None:
    """Write a file below a registry past all its rules."""
    with fsspec.open(f"{place}/{path}", "wb") as file:
        file.write(data)


def remove(place: str, path: str) -> None:
    fs, root = fsspec.url_to_fs(place)
    fs.rm(f"{root}/{path}", recursive=True)


def damage(place: str, path: str) -> None:
    """Change one byte in the middle of a file."""
    with fsspec.open(f"{place}/{path}", "rb") as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 1
    write(place, path, bytes(data))


# --- one contract ----------------------------------------------------------------------------


def test_from_publishing_to_predicting(registry: Registry, weights: Path) -> None:
    assert registry.names() == []
    published = registry.publish(CARD, weights, PICTURE)
    registry.check()
    assert (published.folder / WEIGHTS).read_bytes() == weights.read_bytes()
    assert (registry.names(), registry.versions(NAME)) == ([NAME], [VERSION])
    registry.promote(NAME, VERSION)
    assert registry.resolve(NAME, "production") == VERSION
    loaded = registry.load(NAME, VERSION)
    assert (loaded.card, loaded.sha256) == (published.card, published.sha256)
    assert loaded.predictor.predict(PICTURE).mask[24, 32]
    assert list(registry.faults()) == []


def test_a_version_is_never_written_twice(registry: Registry, weights: Path) -> None:
    publish(registry, weights, VERSION)
    with pytest.raises(VersionExistsError, match=r"lesion-unet 1\.0\.0 exists"):
        registry.publish(replace(CARD, licence="another"), weights, PICTURE)
    assert registry.verify(NAME, VERSION).card.licence == CARD.licence


def test_exports_are_frozen_with_the_version(
    registry: Registry, place: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "exports" / "openvino").mkdir(parents=True)
    (tmp_path / "exports" / "openvino" / "model.xml").write_text("<net/>")
    (tmp_path / "exports" / "model.onnx").write_bytes(b"onnx")
    registry.publish(CARD, weights, PICTURE, exports=tmp_path / "exports")
    loaded = registry.load(NAME, VERSION)
    assert sorted(loaded.card.files) == [GOLDEN, "model.onnx", WEIGHTS, "openvino/model.xml"]
    assert (loaded.folder / "openvino" / "model.xml").read_text() == "<net/>"
    damage(place, f"{NAME}/{VERSION}/openvino/model.xml")
    with pytest.raises(CorruptVersionError, match=r"openvino/model\.xml has SHA-256"):
        registry.verify(NAME, VERSION)


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN, "card.json"])
def test_an_export_cannot_take_the_place_of_a_file_of_ours(
    registry: Registry, weights: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / name).write_bytes(b"mine")
    with pytest.raises(ConfigError, match=name):
        registry.publish(CARD, weights, PICTURE, exports=tmp_path / "exports")
    assert registry.names() == []


def test_only_the_weights_that_were_scored_are_published(registry: Registry, weights: Path) -> None:
    with pytest.raises(GateError, match=r"scored had 000000000000…; evaluate again"):
        registry.publish(CARD, weights, PICTURE, weights_sha256="0" * 64)
    assert registry.names() == []
    registry.publish(CARD, weights, PICTURE, weights_sha256=file_sha256(weights))
    assert registry.versions(NAME) == [VERSION]


def test_a_publishing_that_fails_leaves_nothing(registry: Registry, weights: Path) -> None:
    with pytest.raises(InputError):
        registry.publish(CARD, weights, b"no picture")
    assert registry.names() == []
    assert list(registry.faults()) == []


def test_a_registry_that_is_not_there_says_so(registry: Registry) -> None:
    assert registry.names() == []
    with pytest.raises(VersionNotFoundError, match="it has none"):
        registry.resolve(NAME, "production")
    with pytest.raises(VersionNotFoundError):
        registry.load(NAME, VERSION)
    with pytest.raises(ConfigError, match=r"there is (no such folder|nothing below)"):
        registry.check()


# --- aliases and the way back ----------------------------------------------------------------


def test_rolling_back_twice_goes_two_steps_back(registry: Registry, weights: Path) -> None:
    publish(registry, weights, "1.0.0", "1.1.0", "1.2.0")
    assert registry.history(NAME) == ["1.0.0", "1.1.0"]
    assert registry.rollback(NAME) == "1.1.0"
    assert registry.rollback(NAME) == "1.0.0"
    assert registry.aliases(NAME) == {"production": "1.0.0"}
    with pytest.raises(VersionNotFoundError, match="no earlier version to go back to"):
        registry.rollback(NAME)
    assert registry.versions(NAME) == ["1.0.0", "1.1.0", "1.2.0"]


def test_the_version_that_was_rolled_back_from_does_not_come_back(
    registry: Registry, weights: Path
) -> None:
    publish(registry, weights, "1.0.0", "1.1.0")
    registry.rollback(NAME)
    publish(registry, weights, "1.2.0")
    assert registry.rollback(NAME) == "1.0.0"


def test_each_alias_has_a_history_of_its_own(registry: Registry, weights: Path) -> None:
    publish(registry, weights, "1.0.0", "1.1.0")
    registry.promote(NAME, "1.1.0", alias="canary")
    registry.promote(NAME, "1.0.0", alias="canary")
    assert registry.rollback(NAME, "canary") == "1.1.0"
    assert registry.aliases(NAME) == {"production": "1.1.0", "canary": "1.1.0"}
    with pytest.raises(VersionNotFoundError, match="'shadow' of lesion-unet has no earlier"):
        registry.rollback(NAME, "shadow")


def test_there_is_no_way_back_to_a_version_that_is_gone_or_damaged(
    registry: Registry, place: str, weights: Path
) -> None:
    publish(registry, weights, "1.0.0", "1.1.0", "1.2.0")
    damage(place, f"{NAME}/1.1.0/{WEIGHTS}")
    with pytest.raises(CorruptVersionError, match="SHA-256"):
        registry.rollback(NAME)
    remove(place, f"{NAME}/1.1.0")
    with pytest.raises(VersionNotFoundError, match=r"no version '1\.1\.0'"):
        registry.rollback(NAME)
    assert registry.resolve(NAME, "production") == "1.2.0"
    assert registry.history(NAME) == ["1.0.0", "1.1.0"]


def test_broken_aliases_are_not_overwritten(registry: Registry, place: str, weights: Path) -> None:
    publish(registry, weights, VERSION)
    write(place, f"{NAME}/aliases.json", b"{")
    for change in (registry.rollback, lambda name: registry.promote(name, VERSION)):
        with pytest.raises(CorruptVersionError, match="not JSON"):
            change(NAME)


# --- verify ----------------------------------------------------------------------------------


def test_every_fault_of_a_version_is_found_at_once(
    registry: Registry, place: str, weights: Path
) -> None:
    publish(registry, weights, VERSION)
    remove(place, f"{NAME}/{VERSION}/{GOLDEN}")
    damage(place, f"{NAME}/{VERSION}/{WEIGHTS}")
    with pytest.raises(CorruptVersionError, match=f"lacks the file {GOLDEN}; .*{WEIGHTS} has SHA"):
        registry.verify(NAME, VERSION)


def test_the_faults_of_a_registry_are_one_line_each(
    registry: Registry, place: str, weights: Path
) -> None:
    publish(registry, weights, "1.0.0", "1.1.0", "1.2.0")
    assert list(registry.faults()) == []
    damage(place, f"{NAME}/1.0.0/{WEIGHTS}")
    write(place, f"{NAME}/1.1.0/card.json", b"{}")
    remove(place, f"{NAME}/1.2.0/card.json")
    write(place, "other-net/aliases.json", b"[]")
    faults = list(registry.faults())
    starts = [
        "lesion-unet 1.0.0: lesion-unet/1.0.0/model.safetensors has SHA-256",
        "lesion-unet 1.1.0: card.json is not a model card",
        "lesion-unet: production points to 1.2.0, which is not there",
        "lesion-unet/1.2.0: no card.json; a publisher is at work or was killed",
        "other-net: other-net/aliases.json is not an object",
    ]
    assert len(faults) == len(starts)
    assert all(fault.startswith(start) for fault, start in zip(faults, starts, strict=True))


def test_what_a_dead_publisher_left_is_reported_and_the_next_one_clears_it(
    tmp_path: Path, weights: Path
) -> None:
    registry = Registry(tmp_path / "models")
    publish(registry, weights, "1.0.0")
    left = tmp_path / "models" / NAME / ".publish-x" / "1.1.0"
    left.mkdir(parents=True)
    (left / WEIGHTS).write_bytes(b"half")
    [fault] = registry.faults()
    assert fault.startswith("lesion-unet/.publish-x: no card.json")
    publish(registry, weights, "1.1.0")
    assert list(registry.faults()) == []


# --- buckets ---------------------------------------------------------------------------------

URLS = pytest.mark.parametrize("place", ["memory", "s3"], indirect=True)


@URLS
def test_a_dead_publisher_blocks_no_number_and_his_files_are_not_served(
    registry: Registry, place: str, weights: Path
) -> None:
    write(place, f"{NAME}/{VERSION}/{WEIGHTS}", b"of weights that were never published")
    publish(registry, weights, VERSION)
    card, _ = registry.card(NAME, VERSION)
    loaded = registry.verify(NAME, VERSION)
    assert (loaded.folder / WEIGHTS).read_bytes() == weights.read_bytes()
    with fsspec.open(f"{place}/{NAME}/{VERSION}/{card.files[WEIGHTS]}/{WEIGHTS}") as file:
        assert file.read() == weights.read_bytes()


@URLS
def test_a_registry_that_was_copied_from_a_folder_can_be_read(
    registry: Registry, place: str, weights: Path, tmp_path: Path
) -> None:
    publish(Registry(tmp_path / "local"), weights, VERSION)
    fs, root = fsspec.url_to_fs(place)
    fs.put(f"{tmp_path / 'local'}/", root, recursive=True)
    assert registry.load(NAME, registry.resolve(NAME, "production")).card.version == VERSION


@URLS
@pytest.mark.parametrize("harm", ["damaged", "truncated", "removed"])
def test_a_damaged_copy_in_the_cache_is_fetched_again(
    registry: Registry, weights: Path, harm: str
) -> None:
    publish(registry, weights, VERSION)
    copy = registry.load(NAME, VERSION).folder / WEIGHTS
    if harm == "removed":
        copy.unlink()
    else:
        data = weights.read_bytes()
        copy.write_bytes(data[:10] if harm == "truncated" else b"\0" * len(data))
    assert registry.load(NAME, VERSION).predictor.predict(PICTURE).mask.any()
    assert copy.read_bytes() == weights.read_bytes()


@URLS
def test_what_the_cache_holds_is_not_read_again_but_verify_looks_at_the_store(
    registry: Registry, place: str, weights: Path
) -> None:
    publish(registry, weights, VERSION)
    remove(place, f"{NAME}/{VERSION}/{WEIGHTS}")
    assert registry.load(NAME, VERSION).card.version == VERSION
    with pytest.raises(CorruptVersionError, match="lacks the file"):
        registry.verify(NAME, VERSION)


@URLS
def test_a_card_may_list_only_files_of_its_own_folder(
    registry: Registry, place: str, weights: Path
) -> None:
    publish(registry, weights, VERSION)
    card, _ = registry.card(NAME, VERSION)
    climbing = replace(card, files=card.files | {"../../x": "0" * 64})
    write(place, f"{NAME}/{VERSION}/card.json", dump_card(climbing))
    with pytest.raises(CorruptVersionError, match=r"lacks the file \.\./\.\./x"):
        registry.load(NAME, VERSION)


def test_without_a_cache_folder_copies_go_to_the_platforms(
    bucket: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    registry = Registry(f"{bucket}/default-cache")
    publish(registry, weights, VERSION)
    folder = registry.load(NAME, VERSION).folder
    assert folder == tmp_path / "xdg" / "lesion-models" / registry.card(NAME, VERSION)[1]


def test_a_cache_folder_that_cannot_be_made_is_named(
    bucket: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    registry = Registry(f"{bucket}/no-cache", cache=tmp_path / "file" / "cache")
    with pytest.raises(ConfigError, match="set XDG_CACHE_HOME"):
        publish(registry, weights, VERSION)
    assert registry.names() == []


def test_a_bucket_that_is_not_there_is_said_to_be(weights: Path, bucket: str) -> None:
    registry = Registry("s3://nowhere-at-all/models")
    with pytest.raises(ConfigError, match="nothing below"):
        registry.check()
    with pytest.raises(RegistryUnavailableError, match="bucket does not exist"):
        registry.publish(CARD, weights, PICTURE)


@pytest.mark.slow  # the client tries for some seconds
def test_a_store_that_does_not_answer_is_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RegistryUnavailableError, match=r"^s3://\w+ cannot be reached: ") as info:
        Registry(bucket).versions(NAME)
    s3fs.S3FileSystem.clear_instance_cache()
    assert "\n" not in str(info.value)


def test_without_s3fs_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from model_core.registry.object_store import ObjectStore\n"
        "ObjectStore('s3://models').folders()"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert "ConfigError: s3://models cannot be opened: " in run.stderr
    assert 'install the extra "s3"' in run.stderr


def test_a_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^nothing://x cannot be opened: "):
        Registry("nothing://x").check()


def test_only_a_folder_has_a_root(tmp_path: Path) -> None:
    assert Registry(f"file://{tmp_path}").root == tmp_path
    with pytest.raises(ConfigError, match="s3://models is no folder"):
        assert Registry("s3://models").root


# --- small folders ---------------------------------------------------------------------------


def test_a_small_folder_is_kept_whole_or_not_at_all_and_removed_whole(place: str) -> None:
    store = open_store(place)
    store.keep("one", {"a": b"1", "b": b"2"})
    assert (store.read("one/a"), store.holding("", "b")) == (b"1", ["one"])
    write(place, "two/b", b"of another")
    with pytest.raises((FileExistsError, VersionExistsError)):
        store.keep("two", {"a": b"1", "b": b"2"})
    assert store.holding("", "a") == ["one"]
    for name in ("one", "one", "two"):
        store.remove(name)
    assert store.folders() == []
