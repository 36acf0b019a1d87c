"""Reads a tutorial page and does its steps in the host, as a user would who knows nothing but the page.

A step is a numbered line. What it tells the user to do is written in one of these ways; **bold** is what stands on the
widget, `code` is what to enter:

    Go to the tab **Register**.                 Choose `atlas` at **Moving**.
    Open **Expert**.                            Set **Iterations** to `4`.
    Press **Register**.                         Type `runs/first` at **Run folder**.
    Tick **Brain extraction**.                  Untick **Brain extraction**.
    Wait until **Register** can be pressed again.

A line that does none of these only tells something; its bold words must be there all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import qt
import slicer

WAYS = {
    "tab": r"[Gg]o to the tab \*\*(?P<name>[^*]+)\*\*",
    "open": r"[Oo]pen \*\*(?P<name>[^*]+)\*\*",
    "choose": r"[Cc]hoose `(?P<value>[^`]+)` at \*\*(?P<name>[^*]+)\*\*",
    "set": r"[Ss]et \*\*(?P<name>[^*]+)\*\* to `(?P<value>[^`]+)`",
    "type": r"[Tt]ype `(?P<value>[^`]+)` at \*\*(?P<name>[^*]+)\*\*",
    "untick": r"[Uu]ntick \*\*(?P<name>[^*]+)\*\*",
    "tick": r"\b[Tt]ick \*\*(?P<name>[^*]+)\*\*",
    "press": r"[Pp]ress \*\*(?P<name>[^*]+)\*\*",
    "wait": r"[Ww]ait until \*\*(?P<name>[^*]+)\*\* can be pressed again",
}
_UNNAMED = {way: re.sub(r"\?P<(?:name|value)>", "?:", pattern) for way, pattern in WAYS.items()}
_ANY = re.compile("|".join(f"(?P<{way}>{pattern})" for way, pattern in _UNNAMED.items()))


@dataclass(frozen=True)
class Step:
    """One thing to do, or, with the way "see", one text that the panel must show."""

    line: int
    way: str
    name: str
    value: str = ""


def read_steps(page: Path) -> list[Step]:
    """The steps of a page in their order."""
    steps = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if not re.match(r"\d+\. |   \S", line):
            continue
        steps += _steps_of_line(number, line)
    return steps


def _steps_of_line(number: int, line: str) -> Iterator[Step]:
    done = []
    for found in _ANY.finditer(line):
        way = found.lastgroup
        parts = re.match(WAYS[way], found.group()).groupdict()
        done.append(parts["name"])
        yield Step(number, way, parts["name"], parts.get("value", ""))
    for name in re.findall(r"\*\*([^*]+)\*\*", line):
        if name not in done:
            yield Step(number, "see", name)


class Walker:
    """Does the steps in the module's panel."""

    def __init__(
        self,
        host: object,
        panel: qt.QWidget,
        values: dict[str, str] | None = None,
        before: dict[str, Callable[[], None]] | None = None,
    ) -> None:
        """values: what a test enters in the place of a value on the page, such as a folder that is there.

        before: what a test does ahead of the first step with a name, such as making a training short.
        """
        self.host, self.panel, self.values, self.before = host, panel, values or {}, dict(before or {})

    def walk(self, steps: list[Step], seconds: float = 120.0) -> None:
        """Do all steps. Raises AssertionError, naming the line of the page, for one that cannot be done."""
        for step in steps:
            self.before.pop(step.name, lambda: None)()
            try:
                self._do(step, self.values.get(step.value, step.value), seconds)
            except (AssertionError, TimeoutError, LookupError) as error:
                raise AssertionError(f"line {step.line}, {step.way} **{step.name}** {step.value}: {error}") from error
            self.host.process_events(0.05)

    def _do(self, step: Step, value: str, seconds: float) -> None:
        if step.way == "tab":
            tabs = next(iter(self.panel.findChildren(qt.QTabWidget)))
            tabs.currentIndex = self._index([tabs.tabText(index) for index in range(tabs.count)], step.name)
        elif step.way == "open":
            self._one("ctkCollapsibleButton", step.name).collapsed = False
        elif step.way == "press":
            self.host.click(self._button(step.name))
        elif step.way == "wait":
            self.host.wait_until(lambda: self._is_ready(step.name), seconds)
        elif step.way in ("tick", "untick"):
            box = self._button(step.name)
            assert box.enabled, "is disabled"
            if box.checked != (step.way == "tick"):
                self.host.click(box)
        elif step.way == "see":
            assert self._is_there(step.name), "the panel has no such text"
        else:
            self._enter(self._field(step.name), value)

    def _visible(self, kind: str) -> list:
        found = [child for child in self.panel.findChildren(qt.QWidget) if child.inherits(kind)]
        return [child for child in found if child.isVisibleTo(self.panel)]

    def _one(self, kind: str, text: str) -> qt.QWidget:
        widgets = self._visible(kind)
        return widgets[self._index([_plain(widget.text) for widget in widgets], text)]

    def _button(self, text: str) -> qt.QAbstractButton:
        return self._one("QAbstractButton", text)

    def _is_ready(self, text: str) -> bool:
        buttons = [button for button in self._visible("QAbstractButton") if _plain(button.text) == text]
        return bool(buttons) and buttons[0].enabled

    @staticmethod
    def _index(texts: list[str], wanted: str) -> int:
        assert texts.count(wanted) == 1, f"found {texts.count(wanted)} times among {sorted(set(texts))}"
        return texts.index(wanted)

    def _is_there(self, text: str) -> bool:
        shown = [_plain(widget.text) for kind in ("QLabel", "QAbstractButton") for widget in self._visible(kind)]
        for tabs in self.panel.findChildren(qt.QTabWidget):
            shown += [tabs.tabText(index) for index in range(tabs.count)]
        for box in self._visible("QComboBox"):
            shown += [box.itemText(index) for index in range(box.count)]
        titles = [slicer.modules.MMLNRegistrationInstance.parent.title]
        return text in shown + titles or any(text in line for line in shown)

    def _field(self, label: str) -> qt.QWidget:
        """The widget beside a label, by the forms of the panel."""
        found = []
        for form in self.panel.findChildren(qt.QFormLayout):
            for row in range(form.rowCount()):
                named = form.itemAt(row, qt.QFormLayout.LabelRole)
                field = form.itemAt(row, qt.QFormLayout.FieldRole)
                if named is None or named.widget() is None or field is None:
                    continue
                if _plain(named.widget().text) == label and named.widget().isVisibleTo(self.panel):
                    found.append(field.widget() or field.layout().itemAt(0).widget())
        assert len(found) == 1, f"{len(found)} visible labels of this name"
        return found[0]

    def _enter(self, widget: qt.QWidget, value: str) -> None:
        assert widget.enabled, "is disabled"
        enter: dict[str, Callable[[], object]] = {
            "qMRMLNodeComboBox": lambda: self._choose_node(widget, value),
            "QComboBox": lambda: self._choose_text(widget, value),
            "QSpinBox": lambda: widget.setValue(int(value)),
            "QDoubleSpinBox": lambda: widget.setValue(float(value)),
            "ctkSliderWidget": lambda: widget.setValue(float(value)),
            "ctkPathLineEdit": lambda: widget.setCurrentPath(value),
            "QLineEdit": lambda: widget.setText(value),
        }
        enter[type(widget).__name__]()

    def _choose_node(self, selector: slicer.qMRMLNodeComboBox, name: str) -> None:
        names = [node.GetName() for node in selector.nodes()]
        selector.setCurrentNode(selector.nodeFromIndex(self._index(names, name)))

    def _choose_text(self, box: qt.QComboBox, text: str) -> None:
        box.currentIndex = self._index([box.itemText(index) for index in range(box.count)], text)


def _plain(text: str) -> str:
    """A widget's text as a person names it: no mnemonic, no colon at the end."""
    return text.replace("&&", "\0").replace("&", "").replace("\0", "&").rstrip(": ")
