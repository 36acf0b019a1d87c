"""Where the repository's files are, for the tests that look at the files themselves."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOT = ROOT / "MMLNRegistration"
PACKAGE = SOURCE_ROOT / "MMLNRegistrationLib"

_MADE_BY_TOOLS = {"__pycache__", "build", "demo-output", "dist"}
_HIDDEN_BUT_OURS = {".ci", ".github"}


def files_under(folder: Path) -> list[Path]:
    """All files that belong to the project: not what git, tools or an environment put there."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_ours(Path(parent) / name))
        found += [Path(parent) / name for name in sorted(names) if not name.endswith(".pyc") and name != ".DS_Store"]
    return [path for path in found if path != ROOT / ".git"]  # a file in a linked work tree


def _is_ours(folder: Path) -> bool:
    name = folder.name
    if name in _MADE_BY_TOOLS or name.endswith(".egg-info") or (folder / "pyvenv.cfg").exists():
        return False
    return not name.startswith(".") or name in _HIDDEN_BUT_OURS


def is_text(path: Path) -> bool:
    """Whether the file is one that people read: no NUL byte at its start."""
    return b"\0" not in path.read_bytes()[:8192]
