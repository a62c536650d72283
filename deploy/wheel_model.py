"""Put the model that serves by default into the wheel: what `production` of lesion-unet points to.

Hatchling runs this (`pyproject.toml`). The service of a wheel finds it where it has no other
registry, so that `pip install` and `lesion-service` are enough to serve.
"""

import json
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "lesion-unet"


class ShippedModel(BuildHookInterface):  # type: ignore[type-arg]
    """Add one version, its signature and the alias that points to it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files; an editable installation has them in the repository."""
        if version == "editable":
            return
        model = Path(self.root, "models", NAME)
        production = json.loads((model / "aliases.json").read_text())["production"]
        for part in ("aliases.json", production):
            build_data["force_include"][str(model / part)] = f"service/shipped/{NAME}/{part}"
