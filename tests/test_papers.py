"""The papers beside the code say what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import sngan

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def pythons() -> list[str]:
    """The minor versions that requires-python allows."""
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    return [f"3.{minor}" for minor in range(int(low), int(high))]


def test_the_pythons_that_are_tested_are_those_that_are_allowed() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert jobs["all"]["strategy"]["matrix"]["python"] == pythons()
    classified = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert classified == pythons()


def test_the_workflow_runs_the_check_of_the_checkout_and_files_that_exist() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert [step["run"] for step in jobs["all"]["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    portable = [step["run"] for step in jobs["portable"]["steps"] if "run" in step]
    assert any(line.startswith("sngan train ") for line in portable)
    (tests,) = [line for line in portable if "pytest " in line and "tests/" in line]
    for path in re.findall(r"tests/\S+", tests):
        assert (ROOT / path).exists(), path
    assert {system.partition("-")[0] for system in jobs["portable"]["strategy"]["matrix"]["os"]} == {"macos", "windows"}


def test_the_workflow_samples_from_the_run_that_it_trains() -> None:
    steps = [step.get("run", "") for step in read(".github/workflows/ci.yml")["jobs"]["portable"]["steps"]]
    (trained,) = [line.split()[2:] for line in steps if line.startswith("sngan train ")]
    (sampled,) = [re.search(r"run=(\S+)", line) for line in steps if line.startswith("sngan sample ")]
    assert sampled
    assert sampled[1] == str(sngan.compose(trained).run_dir)


def test_a_report_of_a_bug_brings_both_records() -> None:
    body = read(".github/ISSUE_TEMPLATE/bug.yml")["body"]
    required = {part["attributes"]["label"] for part in body if part.get("validations", {}).get("required")}
    assert {"result.json", "run.json"} <= required
    ids = [part["id"] for part in body]
    assert len(ids) == len(set(ids))


def test_hooks_are_local() -> None:
    (repo,) = read(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    for hook in repo["hooks"]:
        assert {"id", "name", "entry", "language"} <= hook.keys()
        assert hook["entry"].startswith(".venv/bin/ruff ")


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()  # what the schema requires
    assert citation["version"] == PROJECT["version"] == sngan.__version__
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert [author["family-names"] for author in paper["authors"]] == ["Miyato", "Kataoka", "Koyama", "Yoshida"]
    assert paper["year"] == 2018
    assert paper["url"].endswith("1802.05957")


def test_the_changelog_has_what_is_to_come_and_this_version() -> None:
    sections = re.findall(r"(?m)^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert sections[:2] == ["Unreleased", PROJECT["version"]]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_files_that_a_paper_names_are_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:tests|scripts|\.ci|sngan)/[\w/.]+)`", text):
        assert (ROOT / path).exists() or "margin" in path, path


def test_the_source_distribution_holds_all_papers() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in included:
        assert (ROOT / name.lstrip("/")).exists(), name
    assert {"/README.md", "/CHANGELOG.md", "/CONTRIBUTING.md", "/CITATION.cff", "/LICENSE", "/tests"} <= set(included)
    assert (ROOT / "sngan" / "py.typed").exists()
