"""Convolution of small volumes in slabs against PyTorch's own in double precision."""

import pytest
import torch
from torch.nn import functional

from MMLNRegistrationLib.model.convolution import ONEDNN_MIN_VALUES, Convolution3d


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_small_volumes_give_the_same_values_and_gradients(size: int, bias: bool, channels_last: bool) -> None:
    torch.manual_seed(0)
    convolution = Convolution3d(3, 4, bias=bias)
    volume = torch.rand(1, 3, size, 6, 5)
    if channels_last:
        convolution.to(memory_format=torch.channels_last_3d)
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
    weights = [volume.requires_grad_(True), *convolution.parameters()]
    exact = [weight.detach().double().requires_grad_(True) for weight in weights]
    expected = functional.conv3d(*exact, padding=1)
    result = convolution(volume)
    assert result.shape == expected.shape
    pattern = torch.rand_like(expected)
    gradients = torch.autograd.grad((result * pattern.float()).sum(), weights)
    expected_gradients = torch.autograd.grad((expected * pattern).sum(), exact)
    for value, reference in zip((result, *gradients), (expected, *expected_gradients), strict=True):
        torch.testing.assert_close(value, reference.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "slabs"), [((1, 2, 8, 6, 5), 2), ((2, 2, 8, 6, 5), 2), ((1, 2, 103, 100, 2), 1)])
def test_only_small_volumes_of_a_batch_of_one_are_cut(
    shape: tuple[int, ...], slabs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    plain = functional.conv3d

    def recording(volume: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        batches.append(volume.shape[0])
        return plain(volume, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(functional, "conv3d", recording)
    volume = torch.rand(shape)
    assert (volume.shape[1:4].numel() > ONEDNN_MIN_VALUES) == (slabs == 1)
    assert Convolution3d(2, 2)(volume).shape == shape
    assert batches == [slabs]
