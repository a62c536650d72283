"""`GET /models`: what the registry holds, and the card of a version."""

import json
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path

from model_core.card import dump_card
from model_core.errors import CorruptVersionError, RegistryUnavailableError, VersionNotFoundError
from model_core.registry.registry import Registry, split_reference
from service.access.auth import needs
from service.answers.annotations import model_ref
from service.api.dependencies import PartsOf
from service.contract.errors import InvalidRequestError
from service.contract.openapi import problems
from service.contract.queries import REFERENCE
from service.contract.schemas import ReloadFailure, VersionDetail, VersionEntry, VersionList
from service.pipeline.hot_reload import Reloader
from service.pipeline.versions import Resident

router = APIRouter(tags=["models"], dependencies=[needs("models:read")])

Reference = Annotated[
    str,
    Path(
        description="Version, alias, or `name@version`.",
        examples=["production"],
        json_schema_extra={"pattern": REFERENCE},
    ),
]


@router.get(
    "/models",
    summary="List all versions",
    responses=problems(CorruptVersionError, RegistryUnavailableError),
)
async def list_versions(parts: PartsOf) -> VersionList:
    """Every published version of every model, oldest first, and which one serves.

    While the one that should serve (by default that of `production`) cannot be loaded, the former
    one goes on serving, and `reload` says why.
    """
    versions = parts.versions
    try:
        models = await versions.look_up(_entries, versions.registry, versions.resident)
    except Exception:
        if parts.reloader.failure is None:
            raise
        models = []  # what cannot be read is known already, and `reload` tells of it
    serving = model_ref(versions.production) if versions.production else None
    return VersionList(models=models, serving=serving, reload=_reload(parts.reloader))


@router.get(
    "/models/{version}",
    summary="Read a version's card",
    responses=problems(
        InvalidRequestError, VersionNotFoundError, CorruptVersionError, RegistryUnavailableError
    ),
)
async def read_version(version: Reference, parts: PartsOf) -> VersionDetail:
    """Read what a version is, what made it, how good it is, and what it is for."""
    name, reference = split_reference(version, parts.settings.model_name)
    versions = parts.versions
    return await versions.look_up(_detail, versions.registry, versions.resident, name, reference)


def _reload(reloader: Reloader) -> ReloadFailure | None:
    failure = reloader.failure
    return ReloadFailure(alias=reloader.reference, **asdict(failure)) if failure else None


def _entries(registry: Registry, resident: Resident) -> list[VersionEntry]:
    return [
        _entry(registry, resident, name, version)
        for name in registry.names()
        for version in registry.versions(name)
    ]


def _entry(registry: Registry, resident: Resident, name: str, version: str) -> VersionEntry:
    aliases = registry.aliases(name)
    loaded = resident.get((name, version))
    return VersionEntry(
        name=name,
        version=version,
        aliases=sorted(alias for alias, target in aliases.items() if target == version),
        loaded=loaded is not None,
        backend=loaded.predictor.backend.name if loaded else None,
        passed_over={**loaded.passed_over} if loaded else {},
    )


def _detail(registry: Registry, resident: Resident, name: str, reference: str) -> VersionDetail:
    version = registry.resolve(name, reference)
    card, sha256 = registry.card(name, version)
    entry = _entry(registry, resident, name, version)
    return VersionDetail(**entry.model_dump(), sha256=sha256, card=json.loads(dump_card(card)))
