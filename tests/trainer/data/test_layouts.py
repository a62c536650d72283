from pathlib import Path

import pytest
from PIL import Image

from model_core.errors import DatasetError
from tests.fixtures.discs import row, write_manifest, write_pair
from trainer.data import layouts
from trainer.data.prepare import prepare


def place(root: Path, image: str, mask: str | None, *, seed: int = 0) -> None:
    """A drawn pair at the places and in the file types that a layout has."""
    write_pair(root, "drawn", seed=seed)
    for source, target in (("drawn.png", image), ("drawn_mask.png", mask)):
        if target is None:
            continue
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(root / source) as picture:
            picture.save(root / target)
    (root / "drawn.png").unlink()
    (root / "drawn_mask.png").unlink()


CHALLENGES = [
    pytest.param(
        "isic2016",
        ("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),
        ("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"),
        "_Segmentation.png",
        id="2016",
    ),
    pytest.param(
        "isic2017",
        ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
        "_segmentation.png",
        id="2017",
    ),
    pytest.param(
        "isic2018",
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
        "_segmentation.png",
        id="2018",
    ),
]


@pytest.mark.parametrize(("layout", "training", "test", "suffix"), CHALLENGES)
def test_the_official_challenge_folders_are_read(
    layout: str, training: tuple[str, str], test: tuple[str, str], suffix: str, tmp_path: Path
) -> None:
    for number, (images, masks) in enumerate((training, test)):
        name = f"ISIC_000000{number}"
        place(tmp_path, f"{images}/{name}.jpg", f"{masks}/{name}{suffix}", seed=number)
    (tmp_path / training[0] / "ISIC_0000000_superpixels.png").write_bytes(b"no photograph")
    found = prepare(layouts.LAYOUTS[layout](tmp_path), official=True)
    assert found.problems == []
    assert [(sample.id, sample.part) for sample in found.samples] == [
        ("ISIC_0000000", "train"),
        ("ISIC_0000001", "test"),
    ]


@pytest.mark.parametrize(("layout", "training", "test", "suffix"), CHALLENGES)
def test_a_photograph_without_mask_and_a_mask_without_photograph_are_listed(
    layout: str, training: tuple[str, str], test: tuple[str, str], suffix: str, tmp_path: Path
) -> None:
    images, masks = training
    place(tmp_path, f"{images}/ISIC_0000000.jpg", None)
    place(tmp_path, f"{images}/ISIC_0000001.jpg", f"{masks}/ISIC_0000002{suffix}")
    problems = prepare(layouts.LAYOUTS[layout](tmp_path)).problems
    assert problems[0] == f"ISIC_0000002{suffix}: a mask without photograph"
    assert [problem.partition(": ")[2][:10] for problem in problems[1:]] == ["no mask at"] * 2


def test_ph2_is_read_with_its_bmp_masks(tmp_path: Path) -> None:
    root = "PH2Dataset/PH2 Dataset images/IMD002"
    place(
        tmp_path,
        f"{root}/IMD002_Dermoscopic_Image/IMD002.bmp",
        f"{root}/IMD002_lesion/IMD002_lesion.bmp",
    )
    (sample,) = prepare(layouts.read_ph2(tmp_path)).samples
    assert (sample.key, sample.part) == ("ph2/IMD002", "external")


@pytest.mark.parametrize("root", ["PH2", "__MACOSX/PH2"])
def test_what_systems_leave_in_ph2_is_no_photograph(root: str, tmp_path: Path) -> None:
    image, mask = "IMD002_Dermoscopic_Image", "IMD002_lesion"
    place(tmp_path, f"PH2/IMD002/{image}/IMD002.BMP", f"PH2/IMD002/{mask}/IMD002_Lesion.bmp")
    for folder, name in ((image, "._IMD002.bmp"), (mask, "._IMD002_lesion.bmp")):
        (tmp_path / root / "IMD002" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / root / "IMD002" / folder / name).write_bytes(b"of macOS")
    found = prepare(layouts.read_ph2(tmp_path))
    assert ([sample.id for sample in found.samples], found.problems) == (["IMD002"], [])


def test_a_copy_of_ham10000_with_its_folders_twice_is_read_once(tmp_path: Path) -> None:
    masks = "HAM10000_segmentations_lesion_tschandl/ISIC_0024301_segmentation.png"
    for part in ("ham10000_images_part_1", "HAM10000_images_part_1"):
        place(tmp_path, f"{part}/ISIC_0024301.jpg", masks)
        found = layouts.read_ham10000(tmp_path)
        assert ([pair.id for pair in found.pairs], found.problems) == (["ISIC_0024301"], [])


def test_ham10000_keeps_the_photographs_of_one_lesion_together(tmp_path: Path) -> None:
    masks = "HAM10000_segmentations_lesion_tschandl"
    for number in (1, 2, 3):
        name = f"ISIC_002430{number}"
        part = "HAM10000_images_part_1" if number < 3 else "HAM10000_images_part_2"
        place(tmp_path, f"{part}/{name}.jpg", f"{masks}/{name}_segmentation.png", seed=number)
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx\nHAM_1,ISIC_0024301,nv\nHAM_2,ISIC_0024302,nv\n"
        "HAM_1,ISIC_0024303,nv\n"
    )
    samples = prepare(layouts.read_ham10000(tmp_path)).samples
    assert [sample.group for sample in samples] == ["ISIC_0024301", "ISIC_0024302", "ISIC_0024301"]


@pytest.mark.parametrize("layout", [name for name in layouts.LAYOUTS if name != "manifest"])
def test_a_folder_of_another_layout_is_refused_with_what_was_expected(
    layout: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="the official layout of"):
        layouts.LAYOUTS[layout](tmp_path)


def test_a_manifest_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST.csv").write_text("id,image\na,a.png\n")
    with pytest.raises(DatasetError, match="no column dataset, mask"):
        layouts.read_manifest(tmp_path)
    with pytest.raises(DatasetError, match="no file at"):
        layouts.read_manifest(tmp_path / "nowhere")


def test_a_manifest_saved_by_a_spreadsheet_is_read_despite_its_byte_order_mark(
    tmp_path: Path,
) -> None:
    text = "dataset,id,image,mask\nclinic,a,a.png,a_mask.png\n"
    (tmp_path / "MANIFEST.csv").write_text(text, encoding="utf-8-sig")
    assert [pair.id for pair in layouts.read_manifest(tmp_path).pairs] == ["a"]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"orig_width": "wide", "orig_height": "600"}, id="not a number"),
        pytest.param({"orig_width": "1024"}, id="no height"),
        pytest.param({"orig_width": "1024", "orig_height": "0"}, id="zero"),
    ],
)
def test_a_squashed_photograph_of_unknown_size_is_listed_with_its_line(
    bad: dict[str, str], tmp_path: Path
) -> None:
    write_manifest(tmp_path, [row("a"), row("b", geometry="full_frame_squashed", **bad)])
    found = layouts.read_manifest(tmp_path)
    assert len(found.pairs) == 1
    assert found.problems == [
        "line 3: b is squashed, but has no orig_width and orig_height of at least 1 px"
    ]
