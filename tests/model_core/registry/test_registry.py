import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.card import dump_card, parse_card
from model_core.errors import (
    ConfigError,
    CorruptVersionError,
    ImageTooLargeError,
    InputError,
    VersionExistsError,
    VersionNotFoundError,
)
from model_core.masks.rle import encode_rle
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.network.weights import save_weights
from model_core.registry.registry import ALIASES, GOLDEN, WEIGHTS, Registry, split_reference
from tests.fixtures.models import CARD, NAME, VERSION, dark_is_lesion, tiny_registry
from tests.fixtures.pictures import encode, lesion

PICTURE = encode(lesion(48, 64))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """`dark_is_lesion` as version 1.0.0, in production."""
    return tiny_registry(tmp_path / "models")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(dark_is_lesion().state_dict(), path)
    return path


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, the publishers' lock apart."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def seal(folder: Path) -> None:
    """Write the hashes of the files as they are now into the card, as a forger would."""
    card = parse_card((folder / "card.json").read_bytes())
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in card.files}
    (folder / "card.json").write_bytes(dump_card(replace(card, files=hashes)))


# --- publish, list, load, promote, resolve ---------------------------------------------------


def test_from_publishing_to_predicting(tmp_path: Path, weights: Path) -> None:
    registry = Registry(tmp_path / "models")
    assert registry.names() == []
    published = registry.publish(CARD, weights, PICTURE)
    assert published.label == "lesion-unet@1.0.0"
    assert registry.names() == [NAME]
    assert registry.versions(NAME) == [VERSION]
    assert registry.aliases(NAME) == {}

    registry.promote(NAME, VERSION)
    assert registry.resolve(NAME, "production") == VERSION
    loaded = registry.load(NAME, VERSION)
    assert loaded.card == published.card
    assert loaded.sha256 == published.sha256
    assert loaded.predictor.preprocess_config == CARD.preprocess
    mask = loaded.predictor.predict(PICTURE).mask
    assert mask.shape == (48, 64)
    assert mask[24, 32]
    assert not mask[0, 0]


def test_a_version_is_three_files_and_the_card_lists_the_hashes_of_the_others(
    registry: Registry,
) -> None:
    folder = registry.root / NAME / VERSION
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", GOLDEN, WEIGHTS]
    card, sha256 = registry.card(NAME, VERSION)
    assert sha256 == hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    assert card.files == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, GOLDEN)
    }
    assert replace(card, files={}) == CARD


def test_the_golden_file_holds_the_very_picture_and_the_mask_of_the_stored_weights(
    registry: Registry,
) -> None:
    golden = json.loads((registry.root / NAME / VERSION / GOLDEN).read_bytes())
    assert base64.b64decode(golden["image_png"]) == PICTURE
    mask = registry.load(NAME, VERSION).predictor.predict(PICTURE).mask
    assert golden["mask"] == encode_rle(mask)


def test_versions_are_listed_oldest_first_and_names_in_alphabetical_order(
    tmp_path: Path, weights: Path
) -> None:
    registry = tiny_registry(tmp_path / "models", "1.10.0", "1.2.0", "1.2.0-rc.1")
    registry.publish(replace(CARD, name="a-net"), weights, PICTURE)
    assert registry.versions(NAME) == ["1.2.0-rc.1", "1.2.0", "1.10.0"]
    assert registry.names() == ["a-net", NAME]


def test_what_is_no_version_is_not_listed(registry: Registry) -> None:
    folder = registry.root / NAME
    for other in (".publish-x1", "backup", "1.0", "v1.0.0", ".1.0.0"):
        shutil.copytree(folder / VERSION, folder / other)
    (folder / "2.0.0").mkdir()  # no card: not a version yet
    (registry.root / "README.md").write_text("hello")
    (registry.root / "empty").mkdir()
    assert registry.versions(NAME) == [VERSION]
    assert registry.names() == [NAME]


def test_a_registry_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "nowhere")
    assert registry.names() == []
    assert registry.versions(NAME) == []
    with pytest.raises(VersionNotFoundError, match="it has none"):
        registry.resolve(NAME, "production")
    with pytest.raises(VersionNotFoundError):
        registry.load(NAME, VERSION)
    assert not registry.root.exists()


