"""What README.md shows is what the code says."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest

from MMLNRegistrationLib.cli import _parser
from repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.partition("#")[0].strip() for line in README.splitlines() if line.startswith("mmln ")]


def test_the_road_in_the_readme_is_the_code_of_the_pipeline() -> None:
    shown = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "clock.step" in block)
    source = (ROOT / "MMLNRegistration/MMLNRegistrationLib/pipeline/registration.py").read_text(encoding="utf-8")
    assert textwrap.indent(shown.rstrip(), "    ") in source


@pytest.mark.parametrize("line", [part for line in COMMANDS for part in line.split(" | ")])
def test_commands_in_the_readme_are_understood(line: str) -> None:
    words = shlex.split(line.replace("[", "").replace("]", ""))
    assert words[0] == "mmln"
    assert _parser().parse_args(words[1:]).command == words[1]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_links_to_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_tutorial_is_in_the_list_of_them() -> None:
    folder = ROOT / "docs" / "tutorial"
    listed = re.findall(r"\]\(([^)/]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
