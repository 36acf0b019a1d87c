"""The pages for the browser: empty forms that anybody may load. What fills them is asked for with the token."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response

from ....quality.document import base_style, document, script_source

_FOLDER = Path(__file__).parent
_PAGES = {"/": ("status", "Status"), "/register": ("register", "Register"), "/api": ("api", "Interface")}
"""By path: the name of the files of a page, and its title."""
_SCRIPTS = ("common.js", "status.js", "register.js", "api.js")


def add_pages(app: FastAPI) -> frozenset[str]:
    """Let an application show the pages. Returns their paths, which need no token."""
    contents = {path: (_page(path), "text/html") for path in _PAGES}
    contents["/pages/style.css"] = base_style() + _text("style.css"), "text/css"
    contents |= {f"/pages/{name}": (_text(name), "text/javascript") for name in _SCRIPTS}
    for path, (content, kind) in contents.items():
        _add(app, path, content, kind)
    return frozenset(contents)


def _add(app: FastAPI, path: str, content: str, kind: str) -> None:
    # Scripts of the pages, and that of the report, which is shown in a frame that inherits this policy.
    policy = (
        f"default-src 'none'; script-src 'self' {script_source()}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @app.get(path, include_in_schema=False)
    async def page() -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=headers)


def _page(path: str) -> str:
    """A page: its own content in the frame that all of them have."""
    name, title = _PAGES[path]
    head = (
        '<link rel="stylesheet" href="/pages/style.css">\n<link rel="icon" href="data:,">\n'
        f'<script type="module" src="/pages/{name}.js"></script>'
    )
    links = (
        f'<a href="{other}"{" aria-current=page" * (other == path)}>{label}</a>'
        for other, (_name, label) in _PAGES.items()
    )
    body = _text("frame.html").replace("{pages}", "\n".join(links)).replace("{main}", _text(f"{name}.html"))
    return document(f"{title} – MMLNRegistration", head, body)


def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
