"""Read and write the aliases of a model, and where each pointed before: `aliases.json`.

    {"production": "1.2.0", "_before": {"production": ["1.0.0", "1.1.0"]}}

Both are in one file, replaced in one step, so that history and aliases never contradict.
`_before` cannot be an alias: names have no underscore.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_core.card import check_name, check_version
from model_core.errors import ConfigError, CorruptVersionError

FILE = "aliases.json"
_BEFORE = "_before"


@dataclass(frozen=True)
class Aliases:
    """Versions that the aliases of one model point to, now and before.

    Attributes:
        current: Version by alias.
        before: Versions that it pointed to before, oldest first, by alias.
    """

    current: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, list[str]] = field(default_factory=dict)

    def steps(self, alias: str) -> list[str]:
        """List every version that the alias has pointed to, the current one last."""
        current = [self.current[alias]] if alias in self.current else []
        return [*self.before.get(alias, []), *current]

    def pointing(self, alias: str, version: str) -> "Aliases":
        """Point the alias to a version, and remember the earlier one.

        Example:
            >>> Aliases({"production": "1.0.0"}).pointing("production", "1.1.0")
            Aliases(current={'production': '1.1.0'}, before={'production': ['1.0.0']})
        """
        if self.current.get(alias) == version:
            return self
        return Aliases({**self.current, alias: version}, {**self.before, alias: self.steps(alias)})

    def back(self, alias: str) -> "Aliases":
        """Point the alias to where it was before; the version that it leaves is forgotten.

        Example:
            >>> Aliases({"production": "1.1.0"}, {"production": ["1.0.0"]}).back("production")
            Aliases(current={'production': '1.0.0'}, before={'production': []})
        """
        *steps, earlier = self.before[alias]
        return Aliases({**self.current, alias: earlier}, {**self.before, alias: steps})

    def dump(self) -> bytes:
        """Encode as stored: UTF-8 JSON, indented; without a history where there is none."""
        before = {alias: steps for alias, steps in self.before.items() if steps}
        content = {**self.current, **({_BEFORE: before} if before else {})}
        return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"


def parse_aliases(data: bytes | None, path: str) -> Aliases:
    """Parse the aliases of a file; none where there is no file.

    Raises:
        CorruptVersionError: the file, which the error calls `path`, is no JSON object of aliases.
    """
    if data is None:
        return Aliases()
    try:
        content = json.loads(data)
    except ValueError as exc:
        raise CorruptVersionError(f"{path} is not JSON") from exc
    before = content.pop(_BEFORE, {}) if isinstance(content, dict) else None
    if not _are_versions(content) or not isinstance(before, dict):
        raise CorruptVersionError(f"{path} is not an object of alias: version")
    if not all(isinstance(s, list) and _are_versions(dict(enumerate(s))) for s in before.values()):
        raise CorruptVersionError(f"{path}: {_BEFORE} is not an object of alias: versions")
    return Aliases(content, before)


def _are_versions(content: object) -> bool:
    return isinstance(content, dict) and all(isinstance(v, str) for v in content.values())


def split_reference(reference: str, default_name: str) -> tuple[str, str]:
    """Split `name@version`, or a version or alias alone, into name and version (or alias).

    Raises:
        ConfigError: either part could not be a folder's name.

    Example:
        >>> split_reference("lesion-unet@1.0.0", "x"), split_reference("production", "lesion-unet")
        (('lesion-unet', '1.0.0'), ('lesion-unet', 'production'))
    """
    name, at, version = reference.rpartition("@")
    name = name if at else default_name
    check_name(name)
    try:
        check_name(version)
    except ConfigError:
        check_version(version)
    return name, version
