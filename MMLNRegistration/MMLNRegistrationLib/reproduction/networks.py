"""The networks of the paper's ablation (sections 5.2 and 5.3): LapIRN, and what each strategy adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..model.network import MMLNConfig
from ..training.config import TrainConfig


@dataclass(frozen=True)
class AblationNetwork:
    """One of the networks that the paper compares.

    name: of its run folder. title: in tables. branch_2d, branch_core: its training strategies (sections 3.2, 3.3).
    """

    name: str
    title: str
    branch_2d: bool
    branch_core: bool

    def of(self, network: MMLNConfig) -> MMLNConfig:
        """The settings of a network with these strategies and no other."""
        return replace(network, branch_2d=self.branch_2d, branch_core=self.branch_core)


LAPIRN = AblationNetwork("lapirn", "LapIRN", branch_2d=False, branch_core=False)
WITH_CORE = AblationNetwork("lapirn-core", "LapIRN + core", branch_2d=False, branch_core=True)
MMLN = AblationNetwork("mmln", "LapIRN + core + 2D (MMLN)", branch_2d=True, branch_core=True)

ABLATION = (LAPIRN, WITH_CORE, MMLN)
"""In the order in which the paper adds to them."""


def ablation_configs(config: TrainConfig) -> Mapping[str, TrainConfig]:
    """The settings of the three trainings, by the networks' names; all else is that of config."""
    return {network.name: replace(config, network=network.of(config.network)) for network in ABLATION}
