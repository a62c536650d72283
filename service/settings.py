"""Every setting of the service: an environment variable with the prefix `LESION_`, read once."""

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_core.backends.protocol import Choice, Device
from model_core.errors import ConfigError
from service.telemetry.logs import LogFormat

PREFIX = "LESION_"
_REMOVED = {
    "WORKERS": ("1", "start replicas instead (docs/deployment.md, Replicas)"),
    "MAX_CONNECTIONS_PER_ADDRESS": ("0", "set the proxy's own limit (nginx: limit_conn)"),
}
"""Former settings: the value that asks for what there is anyway, and what to do instead."""


class Settings(BaseSettings):
    """The settings, checked; `docs/settings.md` lists them for operators."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid"
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=1, le=65535, description="TCP port to listen on.")
    allow_anonymous: bool = Field(
        default=False, description="Let callers without a key in from other machines."
    )
    api_keys_file: Path | None = Field(
        default=None, description="JSON file of the keys that callers need; without one, none do."
    )
    rate_limit: float = Field(
        default=0,
        ge=0,
        le=100_000,
        allow_inf_nan=False,
        description="Requests a second that each caller may send on average; 0 is no limit.",
    )
    rate_burst: int = Field(
        default=20,
        ge=1,
        le=100_000,
        description="Requests that a caller who was quiet may send at once.",
    )
    cors_origins: str | None = Field(
        default=None,
        description="Origins whose web pages may call, with commas between; by default none.",
    )
    trusted_proxies: str = Field(
        default="127.0.0.1,::1",
        description="Reverse proxies whose `X-Forwarded-For` is believed, with commas between.",
    )
    model_registry: Path | str = Field(
        default=Path("models"),
        description="Folder of the published versions, or the URL of a bucket's.",
    )
    model_name: str = Field(
        default="lesion-unet",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Model that answers when a request names none.",
    )
    model_version: str = Field(
        default="production",
        pattern=r"^[0-9a-z][0-9A-Za-z.+-]{0,62}$",
        description="Version of it that answers then, or the alias to follow.",
    )
    resident_versions: int = Field(
        default=2, ge=2, le=16, description="Versions kept loaded at most, production among them."
    )
    reload_seconds: float = Field(
        default=5,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="Time between two looks at the alias `production`; at 0 it is read once.",
    )
    device: Device = Field(
        default="auto", description="Where the network runs; auto takes the GPU where there is one."
    )
    backend: Choice = Field(
        default="auto",
        description="Engine of the network; auto takes the fastest that the machine has and the "
        "version's card admits, and `GET /models` says why it passes over others.",
    )
    max_body_bytes: int = Field(
        default=20_000_000,
        ge=1_000,
        le=2_000_000_000,
        description="Largest request body, in bytes.",
    )
    # Up to 89 Mpx Pillow's own guard against decompression bombs never has to be lifted.
    max_image_pixels: int = Field(
        default=50_000_000,
        ge=1,
        le=89_000_000,
        description="Largest photograph or mask, in pixels.",
    )
    max_pairs: int = Field(
        default=256, ge=1, le=10_000, description="Pairs of one evaluation at most."
    )
    max_batch_images: int = Field(
        default=64, ge=1, le=100_000, description="Photographs of one batch at most."
    )
    max_batch_bytes: int = Field(
        default=500_000_000,
        ge=1_000,
        le=100_000_000_000,
        description="Largest body of a batch, in bytes; each photograph is bound as a body is.",
    )
    max_queue: int = Field(
        default=64, ge=1, le=10_000, description="Requests being worked on or waiting at most."
    )
    max_pixels_in_flight: int = Field(
        default=200_000_000,
        ge=1,
        le=10_000_000_000,
        description="Pixels of the photographs being worked on or waiting at most.",
    )
    max_request_pixels: int = Field(
        default=1_000_000_000,
        ge=1,
        le=100_000_000_000,
        description="Pixels of all photographs and masks of one request at most.",
    )
    max_buffered_bytes: int = Field(
        default=500_000_000,
        ge=1_000,
        le=100_000_000_000,
        description="Bytes of all request bodies in memory at most.",
    )
    max_connections: int = Field(
        default=500, ge=1, le=100_000, description="Connections open at a time at most."
    )
    header_seconds: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="Time for the head of a request, or a connection's first byte, to come.",
    )
    max_header_bytes: int = Field(
        default=32_768,
        ge=1_000,
        le=1_000_000,
        description="Largest head of a request: its first line and its headers.",
    )
    send_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Longest time in which a caller reads nothing of its answer.",
    )
    body_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Time for a request body to come whole.",
    )
    body_idle_seconds: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="Longest time without a byte of a body that is not whole.",
    )
    deadline_seconds: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="Time from a request's last byte to its answer.",
    )
    evaluation_seconds: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="The same for an evaluation.",
    )
    stuck_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Time for a batch in the network, after which the network is loaded anew.",
    )
    drain_seconds: float = Field(
        default=5,
        ge=0,
        le=3600,
        description="Time from SIGTERM, in which `/readyz` says 503 and all is still answered, "
        "until no new connection is taken.",
    )
    grace_seconds: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="Time after that for what was accepted to be answered.",
    )
    reuse_port: bool = Field(
        default=False,
        description="Listen beside another process on the same port, which is about to stop.",
    )
    io_threads: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Threads that decode and encode beside the network; 0 is one a core.",
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        le=1_024,
        description="Photographs that a GPU is given at once at most; 0 is what its backend says.",
    )
    batch_wait_ms: float = Field(
        default=2,
        ge=0,
        le=1_000,
        allow_inf_nan=False,
        description="Longest wait of a photograph for others that are being decoded, on a GPU.",
    )
    decode_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes that decode photographs, apart from the rest; 0 uses threads.",
    )
    decode_seconds: float = Field(
        default=10,
        ge=1,
        le=3600,
        description="Processor time for one photograph in such a process.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe messages that are logged."
    )
    log_format: LogFormat = Field(
        default="text", description="Log lines as `name=value` or as JSON objects."
    )
    audit_log: str | None = Field(
        default=None,
        description="File that the audit log is appended to, `-` for stdout; without it, none.",
    )

    def origins(self) -> tuple[str, ...]:
        """The origins whose web pages may call."""
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
    """Whether only this machine can reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings() -> Settings:
    """The settings of this process's environment.

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
    """Names of the environment's variables with our prefix that are no setting."""
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
