"""Exports of annotation tools through `prepare`: what each draws, and what is refused."""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from model_core.errors import DatasetError
from model_core.masks.brush import encode_brush
from model_core.masks.png import encode_mask
from model_core.masks.rle import encode_rle
from tests.fixtures.pictures import encode, exif, lesion, turned
from trainer.commands import data
from trainer.commands.main import main
from trainer.data.exports.convert import EXPORTS, read_exports
from trainer.data.exports.label_studio import photograph_of
from trainer.data.prepare import prepare
from trainer.data.samples import read_samples, read_truth

Json = dict[str, Any]
HEIGHT, WIDTH = 40, 60
SQUARE = np.zeros((HEIGHT, WIDTH), np.bool_)
SQUARE[10:30, 20:50] = True
CORNERS = [[20, 10], [50, 10], [50, 30], [20, 30]]
HOLED = SQUARE.copy()
HOLED[15:20, 25:30] = False


def png(mask: np.ndarray) -> str:
    return base64.b64encode(encode_mask(mask)).decode()


def coco_export(*images: tuple[str, list[Json]]) -> str:
    """A COCO data set: each image with its annotations, of which `label` is a name."""
    names = ["lesion", "hair"]
    document: Json = {"images": [], "annotations": [], "categories": [
        {"id": number, "name": name} for number, name in enumerate(names)]}  # fmt: skip
    for number, (name, annotations) in enumerate(images):
        size = {"height": HEIGHT, "width": WIDTH}
        document["images"].append({"id": number, "file_name": name, **size})
        for annotation in annotations:
            label = names.index(annotation.pop("label", "lesion"))
            document["annotations"].append(
                {"id": len(document["annotations"]), "image_id": number, "category_id": label}
                | annotation
            )
    return json.dumps(document)


def task(name: str, *results: Json, **more: Any) -> Json:
    """A task of Label Studio with one annotation."""
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    result = [{"id": str(i), "from_name": "tag", "to_name": "image", **size, **each}
              for i, each in enumerate(results)]  # fmt: skip
    annotation = {"id": 1, "was_cancelled": False, "updated_at": "2026-01-02", "result": result}
    return {"id": 7, "data": {"image": name}, "annotations": [annotation], **more}


def brush(mask: np.ndarray, label: str = "lesion") -> Json:
    value = {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]}
    return {"type": "brushlabels", "value": value}


def bitmask(mask: np.ndarray) -> str:
    """A PNG as Label Studio's pen draws it: black where it was, transparent elsewhere."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[..., 3] = np.where(mask, 200, 90)
    return f"data:image/png;base64,{base64.b64encode(encode(Image.fromarray(pixels))).decode()}"


def polygon(points: list[list[float]]) -> Json:
    value = {"points": points, "closed": True, "polygonlabels": ["lesion"]}
    return {"type": "polygonlabels", "value": value}


PERCENT = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in CORNERS]
# Run lengths of the square with a hole, row by row in its own box, as CVAT writes them.
BOX = HOLED[10:30, 20:50].ravel()
CUTS = [0, *(np.flatnonzero(BOX[1:] != BOX[:-1]) + 1), BOX.size]
RUNS = ", ".join(map(str, [0, *np.diff(CUTS)]))


def cvat_export(*shapes: str, size: str = f'width="{WIDTH}" height="{HEIGHT}"') -> str:
    inner = "".join(shapes)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>x</name></task></meta>
<image id="0" name="a.png" {size}>{inner}</image></annotations>"""


def labelme_file(*shapes: Json, image: str = "a.png") -> str:
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return json.dumps({"version": "5.5.0", "flags": {}, "shapes": list(shapes),
                       "imagePath": image, "imageData": None, **size})  # fmt: skip


