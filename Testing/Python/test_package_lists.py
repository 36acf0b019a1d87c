"""What is in the tree is in the packages: CMake lists, wheel, and the descriptions for the extensions index."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import MMLNRegistrationLib
from repository import PACKAGE, ROOT, SOURCE_ROOT, files_under

MODULE_CMAKE = (SOURCE_ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def cmake_list(text: str, variable: str) -> list[str]:
    """Entries of set(variable ...), comments dropped."""
    match = re.search(rf"^set\({variable}\s(.*?)\)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no set({variable} ...)"
    lines = [line.split("#")[0] for line in match.group(1).replace("${MODULE_NAME}", "MMLNRegistration").splitlines()]
    return " ".join(lines).split()


def list_complaints(listed: list[str], present: list[str]) -> list[str]:
    """What to change so that listed names each present file once, in alphabetical order."""
    complaints = [f"add: {name}" for name in sorted(set(present) - set(listed))]
    complaints += [f"remove: {name}" for name in sorted(set(listed) - set(present))]
    if not complaints and listed != sorted(set(listed)):
        complaints.append("sort the list and drop what is there twice")
    return complaints


@pytest.mark.parametrize(
    ("variable", "is_listed"),
    [
        ("MODULE_PYTHON_SCRIPTS", lambda path: path.suffix == ".py"),
        ("MODULE_PYTHON_RESOURCES", lambda path: path.suffix != ".py" and path.name != "CMakeLists.txt"),
    ],
)
def test_module_lists_name_every_file(variable, is_listed):
    present = [path.relative_to(SOURCE_ROOT).as_posix() for path in files_under(SOURCE_ROOT) if is_listed(path)]
    assert list_complaints(cmake_list(MODULE_CMAKE, variable), present) == []


def test_list_check_can_fail():
    listed = cmake_list("set(A b.py\n  # c.py\n  ${MODULE_NAME}.py # why\n)", "A")
    assert listed == ["b.py", "MMLNRegistration.py"]
    assert list_complaints(listed, ["b.py", "MMLNRegistration.py"]) == ["sort the list and drop what is there twice"]
    assert list_complaints(["a.py", "b.py"], ["b.py", "c.py"]) == ["add: c.py", "remove: a.py"]
    assert list_complaints(["a.py", "b.py"], ["b.py", "a.py"]) == []


def test_tests_inside_slicer_exist():
    folder = ROOT / "Testing" / "Slicer"
    scripts = re.findall(r"SCRIPT\s+(\S+?)\)", (folder / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert scripts
    assert [name for name in scripts if not (folder / name).is_file()] == []


def test_wheel_holds_the_library_and_nothing_else(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, project)
    shutil.copytree(SOURCE_ROOT, project / SOURCE_ROOT.name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = f"import setuptools.build_meta as backend; backend.build_wheel({str(tmp_path)!r})"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", build], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"mmln_registration-{MMLNRegistrationLib.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "mmln = MMLNRegistrationLib.cli:run" in archive.read(entry_points).decode()
    assert sorted(names) == sorted(path.relative_to(SOURCE_ROOT).as_posix() for path in files_under(PACKAGE))
