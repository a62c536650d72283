"""Read the settings: environment variables with the prefix `LESION_`, checked at the start."""

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_core.backends.protocol import BackendName, Device
from model_core.errors import ConfigError

PREFIX = "LESION_"
LogFormat = Literal["text", "json"]
_REMOVED = {
    "WORKERS": ("1", "start replicas instead (docs/deployment.md, Replicas)"),
    "MAX_CONNECTIONS_PER_ADDRESS": ("0", "set the proxy's own limit (nginx: limit_conn)"),
}
"""Former settings: the value that asks for what there is anyway, and what to do instead."""

_IN_WHEEL = Path(__file__).parent / "shipped"
"""The shipped model, in a wheel; `deploy/wheel_model.py` puts it there."""

Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseSettings):
    """The settings, checked; `docs/settings.md` lists them for operators."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,  # a setting's description in docs/settings.md
    )

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """TCP port to listen on."""

    allow_anonymous: bool = False
    """Let callers without a key in from other machines."""
    api_keys_file: Path | None = None
    """JSON file of the keys that callers need; without one, none do."""
    rate_limit: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 0
    """Requests a second that each caller may send on average; 0 is no limit."""
    rate_burst: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Requests that a caller who was quiet may send at once."""
    cors_origins: str | None = None
    """Origins whose web pages may call, with commas between; by default none."""
    trusted_proxies: str = "127.0.0.1,::1"
    """Reverse proxies whose `X-Forwarded-For` is believed, with commas between."""

    model_registry: Path | str = _IN_WHEEL if _IN_WHEEL.is_dir() else Path("models")
    """Folder of the published versions, or the URL of a bucket's."""
    trusted_signers: Path | None = None
    """Folder of public keys: only versions that one of them signed are loaded."""
    model_name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] = "lesion-unet"
    """Model that answers when a request names none."""
    model_version: Annotated[str, Field(pattern=r"^[0-9a-z][0-9A-Za-z.+-]{0,62}$")] = "production"
    """Version of it that answers then, or the alias to follow."""
    resident_versions: Annotated[int, Field(ge=2, le=16)] = 2
    """Versions kept loaded at most, production among them."""
    reload_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 5
    """Time between two looks at the alias `production`; at 0 it is read once."""

    label_studio_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+[^?#@\s]*$")] | None = None
    """Address of the Label Studio that this service predicts for; without one, for none."""
    label_studio_token: SecretStr | None = None
    """Token of a Label Studio user, by which photographs of its tasks are fetched."""

    corrections: Path | str | None = None
    """Folder or bucket (`s3://`) that keeps corrected photographs; without one, none is kept."""

    device: Device = "auto"
    """Where the network runs; auto takes the GPU where there is one."""
    backend: BackendName = "auto"
    """Engine of the network; auto takes the fastest that machine and card admit (`GET /models`)."""

    max_body_bytes: Annotated[int, Field(ge=1_000, le=2_000_000_000)] = 20_000_000
    """Largest request body, in bytes."""
    # Up to 89 Mpx Pillow's own guard against decompression bombs never has to be lifted.
    max_image_pixels: Annotated[int, Field(ge=1, le=89_000_000)] = 50_000_000
    """Largest image or mask, in pixels."""
    max_pairs: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Pairs of one evaluation at most."""
    max_batch_images: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Images of one batch at most."""
    max_batch_bytes: Annotated[int, Field(ge=1_000, le=100_000_000_000)] = 500_000_000
    """Largest body of a batch, in bytes; each image is bound as a body is."""

    max_queue: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests being worked on or waiting at most."""
    max_pixels_in_flight: Annotated[int, Field(ge=1, le=10_000_000_000)] = 200_000_000
    """Pixels of the images being worked on or waiting at most."""
    max_request_pixels: Annotated[int, Field(ge=1, le=100_000_000_000)] = 1_000_000_000
    """Pixels of all images and masks of one request at most."""
    max_buffered_bytes: Annotated[int, Field(ge=1_000, le=100_000_000_000)] = 500_000_000
    """Bytes of all request bodies in memory at most."""

    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Connections open at a time at most."""
    header_seconds: Seconds = 10
    """Time for the head of a request, or a connection's first byte, to come."""
    max_header_bytes: Annotated[int, Field(ge=1_000, le=1_000_000)] = 32_768
    """Largest head of a request: its first line and its headers."""
    send_seconds: Seconds = 30
    """Longest time in which a caller reads nothing of its answer."""

    body_seconds: Seconds = 30
    """Time for a request body to come whole."""
    body_idle_seconds: Seconds = 10
    """Longest time without a byte of a body that is not whole."""
    deadline_seconds: Seconds = 10
    """Time from a request's last byte to its answer."""
    evaluation_seconds: Seconds = 60
    """The same for an evaluation."""
    stuck_seconds: Seconds = 30
    """Time for a batch in the network; a longer one ends the process (exit code 3)."""

    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5
    """Time from SIGTERM until no connection is taken; `/readyz` says 503, the rest is answered."""
    grace_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Time after that for what was accepted to be answered."""
    reuse_port: bool = False
    """Listen beside another process on the same port, which is about to stop."""

    io_threads: Annotated[int, Field(ge=0, le=64)] = 0
    """Threads that decode and encode beside the network; 0 is one a core."""
    batch_size: Annotated[int, Field(ge=0, le=1_024)] = 0
    """Images that a GPU is given at once at most; 0 is what its backend says."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)] = 2
    """Longest wait of an image for others that are being decoded, on a GPU."""

    decode_processes: Annotated[int, Field(ge=0, le=64)] = 0
    """Processes that decode images, apart from the rest; 0 uses threads."""
    decode_seconds: Annotated[float, Field(ge=1, le=3600)] = 10
    """Processor time for one image in such a process."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe messages that are logged."""
    log_format: LogFormat = "text"
    """Log lines as `name=value` or as JSON objects."""
    audit_log: str | None = None
    """File that the audit log is appended to, `-` for stdout; without it, none."""

    def origins(self) -> tuple[str, ...]:
        """List the origins whose web pages may call."""
        return tuple((self.cors_origins or "").replace(",", " ").split())

    @model_validator(mode="after")
    def _no_strangers_by_accident(self) -> Self:
        if self.api_keys_file or self.allow_anonymous or is_loopback(self.host):
            return self
        raise ValueError(
            f"{PREFIX}HOST is {self.host!r}, which other machines can reach: "
            f"set {PREFIX}API_KEYS_FILE to a file of keys, "
            f"set {PREFIX}ALLOW_ANONYMOUS=1 to let every caller in, or {PREFIX}HOST=127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings() -> Settings:
    """Read the settings of this process's environment.

    Raises:
        ConfigError: a value cannot be used, or a variable looks like a misspelt setting or is one
            that is gone; the text is one line that names each variable, what was found and what is
            right.
    """
    _refuse_removed()
    _refuse_misspelt()
    try:
        return Settings()
    except ValidationError as exc:
        raise ConfigError("; ".join(_explain(error) for error in exc.errors())) from exc


def unknown_variables() -> list[str]:
    """List the environment's variables with our prefix that are no setting."""
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)


def _refuse_removed() -> None:
    for name, (harmless, instead) in _REMOVED.items():
        value = os.environ.get(PREFIX + name, "")
        if value not in ("", harmless):
            raise ConfigError(f"{PREFIX}{name} is {value!r}, a setting that is gone: {instead}")


def _refuse_misspelt() -> None:
    # Others may have the prefix (Kubernetes names variables after services), so only a near miss
    # of a setting stops the start; the rest are mentioned in the log.
    settings = [field.upper() for field in Settings.model_fields]
    for name in set(unknown_variables()) - {PREFIX + removed for removed in _REMOVED}:
        near = difflib.get_close_matches(name.removeprefix(PREFIX), settings, n=1, cutoff=0.7)
        if near:
            raise ConfigError(f"{name} is no setting, did you mean {PREFIX}{near[0]}?")


def _explain(error: ErrorDetails) -> str:
    if not error["loc"]:  # a rule over several fields, already in words
        return error["msg"].removeprefix("Value error, ")
    field = str(error["loc"][0])
    expected = error["msg"][0].lower() + error["msg"][1:]
    default = Settings.model_fields[field].default
    return f"{PREFIX}{field.upper()} is {error['input']!r}: {expected} (default {default})"
