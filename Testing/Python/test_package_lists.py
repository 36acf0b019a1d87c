"""What is in the tree is in the packages: CMake lists, wheel, and the descriptions for the extensions index."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import MMLNRegistrationLib
from repository import PACKAGE, ROOT, SOURCE_ROOT, files_under, is_text

MODULE_CMAKE = (SOURCE_ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
TOP_CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
INDEX_ENTRY = ROOT / "MMLNRegistration.json"

# Schema v1.0.2 of the extensions index: the type of each key that may be there, and the keys that must.
INDEX_KEYS = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}
INDEX_REQUIRED = {"$schema", "category", "scm_url"}
INDEX_SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
# Of the categories that the index accepts, those that this extension could be in.
INDEX_CATEGORIES = {"Neuroimaging", "Registration", "Segmentation", "Quantification", "Utilities"}
INDEX_MAXIMUM_BYTES = 100 * 1024 * 1024


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


def index_complaints(entry: dict[str, object]) -> list[str]:
    """What the checks of the extensions index would say about an entry, as far as they need no network."""
    complaints = [f"{key} is missing" for key in sorted(INDEX_REQUIRED - set(entry))]
    for key, value in entry.items():
        expected = INDEX_KEYS.get(key)
        if expected is None:
            complaints.append(f"{key} is not a key of the schema")
        elif type(value) is not expected:
            complaints.append(f"{key} must be {expected.__name__}")
    if complaints:
        return complaints
    if entry["$schema"] != INDEX_SCHEMA:
        complaints.append("$schema is not v1.0.2")
    if entry["category"] not in INDEX_CATEGORIES:
        complaints.append(f"category {entry['category']} is not one of {sorted(INDEX_CATEGORIES)}")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/Slicer[\w.-]+", str(entry["scm_url"])):
        complaints.append("scm_url must be https, and the repository's name must begin with Slicer")
    if entry.get("tier") not in (None, 1, 2, 3, 4, 5):
        complaints.append("tier must be 1 to 5")
    return complaints


def picture_addresses(cmake_text: str, variable: str) -> list[str]:
    """Addresses in the one form that the index finds: a single line set(variable "...")."""
    match = re.search(rf'^set\({variable} "([^"\n]+)"\)$', cmake_text, re.MULTILINE)
    return match.group(1).split() if match else []


def cmake_value(variable: str) -> str:
    return re.search(rf'^set\({variable} "([^"]*)"\)$', TOP_CMAKE, re.MULTILINE).group(1)


def s4ext_values() -> dict[str, str]:
    lines = (ROOT / "MMLNRegistration.s4ext").read_text(encoding="utf-8").splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


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


def test_index_entry_follows_the_schema():
    assert index_complaints(json.loads(INDEX_ENTRY.read_text(encoding="utf-8"))) == []
    assert not INDEX_ENTRY.stem.lower().startswith("slicer")
    assert re.search(r"project\s*\(\s*([^\s\)]+)", TOP_CMAKE).group(1) == INDEX_ENTRY.stem
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"homepage": "https://example.org"}, "homepage is not a key of the schema"),
        ({"tier": 7}, "tier must be 1 to 5"),
        ({"tier": "1"}, "tier must be int"),
        ({"category": "Brains"}, "category Brains is not one of"),
        ({"scm_url": "https://github.com/x/MMLNRegistration"}, "must begin with Slicer"),
        ({"$schema": "v1.0.0"}, "$schema is not v1.0.2"),
    ],
)
def test_index_check_can_fail(change, complaint):
    (found,) = index_complaints(json.loads(INDEX_ENTRY.read_text(encoding="utf-8")) | change)
    assert complaint in found
    assert index_complaints({"$schema": INDEX_SCHEMA, "category": "Registration"}) == ["scm_url is missing"]


def test_three_descriptions_agree():
    entry = json.loads(INDEX_ENTRY.read_text(encoding="utf-8"))
    old = s4ext_values()
    assert old["scmurl"] == entry["scm_url"] == cmake_value("EXTENSION_HOMEPAGE") == old["homepage"]
    assert old["scmrevision"] == entry["scm_revision"]
    assert old["build_subdirectory"] == entry["build_subdirectory"]
    assert old["category"] == entry["category"] == cmake_value("EXTENSION_CATEGORY")
    assert old["depends"].split() == entry["build_dependencies"] == cmake_value("EXTENSION_DEPENDS").split()
    assert old["description"] == cmake_value("EXTENSION_DESCRIPTION")
    assert old["contributors"] == cmake_value("EXTENSION_CONTRIBUTORS")
    assert old["iconurl"] == cmake_value("EXTENSION_ICONURL")
    assert old["screenshoturls"] == cmake_value("EXTENSION_SCREENSHOTURLS")


@pytest.mark.parametrize("variable", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_extension_are_in_the_tree(variable):
    addresses = picture_addresses(TOP_CMAKE, variable)
    assert addresses
    repository = cmake_value("EXTENSION_HOMEPAGE").replace("https://github.com/", "https://raw.githubusercontent.com/")
    for address in addresses:
        path = ROOT / address.removeprefix(f"{repository}/main/")
        assert path.suffix in {".png", ".jpg", ".gif"}
        assert path.is_file(), f"{address} is not in the tree"


def test_picture_pattern_can_fail():
    assert picture_addresses('set(EXTENSION_ICONURL "https://a/b.png")', "EXTENSION_ICONURL") == ["https://a/b.png"]
    assert picture_addresses('set(EXTENSION_ICONURL\n  "https://a/b.png")', "EXTENSION_ICONURL") == []
    assert picture_addresses("set(EXTENSION_ICONURL https://a/b.png)", "EXTENSION_ICONURL") == []


def test_icon_is_128_pixels_square():
    header = (ROOT / "Resources" / "MMLNRegistration.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_text_files_end_their_lines_with_lf():
    with_cr = [path.name for path in files_under(ROOT) if is_text(path) and b"\r" in path.read_bytes()]
    assert with_cr == []


def test_checkout_is_small_enough_for_the_index():
    tree_bytes = sum(path.stat().st_size for path in files_under(ROOT))
    history_bytes = sum(path.stat().st_size for path in Path(ROOT / ".git").rglob("*") if path.is_file())
    assert tree_bytes + history_bytes < INDEX_MAXIMUM_BYTES
