"""What README.md shows is what the code says."""

import re
import shlex
import textwrap

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


def test_files_that_the_readme_links_to_exist() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
