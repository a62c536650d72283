"""What a release promises: licences, the list of packages, the system unit, and the pages for an
assessor."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import licences
from model_core.version import VERSION
from service.settings import Settings
from tests.conftest import REPOSITORY
from trainer.release.publish import INTENDED_USE, LIMITS

yaml = pytest.importorskip("yaml")

UNIT = REPOSITORY / "deploy" / "systemd" / "lesion.service"
ASSESSED = ("intended-use", "privacy", "before-production")
DOCS = REPOSITORY / "docs"
MOST_WORDS = 900
"""Two pages."""
MAX_EXPOSURE = 1.5
"""Of 10; what `systemd-analyze` calls OK ends at 5."""


# --- packages of others ----------------------------------------------------------------------


def test_every_licence_of_what_is_installed_is_allowed() -> None:
    assert list(licences.faults()) == []


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("MIT", True),
        ("MIT AND Zlib", True),
        ("GPL-3.0-only OR Apache-2.0", True),
        ("(GPL-3.0-only OR MIT) AND BSD-3-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_all_of_and_and_one_of_or_must_be_allowed(said: str, allowed: bool) -> None:
    assert licences.is_allowed(said) == allowed


def test_the_page_of_software_of_others_is_written_from_the_pins() -> None:
    pytest.importorskip("s3fs")
    again = "run `python deploy/licences.py --soup > docs/soup.md`"
    assert (DOCS / "soup.md").read_text(encoding="utf-8") == licences.soup(), again


# --- the system unit -------------------------------------------------------------------------


def test_the_unit_is_as_closed_as_the_manual_says() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here (Debian: apt install systemd)")
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for lesion.service: (\S+)", run.stdout)
    assert found is not None, run.stderr
    assert float(found[1]) <= MAX_EXPOSURE
    said = " ".join((DOCS / "deployment.md").read_text().split())
    assert f"an exposure of {found[1]} of 10" in said


def test_the_unit_waits_for_what_the_service_still_answers() -> None:
    unit, settings = UNIT.read_text(), Settings()
    (wait,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.M)
    assert int(wait) > settings.drain_seconds + settings.grace_seconds
    assert "ExecStart=/opt/lesion/bin/lesion-service" in unit


# --- the workflow ----------------------------------------------------------------------------


def test_a_release_proves_where_it_comes_from() -> None:
    path = REPOSITORY / ".github" / "workflows" / "release.yml"
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("packages", "images"):
        job = workflow["jobs"][name]
        used = {step.get("uses", "").partition("@")[0] for step in job["steps"]}
        assert {"actions/attest-build-provenance", "actions/attest-sbom"} <= used
        assert job["permissions"]["id-token"] == job["permissions"]["attestations"] == "write"
    targets = {
        entry["image"] for entry in workflow["jobs"]["images"]["strategy"]["matrix"]["include"]
    }
    stages = re.findall(r"^FROM image AS (\S+)$", (REPOSITORY / "Dockerfile.gpu").read_text(), re.M)
    assert targets == {*stages, "proxy"}
    written = re.findall(r"\bmake ([a-z ]+)", path.read_text())
    named = {target for line in written for target in line.split()}
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(f"\n{target}: " in makefile for target in named)


def test_the_steps_of_a_release_find_the_number_and_its_notes(tmp_path: Path) -> None:
    text = (REPOSITORY / ".github" / "workflows" / "release.yml").read_text()
    (number,) = re.findall(r"version=\$\((sed .+)\)$", text, re.M)
    (notes,) = re.findall(r"(sed -n \"/\^## .+) > notes.md$", text, re.M)
    shell = {"cwd": REPOSITORY, "capture_output": True, "text": True, "check": True}
    found = subprocess.run(["bash", "-c", number], **shell).stdout  # type: ignore[call-overload]
    assert found == f"{VERSION}\n"
    script = f"GITHUB_REF_NAME=v{VERSION}; {notes}"
    found = subprocess.run(["bash", "-c", script], **shell).stdout  # type: ignore[call-overload]
    assert "The first release." in found
    assert "\n## [" not in found


# --- the pages for an assessor ---------------------------------------------------------------


@pytest.mark.parametrize("page", ASSESSED)
def test_a_page_for_an_assessor_is_under_two_pages_and_claims_no_conformity(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert len(text.split()) < MOST_WORDS
    claims = r"\b(compliant|certified|cleared|conforms|CE[- ]mark|approved by|GDPR|HIPAA|MDR)\b"
    assert re.findall(claims, text) == []


def test_the_intended_use_is_that_of_every_card() -> None:
    text = " ".join((DOCS / "intended-use.md").read_text().replace("\n> ", " ").split())
    assert INTENDED_USE in text
    assert LIMITS[1].partition(";")[0].split("by ")[1] in text


@pytest.mark.parametrize("page", ASSESSED)
def test_every_test_command_and_file_that_such_a_page_names_is_there(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for path in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (REPOSITORY / path).is_file(), path
    commands = set(re.findall(r"python -m trainer ([a-z-]+)", text))
    help = subprocess.run(
        [sys.executable, "-m", "trainer", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(f"    {command} " in help for command in commands)
