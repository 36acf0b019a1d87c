"""The pyramid of 3D subnets against a literal reference, and its properties."""

import pytest
import torch

from mmln_reference import WIDTH, blob_pair, enlarge_outputs, literal_subnet, tiny_network
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.level import Level, LevelInput
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig, pyramid
from MMLNRegistrationLib.spatial.velocity import integrate
from MMLNRegistrationLib.spatial.warp import resize, resize_displacement, warp


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("reads_velocity", [False, True])
@pytest.mark.parametrize("feedback", [False, True])
def test_subnet_equals_the_literal_one(dimensions: int, reads_velocity: bool, feedback: bool) -> None:
    torch.manual_seed(1)
    level = Level(3, WIDTH, 2, 5.0, reads_velocity=reads_velocity, dimensions=dimensions)
    enlarge_outputs(level)
    shape = (8, 6, 10)[:dimensions]
    inputs = LevelInput(
        torch.rand(2, 3, *shape),
        torch.randn(2, dimensions, *shape) if reads_velocity else None,
        torch.randn(2, WIDTH, *[size // 2 for size in shape]) if feedback else None,
    )
    output = level(inputs)
    velocity, features = literal_subnet(level.state_dict(), *inputs, blocks=2, range_voxels=5.0)
    torch.testing.assert_close(output.velocity, velocity, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.features, features, rtol=1e-4, atol=1e-5)
    assert velocity.abs().max() > 0.1


@pytest.mark.parametrize("feature_feedback", [True, False])
def test_pyramid_equals_the_one_assembled_by_hand(feature_feedback: bool) -> None:
    """With feedback and without branches this is LapIRN's forward pass (diffeomorphic variant)."""
    network = tiny_network(feature_feedback=feature_feedback, branch_2d=False, branch_core=False)
    fixed, moving = blob_pair(16)

    def run(index: int, *inputs: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        return literal_subnet(network.levels[index].state_dict(), *inputs, blocks=2, range_voxels=8.0)

    f2, m2 = resize(fixed, (8, 8, 8)), resize(moving, (8, 8, 8))
    f1, m1 = resize(f2, (4, 4, 4)), resize(m2, (4, 4, 4))
    v1, features1 = run(0, torch.cat([f1, m1], 1), None, None)
    phi1_up = resize(integrate(v1), (8, 8, 8)) * (7 / 3)
    v1_up = resize(v1, (8, 8, 8)) * (7 / 3)
    feedback1 = features1 if feature_feedback else None
    v2, features2 = run(1, torch.cat([f2, warp(m2, phi1_up)], 1), v1_up, feedback1)
    phi2_up = resize(integrate(v2), (16, 16, 16)) * (15 / 7)
    v2_up = resize(v2, (16, 16, 16)) * (15 / 7)
    feedback2 = features2 if feature_feedback else None
    v3, _ = run(2, torch.cat([fixed, warp(moving, phi2_up)], 1), v2_up, feedback2)

    output = network(fixed, moving)
    assert len(output.velocities) == 3
    for velocity, expected in zip(output.velocities, (v1, v2, v3), strict=True):
        torch.testing.assert_close(velocity, expected, rtol=1e-4, atol=1e-4)
    assert output.velocity is output.velocities[-1]


def test_feature_feedback_changes_the_result_and_no_weight() -> None:
    fixed, moving = blob_pair(16)
    with_feedback, without = tiny_network(feature_feedback=True), tiny_network(feature_feedback=False)
    without.load_state_dict(with_feedback.state_dict(), strict=True)
    first, second = with_feedback(fixed, moving), without(fixed, moving)
    assert torch.equal(first.velocities[0], second.velocities[0])
    assert not torch.allclose(first.velocity, second.velocity, atol=1e-3)


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_level_count_comes_from_the_configuration(levels: int) -> None:
    network = MMLN(MMLNConfig(levels=levels, width=2, blocks=1))
    stride = 2**levels
    assert network.config.total_stride == stride
    image = torch.rand(1, 1, stride, 2 * stride, 3 * stride)
    output = network(image, image)
    shapes = [tuple(velocity.shape) for velocity in output.velocities]
    halvings = range(levels - 1, -1, -1)
    assert shapes == [(1, 3, stride >> h, 2 * stride >> h, 3 * stride >> h) for h in halvings]
    coarsest = pyramid(image, levels)[0]
    part = network(coarsest, coarsest, up_to_level=1)
    assert len(part.velocities) == 1
    assert torch.equal(part.velocity, output.velocities[0])


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_untrained_network_is_the_identity_and_learns_everywhere(levels: int) -> None:
    torch.manual_seed(0)
    network = MMLN(MMLNConfig(levels=levels, width=WIDTH))
    fixed, moving = blob_pair(16)
    velocity = network(fixed, moving).velocity
    assert 0 < velocity.abs().max() < 0.01
    (velocity - 1).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_velocity_stays_within_the_range() -> None:
    network = MMLN(MMLNConfig(levels=2, width=WIDTH, range_voxels=3.0))
    for level in network.levels:
        torch.nn.init.normal_(level.output.weight, std=1e4)
    v1, v2 = network(*blob_pair(16)).velocities
    assert v1.abs().max() <= 3.0
    assert (v2 - resize_displacement(v1, (16, 16, 16))).abs().max() <= 3.0 + 1e-4
    assert v1.abs().max() > 2.5


def test_pairs_of_a_batch_do_not_see_each_other() -> None:
    network = tiny_network()
    fixed, moving = blob_pair(16, batch=3)
    together = network(fixed, moving).velocity
    for index in range(3):
        alone = network(fixed[index : index + 1], moving[index : index + 1]).velocity
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_memory_format_precision_and_inference_mode_do_not_change_the_result() -> None:
    network = tiny_network().eval()
    fixed, moving = blob_pair(16)
    expected = network(fixed, moving).velocity
    double = network.double()(fixed.double(), moving.double()).velocity
    torch.testing.assert_close(double.float(), expected, rtol=1e-3, atol=1e-4)
    network.float().to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        channels_last = network(fixed, moving).velocity
        torch.testing.assert_close(channels_last, expected, rtol=1e-3, atol=1e-4)
        assert channels_last.is_contiguous()
        with torch.autocast("cpu", torch.bfloat16):
            half = network(fixed, moving).velocity
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=0.1, atol=0.1)


def test_pyramid_halves_with_trilinear_interpolation() -> None:
    image = torch.rand(1, 1, 8, 16, 24)
    coarse, middle, finest = pyramid(image, 3)
    assert finest is image
    torch.testing.assert_close(middle, resize(image, (4, 8, 12)))
    torch.testing.assert_close(coarse, resize(middle, (2, 4, 6)))


@pytest.mark.parametrize(
    ("fixed_shape", "moving_shape", "sentence"),
    [
        ((1, 1, 16, 16, 20), (1, 1, 16, 16, 20), "multiple of 8"),
        ((1, 1, 15, 16, 16), (1, 1, 15, 16, 16), "multiple of 8"),
        ((1, 1, 0, 16, 16), (1, 1, 0, 16, 16), "multiple of 8"),
        ((1, 1, 16, 16, 16), (1, 1, 16, 16, 24), "share one grid"),
        ((1, 1, 16, 16, 16), (2, 1, 16, 16, 16), "share one grid"),
        ((1, 2, 16, 16, 16), (1, 2, 16, 16, 16), r"shape \(B, 1, K, J, I\)"),
        ((16, 16, 16), (16, 16, 16), r"shape \(B, 1, K, J, I\)"),
    ],
)
def test_illegal_shapes_are_refused_with_a_sentence(
    fixed_shape: tuple[int, ...], moving_shape: tuple[int, ...], sentence: str
) -> None:
    network = MMLN(MMLNConfig(width=2, blocks=1))
    with pytest.raises(InputError, match=sentence):
        network(torch.zeros(fixed_shape), torch.zeros(moving_shape))


@pytest.mark.parametrize("level", [0, -1, 4])
def test_levels_that_do_not_exist_are_refused(level: int) -> None:
    image = torch.zeros(1, 1, 8, 8, 8)
    with pytest.raises(InputError, match="levels 1 to 3"):
        MMLN(MMLNConfig(width=2, blocks=1))(image, image, up_to_level=level)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("levels", 0),
        ("levels", 2.5),
        ("levels", True),
        ("width", "28"),
        ("blocks", 0),
        ("range_voxels", 0.0),
        ("range_voxels", float("nan")),
        ("range_voxels", None),
        ("core_fraction", 0.0),
        ("core_fraction", 1.5),
        ("branch_2d", 1),
    ],
)
def test_illegal_configurations_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        MMLNConfig(**{field: value})
