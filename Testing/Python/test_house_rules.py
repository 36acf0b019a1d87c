"""The rules of the house, each a small function that returns complaints, and each shown to be able to complain."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from repository import PACKAGE, ROOT, SOURCE_ROOT, files_under, is_text

LAYERS = (
    {"errors", "locks", "processors", "progress", "quiet", "tensor_file", "writing"},
    {"spatial"},
    {"model"},
    {"pipeline"},
    {"displacement_file", "file_checks", "freesurfer", "io", "result_folder", "tables", "velocity_file"},
    {"training", "quality"},
    {"outputs", "reproduction"},
    {"backend"},
    {
        "argument_numbers", "batch_commands", "command_requests", "commands", "console", "demo_files", "doctor",
        "reproduce_command", "server_commands",
    },
    {"cli"},
    {"__main__"},
)  # fmt: skip
"""A file may import its own layer and the layers before it. What is in no layer is the bridge to Slicer."""

BRIDGES = {
    "scene": {"", "errors", "spatial", "pipeline", "quality", "quiet", "scene"},
    "gui": {"", *(name for names in LAYERS[:8] for name in names), "scene", "gui"},
}
"""Packages that know Slicer, and what they may import: scene little, gui all up to the backend. The layers import scene
inside functions only, and gui, the top, not at all."""

HOST_LIBRARIES = {"slicer", "vtk", "vtkmodules", "qt", "ctk", "PythonQt"}
MAXIMUM_LINES, MAXIMUM_LINES_OF_TESTS = 350, 500


def module_name(path: Path) -> str:
    """Dotted name below the package: "spatial.warp", "spatial" for its __init__.py, "" for the package's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool = False) -> list[tuple[str, bool, bool]]:
    """(what, whether it is ours, whether at file scope) of each import; ours are named below the package."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    package = [part for part in package if part]
    found: list[tuple[str, bool, bool]] = []

    def visit(node: ast.AST, at_file_scope: bool) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first, _, rest = alias.name.partition(".")
                ours = first == PACKAGE.name
                found.append((rest if ours else alias.name, ours, at_file_scope))
        elif isinstance(node, ast.ImportFrom):
            target = node.module or ""
            if node.level:
                base = package[: len(package) - node.level + 1]
                names = [target] if target else [alias.name for alias in node.names]
                found.extend((".".join([*base, name]), True, at_file_scope) for name in names)
            elif target.split(".")[0] == PACKAGE.name:
                rest = target.partition(".")[2]
                found.extend((rest or alias.name, True, at_file_scope) for alias in node.names)
            else:
                found.append((target, False, at_file_scope))
        inside = at_file_scope and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), True)
    return found


def layer_of(module: str) -> int | None:
    top = module.split(".")[0]
    return next((rank for rank, names in enumerate(LAYERS) if top in names), None)


def import_border_complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    top, rank = module.split(".")[0], layer_of(module)
    if module and rank is None and top not in BRIDGES:
        return [f"{module}: has no layer; give {top} a place in LAYERS"]
    complaints = []
    for target, ours, at_file_scope in imports(source, module, is_package):
        other = target.split(".")[0]
        if not ours:
            if other in HOST_LIBRARIES and top not in BRIDGES:
                complaints.append(f"{module}: imports {other}, which only the bridges to Slicer may")
            if other == "safetensors":
                complaints.append(f"{module}: imports safetensors, which Slicer lacks; use tensor_file")
        elif other == "gui" and top != "gui":
            complaints.append(f"{module}: imports {target}; nothing may import the window")
        elif top in BRIDGES:
            if other not in BRIDGES[top]:
                complaints.append(f"{module}: may not import {target}")
        elif other in BRIDGES:
            if at_file_scope:
                complaints.append(f"{module}: imports {target} at file scope; do it inside the function that needs it")
        elif rank is not None and (layer_of(other) or 0) > rank:
            complaints.append(f"{module}: imports {target}, which lies above it")
    return complaints


def identifier_complaints(source: str, module: str) -> list[str]:
    complaints = []
    names = {token.string for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == 1}
    if module != "spatial.warp" and any(name.startswith("grid_sample") for name in names):
        complaints.append(f"{module}: calls grid_sample; only spatial.warp does, call its functions")
    if module != "io":
        lps = sorted(name for name in names if re.search(r"(^|_)lps(_|$)|LPS", name))
        complaints += [f"{module}: {name}: only io knows LPS" for name in lps]
    return complaints


def public_definitions(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Public functions and classes at file scope, and the public methods of those classes.

    Not forward: what a network computes stands in its class.
    """
    found: list[ast.FunctionDef | ast.ClassDef] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                methods = [member for member in node.body if isinstance(member, ast.FunctionDef)]
                found += [method for method in methods if not method.name.startswith("_") and method.name != "forward"]
    return found


