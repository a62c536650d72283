"""Check who signed a version: an OpenSSF Model Signing (OMS) signature, against trusted keys.

`model.sig` is a Sigstore bundle: a DSSE envelope, in it an in-toto statement, in that the SHA-256
of every file of the version, the card included. `trainer.release.sign` writes it with OpenSSF's
`model-signing`; to check it here takes `cryptography` alone, and accepts what that library accepts
of signatures with an elliptic-curve key over SHA-256 of whole files.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from model_core.errors import ConfigError, CorruptVersionError

FILE = "model.sig"
Keys = Mapping[str, ec.EllipticCurvePublicKey]
"""Public keys, by the name of the file that each is in."""

_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="forbid")


class _PublicKey(_Part):
    hint: str | None = None
    raw_bytes: Any = None  # of releases before 1.0, which the library passes over too
    key_details: Any = None


class _Material(_Part):
    public_key: _PublicKey
    tlog_entries: Annotated[list[Any], Field(max_length=0)] = []  # of signatures without a key


class _Signature(_Part):
    sig: str
    keyid: str | None = None


class _Envelope(_Part):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: list[_Signature]


class _Bundle(_Part):
    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]
    verification_material: _Material
    dsse_envelope: _Envelope


def read_keys(path: Path) -> Keys:
    """Read public keys (PEM) of a file, or of every file of a folder but hidden ones.

    Raises:
        ConfigError: there is none, or a file is no public key of a curve that OMS knows.
    """
    try:
        files = [path]
        if path.is_dir():
            entries = sorted(path.iterdir())
            files = [file for file in entries if file.is_file() and file.name[0] != "."]
        if not files:
            raise ConfigError("there is no key in it, expected the public key of each signer")
        return {file.name: _read_key(file) for file in files}
    except OSError as exc:
        raise ConfigError(f"it cannot be read: {exc.strerror}") from exc


def find_signer(signature: bytes, files: Mapping[str, str], keys: Keys) -> str:
    """Find the key that signed exactly these files.

    Args:
        signature: Bytes of a `model.sig`.
        files: SHA-256 by name of each file of the version, its card included.
        keys: Those who are trusted.

    Returns:
        Name of the key.

    Raises:
        CorruptVersionError: it is no such signature, of another key, or of other files.
    """
    try:
        bundle = _Bundle.model_validate(json.loads(signature.decode()))
        payload = base64.b64decode(bundle.dsse_envelope.payload)
        sig = base64.b64decode(bundle.dsse_envelope.signatures[0].sig)
    except (ValueError, IndexError, RecursionError) as exc:
        raise CorruptVersionError(f"{FILE} is no OMS signature by a key: {_brief(exc)}") from exc
    hint = bundle.verification_material.public_key.hint
    signers = (
        name
        for name, key in keys.items()
        if hint in (None, "", fingerprint(key)) and _has_signed(key, payload, sig)
    )
    signer = next(signers, None)
    if signer is None:
        raise CorruptVersionError(f"{FILE} is by none of the trusted keys: {', '.join(keys)}")
    # Only now, when a trusted key is known to have signed these bytes, are they read.
    try:
        signed = _signed_files(json.loads(payload))
    except (ValueError, LookupError, TypeError, RecursionError) as exc:
        raise CorruptVersionError(f"{FILE} is of a form not read here: {_brief(exc)}") from exc
    if signed != files:
        wrong = sorted(signed.items() ^ files.items())
        names = ", ".join(sorted({file for file, _ in wrong})[:5])
        raise CorruptVersionError(f"{FILE} is of other files than these: {names} differ")
    return signer


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Compute the SHA-256 of a public key's PEM, by which a signature names its key."""
    pem = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.PEM, pem)).hexdigest()


def _read_key(path: Path) -> ec.EllipticCurvePublicKey:
    expected = "expected a public key (PEM) on the curve P-256, P-384 or P-521"
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"{path.name} is no public key: {expected}") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ConfigError(f"{path.name} is a public key of another kind: {expected}")
    return key


def _has_signed(key: ec.EllipticCurvePublicKey, payload: bytes, signature: bytes) -> bool:
    # DSSE's pre-authentication encoding: the type is signed with the bytes.
    encoded = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)
    try:
        key.verify(signature, encoded, ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True


def _signed_files(statement: dict[str, Any]) -> dict[str, str]:
    """Read the SHA-256 by name of a statement; ValueError where it is no whole one of files."""
    kinds = statement["_type"], statement["predicateType"]
    if kinds != (_STATEMENT, _PREDICATE):
        raise ValueError(f"found {kinds}, expected {_STATEMENT} and {_PREDICATE}")
    predicate, (subject,) = statement["predicate"], statement["subject"]
    method = predicate["serialization"]["method"]
    resources = predicate["resources"]
    algorithms = {resource["algorithm"] for resource in resources}
    if method != "files" or algorithms != {"sha256"}:
        raise ValueError(f"found {method} by {sorted(algorithms)}, expected files by sha256")
    digests = [bytes.fromhex(resource["digest"]) for resource in resources]
    if hashlib.sha256(b"".join(digests)).hexdigest() != subject["digest"]["sha256"]:
        raise ValueError("the hash of all hashes is not the subject's")
    names = [str(PurePosixPath(resource["name"])) for resource in resources]
    return dict(zip(names, (digest.hex() for digest in digests), strict=True))


def _brief(exc: Exception) -> str:
    """Say in a line what was wrong, and quote nothing of what was read."""
    if isinstance(exc, ValidationError):
        first = exc.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(exc).__name__}: {exc}"
