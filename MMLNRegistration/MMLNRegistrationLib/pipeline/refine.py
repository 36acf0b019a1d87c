"""Step 5: instance optimisation, what to add to the velocity for this very pair, coarse to fine.

Each iteration integrates the velocity, warps the moving image, asks the similarity how every warped voxel should
change, and turns that into a step of the velocity:

    force = d similarity / d M(phi) * grad M(phi)          the derivative of the similarity for v -> v + w,
                                                           to first order in w (log-demons, Vercauteren 2008)
    w <- smooth(w + step * adam(smooth(force)))            smoothing the sum is an implicit step of diffusion
                                                           regularity (paper Eq. 5) on w

The velocity is the given one plus w. From zero that is w itself; what a network or an earlier registration has found
is kept whole, as smoothing it again and again would take its detail away.

Of each resolution the w with the best similarity is kept, zero and its start included: Adam's first steps have full
length however small the force is, and would shake images apart that agree already.

The velocity lives on a grid of half the network grid's resolution; the images keep theirs. So the field stays smooth
and cheap to integrate while the finest detail still drives it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InputError
from ..model.force import central_gradient
from ..model.local_correlation import LocalCorrelation
from ..model.losses import correlation_coefficient, mind_loss, mutual_information
from ..progress import Progress
from ..spatial.separable import apply_along_axes, cubic_matrix, gaussian_matrix, gaussian_smooth, resize_cubic
from ..spatial.velocity import border_taper, integrate
from ..spatial.warp import displacement_scale, identity_grid, resize, resize_displacement, sample

SimilarityGradient = Callable[[Tensor], tuple[float, Tensor]]
"""For a warped image (1, 1, K, J, I): the similarity, larger is better, and its derivative for each voxel."""


@dataclass(frozen=True)
class Schedule:
    """How far and how smoothly the velocity is changed, coarse to fine."""

    iterations: int
    """At the finest image resolution."""
    factors: tuple[tuple[int, int], ...]
    """(image coarsening, iterations as a multiple of the finest resolution's), coarse to fine."""
    step_voxels: float
    """Largest change of the velocity per iteration where the force is steady, in voxels of its grid."""
    velocity_sigma_voxels: float
    """Of the Gaussian on what is added, after each iteration."""


FROM_ZERO = Schedule(20, ((4, 3), (2, 2), (1, 1)), step_voxels=0.3, velocity_sigma_voxels=1.0)
FROM_VELOCITY = Schedule(3, ((4, 7), (2, 5), (1, 1)), step_voxels=0.15, velocity_sigma_voxels=1.5)
"""After a network little is left to find, and what is added must not make its field much rougher."""


@dataclass(frozen=True)
class RefineConfig:
    """Instance optimisation. Defaults were tuned on training and validation subjects; see BENCHMARKS.md."""

    iterations: int | None = None
    """At the finest image resolution, instead of the schedule's."""
    schedule: Schedule | None = None
    """By default FROM_ZERO or FROM_VELOCITY, whichever applies."""
    velocity_factor: int = 2
    """The velocity grid is the network grid coarsened by this."""
    similarity: str = "local_correlation"
    """One of SIMILARITIES, at the end of this file."""
    force_sigma_voxels: float = 1.5
    integration_steps: int = 4
    """Squarings while optimising; the delivered field uses spatial.velocity.INTEGRATION_STEPS."""
    least_force: float = 1e-3
    """Forces well below it hardly move the velocity. In units of similarity: what the similarity, summed over the
    voxels of the level's images instead of averaged, gains for each image voxel that a node of the velocity moves."""
    taper_voxels: int = 3
    """What is added fades to zero over this many voxels at the border of its grid."""

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise InputError(f"Unknown similarity {self.similarity!r}; choose {', '.join(SIMILARITIES)}.")

    def schedule_from(self, velocity: Tensor) -> Schedule:
        """The schedule of an optimisation that begins at this velocity."""
        schedule = self.schedule or (FROM_VELOCITY if velocity.any() else FROM_ZERO)
        return schedule if self.iterations is None else replace(schedule, iterations=self.iterations)


def refine(fixed: Tensor, moving: Tensor, velocity: Tensor, config: RefineConfig, progress: Progress) -> Tensor:
    """The velocity (1, 3, k, j, i) on the velocity grid, improved from the given one of the same shape.

    fixed and moving: (1, 1, K, J, I) in [0, 1] on the network grid. Velocities are in voxels of the velocity grid.
    progress is told the share of the voxels that have been gone through, which is that of the time.
    """
    schedule = config.schedule_from(velocity)
    if schedule.iterations == 0:
        return velocity
    plan = [(factor, schedule.iterations * multiple) for factor, multiple in schedule.factors]
    work, done = sum(iterations / factor**3 for factor, iterations in plan), 0.0
    finest_shape = tuple(velocity.shape[2:])
    added = torch.zeros_like(velocity)
    for factor, iterations in plan:
        image_shape = _coarse_shape(fixed.shape[2:], factor)
        grid_shape = _coarse_shape(finest_shape, max(1, factor // config.velocity_factor))
        level = _Level(
            _coarse_image(fixed, factor, image_shape),
            _coarse_image(moving, factor, image_shape),
            resize_displacement(velocity, grid_shape),
            resize_displacement(added, grid_shape),
            config,
            schedule,
        )
        for _ in range(iterations):
            progress(f"refine: 1/{factor} resolution" if factor > 1 else "refine: full resolution", done / work)
            level.step()
            done += 1 / factor**3
        added = level.best()
    return velocity + _resize_velocity_cubic(added, finest_shape)


class _Level:
    """One image resolution: its operators, computed once, and the optimiser's state."""

    def __init__(
        self, fixed: Tensor, moving: Tensor, start: Tensor, added: Tensor, config: RefineConfig, schedule: Schedule
    ) -> None:
        self.start = start
        self.added = added
        self.moving = moving
        self.config = config
        self.step_voxels = schedule.step_voxels
        self.similarity = SIMILARITIES[config.similarity](fixed)
        device, shape, grid_shape = fixed.device, tuple(fixed.shape[2:]), tuple(start.shape[2:])
        self.identity = identity_grid(shape, device)
        self.taper = border_taper(grid_shape, config.taper_voxels, device)
        enlarge = [cubic_matrix(new, old) for new, old in zip(shape, grid_shape, strict=True)]
        smooth_force = [gaussian_matrix(size, config.force_sigma_voxels) for size in grid_shape]
        smooth_velocity = [gaussian_matrix(size, schedule.velocity_sigma_voxels) for size in grid_shape]
        self.enlarge = [matrix.to(device) for matrix in enlarge]
        # Forces come back to the velocity grid by the transpose of the enlargement, and are smoothed on the way.
        self.gather = [(s @ e.T).to(device) for s, e in zip(smooth_force, enlarge, strict=True)]
        self.smooth = [matrix.to(device) for matrix in smooth_velocity]
        self.image_voxels_per_grid_voxel = displacement_scale(grid_shape, shape, fixed)
        self.mean_force = torch.zeros_like(start)
        self.mean_square = torch.zeros_like(start)
        self.iteration = 0
        self.best_added, self.best_value = added, -torch.inf

    @torch.no_grad()
    def step(self) -> None:
        """One iteration, see the top of this file."""
        warped, derivative = self._evaluate(self.added)
        # The similarity is a mean; the force is that of its sum, so that it does not depend on the number of voxels.
        force = apply_along_axes(central_gradient(warped) * derivative, self.gather) * warped.numel()
        self.added = apply_along_axes(self.added + self._adam(force), self.smooth) * self.taper

    @torch.no_grad()
    def best(self) -> Tensor:
        """What to add for the largest similarity, of all that this level has had and nothing at all."""
        self._evaluate(self.added)
        self._evaluate(torch.zeros_like(self.added))
        return self.best_added

    def _evaluate(self, added: Tensor) -> tuple[Tensor, Tensor]:
        """The image warped by start + added, and the similarity's derivative for each of its voxels."""
        displacement = integrate(self.start + added, self.config.integration_steps)
        displacement = apply_along_axes(displacement * self.image_voxels_per_grid_voxel, self.enlarge)
        warped = sample(self.moving, displacement.add_(self.identity))
        value, derivative = self.similarity(warped)
        if value > self.best_value:
            self.best_added, self.best_value = added, value
        return warped, derivative

    def _adam(self, force: Tensor) -> Tensor:
        """Adam's step (Kingma 2015). The floors keep nodes without force from being driven by rounding: those of an
        image that has force elsewhere, and all of them where the images agree already."""
        self.iteration += 1
        self.mean_force.lerp_(force, 1 - 0.9)
        self.mean_square.lerp_(force * force, 1 - 0.99)
        mean = self.mean_force / (1 - 0.9**self.iteration)
        root = (self.mean_square / (1 - 0.99**self.iteration)).sqrt_()
        floor = 1e-3 * force.abs().max() + self.config.least_force
        return mean.div_(root.add_(floor)).mul_(self.step_voxels)


def _coarse_shape(shape: tuple[int, ...] | torch.Size, factor: int) -> tuple[int, ...]:
    return tuple(max(2, size // factor) for size in shape)


def _coarse_image(image: Tensor, factor: int, shape: tuple[int, ...]) -> Tensor:
    return image if factor == 1 else resize(gaussian_smooth(image, 0.4 * factor), shape)


def _resize_velocity_cubic(velocity: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(velocity.shape[2:]) == shape:
        return velocity
    return resize_cubic(velocity, shape) * displacement_scale(tuple(velocity.shape[2:]), shape, velocity)


def _local_correlation(fixed: Tensor) -> SimilarityGradient:
    similarity = LocalCorrelation(fixed)

    def evaluate(warped: Tensor) -> tuple[float, Tensor]:
        value, gradient = similarity.agreement_and_gradient(warped)
        return float(value), gradient

    return evaluate


def _by_autograd(measure: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], SimilarityGradient]:
    """A similarity whose derivative autograd finds, from measure(fixed, warped), larger is better."""

    def on(fixed: Tensor) -> SimilarityGradient:
        def evaluate(warped: Tensor) -> tuple[float, Tensor]:
            with torch.enable_grad():
                variable = warped.detach().requires_grad_()
                value = measure(fixed, variable)
                (gradient,) = torch.autograd.grad(value, variable)
            return float(value.detach()), gradient

        return evaluate

    return on


SIMILARITIES: dict[str, Callable[[Tensor], SimilarityGradient]] = {
    "local_correlation": _local_correlation,
    "correlation": _by_autograd(correlation_coefficient),
    "mutual_information": _by_autograd(mutual_information),
    "mind": _by_autograd(lambda fixed, warped: -mind_loss(fixed, warped)),
}
"""What the refinement can drive up. Local correlation is for one modality, the others also cross contrasts."""