FLAT = [float(side) for corner in CORNERS for side in corner]
WRITTEN: dict[str, tuple[str, str, str, np.ndarray]] = {
    "COCO polygon": ("coco", "x.json", coco_export(("a.png", [{"segmentation": [FLAT]}])), SQUARE),
    "COCO run lengths": (
        "coco", "x.json", coco_export(("a.png", [{"segmentation": encode_rle(HOLED)}])), HOLED),
    "COCO crowd": ("coco", "annotations/instances.json", coco_export(("a.png", [
        {"iscrowd": 1, "segmentation": {"size": [40, 60], "counts": [60 * 40]}}])), SQUARE & False),
    "COCO without a lesion": ("coco", "x.json", coco_export(("images/a.png", [
        {"segmentation": [], "area": 0, "bbox": [0, 0, 0, 0]}])), SQUARE & False),
    "COCO in two pieces": ("coco", "x.json", coco_export(("a.png", [
        {"segmentation": [[20, 10, 35, 10, 35, 30, 20, 30]]},
        {"segmentation": [[35, 10, 50, 10, 50, 30, 35, 30]]}])), SQUARE),
    "Label Studio polygon": (
        "label-studio", "x.json", json.dumps([task("/data/upload/1/a.png", polygon(PERCENT))]),
        SQUARE),
    "Label Studio brush": (
        "label-studio", "x.json", json.dumps([task("/data/local-files/?d=a.png", brush(HOLED))]),
        HOLED),
    "Label Studio brush without labels": ("label-studio", "x.json", json.dumps([task(
        "http://host/a.png",
        {"type": "brush", "value": {"format": "rle", "rle": encode_brush(HOLED)}},
        {"type": "choices", "value": {"choices": ["sure"]}})]), HOLED),
    "Label Studio bitmask": ("label-studio", "x.json", json.dumps([task(
        "/data/upload/1/a.png", {"type": "bitmasklabels", "value": {
            "bitmasklabels": ["lesion"], "imageDataURL": bitmask(HOLED)}})]), HOLED),
    "Label Studio without a lesion": (
        "label-studio", "x.json", json.dumps([task("/data/upload/1/a.png")]), SQUARE & False),
    "CVAT polygon": ("cvat", "annotations.xml", cvat_export(
        '<polygon label="lesion" points="20.00,10.00;50.00,10.00;50.00,30.00;20.00,30.00"/>'
        '<tag label="good"/>'), SQUARE),
    "CVAT mask": ("cvat", "annotations.xml", cvat_export(
        f'<mask label="lesion" rle="{RUNS}" left="20" top="10" width="30" height="20"/>'), HOLED),
    "labelme polygon": ("labelme", "a.json", labelme_file(
        {"label": "lesion", "points": CORNERS, "shape_type": "polygon"}), SQUARE),
    "labelme mask": ("labelme", "sub/a.json", labelme_file(
        {"label": "lesion", "points": [[20.0, 10.0], [49.0, 29.0]], "shape_type": "mask",
         "mask": png(HOLED[10:30, 20:50])}, image="../a.png"), HOLED),
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with the photograph `a.png`, which turned upright is as large as the masks."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode(lesion(HEIGHT, WIDTH)))
    return folder


def write(source: Path, file: str, text: str) -> Path:
    (source / file).parent.mkdir(exist_ok=True)
    (source / file).write_text(text)
    return source / file


@pytest.mark.parametrize("case", WRITTEN)
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_photograph_gets_the_mask_that_its_tool_shows(
    case: str, source: Path, tmp_path: Path, *, whole: bool
) -> None:
    layout, file, text, expected = WRITTEN[case]
    path = write(source, file, text)
    named = source if whole else path
    command = ["prepare", str(named), "--layout", layout, "--out", str(tmp_path / "out")]
    assert main([*command, *([] if whole else ["--images", str(source)])]) == 0
    (sample,) = read_samples(tmp_path / "out")
    assert (sample.dataset, sample.id, sample.image.name) == (layout, "a", "a.png")
    assert np.array_equal(read_truth(sample), expected)
    assert sample.mask == tmp_path / "out" / "masks" / "a.png"


def test_the_command_offers_every_reader() -> None:
    assert tuple(EXPORTS) == data._EXPORTS


def test_polygons_cover_the_pixels_that_pycocotools_fills(source: Path, tmp_path: Path) -> None:
    ring = [12.31, 4.82, 51.73, 9.16, 44.27, 33.94, 30.03, 20.58, 15.52, 38.21]
    write(source, "x.json", coco_export(("a.png", [{"segmentation": [ring]}])))
    points = [[ring[i] / WIDTH * 100, ring[i + 1] / HEIGHT * 100] for i in range(0, len(ring), 2)]
    write(tmp_path, "ls.json", json.dumps([task("a.png", polygon(points))]))
    expected = coco.decode(coco.merge(coco.frPyObjects([ring], HEIGHT, WIDTH))).astype(bool)
    for layout, path in (("coco", source), ("label-studio", tmp_path / "ls.json")):
        listing = read_exports([path], layout, out=tmp_path / layout, images=source)
        (sample,) = prepare(listing).samples
        assert np.array_equal(read_truth(sample), expected)


def test_of_several_labels_the_lesion_s_is_named(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hair = {"segmentation": [[0, 0, 9, 0, 9, 9]], "label": "hair"}
    (source / "b.png").write_bytes(encode(lesion(HEIGHT, WIDTH), compress_level=1))
    lesions: list[Json] = [{"segmentation": [FLAT]}, dict(hair)]
    write(source, "x.json", coco_export(("a.png", lesions), ("b.png", [dict(hair)])))
    command = ["prepare", str(source), "--layout", "coco", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "found the labels hair (2), lesion (1): say with --label which is the lesion" in said
    assert main([*command, "--label", "naevus"]) == 2
    assert "nothing has the label 'naevus'; found hair (2), lesion (1)" in capsys.readouterr().err
    assert main([*command, "--label", "lesion"]) == 0
    assert "note: 1 photographs have no outline of the lesion" in capsys.readouterr().err
    (sample,) = read_samples(tmp_path / "out")
    assert np.array_equal(read_truth(sample), SQUARE)


def test_of_several_annotations_ground_truth_counts_else_the_last(tmp_path: Path) -> None:
    def annotation(mask: np.ndarray, updated: str, **more: bool) -> Json:
        made = task("x", brush(mask))["annotations"][0]
        return {**made, "updated_at": updated, "ground_truth": False, **more}

    early, late = annotation(HOLED, "2026-01-01"), annotation(SQUARE, "2026-01-03")
    skipped = annotation(~SQUARE, "2026-01-09", was_cancelled=True)
    truth = annotation(HOLED, "2026-01-01", ground_truth=True)
    source = tmp_path / "source"
    source.mkdir()
    for number, name in enumerate("abc"):
        (source / f"{name}.png").write_bytes(encode(lesion(HEIGHT, WIDTH), compress_level=number))
    given = {"a": [late, skipped, early], "b": [late, truth], "c": [skipped]}
    tasks = [task(f"{name}.png", annotations=each) for name, each in given.items()]
    listing = read_exports([write(source, "x.json", json.dumps(tasks))], "label-studio",
                           out=tmp_path / "out")  # fmt: skip
    masks = {pair.id: pair.mask.read_bytes() for pair in listing.pairs}
    assert masks == {"a": encode_mask(SQUARE), "b": encode_mask(HOLED)}
    assert listing.notes[:2] == [
        "2 of 3 tasks have several annotations: ground truth counts, else the last",
        "1 of 3 tasks have no annotation, or were skipped",
    ]


@pytest.mark.parametrize("local", ["ISIC_0000001.png", "0a1b2c3d-ISIC_0000001.png"])
def test_an_uploaded_file_is_known_by_its_own_name(local: str, tmp_path: Path) -> None:
    (tmp_path / local).write_bytes(encode(lesion(HEIGHT, WIDTH)))
    name = "0a1b2c3d-ISIC_0000001.png"
    text = json.dumps([task(f"/data/upload/3/{name}", brush(SQUARE), file_upload=name)])
    listing = read_exports([write(tmp_path, "x.json", text)], "label-studio", out=tmp_path / "out")
    assert [(pair.id, pair.image.name) for pair in listing.pairs] == [("ISIC_0000001", local)]


def test_a_photograph_is_found_by_as_much_of_its_path_as_is_there(tmp_path: Path) -> None:
    for number, place in enumerate(("one/x.png", "two/x.png", "y.png")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(encode(lesion(HEIGHT, WIDTH), compress_level=number))
    lesions: Callable[[], list[Json]] = lambda: [{"segmentation": [FLAT]}]  # noqa: E731
    names = ("C:\\clinic\\two\\x.png", "x.png", "elsewhere/Y.PNG", "z.png", "two/x.png")
    text = coco_export(*((name, lesions()) for name in names))
    listing = read_exports([write(tmp_path, "x.json", text)], "coco", out=tmp_path / "out")
    assert [(pair.id, str(pair.image.relative_to(tmp_path))) for pair in listing.pairs] == [
        ("x", "two/x.png"), ("y", "y.png")
    ]  # fmt: skip
    assert [line.partition(": ")[2][:30] for line in listing.problems] == [
        "2 photographs are called so: " + str(tmp_path)[:1],
        "no photograph of this name bel",
        "has the ID x, as C:\\clinic\\two",
    ]


def test_a_photograph_that_lies_on_its_side_is_as_large_as_its_tool_shows_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(turned(lesion(HEIGHT, WIDTH), 6, "JPEG"))
    text = json.dumps([task("a.jpg"), task("b.jpg", brush(HOLED))])
    (tmp_path / "b.jpg").write_bytes(encode(lesion(WIDTH, HEIGHT), "JPEG", exif=exif(8)))
    listing = read_exports([write(tmp_path, "x.json", text)], "label-studio", out=tmp_path / "out")
    assert {(s.id, s.height, s.width) for s in prepare(listing).samples} == {
        ("a", HEIGHT, WIDTH), ("b", HEIGHT, WIDTH)
    }  # fmt: skip


BROKEN = [
    ("coco", "{", "is not JSON"),
    ("coco", "[]", "expected a COCO data set"),
    ("coco", coco_export(("a.png", [{"bbox": [1, 2, 3, 4]}])), "has a box and no outline"),
    ("coco", coco_export(("a.png", [{"segmentation": [[1, 2, 3]]}])), "at least 3 corners"),
    ("coco", coco_export(("a.png", [{"segmentation": encode_rle(SQUARE[:9])}])),
     "its run lengths are of (9, 60), its image is (40, 60)"),
    ("coco", json.dumps({"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}),
     "a.png has no height and width"),
    ("coco", json.dumps({"images": [], "annotations": [{"id": 3, "image_id": 9}]}),
     "annotation 3 is of image 9, which is not listed"),
    ("label-studio", "{}", "a list of tasks"),
    ("label-studio", json.dumps([{"annotation_id": 1, "image": "a.png"}]), '"JSON-MIN"'),
    ("label-studio", json.dumps([task("a.png", {"type": "rectanglelabels", "value": {"x": 1}})]),
     "its rectanglelabels is not read, expected a polygon, a brush or a bitmask"),
    ("label-studio", json.dumps([task("a.png", {"type": "bitmask", "value": {
        "imageDataURL": bitmask(SQUARE[:9])}})]), "no PNG of its photograph's size, (40, 60)"),
    ("label-studio", json.dumps([task("a.png", {"type": "bitmask", "value": {
        "imageDataURL": bitmask(SQUARE)[:-40]}})]), "its bitmask is no PNG in base64"),
    ("label-studio", json.dumps([task("a.png", {"type": "bitmask", "value": {
        "imageDataURL": "http://x/a.png"}})]), "its bitmask is no PNG in base64"),
    ("label-studio", json.dumps([task("a.png", {**brush(SQUARE), "image_rotation": 90})]),
     "turn the photograph itself"),
    ("label-studio", json.dumps([task("a.txt", brush(SQUARE))]), "names 0 photographs"),
    ("label-studio", json.dumps([task("a.png", brush(SQUARE[:9]))]),
     "holds 2160 values of 8 bits, expected 9600 of 8"),
    ("label-studio", json.dumps([task("a.png", {"type": "brush", "value": {
        "format": "rle", "rle": [0, 0, 300]}})]), "no list of bytes"),
    ("label-studio", json.dumps([task("a.png", {"type": "brush", "value": {
        "format": "rle", "rle": encode_brush(SQUARE)[:20]}})]), "ends in the middle of a run"),
    ("cvat", "<annotations>", "is not XML"),
    ("cvat", "<!DOCTYPE a><annotations/>", "declares entities"),
    ("cvat", "<annotations><track/></annotations>", "CVAT for video"),
    ("cvat", cvat_export('<box label="lesion" xtl="1"/>'), "its box is no outline"),
    ("cvat", cvat_export('<polygon label="lesion" points="1,2;3"/>'), "has the point '3'"),
    ("cvat", cvat_export('<polygon label="lesion" points="1,2;3,x;4,5"/>'), "finite decimal"),
    ("cvat", cvat_export('<mask label="lesion" rle="9" left="0" top="0" width="2" height="2"/>'),
     "its mask has 9 pixels in a box of 2x2"),
    ("cvat", cvat_export('<mask label="lesion" rle="4" left="59" top="0" width="2" height="2"/>'),
     "that does not fit together"),
    ("cvat", cvat_export(size='width="-1" height="4"'), "its width is -1"),
    ("labelme", "[]", "expected a file of labelme"),
    ("labelme", labelme_file({"label": "l", "points": CORNERS[:2], "shape_type": "rectangle"}),
     "its rectangle is no outline"),
    ("labelme", labelme_file({"label": "l", "points": [1]}), "its polygon has no points"),
    ("labelme", labelme_file({"label": "l", "points": CORNERS[:2], "shape_type": "mask",
                              "mask": "?"}), "its mask is not base64"),
    ("labelme", labelme_file({"label": "l", "points": [[50, 30], [70, 50]], "shape_type": "mask",
                              "mask": png(SQUARE[:21, :21])}), "its box (10, 10)"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "text", "said"), BROKEN)
def test_what_is_no_outline_is_said_and_nothing_is_written(
    layout: str, text: str, said: str, source: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    write(source, "annotations.xml" if layout == "cvat" else "x.json", text)
    command = ["prepare", str(source), "--layout", layout, "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "samples.csv").exists()


LISTED = {"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}
HUGE = "9" * 400


@pytest.mark.parametrize(
    ("layout", "document"),
    [
        ("coco", {"images": [1], "annotations": []}),
        ("coco", {"images": [LISTED | {"id": [1]}], "annotations": []}),
        ("coco", {"images": [LISTED], "annotations": [1]}),
        ("coco", {"images": [LISTED], "annotations": [], "categories": None}),
        ("label-studio", [task("a.png") | {"annotations": None}]),
        ("label-studio", [task("a.png") | {"data": 1}]),
        ("label-studio", [task("a.png", polygon([]) | {"value": [1]})]),
        ("label-studio", [task("a.png") | {"data": {"image": "http://[a.png"}}]),
        ("label-studio", [task("a.png", polygon([[int(HUGE), 1.0]] * 3))]),
        ("labelme", {"shapes": [1], "imagePath": "a.png", "imageHeight": 1, "imageWidth": 1}),
    ],
)
def test_an_export_that_is_damaged_within_is_refused_and_not_a_crash(
    layout: str, document: Any, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export, out = write(source, "export.json", json.dumps(document)), tmp_path / "out"
    assert main(["prepare", str(export), "--layout", layout, "--out", str(out)]) in (1, 2)
    assert capsys.readouterr().err.startswith("trainer: ")
    assert not (out / "samples.csv").exists()


def test_outlines_that_may_be_of_two_coco_images_are_of_none(source: Path, tmp_path: Path) -> None:
    document = json.loads(coco_export(("a.png", [{"segmentation": [[1, 1, 6, 1, 6, 6]]}])))
    document["images"].append(document["images"][0] | {"file_name": "b.png"})
    export = write(source, "export.json", json.dumps(document))
    listing = read_exports([export], "coco", out=tmp_path / "out")
    assert listing.pairs == []
    said = "its id 0 is another photograph's, too"
    assert listing.problems == [f"a.png: {said}", f"b.png: {said}"]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"points": [[0, 0], [int(HUGE), 2], [2, 2]]}, "its polygon has no points"),
        ({"shape_type": "mask", "points": [[0, 0], [float("inf"), 2]], "mask": ""}, "its mask is"),
        ({"shape_type": "mask", "points": [[0, 0], [2, 2]], "mask": "\u00e9"}, "its mask is"),
    ],
)
def test_numbers_and_letters_out_of_range_are_a_photograph_s_problem(
    shape: Json, said: str, source: Path, tmp_path: Path
) -> None:
    export = write(source, "a.json", labelme_file(shape))
    (problem,) = read_exports([export], "labelme", out=tmp_path / "out").problems
    assert said in problem


@pytest.mark.parametrize(("side", "said"), [(30_000, "the limit is"), (WIDTH, "no PNG in base64")])
def test_a_bitmask_that_announces_too_many_pixels_is_not_decoded(
    side: int, said: str, source: Path, tmp_path: Path
) -> None:
    png = bytearray(encode_mask(SQUARE))
    png[16:24] = (30_000).to_bytes(4) * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4)
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    result = {
        "type": "bitmask", "value": {"imageDataURL": url},
        "original_height": side, "original_width": side,
    }  # fmt: skip
    export = write(source, "export.json", json.dumps([task("a.png", result)]))
    (problem,) = read_exports([export], "label-studio", out=tmp_path / "out").problems
    assert said in problem


@pytest.mark.parametrize("declared", ["utf-16", "no-such-encoding"])
def test_cvat_s_xml_hides_no_entities_behind_an_encoding(
    declared: str, source: Path, tmp_path: Path
) -> None:
    text = (
        f'<?xml version="1.0" encoding="{declared}"?><!DOCTYPE a [<!ENTITY b "a">]><annotations/>'
    )
    plain = text.replace('<!DOCTYPE a [<!ENTITY b "a">]>', "")
    data = text.encode("utf-16") if declared == "utf-16" else plain.encode()
    (source / "annotations.xml").write_bytes(data)
    with pytest.raises(DatasetError, match=r"not in UTF-8|is not XML"):
        read_exports([source / "annotations.xml"], "cvat", out=tmp_path / "out")


def test_exports_and_other_layouts_have_options_of_their_own(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(source), "--label", "lesion", "--out", str(tmp_path)]) == 2
    assert "--images and --label are for exports" in capsys.readouterr().err
    command = ["prepare", str(tmp_path / "gone"), "--layout", "coco", "--out", str(tmp_path)]
    assert main(command) == 2
    assert main([*command[:1], str(source), *command[2:]]) == 2
    assert "holds no such .json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/data/local-files/?d=a/b%20c.jpg", "a/b c.jpg"),
        ("s3://bucket/folder/a.jpg", "/folder/a.jpg"),
        ("https://h/a.jpg?d=x", "/a.jpg"),
        ("plain.jpg", "plain.jpg"),
    ],
)
def test_a_url_names_a_file(url: str, path: str) -> None:
    assert photograph_of(url) == path
