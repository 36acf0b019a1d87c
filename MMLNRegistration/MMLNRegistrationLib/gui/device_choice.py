"""The choice of a device, with what the worker says of their free memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..backend.jobs import Job, JobError
from ..backend.messages import Info, Outcome
from ..errors import InputError
from ..quality.verdict import bytes_text
from .session import Session


class DeviceChoice:
    """A combo box of devices and a button that asks for them."""

    def __init__(
        self,
        session: Session,
        combo: Any,
        button: Any,
        on_chosen: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> None:
        """combo, button: a QComboBox and a QPushButton. on_chosen: called with the device's name for requests."""
        self._session, self._combo, self._button = session, combo, button
        self._on_chosen, self._on_error = on_chosen, on_error
        self._names: list[str] = []
        self._job: Job | None = None
        self._is_filling = False
        self.forget()
        combo.connect("currentIndexChanged(int)", self._chosen)
        button.connect("clicked(bool)", self._button_clicked)

    def show(self, name: str) -> None:
        """Show this device as chosen, one that is not known yet too."""
        if name not in self._names:
            self._fill([*self._items(), (name, name)])
        self._is_filling = True
        self._combo.currentIndex = self._names.index(name)
        self._is_filling = False

    def forget(self) -> None:
        """The worker is another one from now on: nothing is known of its devices."""
        self._fill([("auto", _("Automatic")), ("cpu", _("Processor"))])

    def ask(self) -> None:
        """Ask the worker for its devices, once at a time."""
        if self._job is not None and not self._job.done:
            return
        try:
            self._job = self._session.submit(Info(), None, self._told, self._failed)
        except InputError as error:
            self._on_error(str(error))

    def _button_clicked(self) -> None:
        if self._session.ready():
            self.ask()

    def _told(self, outcome: Outcome) -> None:
        devices = outcome.report["devices"]
        automatic = next((d["label"] for d in devices if d["name"].startswith(outcome.report["automatic_device"])), "")
        items = [("auto", _("Automatic ({device})").format(device=automatic))]
        items += [(device["name"], _label(device)) for device in devices]
        chosen = self._names[self._combo.currentIndex]
        self._fill(items)
        self.show(chosen)

    def _failed(self, error: JobError) -> None:
        if error.cause != "cancelled":
            self._on_error(str(error))

    def _chosen(self, index: int) -> None:
        if not self._is_filling and index >= 0:
            self._on_chosen(self._names[index])

    def _items(self) -> list[tuple[str, str]]:
        return [(name, self._combo.itemText(index)) for index, name in enumerate(self._names)]

    def _fill(self, items: list[tuple[str, str]]) -> None:
        self._is_filling = True
        self._combo.clear()
        for _name, label in items:
            self._combo.addItem(label)
        self._names = [name for name, _label in items]
        self._is_filling = False


def _label(device: dict[str, Any]) -> str:
    if device["total_bytes"] is None:
        return device["label"]
    if device["free_bytes"] is None:
        return _("{device}, {total}").format(device=device["label"], total=bytes_text(device["total_bytes"]))
    return _("{device}, {free} of {total} free").format(
        device=device["label"], free=bytes_text(device["free_bytes"]), total=bytes_text(device["total_bytes"])
    )
