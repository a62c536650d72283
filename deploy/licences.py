"""Check the licences of all pinned packages, and list those that the service runs on.

    .venv/bin/python deploy/licences.py              # check; ends with 1 where one is not allowed
    .venv/bin/python deploy/licences.py --soup       # print docs/soup.md

Reads constraints.txt, pyproject.toml and the metadata of what is installed beside it.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC"}
    | {"MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"}
)
"""SPDX identifiers. MPL covers files of the package alone, which we do not change."""
EXCEPTIONS = {
    "pi-heif": "LGPL-3.0: loaded as it comes, an extra that can be left out or replaced",
    "sigstore-models": "MIT: its LICENSE says so, its metadata nothing; for signing alone",
}
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "FreeBSD": "BSD-2-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""Words of older metadata, by SPDX."""
RUNTIME_EXTRAS = ("cpu", "dicom", "heic", "s3")
HEAD = """\
# Software of unknown provenance (SOUP)

The packages of others that an installation of the service runs on, as IEC 62304 asks for them:
name, exact version, licence, what it is for. Written by `python deploy/licences.py --soup` from
`constraints.txt`, `pyproject.toml` and the packages' own metadata (Linux, CPU); a test holds this
page to them. Training, tests and the page of `make demo` need more; the SBOM of a release
(`sbom-environment.cdx.json`) lists everything, and each image has one of its own.

What is known of their faults: `make audit` looks every pin up among the known vulnerabilities.
None is developed for medical use. What the service does so that a fault of one is seen: hashes
and golden masks at each load, limits on size and time, a process of its own for HEIC and JPEG
2000, and [the tests of each promise](security.md#promises-and-the-test-that-shows-each). Python
itself, the C library and the operating system come with the image or the machine, and stand in
the image's SBOM.

| package | version | licence | what for |
| --- | --- | --- | --- |
"""


def pins() -> dict[str, str]:
    """Return the version of every package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and line[0] != "#")


def licence(package: Distribution) -> str:
    """Return what a package says its licence is, in SPDX as far as it can be known."""
    metadata = package.metadata
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or []
                   if line.startswith("License ::") and line.count(" :: ") > 1]  # fmt: skip
    expressions = metadata.get_all("License-Expression") or [" AND ".join(classifiers)]
    texts = metadata.get_all("License") or [""]
    said = expressions[0] or texts[0].strip().partition("\n")[0] or "unknown"
    for words, spdx in sorted(NAMES.items(), key=lambda pair: -len(pair[0])):
        said = re.sub(rf"(?<![\w.-]){re.escape(words)}(?![\w-])", spdx, said)
    return " AND ".join(dict.fromkeys(said.split(" AND ")))


def is_allowed(said: str) -> bool:
    """Tell whether a licence expression is allowed: all of `AND`, one of `OR`."""
    parts = said.replace("(", " ").replace(")", " ").split(" AND ")
    return all(any(one.strip() in ALLOWED for one in part.split(" OR ")) for part in parts)


def faults() -> Iterator[str]:
    """Yield each installed package whose licence is not allowed, and each needless exception."""
    for name in pins():
        try:
            said = licence(distribution(name))
        except PackageNotFoundError:
            continue
        if is_allowed(said) == (name in EXCEPTIONS):
            yield f"{name}: {said}" + " is allowed, no exception needed" * (name in EXCEPTIONS)


def runtime() -> dict[NormalizedName, str]:
    """Return what the service runs on, and what each package is for."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    wanted = [*project["dependencies"]]
    for extra in RUNTIME_EXTRAS:
        wanted += project["optional-dependencies"][extra]
    found: dict[NormalizedName, str] = {}
    queue = [(line, comment(text, line)) for line in wanted]
    while queue:
        line, purpose = queue.pop(0)
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        environments = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        if name in found or (requirement.marker and not requirement.marker.evaluate()):
            continue
        found[name] = purpose
        for inner in distribution(name).requires or []:
            marker = Requirement(inner).marker
            if marker is None or any(marker.evaluate(each) for each in environments):
                # Of the extra that was asked for: evaluated here, where it is known.
                queue.append((inner.partition(";")[0], f"needed by {name}"))
    return found


def comment(text: str, requirement: str) -> str:
    """Return the comment that pyproject.toml has beside a requirement."""
    found = re.search(rf'"{re.escape(requirement)}", *# (.+)', text)
    return found[1] if found else ""


def soup() -> str:
    """Return docs/soup.md."""
    versions = {canonicalize_name(name): (name, version) for name, version in pins().items()}
    rows = []
    for key, purpose in sorted(runtime().items()):
        name, version = versions[key]
        said = EXCEPTIONS.get(name, "").partition(":")[0] or licence(distribution(name))
        rows.append(f"| {name} | {version} | {said} | {purpose} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    """Check, or print the page."""
    if sys.argv[1:] == ["--soup"]:
        print(soup(), end="")
        return 0
    bad = list(faults())
    print("\n".join(bad) or f"{len(pins())} pins: every licence of those installed is allowed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
