"""The pages for the browser: empty forms that anybody may load. What fills them is asked for with the token."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response

_FOLDER = Path(__file__).parent
_REPORT_SCRIPT = _FOLDER.parents[2] / "quality" / "report.js"

_FILES = {
    "/": "status.html",
    "/register": "register.html",
    "/api": "api.html",
    "/pages/style.css": "style.css",
    "/pages/common.js": "common.js",
    "/pages/status.js": "status.js",
    "/pages/register.js": "register.js",
    "/pages/api.js": "api.js",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def add_pages(app: FastAPI) -> frozenset[str]:
    """Let an application show the pages. Returns their paths, which need no token."""
    headers = {
        "Content-Security-Policy": _policy(),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    for path, name in _FILES.items():
        _add_page(app, path, _FOLDER / name, headers)
    return frozenset(_FILES)


def _add_page(app: FastAPI, path: str, file: Path, headers: dict[str, str]) -> None:
    content = file.read_bytes()

    @app.get(path, include_in_schema=False)
    async def page() -> Response:
        return Response(content, media_type=f"{_TYPES[file.suffix]}; charset=utf-8", headers=headers)


def _policy() -> str:
    """Scripts of the pages, and that of the report, which is shown in a frame that inherits this policy."""
    script = base64.b64encode(hashlib.sha256(_REPORT_SCRIPT.read_bytes()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{script}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
