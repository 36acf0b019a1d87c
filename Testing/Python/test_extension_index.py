"""The extension's description passes the published rules of Slicer's extensions index.

The rules are those of its JSON schema, of its script check_description_files.py and of the questions of its automated
review (extension_ai_analysis.py), in our own words. What needs the network, such as the topics of the repository, is
not checked here.
"""

import ast
import json
import re
import struct
import sys
from pathlib import Path

import pytest

from repository import PACKAGE, ROOT, SOURCE_ROOT, files_under, is_text

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


# What the automated review asks.

README = (ROOT / "README.md").read_text(encoding="utf-8")
ALLOWED_AT_FILE_SCOPE = {"slicer", "vtk", "qt", "ctk", "SimpleITK", "sitkUtils", "numpy", "scipy"}
MODULE = SOURCE_ROOT / "MMLNRegistration.py"


def imported_at_file_scope(source: str, package: str) -> list[str]:
    """Dotted names of what a file imports as soon as it is imported; relative ones are resolved from its package.

    `if TYPE_CHECKING` is skipped, for it is never run.
    """
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found.append(base)
            found.extend(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def file_of(module: str) -> Path | None:
    """Our file of a dotted name, None when the name is a function or a class."""
    stem = SOURCE_ROOT.joinpath(*module.split("."))
    return next((file for file in (stem.with_suffix(".py"), stem / "__init__.py") if file.is_file()), None)


def loaded_with(start: Path) -> dict[str, set[str]]:
    """Each file of ours that runs when a file is imported, with the packages of others that it imports."""
    waiting, found = [start], {}
    while waiting:
        path = waiting.pop()
        name = path.relative_to(SOURCE_ROOT).as_posix()
        if name in found:
            continue
        found[name] = set()
        package = ".".join(path.relative_to(SOURCE_ROOT).parent.parts)
        for imported in imported_at_file_scope(path.read_text(encoding="utf-8"), package):
            parts = imported.split(".")
            if parts[0] == PACKAGE.name:
                modules = (".".join(parts[: count + 1]) for count in range(len(parts)))
                waiting += [file for module in modules if (file := file_of(module)) is not None]
            elif parts[0] not in sys.stdlib_module_names:
                found[name].add(parts[0])
    return found


def file_scope_complaints(source: str) -> list[str]:
    """What a file does when it is imported, beyond defining things."""
    complaints = []
    for node in ast.parse(source).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, (ast.For, ast.While, ast.With, ast.Expr)) and not is_docstring:
            complaints.append(f"line {node.lineno}: {ast.unparse(node).splitlines()[0]}")
    return complaints


def torch_complaints(source: str) -> list[str]:
    """Calls that install torch from the registry."""
    calls = re.findall(r"pip_(?:install|ensure)\(([^)]*)\)", source)
    return [call for call in calls if "torch" in re.sub(r"skip_packages=\[[^]]*\]", "", call).lower()]


def test_readme_answers_the_review():
    summary = README.split("\n\n")[1]
    assert 80 < len(summary) < 700
    assert re.search(r"^!\[[^]]+\]\(Resources/Screenshots/[\w-]+\.png\)$", README, re.MULTILINE), "no picture"
    assert "CITATION.cff" in README, "does not say how to cite"


def test_description_is_a_sentence_or_some():
    description = cmake_value("EXTENSION_DESCRIPTION")
    assert 80 < len(description) < 600
    assert description.endswith(".")


def test_module_imports_only_what_slicer_has_when_it_is_loaded():
    loaded = loaded_with(MODULE)
    assert MODULE.name in loaded
    foreign = {name: packages - ALLOWED_AT_FILE_SCOPE for name, packages in loaded.items()}
    assert {name: packages for name, packages in foreign.items() if packages} == {}


def test_module_runs_nothing_when_it_is_loaded():
    for name in loaded_with(MODULE):
        assert file_scope_complaints((SOURCE_ROOT / name).read_text(encoding="utf-8")) == [], name


def test_torch_comes_from_the_pytorch_extension_alone():
    sources = [path for path in files_under(SOURCE_ROOT) if path.suffix == ".py"]
    assert {path.name: torch_complaints(path.read_text(encoding="utf-8")) for path in sources} == {
        path.name: [] for path in sources
    }


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch", {"torch"}),
        ("if True:\n    from torch import nn", {"torch"}),
        ("class A:\n    import nibabel", {"nibabel"}),
        ("def f():\n    import torch", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", set()),
        ("import slicer, qt", {"slicer", "qt"}),
    ],
)
def test_import_check_can_fail(source, found):
    tops = {name.partition(".")[0] for name in imported_at_file_scope(source, PACKAGE.name)}
    assert tops - set(sys.stdlib_module_names) == found


def test_other_checks_of_sources_can_fail():
    assert file_scope_complaints('"""Doc."""\nimport os\nA = 1\ndef f(): pass') == []
    assert file_scope_complaints("import os\nos.getcwd()") == ["line 2: os.getcwd()"]
    assert torch_complaints("slicer.util.pip_install('torch>=2')") == ["'torch>=2'"]
    assert torch_complaints("pip_ensure(['deepbet'], skip_packages=['torch'])") == []
