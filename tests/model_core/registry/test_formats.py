"""A registry of the release before is read by this one, and the other way round: both codes run."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from model_core.errors import CorruptVersionError
from model_core.registry.registry import Registry
from tests.conftest import REPOSITORY
from tests.fixtures.models import NAME, tiny_registry
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.signing import new_key
from trainer.release.sign import signer

pytestmark = pytest.mark.slow

NEW_IN_THIS_FORMAT = "model_core/registry/signatures.py"
READ = """
import sys
from model_core.registry.registry import Registry
registry = Registry(sys.argv[1])
assert list(registry.faults()) == []
mask = registry.load("lesion-unet", registry.resolve("lesion-unet", "production"))
print(int(mask.predictor.predict(open(sys.argv[2], "rb").read()).mask.sum()))
"""
PUBLISH = """
import sys
from dataclasses import replace
from pathlib import Path
from model_core.registry.registry import Registry
registry = Registry(sys.argv[1])
card, _ = registry.card("lesion-unet", "1.0.0")
weights = Path(sys.argv[1], "lesion-unet", "1.0.0", "model.safetensors")
card = replace(card, version="1.1.0", files={})
registry.publish(card, weights, open(sys.argv[2], "rb").read())
registry.promote("lesion-unet", "1.1.0")
"""


def git(*words: str) -> bytes:
    run = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, check=False)
    return run.stdout if run.returncode == 0 else b""


@pytest.fixture(scope="session")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code as it was before the registry's present format, from Git."""
    added = git("log", "--diff-filter=A", "--format=%H", "--", NEW_IN_THIS_FORMAT).split()
    code = git("archive", f"{added[-1].decode()}^", "model_core") if added else b""
    if not code:
        pytest.skip("Git has no history here: the former code is not to be had")
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(fileobj=io.BytesIO(code)) as archive:
        archive.extractall(folder, filter="data")
    assert not (folder / NEW_IN_THIS_FORMAT).exists()
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(lesion(48, 64)))
    return path


def run(code: str, former: Path, registry: Path, picture: Path) -> str:
    """Run something with the former code alone."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(registry), str(picture)],
        cwd=former,
        env=os.environ | {"PYTHONPATH": str(former)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_former_release_reads_a_registry_of_this_one(
    former: Path, picture: Path, tmp_path: Path
) -> None:
    registry = tiny_registry(tmp_path / "models")
    registry.sign(NAME, "1.0.0", signer(new_key(tmp_path, "ours")[0]))
    expected = registry.load(NAME, "1.0.0").predictor.predict(picture.read_bytes()).mask.sum()
    assert int(run(READ, former, registry.root, picture)) == expected > 0


def test_this_release_reads_and_signs_what_the_former_one_published(
    former: Path, picture: Path, tmp_path: Path
) -> None:
    root = tiny_registry(tmp_path / "models").root
    run(PUBLISH, former, root, picture)
    registry = Registry(root)
    assert registry.resolve(NAME, "production") == "1.1.0"
    assert registry.load(NAME, "1.1.0").predictor.predict(picture.read_bytes()).mask.any()
    private, public = new_key(tmp_path, "ours")
    trusting = Registry(root, signers=public)
    with pytest.raises(CorruptVersionError, match="is not signed"):
        trusting.load(NAME, "1.1.0")
    registry.sign(NAME, "1.1.0", signer(private))
    assert trusting.load(NAME, "1.1.0").signer == "ours.pub"
    assert registry.rollback(NAME) == "1.0.0"


def test_a_card_of_a_later_release_is_refused_by_the_name_of_what_is_new(tmp_path: Path) -> None:
    registry = tiny_registry(tmp_path / "models")
    path = registry.root / NAME / "1.0.0" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"from_tomorrow": 1}))
    with pytest.raises(CorruptVersionError, match="from_tomorrow"):
        registry.load(NAME, "1.0.0")
