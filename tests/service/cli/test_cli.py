"""The command `lesion` against a real process of the service."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from model_core.masks.png import decode_mask, encode_mask
from model_core.masks.rle import encode_rle
from service.cli.files import IMAGES, MASKS, UsageError, find_files, outputs_of, pair_up, shown
from service.cli.main import main
from service.cli.segment import SUFFIXES, write_whole
from service.contract.queries import AnswerFormat
from tests.conftest import REPOSITORY
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import free_port
from tests.fixtures.service.scripted import Answer, scripted

Output = pytest.CaptureFixture[str]
PHOTO = encode(lesion(48, 64))


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two photographs of one name in two folders, a third, and a file that is none."""
    folder = tmp_path / "photographs"
    for name in ("left/x.png", "right/x.png", "y.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PHOTO)
    (folder / "bad.jpg").write_bytes(b"no photograph")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture
def mask(served: str, tmp_path: Path) -> np.ndarray:
    """What the service finds in `PHOTO`."""
    (tmp_path / "one.png").write_bytes(PHOTO)
    out = tmp_path / "one"
    assert main(["segment", str(tmp_path / "one.png"), "--out", str(out), "--url", served]) == 0
    return decode_mask((out / "one.png.png").read_bytes())


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_each_photograph_gets_its_mask_and_a_bad_file_stops_nobody(
    served: str, photographs: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "masks"
    assert main(["segment", str(photographs), "--out", str(out), "--url", served]) == 1
    assert files_below(out) == {"left/x.png.png", "right/x.png.png", "y.png.png"}
    mask = decode_mask((out / "y.png.png").read_bytes())
    assert mask.shape == (48, 64)
    assert mask[24, 32]
    said = capsys.readouterr()
    assert "3 of 4 files segmented" in said.out
    assert f"lesion: {photographs / 'bad.jpg'}: 415 unsupported-image: found" in said.err


def test_json_is_a_line_a_file_in_order(
    served: str, photographs: Path, tmp_path: Path, capsys: Output
) -> None:
    files = [photographs / name for name in ("y.png", "bad.jpg", "gone.jpg", "left/x.png")]
    command = ["segment", *map(str, files), "--out", str(tmp_path / "out"), "--format", "rle"]
    assert main([*command, "--json", "--url", served]) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["file"] for line in lines] == [str(file) for file in files]
    assert [line["ok"] for line in lines] == [True, False, False, True]
    assert (lines[1]["status"], lines[1]["slug"]) == (415, "unsupported-image")
    assert lines[2]["problem"] == "No such file or directory"
    assert json.loads(Path(lines[0]["output"]).read_bytes())["image"]["height"] == 48
    assert said.err == ""


def test_results_are_replaced_only_when_asked_to(
    served: str, photographs: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out"
    command = ["segment", str(photographs / "y.png"), "--out", str(out), "--url", served]
    (out).mkdir()
    (out / "y.png.png").write_bytes(b"older")
    assert main(command) == 1
    assert "exists already; --overwrite replaces it" in capsys.readouterr().err
    assert (out / "y.png.png").read_bytes() == b"older"
    assert main([*command, "--overwrite"]) == 0
    assert (out / "y.png.png").read_bytes().startswith(b"\x89PNG")
    assert files_below(out) == {"y.png.png"}


def test_a_result_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    plain, result = tmp_path / "plain", tmp_path / "result"
    plain.touch()
    write_whole(result, b"")
    assert result.stat().st_mode == plain.stat().st_mode


def test_no_photograph_is_ever_overwritten(tmp_path: Path, capsys: Output) -> None:
    for name in ("x.png", "x.png.png"):
        (tmp_path / name).write_bytes(PHOTO)
    command = ["segment", str(tmp_path), "--out", str(tmp_path), "--overwrite"]
    assert main(command) == 2
    assert "would overwrite" in capsys.readouterr().err


def test_a_service_that_is_away_is_asked_for_one_file_not_for_all(
    photographs: Path, tmp_path: Path, capsys: Output
) -> None:
    away = ["--url", f"http://127.0.0.1:{free_port()}", "--attempts", "1", "--jobs", "1"]
    assert main(["segment", str(photographs), "--out", str(tmp_path / "out"), *away]) == 3
    said = capsys.readouterr().err
    assert said.count("Connection refused") == 1
    assert said.count("not tried") == 3
    assert main(["evaluate", "--image", str(photographs), "--truth", str(photographs), *away]) == 2
    y = str(photographs / "y.png")
    truth = tmp_path / "truth.png"
    truth.write_bytes(encode_mask(np.zeros((48, 64), bool)))
    assert main(["evaluate", "--image", y, "--truth", str(truth), *away]) == 3
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for name in ("a.png", "b.png"):
        (pairs / name).write_bytes(truth.read_bytes())
    capsys.readouterr()
    assert main(["evaluate", "--image", str(pairs), "--truth", str(pairs), *away]) == 3
    assert capsys.readouterr().err.count("not tried") == 1
    # Masks are compared here: nobody is asked.
    assert main(["evaluate", "--pred", str(truth), "--truth", str(truth), *away]) == 0


def test_a_key_is_taken_from_the_environment_and_a_wrong_one_ends_it(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LESION_CLIENT_KEY", "secret")
    body = b'{"type": "/problems/unauthorised", "title": "No", "status": 401}'
    answer = Answer(401, body, {"Content-Type": "application/problem+json"})
    with scripted(answer) as (url, received):
        monkeypatch.setenv("LESION_CLIENT_URL", url)
        command = ["segment", str(photographs), "--out", str(tmp_path / "out"), "--jobs", "1"]
        assert main(command) == 3
        assert len(received) == 1
        assert received[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", "x.png", "--out", "o", "--jobs", "0"],
        ["segment", "x.png", "--out", "o", "--timeout", "-1"],
        ["segment", "x.png"],
        ["evaluate", "--image", "a", "--pred", "b", "--truth", "c"],
        ["evaluate", "--pred", "b", "--truth", "c", "--spacing-mm", "1"],
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained(
    arguments: list[str], capsys: Output
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_an_address_that_is_none_is_said_to_be(tmp_path: Path, capsys: Output) -> None:
    assert main(["segment", "x.png", "--out", str(tmp_path), "--url", "http://x:port"]) == 2
    assert main(["segment", str(tmp_path), "--out", "o"]) == 2
    said = capsys.readouterr().err
    assert "is no address" in said
    assert "holds no image, by name (.bmp, " in said


def test_photographs_are_scored_against_masks_of_the_same_name(
    served: str, photographs: Path, mask: np.ndarray, tmp_path: Path, capsys: Output
) -> None:
    truths = tmp_path / "truths"
    truths.mkdir()
    (photographs / "right" / "x.png").rename(photographs / "z.png")
    (photographs / "w.png").write_bytes(PHOTO)
    (truths / "y_segmentation.png").write_bytes(encode_mask(mask))
    (truths / "x_lesion.json").write_text(json.dumps({"segmentation": encode_rle(~mask)}))
    Image.fromarray(mask).save(truths / "z_mask.bmp")
    (truths / "bad.png").write_bytes(encode_mask(mask))
    command = ["evaluate", "--image", str(photographs), "--truth", str(truths), "--url", served]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "3 pairs, 33.3% with a Jaccard below 0.65" in said.out
    assert "masks by lesion-unet@1.0.0" in said.out
    assert f"{photographs / 'w.png'}: has no partner" in said.err
    assert f"{photographs / 'bad.jpg'}: 415 unsupported-image" in said.err
    assert main([*command, "--json", "--threshold", "0.4"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [Path(file).name for file in report["files"]] == ["x.png", "y.png", "z.png"]
    assert [item["index"] for item in report["items"]] == [0, 1, 2]
    assert report["items"][1]["dice"] > 0.9
    assert {Path(line["file"]).name for line in report["failed"]} == {"bad.jpg", "w.png"}


def test_two_masks_are_a_pair_whatever_their_names(
    served: str, mask: np.ndarray, tmp_path: Path, capsys: Output
) -> None:
    for name, content in (("mine.png", mask), ("theirs.png", mask), ("small.png", mask[:10])):
        (tmp_path / name).write_bytes(encode_mask(content))
    mine, theirs, small = (str(tmp_path / f"{n}.png") for n in ("mine", "theirs", "small"))
    command = ["evaluate", "--url", served, "--json", "--spacing-mm", "0.02,0.02"]
    assert main([*command, "--pred", mine, "--truth", theirs]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["items"][0]["dice"], report["items"][0]["hausdorff_95_mm"]) == (1.0, 0.0)
    assert main([*command, "--pred", small, "--truth", theirs]) == 2
    assert "is (10, 64), its truth is (48, 64)" in capsys.readouterr().err


def test_corrected_masks_of_a_folder_are_kept_and_a_bad_one_stops_nobody(
    served: str, photographs: Path, mask: np.ndarray, tmp_path: Path, capsys: Output
) -> None:
    masks = tmp_path / "mended"
    masks.mkdir()
    (masks / "y_mask.png").write_bytes(encode_mask(mask))
    (masks / "z.json").write_text(json.dumps(encode_rle(mask)))
    (masks / "bad.png").write_bytes(encode_mask(mask))
    (photographs / "z.png").write_bytes(encode(lesion(48, 64), compress_level=1))
    shutil.rmtree(photographs / "left")
    shutil.rmtree(photographs / "right")
    command = ["correct", "--image", str(photographs), "--mask", str(masks), "--annotator", "a"]
    capsys.readouterr()
    assert main([*command, "--url", served]) == 1
    said = capsys.readouterr()
    assert "2 of 3 corrections kept by the service" in said.out
    assert f"lesion: {photographs / 'bad.jpg'}: 415 unsupported-image" in said.err
    assert main([*command, "--url", served, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((Path(line["file"]).name, line["ok"]) for line in lines) == [
        ("bad.jpg", False), ("y.png", True), ("z.png", True)
    ]  # fmt: skip
    assert main([*command[:3], "--mask", str(tmp_path / "one.png"), "--annotator", "a"]) == 2


def test_names_keep_their_folders_and_never_leave_the_output(tmp_path: Path) -> None:
    files = [Path("../a/x.jpg"), Path("b/../c/x.jpg"), Path("d/x.jpg.png")]
    found = outputs_of(files, tmp_path, ".png")
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in found)
    assert len(set(found)) == 3
    assert outputs_of([Path("/a/x.jpg")], tmp_path, ".png") == [tmp_path / "x.jpg.png"]
    with pytest.raises(UsageError, match="would be called"):
        outputs_of([Path("a/X.jpg"), Path("a/x.JPG")], tmp_path, ".png")
    with pytest.raises(UsageError, match="would be called"):
        outputs_of([Path("a/\u00fc.jpg"), Path("a/u\u0308.jpg")], tmp_path, ".png")


def test_a_file_named_twice_is_done_once(photographs: Path) -> None:
    y = photographs / "y.png"
    link = photographs / "link.png"
    link.symlink_to(y)
    assert find_files([y, photographs / "left" / ".." / "y.png", link], IMAGES) == [y]


def test_a_folder_gives_all_its_photographs_by_content_and_names_what_it_passes_over(
    tmp_path: Path, capsys: Output
) -> None:
    taken = {"a.jpg": PHOTO, "b.jfif": PHOTO, "1.2.840.1": bytes(128) + b"DICM", "c.PNG": b"bad"}
    litter = ("._a.jpg", "Thumbs.db", "__MACOSX/a.jpg", ".cache/a.jpg")
    others = ("a_superpixels.png", "notes.txt", "DICOMDIR")
    for name, content in {**taken, **dict.fromkeys((*litter, *others), PHOTO)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"text" if name == "notes.txt" else content)
    assert {file.name for file in find_files([tmp_path], IMAGES)} == set(taken)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"lesion: {tmp_path / name}: passed over, no image" for name in sorted(others)]


def test_a_mask_is_known_by_content_too(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "mask").write_bytes(encode_mask(np.zeros((2, 2), bool)))
    (tmp_path / "truth.csv").write_text("id,x")
    assert find_files([tmp_path], MASKS) == [tmp_path / "mask"]
    assert "truth.csv: passed over, no mask" in capsys.readouterr().err


def test_a_file_that_is_named_is_taken_whatever_its_name(tmp_path: Path) -> None:
    assert find_files([tmp_path / ".x"], IMAGES) == [tmp_path / ".x"]


@pytest.mark.parametrize(
    ("photographs", "masks"),
    [
        pytest.param(("a.jpg", "b.JPG"), ("a_Segmentation.png", "b_SEGMENTATION.PNG"), id="case"),
        pytest.param(("u\u0308a.jpg", "e\u0301.jpg"), ("\u00fca_mask.png", "\u00e9.png"), id="NFC"),
        pytest.param(("a.jfif", "1.2.840.5"), ("a_mask.png", "1.2.840.5.png"), id="by content"),
        pytest.param(
            ("x.bmp", "x_lesion.bmp", "y.bmp"), ("x.bmp", "x_lesion.bmp", "y.bmp"), id="PH2"
        ),
    ],
)
def test_names_pair_in_any_official_spelling(
    photographs: tuple[str, ...], masks: tuple[str, ...]
) -> None:
    pairs, alone = pair_up([Path(name) for name in photographs], [Path(name) for name in masks])
    assert (len(pairs), alone) == (2, [])
    assert (Path("x.bmp"), Path("x.bmp")) not in pairs


def test_a_set_may_have_more_pairs_than_a_request(tmp_path: Path, capsys: Output) -> None:
    for number in range(300):
        (tmp_path / f"{number}.png").write_bytes(encode_mask(np.eye(4, dtype=bool)))
    command = ["evaluate", "--pred", str(tmp_path), "--truth", str(tmp_path), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["summary"]["n"] == len(report["items"]) == len(report["files"]) == 300


def test_pairs_need_names_that_say_which() -> None:
    pairs, alone = pair_up([Path("a.jpg"), Path("b.jpg")], [Path("t/b_mask.png"), Path("c.png")])
    assert pairs == [(Path("b.jpg"), Path("t/b_mask.png"))]
    assert alone == [Path("a.jpg"), Path("c.png")]
    with pytest.raises(UsageError, match="are both called a"):
        pair_up([Path("a.jpg"), Path("a.png")], [Path("a.png")])


def test_a_name_cannot_steer_the_terminal() -> None:
    assert shown(Path("a\x1b[2Jb\nc.jpg")) == r"a\x1b[2Jb\nc.jpg"
    assert shown("Läsion 1.jpg") == "Läsion 1.jpg"


def test_every_format_of_the_service_has_an_ending() -> None:
    forms = {form for options in get_args(AnswerFormat) for form in get_args(options) or [options]}
    assert set(SUFFIXES) == forms


def test_the_command_is_installed_and_needs_no_torch() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["lesion"].partition(":")
    assert getattr(import_module(module), function) is main
    code = f"import sys; sys.modules['torch'] = None; import {module}; {module}.main(['--help'])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "segment" in run.stdout
