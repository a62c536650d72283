"""Write what a page can take from the code, while mkdocs builds.

`<!-- routes -->` becomes every route of the API with its parameters, answers and errors;
`<!-- problems -->` every kind of error; `<!-- settings -->` every setting of the service;
`<!-- card -->` the card of the version in production.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).parents[1]
_UNITS = {"seconds": "s", "ms": "ms", "bytes": "bytes", "pixels": "pixels"}
_DATASETS = {"isic": "ISIC 2018 Task 1", "isic_fullframe": "ISIC 2017", "ham10000": "HAM10000"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the texts where their marks stand."""
    for text in (routes, problems, settings, card):
        mark = f"<!-- {text.__name__} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown


@cache
def routes() -> str:
    """Every route of /openapi.json, in Markdown."""
    from service.app import create_app
    from service.contract.openapi import document
    from service.settings import Settings

    paths = document(create_app(Settings(model_registry=ROOT / "models")))["paths"]
    return "\n\n".join(
        "\n".join(_route(method.upper(), path, operation))
        for path, operations in paths.items()
        for method, operation in operations.items()
    )


@cache
def problems() -> str:
    """What every kind of error means, in Markdown; a heading each, which other pages link to."""
    from service.contract.problems import BY_SLUG

    return "\n\n".join(
        f"## {problem.slug}\n\n**{problem.status} {problem.title}.** {problem.meaning}"
        + f"\n\n> {problem.example}" * bool(problem.example)
        for problem in BY_SLUG.values()
    )


@cache
def settings() -> str:
    """The table of all settings, in Markdown."""
    from service.settings import PREFIX, Settings

    rows = ["| variable | unit | values | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        unit = next((unit for word, unit in _UNITS.items() if word in name.split("_")), "")
        default = "" if field.default is None else f"`{field.default}`"
        cells = (f"`{PREFIX}{name.upper()}`", unit, _range(field), default, str(field.description))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _range(field: Any) -> str:
    """The values that a setting may have, as far as its type and bounds say."""
    if field.annotation is bool:
        return "0 or 1"
    nested = (get_args(option) or [option] for option in get_args(field.annotation))
    if options := [f"`{option}`" for some in nested for option in some if isinstance(option, str)]:
        return ", ".join(options)
    bounds = {type(rule).__name__: rule for rule in field.metadata}
    if "Gt" in bounds:
        return f"above {bounds['Gt'].gt}, to {bounds['Le'].le}"
    return f"{bounds['Ge'].ge} to {bounds['Le'].le}" if "Le" in bounds else ""


@cache
def card() -> str:
    """The card of the production version, in Markdown."""
    from model_core.registry.registry import PRODUCTION, Registry

    registry = Registry(ROOT / "models")
    found, sha256 = registry.card("lesion-unet", registry.resolve("lesion-unet", PRODUCTION))
    lines = [
        f"## {found.name} {found.version}",
        "",
        f"Made {found.created[:10]} of commit `{found.git_commit[:10]}`; its card's SHA-256 is "
        f"`{sha256}`.",
        "",
        f"**Intended use.** {found.intended_use}",
        "",
        f"**Licence.** {found.licence}",
        "",
        "**Limits.**",
        "",
        *(f"- {limit}" for limit in found.limits),
        "",
        f"**Network.** U-Net, width {found.architecture.width}, depth {found.architecture.depth}, "
        f"on photographs of {found.preprocess.size}x{found.preprocess.size} px "
        f"({found.preprocess.fit}); threshold {found.postprocess.threshold}.",
        "",
        "**Photographs.**",
        "",
        "| set | training | validation | test |",
        "| --- | --- | --- | --- |",
    ]
    for name, parts in found.data.samples.items():
        counts = " | ".join(f"{parts.get(part, 0):,}" for part in ("train", "val", "test"))
        lines.append(f"| {_DATASETS.get(name, name)} | {counts} |")
    lines += [
        "",
        "**Scores**, mean per image with 95 % bootstrap interval:",
        "",
        "| set | part | images | Dice | Jaccard | threshold Jaccard | Jaccard < 0.65 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for record in found.scores:
        summary: Any = record.summary
        means = [_mean(summary["per_image"][n]) for n in ("dice", "jaccard", "threshold_jaccard")]
        cells = [record.dataset, record.part, str(summary["n"]), *means]
        lines.append(f"| {' | '.join(cells)} | {summary['failure_rate']:.1%} |")
    lines += ["", f"Conditions: {found.scores[0].conditions}.", *_gaps(found.gaps)]
    return "\n".join(lines)


def _gaps(records: Sequence[Any]) -> Iterator[str]:
    """Whom a version fails, as far as its card says."""
    if not records:
        return
    yield "\n**Largest gaps** in mean Dice between groups of 30 test images or more:\n"
    yield "| by | best | worst | images | difference | within data sets |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for gap in records:
        within = _mean(gap.within_sets) if gap.within_sets else "–"
        cells = (gap.kind, gap.best, gap.worst, f"{gap.n[0]}, {gap.n[1]}", _mean(gap.dice), within)
        yield f"| {' | '.join(cells)} |"


def _route(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### `{method} {path}`\n"
    yield f"{operation['summary']}.\n"
    yield operation.get("description", "") + "\n"
    if operation.get("parameters"):
        yield "| parameter | in | values | what |"
        yield "| --- | --- | --- | --- |"
        for parameter in operation["parameters"]:
            text = parameter.get("description", "").replace("|", "\\|")
            values = _values(parameter["schema"])
            yield f"| `{parameter['name']}` | {parameter['in']} | {values} | {text} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        yield f"Body: {', '.join(f'`{kind}`' for kind in body)}.\n"
    errors = []
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if int(status) < 400:
            yield f"Answers {status}: {', '.join(f'`{kind}`' for kind in content) or 'nothing'}.\n"
        for media in content.values():
            errors += [f"[{slug}](errors.md#{slug})" for slug in media.get("examples", {})
                       if int(status) >= 400]  # fmt: skip
    yield f"Errors: {', '.join(errors)}.\n"


def _values(schema: dict[str, Any]) -> str:
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    texts = []
    for option in options:
        if "enum" in option:
            texts += [f"`{value}`" for value in option["enum"]]
        elif "const" in option:
            texts.append(f"`{option['const']}`")
        else:
            texts.append(option.get("type", "object"))
    return ", ".join(texts)


def _mean(interval: dict[str, float]) -> str:
    return f"{interval['mean']:.3f} ({interval['low']:.3f}-{interval['high']:.3f})"