def test_promotion_moves_an_alias_and_going_back_is_a_promotion(tmp_path: Path) -> None:
    registry = tiny_registry(tmp_path, "1.0.0", "1.1.0")
    assert registry.resolve(NAME, "production") == "1.1.0"
    registry.promote(NAME, "1.0.0", alias="previous")
    registry.promote(NAME, "1.0.0")
    assert registry.aliases(NAME) == {"previous": "1.0.0", "production": "1.0.0"}
    assert registry.resolve(NAME, "production") == "1.0.0"
    assert registry.resolve(NAME, "1.1.0") == "1.1.0"


def test_an_unknown_version_or_alias_is_answered_with_what_there_is(registry: Registry) -> None:
    with pytest.raises(VersionNotFoundError, match=r"'9\.9\.9'; it has production, 1\.0\.0"):
        registry.resolve(NAME, "9.9.9")
    with pytest.raises(VersionNotFoundError, match=r"'9\.9\.9'"):
        registry.promote(NAME, "9.9.9")


def test_an_alias_to_nowhere_is_said_to_be_one(registry: Registry) -> None:
    shutil.rmtree(registry.root / NAME / VERSION)
    with pytest.raises(VersionNotFoundError, match=r"points to 1\.0\.0, which is not there"):
        registry.resolve(NAME, "production")


def test_an_alias_cannot_be_promoted(registry: Registry) -> None:
    with pytest.raises(VersionNotFoundError, match="promote takes a version"):
        registry.promote(NAME, "production", alias="canary")


@pytest.mark.parametrize("alias", ["1.0.0", "../x", "", "Production", "a b"])
def test_an_alias_that_is_no_name_is_refused(registry: Registry, alias: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        registry.promote(NAME, VERSION, alias=alias)
    assert registry.aliases(NAME) == {"production": VERSION}


@pytest.mark.parametrize("text", ["", "{", "[]", '"1.0.0"', '{"production": 1}', "\xff"])
def test_broken_aliases_are_refused(registry: Registry, text: str) -> None:
    (registry.root / NAME / ALIASES).write_text(text, encoding="latin-1")
    with pytest.raises(CorruptVersionError, match=ALIASES):
        registry.resolve(NAME, "production")


# --- immutable, all or nothing ---------------------------------------------------------------


def test_a_version_is_never_written_twice(registry: Registry, weights: Path) -> None:
    before = files(registry.root)
    with pytest.raises(VersionExistsError, match="publish under a new number"):
        registry.publish(replace(CARD, licence="another"), weights, PICTURE)
    assert files(registry.root) == before


def other_weights(path: Path) -> None:
    save_weights(UNet(UNetConfig(width=2, depth=1)).state_dict(), path)


def infinite_weights(path: Path) -> None:
    state = dark_is_lesion().state_dict()
    save_weights(state | {"head.bias": torch.tensor([float("inf")])}, path)


def truncated_weights(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("spoil", [other_weights, infinite_weights, truncated_weights])
def test_weights_that_do_not_fit_are_refused_and_nothing_is_left_of_them(
    registry: Registry, weights: Path, spoil: Callable[[Path], None]
) -> None:
    before = files(registry.root)
    spoil(weights)
    with pytest.raises(CorruptVersionError):
        registry.publish(replace(CARD, version="1.1.0"), weights, PICTURE)
    assert files(registry.root) == before
    assert registry.versions(NAME) == [VERSION]


@pytest.mark.parametrize(
    "picture", [b"", b"no picture", PICTURE[:60]], ids=["empty", "text", "truncated"]
)
def test_a_golden_image_that_cannot_be_read_publishes_nothing(
    registry: Registry, weights: Path, picture: bytes
) -> None:
    before = files(registry.root)
    with pytest.raises(InputError):
        registry.publish(replace(CARD, version="1.1.0"), weights, picture)
    assert files(registry.root) == before


def test_what_a_killed_publisher_left_harms_nobody(registry: Registry, weights: Path) -> None:
    folder = registry.root / NAME
    staging = folder / ".publish-killed" / NAME / "1.1.0"
    shutil.copytree(folder / VERSION, staging)
    (staging / "card.json").unlink()
    (folder / f".{ALIASES}.part").write_text('{"produ')
    assert registry.versions(NAME) == [VERSION]
    registry.publish(replace(CARD, version="1.1.0"), weights, PICTURE)
    registry.promote(NAME, "1.1.0")
    assert registry.resolve(NAME, "production") == "1.1.0"


def test_of_many_publishers_of_one_version_one_succeeds(tmp_path: Path, weights: Path) -> None:
    def publish(licence: str) -> str:
        try:
            card = replace(CARD, licence=licence)
            return Registry(tmp_path / "models").publish(card, weights, PICTURE).card.licence
        except VersionExistsError:
            return "too late"

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(publish, ["a", "b", "c", "d"]))
    assert answers[1:] == ["too late"] * 3
    assert Registry(tmp_path / "models").card(NAME, VERSION)[0].licence == answers[0]


def test_a_reader_writes_nothing(registry: Registry) -> None:
    folders = [registry.root, *(path for path in registry.root.rglob("*") if path.is_dir())]
    before = {path: path.stat().st_mtime_ns for path in registry.root.rglob("*")}
    for path in folders:
        path.chmod(0o555)
    try:
        registry.load(NAME, registry.resolve(NAME, "production"))
        assert {path: path.stat().st_mtime_ns for path in registry.root.rglob("*")} == before
    finally:
        for path in folders:
            path.chmod(0o755)


# --- tampering -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN])
def test_a_changed_byte_is_found(registry: Registry, name: str) -> None:
    path = registry.root / NAME / VERSION / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptVersionError, match=f"{name} has SHA-256 .*, the card says"):
        registry.load(NAME, VERSION)


