"""Whose a version is: signed by the real library, checked by ours, and by both alike."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from model_signing import hashing, signing

from model_core.errors import ConfigError, CorruptVersionError, ModelError
from model_core.network.weights import save_weights
from model_core.registry import version
from model_core.registry.local_store import file_sha256
from model_core.registry.registry import LoadedVersion, Registry
from model_core.registry.signatures import find_signer, read_keys
from tests.conftest import BuiltOnce
from tests.fixtures.models import CARD, NAME, VERSION, dark_is_lesion
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.signing import SIGNATURE, edit_signature, library_accepts, new_key
from tests.fixtures.tampering import (
    EXPECTED_OF_THE_LIBRARY,
    NEW,
    OLD,
    TAMPERINGS,
    Tamper,
    weights_that_pass_every_other_check,
)
from tests.model_core.conftest import new_place
from trainer.release.sign import passing_signer, signer

PICTURE = encode(lesion(48, 64))


@pytest.fixture(scope="session")
def signed(built_once: BuiltOnce) -> Path:
    """A folder with a registry `models` of two signed versions, and the keys; only to be read."""
    return built_once("signed", _sign_two_versions)


def _sign_two_versions(folder: Path) -> None:
    weights, exports, network = folder / "weights", folder / "exports", dark_is_lesion()
    (exports / "extra").mkdir(parents=True)
    ours, forger = new_key(folder, "ours")[0], new_key(folder, "forger")[0]
    registry = Registry(folder / "models")
    for number, size in ((OLD, (32, 48)), (NEW, (48, 64))):
        (exports / "extra" / "notes.txt").write_text(f"of {number}")
        save_weights(network.state_dict(), weights)
        network.head.weight.data.mul_(1.01)
        card = replace(CARD, version=number)
        registry.publish(card, weights, encode(lesion(*size)), exports=exports)
        registry.sign(NAME, number, signer(forger))
        registry.sign(NAME, number, signer(ours))
    registry.sign(NAME, NEW, signer(forger))
    (folder / "models" / NAME / NEW / SIGNATURE).rename(folder / "forged.sig")
    registry.sign(NAME, NEW, signer(ours))
    (folder / "models" / NAME / ".lock").unlink()


@pytest.fixture
def place(signed: Path, tmp_path: Path) -> Path:
    """A copy of `signed` that a test may change."""
    return shutil.copytree(signed, tmp_path / "signed")


def trusting(folder: Path, key: str = "ours") -> Registry:
    return Registry(folder / "models", signers=folder / f"trusted-{key}")


# --- what is accepted ------------------------------------------------------------------------


def test_a_version_that_a_trusted_key_signed_is_loaded_and_says_by_whom(signed: Path) -> None:
    loaded = trusting(signed).load(NAME, NEW)
    assert loaded.signer == "ours.pub"
    assert loaded.folder == signed / "models" / NAME / NEW
    assert loaded.predictor.predict(PICTURE).mask.any()
    assert library_accepts(loaded.folder, signed / "trusted-ours" / "ours.pub")


def test_without_trusted_keys_nothing_is_checked(place: Path) -> None:
    (place / "models" / NAME / NEW / SIGNATURE).write_bytes(b"nonsense")
    assert Registry(place / "models").load(NAME, NEW).signer is None


def test_a_key_that_signed_nothing_here_opens_nothing(signed: Path) -> None:
    with pytest.raises(CorruptVersionError, match=r"by none of the trusted keys: forger\.pub"):
        trusting(signed, "forger").load(NAME, NEW)


def test_keys_are_read_at_each_load_so_that_one_can_be_added_and_taken_away(place: Path) -> None:
    registry = trusting(place, "forger")
    key = shutil.copy(place / "trusted-ours" / "ours.pub", place / "trusted-forger")
    assert registry.load(NAME, NEW).signer == "ours.pub"
    Path(key).unlink()
    with pytest.raises(CorruptVersionError, match="by none of the trusted keys"):
        registry.load(NAME, NEW)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_every_curve_of_the_standard_is_read(
    place: Path, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    private, public = new_key(tmp_path, "other", curve)
    Registry(place / "models").sign(NAME, NEW, signer(private))
    assert Registry(place / "models", signers=public).load(NAME, NEW).signer == "other.pub"


def test_a_signature_that_does_not_say_which_key_made_it_is_tried_with_each(place: Path) -> None:
    folder = place / "models" / NAME / NEW
    edit_signature(folder, lambda bundle: bundle["verificationMaterial"]["publicKey"].clear())
    edit_signature(folder, lambda bundle: bundle["verificationMaterial"].pop("tlogEntries"))
    shutil.copy(place / "trusted-forger" / "forger.pub", place / "trusted-ours")
    assert trusting(place).load(NAME, NEW).signer == "ours.pub"
    assert library_accepts(folder, place / "trusted-ours" / "ours.pub")


def test_a_key_that_nobody_keeps_signs_and_its_public_half_opens(place: Path) -> None:
    make, public = passing_signer()
    (place / "RELEASE.pub").write_bytes(public)
    Registry(place / "models").sign(NAME, NEW, make)
    registry = Registry(place / "models", signers=place / "RELEASE.pub")
    assert registry.load(NAME, NEW).signer == "RELEASE.pub"


# --- what is refused -------------------------------------------------------------------------


def test_there_are_a_hundred_ways_to_tamper() -> None:
    assert len(TAMPERINGS) >= 100


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_no_tampered_version_loads(
    place: Path, tamper: Tamper, request: pytest.FixtureRequest
) -> None:
    registry, folder = trusting(place), place / "models" / NAME / NEW
    tamper(place / "models")
    with pytest.raises(ModelError):
        registry.load(NAME, NEW)
    accepted = library_accepts(folder, place / "trusted-ours" / "ours.pub")
    assert accepted == (request.node.callspec.id in EXPECTED_OF_THE_LIBRARY)


def test_the_card_alone_does_not_show_weights_that_were_changed_with_it(place: Path) -> None:
    weights_that_pass_every_other_check(place / "models")
    assert Registry(place / "models").load(NAME, NEW).predictor.predict(PICTURE).mask.any()
    with pytest.raises(CorruptVersionError, match=r"card\.json, model\.safetensors differ"):
        trusting(place).load(NAME, NEW)


def test_a_signed_version_under_another_name_is_not_that_of_the_name(place: Path) -> None:
    shutil.copytree(place / "models" / NAME / OLD, place / "models" / "other-unet" / OLD)
    with pytest.raises(CorruptVersionError, match=r"holds the card of lesion-unet/1\.0\.0"):
        trusting(place).load("other-unet", OLD)


def test_what_is_changed_after_the_check_is_not_what_is_loaded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = place / "models" / NAME / NEW / "model.safetensors"
    load = version.open_version

    def changed_meanwhile(folder: Path, *args: object, **options: object) -> LoadedVersion:
        stored.write_bytes(b"others may write here")
        opened: LoadedVersion = load(folder, *args, **options)  # type: ignore[arg-type]
        return opened

    monkeypatch.setattr("model_core.registry.registry.open_version", changed_meanwhile)
    assert trusting(place).load(NAME, NEW).predictor.predict(PICTURE).mask.any()


def test_a_version_whose_files_are_not_its_cards_is_not_signed(place: Path) -> None:
    folder, make = place / "models" / NAME / NEW, signer(place / "ours.key")
    (folder / "more.bin").write_bytes(b"x")
    with pytest.raises(CorruptVersionError, match=r"holds more\.bin, which its"):
        Registry(place / "models").sign(NAME, NEW, make)
    (folder / "more.bin").unlink()
    (folder / "golden.json").write_bytes(b"{}")
    with pytest.raises(CorruptVersionError, match=r"golden\.json has SHA-256"):
        Registry(place / "models").sign(NAME, NEW, make)


def test_signing_leaves_no_other_file_beside_what_is_signed(place: Path) -> None:
    folder = place / "models" / NAME / NEW
    before = set(folder.rglob("*"))
    Registry(place / "models").sign(NAME, NEW, signer(place / "ours.key"))
    assert set(folder.rglob("*")) == before


# --- as the library --------------------------------------------------------------------------


@given(at=st.floats(0, 1), byte=st.binary(max_size=1))
def test_of_mutated_signatures_both_accept_the_same(signed: Path, at: float, byte: bytes) -> None:
    folder, public = signed / "models" / NAME / NEW, signed / "trusted-ours" / "ours.pub"
    data = (folder / SIGNATURE).read_bytes()
    index = int(at * (len(data) - 1))
    mutated = data[:index] + byte + data[index + 1 :]
    files = {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != SIGNATURE
    }
    try:
        ours = find_signer(mutated, files, read_keys(public)) == "ours.pub"
    except CorruptVersionError:
        ours = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_text", _reading(folder / SIGNATURE, mutated))
        assert library_accepts(folder, public) == ours


def _reading(path: Path, data: bytes) -> Callable[..., str]:
    original = Path.read_text

    def read_text(self: Path, *args: str, **options: str) -> str:
        return data.decode() if self == path else original(self, *args, **options)

    return read_text


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (lambda: hashing.Config().use_shard_serialization(), "shards by"),
        (
            lambda: hashing.Config().use_file_serialization(hashing_algorithm="blake3"),
            r"files by \['blake3'\]",
        ),
        (lambda: hashing.Config().set_ignored_paths(paths=["golden.json"]), "golden.json differ"),
    ],
    ids=["shards", "another hash", "a file left out"],
)
def test_other_forms_of_the_standard_are_refused(
    place: Path, files: Callable[[], hashing.Config], reason: str
) -> None:
    def make(folder: Path) -> bytes:
        config = signing.Config().use_elliptic_key_signer(private_key=place / "ours.key")
        config.set_hashing_config(files()).sign(folder, place / "other.sig")
        return (place / "other.sig").read_bytes()

    Registry(place / "models").sign(NAME, NEW, make)
    with pytest.raises(CorruptVersionError, match=reason):
        trusting(place).load(NAME, NEW)


# --- keys ------------------------------------------------------------------------------------


def test_a_folder_without_a_key_or_with_what_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be read: No such file"):
        read_keys(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no key in it"):
        read_keys(tmp_path)
    private, _ = new_key(tmp_path, "ours")
    with pytest.raises(ConfigError, match=r"ours\.key is no public key: expected a public key"):
        read_keys(private)
    (tmp_path / "ed.pub").write_bytes(
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(ConfigError, match=r"ed\.pub is a public key of another kind"):
        read_keys(tmp_path / "ed.pub")


def test_keys_that_cannot_be_read_any_more_refuse_every_version(place: Path) -> None:
    (place / "trusted-ours" / "new.pub").write_text("no key")
    with pytest.raises(CorruptVersionError, match=r"no trusted key can be read: new\.pub is no"):
        trusting(place).load(NAME, NEW)


def test_hidden_files_and_folders_among_the_keys_are_passed_over(place: Path) -> None:
    (place / "trusted-ours" / "..data").mkdir()  # as Kubernetes mounts a secret
    (place / "trusted-ours" / ".keep").write_text("")
    assert trusting(place).load(NAME, NEW).signer == "ours.pub"


# --- in a bucket -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "memory", "s3"])
def test_a_version_is_signed_again_and_read_in_a_folder_and_in_a_bucket(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, weights: Path
) -> None:
    place = new_place(request, kind, tmp_path)
    (first, _), (second, public) = new_key(tmp_path, "first"), new_key(tmp_path, "second")
    writer = Registry(place, cache=tmp_path / "cache")
    writer.publish(CARD, weights, PICTURE)
    reader = Registry(place, cache=tmp_path / "other", signers=public)
    with pytest.raises(CorruptVersionError, match=re.escape(f"{NAME}/{VERSION} is not signed")):
        reader.load(NAME, VERSION)
    writer.sign(NAME, VERSION, signer(first))
    with pytest.raises(CorruptVersionError, match="by none of the trusted keys"):
        reader.load(NAME, VERSION)
    writer.sign(NAME, VERSION, signer(second))
    assert reader.load(NAME, VERSION).signer == "second.pub"
    assert list(reader.faults()) == []
