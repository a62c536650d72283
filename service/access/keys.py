"""Read the file of API keys and find a key in it; `python -m service.keys` makes and checks them.

A key is 256 random bits, and the file holds its SHA-256. A slow hash (bcrypt, Argon2) protects
secrets that can be guessed; these cannot, and every request would pay for it.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_core.errors import ConfigError

SCOPES = ("segment", "evaluate", "correct", "models:read", "metrics")
_PREFIX = "lsk_"  # so that scanners for leaked secrets can find them
_KEY = re.compile(_PREFIX + "[A-Za-z0-9_-]{43}")
_LOOK_S = 1.0
"""Time between two looks at the file at least; a revoked key may live that much longer."""

logger = logging.getLogger("service.keys")


class ApiKey(BaseModel):
    """One key, as the file lists it.

    Attributes:
        id: Its name in logs and in the audit log; never the key.
        sha256: Of the key, hexadecimal.
        scopes: What it opens.
        expires: When it ends; None for never.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[
        frozenset[Literal["segment", "evaluate", "correct", "models:read", "metrics"]],
        Field(min_length=1),
    ]
    expires: AwareDatetime | None = None


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: Annotated[list[ApiKey], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_is_another(self) -> "_KeyFile":
        for what in ("id", "sha256"):
            values = [getattr(key, what) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"two keys have the same {what}")
        return self


def read_keys(path: Path) -> list[ApiKey]:
    """Read the keys of a file `{"keys": [{"id", "sha256", "scopes", "expires"}]}`.

    Raises:
        ConfigError: it cannot be read, or is not such a file; the text quotes nothing of it.
    """
    try:
        return _KeyFile.model_validate_json(path.read_bytes()).keys
    except OSError as exc:
        raise ConfigError(f"the file of keys {path} cannot be read: {exc.strerror}") from exc
    except ValidationError as exc:
        faults = (
            f"{'.'.join(map(str, error['loc'])) or 'the file'}: {error['msg']}"
            for error in exc.errors(include_input=False, include_context=False)
        )
        raise ConfigError(f"the file of keys {path} cannot be used: {'; '.join(faults)}") from exc


class KeyRing:
    """The keys of a file, read again whenever it changes.

    A file that becomes unusable changes nothing: the keys read last stay, the log says why.

    Args:
        path: As `read_keys`.

    Raises:
        ConfigError: as `read_keys`.
    """

    def __init__(self, path: Path) -> None:
        self.intact = True
        self._path = path
        self._seen = self._state()
        self._keys = read_keys(path)
        self._looked_s = time.monotonic()

    def find(self, presented: str) -> ApiKey | None:
        """Find the entry of a presented key, expired or not; None for an unknown one."""
        self._look()
        if not _KEY.fullmatch(presented):
            return None
        digest = _sha256(presented)
        match = None
        for key in self._keys:  # all of them, in a time that does not tell which one it was
            if hmac.compare_digest(key.sha256, digest):
                match = key
        return match

    def _look(self) -> None:
        # A look costs microseconds, so that no signal is needed, and a secret that Kubernetes
        # replaces is followed too.
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._keys = read_keys(self._path)
        except ConfigError as exc:
            self.intact = False
            logger.error("keys=unusable the former ones stay: %s", " ".join(str(exc).split()))
        else:
            self.intact = True
            logger.info("keys=%s", ",".join(sorted(key.id for key in self._keys)))

    def _state(self) -> tuple[int, ...]:
        try:
            stat = self._path.stat()
        except OSError:
            return ()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def new_key(
    name: str, scopes: frozenset[str], *, lifetime: timedelta | None = None
) -> tuple[str, ApiKey]:
    """Make a key, which nothing stores, and its entry for the file.

    Raises:
        ValidationError: the name or a scope cannot be one.

    Example:
        >>> key, entry = new_key("tool-a", frozenset({"segment"}))
        >>> len(key), entry.sha256 == hashlib.sha256(key.encode()).hexdigest()
        (47, True)
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    expires = datetime.now(UTC).replace(microsecond=0) + lifetime if lifetime else None
    entry = {"id": name, "sha256": _sha256(key), "scopes": scopes, "expires": expires}
    return key, ApiKey.model_validate(entry)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