def definition_complaints(source: str, module: str) -> list[str]:
    tree = ast.parse(source)
    complaints = [] if ast.get_docstring(tree) else [f"{module}: the file has no docstring"]
    for node in public_definitions(tree):
        if not ast.get_docstring(node):
            complaints.append(f"{module}.{node.name}: has no docstring")
        if isinstance(node, ast.FunctionDef) and node.args.kwarg:
            complaints.append(f"{module}.{node.name}: takes **{node.args.kwarg.arg}; name its arguments")
    return complaints


def text_complaints(text: str, name: str) -> list[str]:
    complaints = []
    # In pieces, so that this file obeys its own rules.
    folders = "|".join(["home", "root", "Users", "tmp", "work", "mnt", "scratch"])
    for match in re.finditer(rf"(?<![\w.:/~-])/(?:{folders})/[\w.-]+|\b[A-Za-z]:\\+Users\\+\w+", text):
        complaints.append(f"{name}: names a folder of one machine, {match.group()}")
    for mark in ("TO" + "DO", "FIX" + "ME"):
        if re.search(rf"\b{mark}\b", text):
            complaints.append(f"{name}: holds a {mark}; do it or drop it")
    lines, allowed = text.count("\n"), MAXIMUM_LINES_OF_TESTS if name.startswith("Testing/") else MAXIMUM_LINES
    if name.endswith(".py") and lines > allowed:
        complaints.append(f"{name}: has {lines} lines, more than {allowed}; split it by idea")
    return complaints


