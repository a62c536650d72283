"""Sign versions as OpenSSF Model Signing (OMS) says, with an elliptic-curve key and offline.

python -m trainer publish runs/first --version 0.2.0 --licence CC-BY-4.0 --sign hospital.key
python -m trainer sign --new-key keys/RELEASE.pub    # every version of models/, for a release
"""

import getpass
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from model_core.errors import ConfigError
from model_core.registry.signatures import FILE

Sign = Callable[[Path], bytes]
"""Signs all files of a folder, and gives the bytes of its `model.sig`."""


def signer(key: Path, *, password: str | None = None) -> Sign:
    """Make what signs with a private key.

    Args:
        key: PEM file of a private key on the curve P-256, P-384 or P-521.
        password: Of the file; asked for at the terminal where one is needed and none is given.

    Raises:
        ConfigError: no such key, or the password is wrong.
    """
    from model_signing import hashing, signing

    data = key.read_bytes()
    if password is None and b"ENCRYPTED" in data:
        password = getpass.getpass(f"Password of {key}: ")
    # The library says `str`, and hands it on to a function that takes bytes.
    secret = cast("str | None", password.encode() if password else None)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=key, password=secret)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as exc:
        raise ConfigError(
            f"{key} is no private key that signs (expected PEM on the curve P-256, P-384 or "
            f"P-521), or its password is wrong: {exc}"
        ) from exc
    # Every file is signed, those too that Git leaves alone.
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=(), ignore_git_paths=False))

    def sign(folder: Path) -> bytes:
        with tempfile.TemporaryDirectory() as beside:
            written = Path(beside, FILE)
            config.sign(folder, written)
            return written.read_bytes()

    return sign


def passing_signer() -> tuple[Sign, bytes]:
    """Make a key that nobody keeps: what signs with it, and its public half as PEM.

    What lies on the disk for a moment is encrypted with a password that this process alone knows.
    """
    key, password = ec.generate_private_key(ec.SECP256R1()), secrets.token_hex(32)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.TemporaryDirectory() as beside:
        path = Path(beside, "key.pem")
        path.write_bytes(encrypted)
        return signer(path, password=password), public