@pytest.mark.parametrize("name", [WEIGHTS, GOLDEN])
def test_a_missing_file_is_found(registry: Registry, name: str) -> None:
    (registry.root / NAME / VERSION / name).unlink()
    with pytest.raises(CorruptVersionError, match=f"lacks the file {name}"):
        registry.load(NAME, VERSION)


def test_a_card_without_hashes_is_refused(registry: Registry) -> None:
    path = registry.root / NAME / VERSION / "card.json"
    path.write_bytes(dump_card(CARD))
    with pytest.raises(CorruptVersionError, match=f"no hash of {GOLDEN}, {WEIGHTS}"):
        registry.load(NAME, VERSION)


@pytest.mark.parametrize("name", ["../1.0.0/card.json", "/etc/hostname", "openvino/model.bin"])
def test_a_card_may_list_only_files_of_its_own_folder(registry: Registry, name: str) -> None:
    path = registry.root / NAME / VERSION / "card.json"
    card = parse_card(path.read_bytes())
    path.write_bytes(dump_card(replace(card, files=card.files | {name: "0" * 64})))
    with pytest.raises(CorruptVersionError, match=f"lacks the file {name}"):
        registry.load(NAME, VERSION)


def test_a_broken_card_is_refused(registry: Registry) -> None:
    (registry.root / NAME / VERSION / "card.json").write_text("{")
    with pytest.raises(CorruptVersionError, match="not a model card"):
        registry.load(NAME, VERSION)


def test_a_card_of_another_version_is_refused(registry: Registry) -> None:
    shutil.copytree(registry.root / NAME / VERSION, registry.root / NAME / "1.1.0")
    expected = r"lesion-unet/1\.1\.0 holds the card of lesion-unet/1\.0\.0"
    with pytest.raises(CorruptVersionError, match=expected):
        registry.load(NAME, "1.1.0")


def test_a_card_of_another_architecture_is_refused(registry: Registry) -> None:
    path = registry.root / NAME / VERSION / "card.json"
    card = parse_card(path.read_bytes())
    path.write_bytes(dump_card(replace(card, architecture=UNetConfig(width=2, depth=1))))
    with pytest.raises(CorruptVersionError, match="does not fit the architecture"):
        registry.load(NAME, VERSION)


def test_a_mask_that_the_weights_do_not_make_is_refused(registry: Registry) -> None:
    folder = registry.root / NAME / VERSION
    golden = json.loads((folder / GOLDEN).read_bytes())
    golden["mask"] = encode_rle(np.zeros((48, 64), bool))
    (folder / GOLDEN).write_text(json.dumps(golden))
    seal(folder)
    with pytest.raises(CorruptVersionError, match=r"Jaccard 0\.000 .* expected at least 0\.99"):
        registry.load(NAME, VERSION)


