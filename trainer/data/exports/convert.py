"""Exports of annotation tools in, photographs with mask files out, for `prepare`.

    python -m trainer prepare project.json --layout label-studio --images photographs --out data/x

Each photograph's outlines are united and written as `<out>/masks/<ID>.png`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from model_core.arrays import Mask
from model_core.errors import DatasetError, SegmentationError
from model_core.images.decode import decode_image
from model_core.images.file_names import HEAD_BYTES, announces_image, canonical, is_litter
from model_core.masks.png import encode_mask
from trainer.data.exports.coco import read_coco
from trainer.data.exports.cvat import read_cvat
from trainer.data.exports.entry import Entry, Export
from trainer.data.exports.label_studio import read_label_studio
from trainer.data.exports.labelme import read_labelme
from trainer.data.layouts import Listing, Pair, join_listings, known_id, tied
from trainer.data.samples import map_images

EXPORTS: dict[str, Callable[[Path], Export]] = {
    "coco": read_coco,
    "label-studio": read_label_studio,
    "cvat": read_cvat,
    "labelme": read_labelme,
}
"""Readers by the name that `prepare --layout` takes."""
_RENAMED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that was uploaded to it."""
_SHOWN = 5


def read_exports(
    sources: Sequence[Path],
    layout: str,
    *,
    out: Path,
    images: Path | None = None,
    labels: Sequence[str] = (),
) -> Listing:
    """Read exports of one tool as one, and write a mask for each photograph that has shapes.

    Args:
        sources: Files or folders, as the tool's reader takes them.
        layout: Name of the tool.
        out: Folder for the masks.
        images: Folder of the photographs; by default each export's own.
        labels: What the lesion is called; needed where the exports have several labels.

    Raises:
        DatasetError: an export cannot be read, or its labels do not say which is the lesion.
    """
    for source in sources:
        if not source.exists():
            raise DatasetError(f"no {source}")
    exports = [_read(source, layout) for source in sources]
    chosen = _chosen([entry for export in exports for entry in export.entries], labels)
    taken: dict[str, str] = {}
    listings = []
    for source, export in zip(sources, exports, strict=True):
        folder = images or (source if source.is_dir() else source.parent)
        listings.append(_listing(export, layout, folder, out, chosen, taken))
    return join_listings(sources, listings)


def _read(source: Path, layout: str) -> Export:
    try:
        return EXPORTS[layout](source)
    except SegmentationError:
        raise
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError) as exc:
        # JSON of the right outer form may hold anything within.
        raise DatasetError(f"{source} is not built as {layout} builds it: {exc}") from exc


def _chosen(entries: Iterable[Entry], labels: Sequence[str]) -> set[str]:
    """Say which labels are the lesion: those asked for, else the only one that there is."""
    counts = Counter(
        label for entry in entries for shape in entry.shapes for label in shape.labels or ("",)
    )
    found = ", ".join(f"{name or '(none)'} ({count})" for name, count in counts.most_common(20))
    if unknown := sorted(set(labels) - set(counts)):
        raise DatasetError(f"nothing has the label {unknown[0]!r}; found {found or 'no label'}")
    if not labels and len(counts) > 1:
        raise DatasetError(f"found the labels {found}: say with --label which is the lesion")
    return set(labels or counts)


def _listing(
    export: Export,
    layout: str,
    folder: Path,
    out: Path,
    labels: set[str],
    taken: dict[str, str],
) -> Listing:
    """Find the photographs of an export, and draw their masks; `taken` has the IDs so far."""
    photographs = _Photographs(folder)
    listing = Listing(problems=list(export.problems), notes=list(export.notes))
    found: list[tuple[Entry, Pair]] = []
    silent = 0
    for whole in export.entries:
        lesions = [shape for shape in whole.shapes if set(shape.labels or ("",)) & labels]
        entry = replace(whole, shapes=lesions)
        if not lesions and not entry.empty:
            silent += 1
            continue
        try:
            image = photographs.find(entry)
            name = known_id(_without_prefix(image.stem) if entry.renamed else image.stem)
            if name in taken:
                raise DatasetError(f"has the ID {name}, as {taken[name]} has")
        except DatasetError as exc:
            listing.problems.append(f"{entry.name}: {exc}")
            continue
        taken[name] = entry.name
        mask = out / "masks" / f"{name}.png"
        found.append((entry, Pair(dataset=layout, id=name, image=image, mask=mask)))
    if silent:
        listing.notes.append(
            f"{silent} photographs have no outline of the lesion and are passed over: whether "
            "they were looked at is not known"
        )
    if found:
        (out / "masks").mkdir(parents=True, exist_ok=True)

    def write(drawing: tuple[Entry, Pair]) -> str:
        entry, pair = drawing
        try:
            pair.mask.write_bytes(encode_mask(_drawn(entry, pair.image)))
        except (SegmentationError, OSError) as exc:
            return f"{entry.name}: {exc}"
        return ""

    drawn = map_images(write, found, "draw masks", threads=None)
    for (_, pair), problem in zip(found, drawn, strict=True):
        if problem:
            listing.problems.append(problem)
        else:
            listing.pairs.append(pair)
    return tied(folder, listing) if folder.is_dir() else listing


def _drawn(entry: Entry, image: Path) -> Mask:
    """Unite the shapes of an entry: bool (H, W)."""
    masks = [shape.draw() for shape in entry.shapes]
    sizes = {mask.shape for mask in masks}
    if len(sizes) > 1:
        raise DatasetError(f"its outlines are of images of different sizes: {sorted(sizes)}")
    if masks:
        mask: Mask = np.logical_or.reduce(masks)
        return mask
    size = entry.size
    if size is None:
        photograph = decode_image(image.read_bytes(), at_least=(1, 1))
        size = photograph.height, photograph.width
    return np.zeros(size, np.bool_)


class _Photographs:
    """Find the photographs below a folder by what an export calls them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_name: Mapping[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not is_litter(str(path.relative_to(folder))):
                self._by_name[canonical(path.name).casefold()].append(path)

    def find(self, entry: Entry) -> Path:
        """Find a photograph by its path, else by as much of the end of its path as is there.

        Raises:
            DatasetError: there is none, or there are several.
        """
        parts = PurePosixPath(entry.name.replace("\\", "/").lstrip("/")).parts
        names = [parts[-1]] if parts else []
        if entry.renamed and names:
            names.append(_without_prefix(names[0]))
        for name in names:
            wanted = tuple(canonical(part).casefold() for part in (*parts[:-1], name))
            found = [path for path in self._by_name.get(wanted[-1], ()) if _is_image(path)]
            closest = max((self._common(path, wanted) for path in found), default=0)
            best = [path for path in found if self._common(path, wanted) == closest]
            if len(best) == 1:
                return best[0]
            if best:
                listed = ", ".join(str(path) for path in best[:_SHOWN])
                raise DatasetError(f"{len(best)} photographs are called so: {listed}")
        raise DatasetError(f"no photograph of this name below {self._folder} (--images names it)")

    def _common(self, path: Path, wanted: Sequence[str]) -> int:
        """Count how many parts two paths have in common, from their ends."""
        own = [canonical(part).casefold() for part in path.relative_to(self._folder).parts]
        count = 0
        for one, other in zip(reversed(own), reversed(wanted), strict=False):
            if one != other:
                break
            count += 1
        return count


def _is_image(path: Path) -> bool:
    with path.open("rb") as file:
        return announces_image(file.read(HEAD_BYTES))


def _without_prefix(name: str) -> str:
    return _RENAMED.sub("", name, count=1) if _RENAMED.match(name) else name
