"""Reading the reports' pages: that they are well formed, load nothing, and what they show."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import SimpleITK as sitk


class HtmlPage(HTMLParser):
    """Checks that every element is closed in order, and collects what the tests ask about."""

    VOID = frozenset({"meta", "input", "br", "hr", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def self_contained(text: str) -> HtmlPage:
    """The page, which is well formed, shows nothing that is not in it, and describes its pictures."""
    page = HtmlPage(text)
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith("data:image/png;base64,") or value[1:] in identifiers
        for name in ("clip-path", "fill"):
            for target in re.findall(r"url\(#(.*?)\)", attributes.get(name) or ""):
                assert target in identifiers
        if tag == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes.get("aria-label")
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text).replace("http-equiv", "")
    return page


def picture(page: HtmlPage, key: str, folder: Path) -> np.ndarray:
    """The pixels of the picture with this key. folder: to decode it in."""
    (uri,) = [attributes["href"] for tag, attributes in page.elements if tag == "image" and attributes["id"] == key]
    assert uri is not None
    return decoded(uri, folder)


def decoded(uri: str, folder: Path) -> np.ndarray:
    """The pixels of a PNG in a data URI."""
    path = folder / "picture.png"
    path.write_bytes(base64.b64decode(uri.partition(",")[2]))
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
