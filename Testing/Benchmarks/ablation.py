"""The paper's ablation on your own data: LapIRN, + core, + core + 2D, all trained alike, as a table.

    python Testing/Benchmarks/ablation.py --data DIR --validation-data DIR --structures FILE --output DIR

Settings are those of `BASE`, short enough for a processor; --config takes a file of `mmln train` instead. The runs lie
in the output folder; one that is there already is not run again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from MMLNRegistrationLib.model.losses import LossConfig
from MMLNRegistrationLib.model.network import MMLNConfig
from MMLNRegistrationLib.progress import silent
from MMLNRegistrationLib.quality.evaluate import read_structures
from MMLNRegistrationLib.training.config import StageConfig, TrainConfig, read_config
from MMLNRegistrationLib.training.ledger import read_ledger
from MMLNRegistrationLib.training.run import RunSettings, train
from MMLNRegistrationLib.training.run_folder import RunFolder

BASE = TrainConfig(
    stages=(
        StageConfig(1, 200, 0, 1e-3, 1e-4),
        StageConfig(2, 200, 0, 1e-3, 1e-4),
        StageConfig(3, 200, 0, 1e-3, 1e-4),
    ),
    network=MMLNConfig(width=8),
    loss=LossConfig(k=1.0),
    spacing_mm=4.0,
    validation_pairs=12,
    validate_every=200,
    checkpoint_every=100,
)
"""A pyramid of 16, 8 and 4 mm with the paper's losses."""

VARIANTS = {
    "LapIRN": {"branch_2d": False, "branch_core": False},
    "+ core": {"branch_2d": False, "branch_core": True},
    "+ core + 2D (MMLN)": {"branch_2d": True, "branch_core": True},
    "MMLN without feature feedback": {"branch_2d": True, "branch_core": True, "feature_feedback": False},
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--validation-data", type=Path, action="append", required=True)
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--k", type=float, nargs="*", default=[], help="also LapIRN with these weights of Eq. 5")
    arguments = parser.parse_args()
    base = read_config(arguments.config) if arguments.config else BASE
    runs = {name: replace(base, network=replace(base.network, **switches)) for name, switches in VARIANTS.items()}
    for k in arguments.k:
        runs[f"LapIRN, k = {k:g}"] = replace(runs["LapIRN"], loss=replace(base.loss, k=k))

    print("| network | Dice before | level 1 | level 2 | level 3 | correlation | folded, strict % | s a step |")
    print("|---|---|---|---|---|---|---|---|")
    for number, (name, config) in enumerate(runs.items()):
        folder = RunFolder(arguments.output / f"run-{number}")
        if not folder.exists():
            settings = RunSettings(
                data=tuple(arguments.data),
                validation_data=tuple(arguments.validation_data),
                output=folder.path,
                config=config,
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
