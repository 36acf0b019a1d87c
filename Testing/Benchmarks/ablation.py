"""The paper's ablation on your own data: LapIRN, + core, + core + 2D, all trained alike, as a table.

    python Testing/Benchmarks/ablation.py --data DIR --validation-data DIR --structures FILE --output DIR

Settings are those of `BASE`, short enough for a processor. The runs lie in the output folder; one that is there
already is not run again. A last row without learning shows what the steps along the force do alone.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from MMLNRegistrationLib.model.losses import LossConfig
from MMLNRegistrationLib.model.network import MMLNConfig
from MMLNRegistrationLib.progress import silent
from MMLNRegistrationLib.quality.evaluate import read_structures
from MMLNRegistrationLib.reproduction import networks
from MMLNRegistrationLib.training.config import StageConfig, TrainConfig
from MMLNRegistrationLib.training.ledger import read_ledger
from MMLNRegistrationLib.training.run import RunSettings, train
from MMLNRegistrationLib.training.run_folder import RunFolder

BASE = TrainConfig(
    stages=(
        StageConfig(1, 100, 0, 1e-3, 1e-4),
        StageConfig(2, 100, 0, 1e-3, 1e-4),
        StageConfig(3, 100, 0, 1e-3, 1e-4),
    ),
    network=MMLNConfig(width=8),
    loss=LossConfig(k=1.0),
    spacing_mm=4.0,
    validation_pairs=12,
    validate_every=100,
    checkpoint_every=100,
)
"""A pyramid of 16, 8 and 4 mm with the paper's losses."""

LAPIRN = networks.LAPIRN.of(BASE.network)
FORCE = replace(LAPIRN, reads_force=True)
STEP = replace(FORCE, force_step_voxels=0.6, force_momentum=0.3, velocity_sigma_voxels=1.0)
LOCAL = replace(BASE.loss, similarity="local_correlation", k=0.1)
VARIANTS = {
    "LapIRN": (LAPIRN, BASE.loss),
    "+ core": (networks.WITH_CORE.of(BASE.network), BASE.loss),
    "+ core + 2D (MMLN)": (networks.MMLN.of(BASE.network), BASE.loss),
    "MMLN without feature feedback": (replace(BASE.network, feature_feedback=False), BASE.loss),
    "LapIRN, local correlation": (LAPIRN, LOCAL),
    "+ reads the force": (FORCE, LOCAL),
    "+ steps along it": (STEP, LOCAL),
    "+ five passes": (replace(STEP, passes=(5, 5, 5)), LOCAL),
    "+ core + 2D": (networks.MMLN.of(replace(STEP, passes=(5, 5, 5))), LOCAL),
}
"""The paper's table, then what each of our changes adds to LapIRN, then the paper's branches on top of them."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--validation-data", type=Path, action="append", required=True)
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=BASE.seed, help="of weights and pairs: another one shows the noise")
    parser.add_argument("--only", nargs="*", metavar="ROW", help="names of the rows to run, all by default")
    parser.add_argument("--k", type=float, nargs="*", default=[], help="also LapIRN with these weights of Eq. 5")
    arguments = parser.parse_args()
    runs = {name: replace(BASE, network=network, loss=loss) for name, (network, loss) in VARIANTS.items()}
    untrained = tuple(StageConfig(level, 1, 0, 0.0, 0.0) for level in (1, 2, 3))
    runs["LapIRN + ... + five passes, untrained"] = replace(runs["+ five passes"], stages=untrained)
    for k in arguments.k:
        runs[f"LapIRN, k = {k:g}"] = replace(runs["LapIRN"], loss=replace(BASE.loss, k=k))
    unknown = set(arguments.only or ()) - set(runs)
    if unknown:
        parser.error(f"there is no row {min(unknown)!r}; the rows are {', '.join(runs)}")

    print("| network | Dice before | level 1 | level 2 | level 3 | correlation | folded, strict % | s a step |")
    print("|---|---|---|---|---|---|---|---|")
    for number, (name, config) in enumerate(runs.items()):
        if arguments.only and name not in arguments.only:
            continue
        folder = RunFolder(arguments.output / f"run-{number}")
        if not folder.exists():
            settings = RunSettings(
                data=tuple(arguments.data),
                validation_data=tuple(arguments.validation_data),
                output=folder.path,
                config=replace(config, seed=arguments.seed),
                structure_of_label=read_structures(arguments.structures).coarse,
                cache=arguments.output / "prepared",
                workers=2,
            )
            train(settings, silent, lambda entry: None)
        print(_row(name, folder), flush=True)


def _row(name: str, folder: RunFolder) -> str:
    """The last validation of each level, and the mean seconds of a step at the last one."""
    entries = read_ledger(folder.ledger)
    last = {entry["level"]: entry for entry in entries if entry["event"] == "validation"}
    end = last[max(last)]
    seconds = [entry["seconds"] for entry in entries if entry["event"] == "step" and entry["level"] == max(last)]
    dice = " | ".join(f"{last[level]['dice']:.4f}" for level in sorted(last))
    return (
        f"| {name} | {end['dice_initial']:.4f} | {dice} | {end['similarity']:.4f} | {end['folded_percent']:.4f} | "
        f"{sum(seconds) / len(seconds):.2f} |"
    )


if __name__ == "__main__":
    main()
