"""What a release says of itself is the same everywhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

import autobatch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_citation_names_the_version_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == autobatch.__version__
    assert citation["license"] == PROJECT["project"]["license"]


def test_what_the_source_distribution_lists_is_there() -> None:
    for name in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (ROOT / name).exists(), name


def test_a_release_is_tried_on_every_python_that_is_declared() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert workflow["jobs"]["try"]["strategy"]["matrix"]["python"] == declared


def test_the_lowest_versions_that_are_declared_are_ones_that_were_tried() -> None:
    tried = (ROOT / "docs" / "versions.md").read_text()
    rows = re.findall(r"^\| (3\.\d+)\.\d+ \| (\d+\.\d+)", tried, re.MULTILINE)
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert {python for python, _ in rows} == set(declared)
    lowest = " ".join(tried.partition("The lowest: ")[2].partition("\n- ")[0].split())
    for requirement in PROJECT["project"]["dependencies"]:
        name, version = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        if name == "torch":
            assert version in {torch for _, torch in rows}
        else:
            assert f"{name} {version}" in lowest, requirement


def test_the_lowest_frameworks_that_are_declared_have_passed_their_cases() -> None:
    rows = (ROOT / "docs" / "versions.md").read_text().partition("## Frameworks")[2].lower()
    extras = PROJECT["project"]["optional-dependencies"]
    for name in ("transformers", "timm", "torchvision", "lightning", "accelerate"):
        for requirement in extras[name]:
            assert requirement.replace(">=", " ") in rows, requirement