def test_a_mask_that_is_wrong_on_a_further_golden_image_is_refused(
    tmp_path: Path, weights: Path
) -> None:
    registry = Registry(tmp_path / "models")
    bright = encode(Image.new("RGB", (64, 48), "white"))
    registry.publish(CARD, weights, PICTURE, more_golden_images=[bright])
    folder = registry.root / NAME / VERSION
    golden = json.loads((folder / GOLDEN).read_bytes())
    golden["more"][0]["mask"] = encode_rle(np.ones((48, 64), bool))
    (folder / GOLDEN).write_text(json.dumps(golden))
    seal(folder)
    with pytest.raises(CorruptVersionError, match=r"Jaccard 0\.000 .*image 2 of 2"):
        registry.load(NAME, VERSION)


def test_other_weights_of_the_same_shape_are_refused_by_the_golden_image(
    registry: Registry,
) -> None:
    folder = registry.root / NAME / VERSION
    state = dark_is_lesion().state_dict()
    save_weights(state | {"head.bias": -state["head.bias"]}, folder / WEIGHTS)
    seal(folder)
    with pytest.raises(CorruptVersionError, match="golden image"):
        registry.load(NAME, VERSION)


def test_a_changed_preprocessing_is_refused_by_the_golden_image(registry: Registry) -> None:
    path = registry.root / NAME / VERSION / "card.json"
    card = parse_card(path.read_bytes())
    brighter = replace(card.preprocess, mean=(0.1, 0.1, 0.1))
    path.write_bytes(dump_card(replace(card, preprocess=brighter)))
    with pytest.raises(CorruptVersionError, match="golden image"):
        registry.load(NAME, VERSION)


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="no object"),
        pytest.param("{}", id="nothing in it"),
        pytest.param('{"image_png": "###", "mask": {}}', id="no base64"),
        pytest.param('{"image_png": "", "mask": {"size": [1, 1], "counts": [1]}}', id="no image"),
        pytest.param(
            json.dumps(
                {
                    "image_png": base64.b64encode(PICTURE).decode(),
                    "mask": encode_rle(np.zeros((2, 2), bool)),
                }
            ),
            id="a mask of another size",
        ),
    ],
)
def test_a_golden_file_that_cannot_be_used_is_refused(registry: Registry, golden: str) -> None:
    folder = registry.root / NAME / VERSION
    (folder / GOLDEN).write_text(golden)
    seal(folder)
    with pytest.raises(CorruptVersionError, match=GOLDEN):
        registry.load(NAME, VERSION)


# --- references ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("production", ("net", "production")),
        ("1.2.0", ("net", "1.2.0")),
        ("other@1.2.0-rc.1", ("other", "1.2.0-rc.1")),
        ("other@canary", ("other", "canary")),
    ],
)
def test_a_reference_is_a_version_or_an_alias_with_or_without_its_model(
    reference: str, expected: tuple[str, str]
) -> None:
    assert split_reference(reference, "net") == expected


@pytest.mark.parametrize(
    "reference",
    ["", "@", "@1.0.0", "net@", "../x", "net@../x", "../net@1.0.0", "a/b@1.0.0", "net@1.0.0/..",
     "net@1.0", "a@b@1.0.0", "net@1.0.0\0", "net@1.0.0\n"],
)  # fmt: skip
def test_a_reference_that_could_climb_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError):
        split_reference(reference, "net")


@pytest.mark.parametrize(
    "version", ["../1.0.0", "../lesion-unet/1.0.0", "1.0.0/", ".", "1.0.0\0", ""]
)
def test_a_version_that_could_climb_is_not_found(registry: Registry, version: str) -> None:
    for ask in (registry.card, registry.load, registry.resolve, registry.promote):
        with pytest.raises(VersionNotFoundError):
            ask(NAME, version)


@pytest.mark.parametrize("name", ["..", "../models/lesion-unet", ".", "", "a\0b"])
def test_a_name_that_could_climb_is_not_found(registry: Registry, name: str) -> None:
    for ask in (registry.card, registry.load, registry.resolve):
        with pytest.raises(VersionNotFoundError):
            ask(name, VERSION)


def test_a_pixel_limit_below_the_golden_image_is_the_callers_alone(registry: Registry) -> None:
    predictor = registry.load(NAME, VERSION, max_pixels=10).predictor
    with pytest.raises(ImageTooLargeError):
        predictor.predict(PICTURE)