def run_isolated(source_root: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that finds source_root and in which the host's libraries cannot be imported."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(HOST_LIBRARIES)!r}))\n"
    start = f"import sys; sys.path.insert(0, {str(source_root)!r})\n"
    return subprocess.run([sys.executable, "-c", start + blocked + code], capture_output=True, text=True, check=False)


def loaded_by(source_root: Path, package: str) -> set[str]:
    """Names of all modules that are loaded after importing package alone."""
    result = run_isolated(source_root, f"import {package}; print(*sys.modules, sep=chr(10))")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


MODULES = {module_name(path): path for path in files_under(PACKAGE) if path.suffix == ".py"}
TEXTS = [path for path in files_under(ROOT) if is_text(path) and path.name != "LICENSE"]


@pytest.mark.parametrize("module", MODULES, ids=lambda name: name or "package")
def test_source_file(module):
    path = MODULES[module]
    source = path.read_text(encoding="utf-8")
    is_package = path.name == "__init__.py"
    assert import_border_complaints(source, module, is_package) == []
    assert identifier_complaints(source, module) == []
    assert definition_complaints(source, module) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_file(path):
    assert text_complaints(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


def test_importing_the_package_is_light():
    assert not {"torch", "numpy", "SimpleITK", "nibabel"} & loaded_by(SOURCE_ROOT, PACKAGE.name)


def test_every_layer_imports_without_slicer():
    names = [f"{PACKAGE.name}.{name}" for name in MODULES if layer_of(name) is not None and name != "__main__"]
    assert len(names) > 5
    result = run_isolated(SOURCE_ROOT, f"import importlib\nfor name in {names!r}: importlib.import_module(name)")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("spatial.warp", "from ..pipeline.volume import Volume", "lies above it"),
        ("spatial.warp", "def f():\n    from ..pipeline import volume", "lies above it"),
        ("pipeline.field", "from .. import cli", "lies above it"),
        ("pipeline.field", "import MMLNRegistrationLib.quality.metrics", "lies above it"),
        ("errors", "from MMLNRegistrationLib import cli", "lies above it"),
        ("pipeline.field", "def f():\n    import vtk.util", "imports vtk"),
        ("cli", "import slicer", "imports slicer"),
        ("model.checkpoint", "def f():\n    from safetensors.numpy import save", "use tensor_file"),
        ("gui.panel", "import safetensors", "use tensor_file"),
        ("quality.report", "from ..scene.nodes import add", "at file scope"),
        ("quality.report", "if True:\n    from ..scene.nodes import add", "at file scope"),
        ("scene.nodes", "from ..cli import main", "may not import cli"),
        ("gui.panel", "from ..cli import main", "may not import cli"),
        ("quality.report", "def f():\n    from ..gui.panel import Panel", "nothing may import the window"),
        ("scene.nodes", "from ..gui.panel import Panel", "nothing may import the window"),
        ("novelty", "import os", "has no layer"),
    ],
)
def test_import_borders_can_fail(module, source, complaint):
    (found,) = import_border_complaints(source, module)
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "quality.report",
            "from ..pipeline.result import Registration\nfrom .metrics import dice\nfrom .. import errors",
        ),
        ("cli", "def f():\n    from .scene.nodes import add"),
        ("scene.nodes", "import vtk\nfrom ..spatial.geometry import Geometry"),
        ("gui.panel", "import qt\nfrom ..scene.nodes import add\nfrom ..backend.local import LocalClient"),
        ("", "__version__ = '1'"),
    ],
)
def test_import_borders_let_the_right_ones_pass(module, source):
    assert import_border_complaints(source, module) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("torch.nn.functional.grid_sample(a, b)", "grid_sample"),
        ("lps_from_ras = 1", "LPS"),
        ("a.ConvertRASToLPS()", "LPS"),
    ],
)
def test_identifier_rules_can_fail(source, complaint):
    (found,) = identifier_complaints(source, "pipeline.field")
    assert complaint in found
    assert identifier_complaints("helps = 'lps and grid_sample in a text'", "pipeline.field") == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1", "the file has no docstring"),
        ("'''Doc.'''\ndef f(): pass", "f: has no docstring"),
        ("'''Doc.'''\nclass A: x = 1", "A: has no docstring"),
        ("'''Doc.'''\nclass A:\n    '''Doc.'''\n    def f(self): pass", "f: has no docstring"),
        ("'''Doc.'''\ndef f(**options):\n    '''Doc.'''", "takes **options"),
    ],
)
def test_definition_rules_can_fail(source, complaint):
    (found,) = definition_complaints(source, "pipeline.field")
    assert complaint in found
    assert definition_complaints("'''Doc.'''\ndef _f(**options): pass", "pipeline.field") == []


@pytest.mark.parametrize(
    "text",
    ["a = '/" + "home/anna/brain.nii'", "in `/" + "tmp/x`", "C:" + r"\Users\anna", "# TO" + "DO: later", "\n" * 351],
)
def test_text_rules_can_fail(text):
    assert len(text_complaints(text, "some.py")) == 1
    assert text_complaints("https://example.org/home/page ../" + "work/x {scratch}/venv", "some.py") == []


def test_import_checks_can_fail(tmp_path):
    (tmp_path / "heavy.py").write_text("import colorsys")
    (tmp_path / "hosted.py").write_text("import slicer")
    assert "colorsys" in loaded_by(tmp_path, "heavy")
    assert run_isolated(tmp_path, "import hosted").returncode != 0
