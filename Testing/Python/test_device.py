"""Devices by name, what reports call them, and what is refused instead of being swapped."""

import sys

import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.device import choose_device, device_label, peak_memory_bytes, reset_peak_memory


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("name", "device"), [("auto", "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1")])
def test_every_name_with_gpus(name: str, device: str) -> None:
    assert choose_device(name) == torch.device(device)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_auto_is_the_cpu(name: str) -> None:
    assert choose_device(name) == torch.device("cpu")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="finds no CUDA GPU here; use --device cpu or auto"):
        choose_device(name)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_number_beyond_the_last_is_refused() -> None:
    with pytest.raises(InputError, match="only 2 CUDA GPUs"):
        choose_device("cuda:2")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:", "cuda:-1", "CPU", "", "cpu:0", "mps"])
def test_other_names_are_refused_with_the_choices(name: str) -> None:
    with pytest.raises(InputError, match="choose auto, cpu, cuda or cuda:N"):
        choose_device(name)


def test_the_label_says_how_many_threads() -> None:
    before = torch.get_num_threads()
    try:
        for count, label in ((1, "cpu, 1 thread"), (2, "cpu, 2 threads")):
            torch.set_num_threads(count)
            assert device_label(torch.device("cpu")) == label
    finally:
        torch.set_num_threads(before)


def test_peak_memory_rises_with_what_is_held_and_starts_anew() -> None:
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    before = peak_memory_bytes(cpu)
    if before is None:
        pytest.skip("this system does not say how much memory a process held")
    assert 20e6 < before < 200e9
    block = torch.ones(int(3e8) // 4)
    held = peak_memory_bytes(cpu)
    assert held is not None
    assert held > before + 1e8
    del block
    if sys.platform == "linux":
        reset_peak_memory(cpu)
        after = peak_memory_bytes(cpu)
        assert after is not None
        assert after <= held


def test_peak_memory_is_unknown_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    reset_peak_memory(torch.device("cpu"))
    assert peak_memory_bytes(torch.device("cpu")) is None
