"""The commands that sign, and the signatures of the versions that are shipped."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from model_core.errors import ConfigError
from model_core.registry.registry import SIGNATURE, Registry
from model_core.registry.signatures import find_signer, read_keys
from tests.conftest import REPOSITORY
from tests.fixtures.models import NAME, tiny_registry
from tests.fixtures.signing import new_key
from trainer.commands.main import main
from trainer.release.sign import signer

SHIPPED = Registry(REPOSITORY / "models")


def shipped_versions() -> list[tuple[str, str]]:
    """The versions in models/ that the repository holds, not those that were published since."""
    there = [(name, version) for name in SHIPPED.names() for version in SHIPPED.versions(name)]
    command = ["git", "-C", str(SHIPPED.root), "ls-files", "*/card.json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode:  # an unpacked archive, without Git
        return there
    held = set(listed.stdout.split())
    return [(name, version) for name, version in there if f"{name}/{version}/card.json" in held]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return tiny_registry(tmp_path / "models", "1.0.0", "1.1.0")


def encrypted(folder: Path, password: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    (folder / "encrypted.key").write_bytes(key)
    return folder / "encrypted.key"


@pytest.mark.parametrize(("name", "version"), shipped_versions())
def test_every_shipped_version_is_signed_by_the_release_key(name: str, version: str) -> None:
    card, sha256 = SHIPPED.card(name, version)
    again = "run `make sign`, and commit models/ and keys/"
    signature = SHIPPED.root / name / version / SIGNATURE
    assert signature.is_file(), again
    keys, files = read_keys(REPOSITORY / "keys"), {**card.files, "card.json": sha256}
    assert find_signer(signature.read_bytes(), files, keys) == "RELEASE.pub", again


def test_published_versions_are_signed_at_once(scored: Path, tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "ours")
    publish = ["publish", str(scored), "--version", "0.1.0", "--licence", "CC0-1.0"]
    place = ["--registry", str(tmp_path / "models")]
    assert main([*publish, *place, "--sign", str(private), "--alias", "production"]) == 0
    verify = ["verify", "production", "--name", "disc-unet", *place]
    assert main([*verify, "--signers", str(public)]) == 0


def test_nothing_is_published_where_the_key_cannot_sign(scored: Path, tmp_path: Path) -> None:
    publish = ["publish", str(scored), "--version", "0.1.0", "--licence", "CC0-1.0"]
    (tmp_path / "no.key").write_text("no key")
    where = ["--registry", str(tmp_path / "models"), "--sign", str(tmp_path / "no.key")]
    assert main([*publish, *where]) == 2
    assert not (tmp_path / "models").exists()


def test_one_version_or_all_are_signed_and_verify_says_which_are_not(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = new_key(tmp_path, "ours")
    place = ["--registry", str(registry.root)]
    assert main(["sign", "production", "--key", str(private), *place]) == 0
    assert main(["verify", "--signers", str(public.parent), *place]) == 1
    printed = capsys.readouterr().out
    assert "lesion-unet 1.0.0: lesion-unet/1.0.0 is not signed" in printed
    assert "2 versions checked, 1 faults" in printed
    assert main(["sign", "--key", str(private), *place]) == 0
    assert main(["verify", "--signers", str(public.parent), *place]) == 0
    assert main(["verify", "1.0.0", "--signers", str(public), *place]) == 0
    assert "golden mask agree; signed by ours.pub" in capsys.readouterr().out


def test_a_key_made_for_once_signs_everything_and_leaves_its_public_half_alone(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    public = tmp_path / "keys" / "RELEASE.pub"
    sign = ["sign", "--new-key", str(public), "--registry", str(registry.root)]
    assert main(sign) == 0
    first = public.read_bytes()
    assert main(["verify", "--signers", str(public), "--registry", str(registry.root)]) == 0
    assert main(sign) == 0  # again, with another key
    assert public.read_bytes() != first
    assert main(["verify", "--signers", str(public), "--registry", str(registry.root)]) == 0
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path.name for path in public.parent.iterdir()] == ["RELEASE.pub"]
    assert "PRIVATE" not in public.read_text()


def test_where_the_public_half_cannot_be_written_nothing_is_signed(
    registry: Registry, tmp_path: Path
) -> None:
    public = tmp_path / "RELEASE.pub"
    sign = ["sign", "--registry", str(registry.root), "--new-key"]
    assert main([*sign, str(public)]) == 0
    assert main([*sign, str(public / "below a file.pub")]) == 2
    assert main(["verify", "--signers", str(public), "--registry", str(registry.root)]) == 0


def test_a_key_with_a_password_takes_it_from_the_environment_or_asks(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = ["sign", "1.0.0", "--key", str(encrypted(tmp_path, "long")), "--registry"]
    monkeypatch.setenv("LESION_KEY_PASSWORD", "long")
    assert main([*sign, str(registry.root)]) == 0
    monkeypatch.setenv("LESION_KEY_PASSWORD", "wrong")
    assert main([*sign, str(registry.root)]) == 2
    monkeypatch.delenv("LESION_KEY_PASSWORD")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "long")
    assert main([*sign, str(registry.root)]) == 0


def test_a_key_that_cannot_sign_is_refused_in_words(tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _, public = new_key(tmp_path, "ours")
    for content in (rsa_key, public.read_bytes(), b"", b"no key"):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(ConfigError, match="is no private key that signs"):
            signer(tmp_path / "key")


def test_sign_wants_one_key_or_the_other(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sign", "--registry", str(registry.root)]) == 2
    assert "expected one of --key and --new-key" in capsys.readouterr().err


def test_the_keys_of_the_manual_are_made_by_openssl_as_it_says(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (REPOSITORY / "docs" / "signing.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("openssl ")]
    assert len(commands) == 2
    monkeypatch.setenv("LESION_KEY_PASSWORD", "of the manual")
    for command in commands:
        option = "-passin" if "-pubout" in command else "-pass"  # a terminal would ask
        words = [*command.split(), option, "env:LESION_KEY_PASSWORD"]
        subprocess.run(words, check=True, cwd=tmp_path, capture_output=True)
    sign = ["sign", "--key", str(tmp_path / "hospital.key"), "--registry", str(registry.root)]
    assert main(sign) == 0
    assert (registry.root / NAME / "1.0.0" / SIGNATURE).is_file()
    trusted = str(tmp_path / "hospital.pub")
    assert main(["verify", "--signers", trusted, "--registry", str(registry.root)]) == 0
