"""Pages as whole HTML documents: the head of every page, and reports that hold all they show."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path

from .. import __version__

_FOLDER = Path(__file__).parent


def base_style() -> str:
    """The style sheet of what all pages have in common: colours in both schemes, letters, tables."""
    return (_FOLDER / "base.css").read_text(encoding="utf-8")


def script_source() -> str:
    """How a content security policy names the reports' script."""
    digest = hashlib.sha256(_script().encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def document(title: str, head: str, body: str) -> str:
    """A page. head: elements to add there; body: what it shows; both HTML."""
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    # A file name that is not valid text reaches us with surrogates, which no encoding can write.
    return text.encode("utf-8", "replace").decode("utf-8")


def report_document(title: str, body: str) -> str:
    """A report around its body, which is HTML.

    A content security policy forbids every request and every script but the page's own, whatever a name may hold.
    """
    style = base_style() + (_FOLDER / "report.css").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {script_source()}"
    )
    footer = (
        f"<footer>Made by MMLNRegistration {escape(__version__)}. This page holds everything it shows: it loads "
        "nothing and sends nothing.</footer>"
    )
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>\n{style}</style>'
    return document(title, head, f"{body}{footer}\n<script>{_script()}</script>")


def _script() -> str:
    return (_FOLDER / "report.js").read_text(encoding="utf-8")
