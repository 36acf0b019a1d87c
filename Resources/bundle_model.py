"""Put the best network of a training run into the package, in half precision, and its record beside the recipes.

    python Resources/bundle_model.py RUN --name t1-brain --description "..." --training-data "..." --commit HASH

The model goes to MMLNRegistrationLib/models/, the run's settings, split, environment, ledger and curves to
Resources/Training/NAME/: all that is needed to train it again.

--share keeps a part of what the network has learnt to add to its steps along the force (MMLNConfig.force_step_voxels).
Each level's output is nearly linear in its last weights, which start near zero, so 0 is the steps alone and 1 the
trained network; a short training on the images' similarity alone overshoots, and half of it does better than either.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from MMLNRegistrationLib.model.checkpoint import load_checkpoint, save_checkpoint
from MMLNRegistrationLib.model.network import MMLN
from MMLNRegistrationLib.model.registry import BUNDLED_FOLDER, SUFFIX

RECORDS = ("config.json", "split.json", "environment.json", "ledger.jsonl", "curves.svg")
LARGEST_BYTES = 16 * 2**20
"""What a bundled model may weigh."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    for option in ("name", "description", "training-data", "commit"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of the learnt correction to keep, above 0 to 1")
    arguments = parser.parse_args()
    if not 0 < arguments.share <= 1:
        parser.error(f"--share must lie above 0 and up to 1, not {arguments.share:g}.")

    trained = load_checkpoint(arguments.run / "best.safetensors")
    keep_share(trained.network, arguments.share)
    card = replace(
        trained.card,
        name=arguments.name,
        description=arguments.description,
        training_data=arguments.training_data,
        commit=arguments.commit,
    )
    BUNDLED_FOLDER.mkdir(exist_ok=True)
    path = BUNDLED_FOLDER / f"{arguments.name}{SUFFIX}"
    save_checkpoint(path, trained.network, card, half_precision=True)
    if path.stat().st_size > LARGEST_BYTES:
        parser.error(f"{path} has {path.stat().st_size} bytes, more than the {LARGEST_BYTES} allowed.")
    record = Path(__file__).parent / "Training" / arguments.name
    record.mkdir(parents=True, exist_ok=True)
    for name in RECORDS:
        shutil.copyfile(arguments.run / name, record / name)
    print(f"{path}: {path.stat().st_size} bytes, grid {card.grid_spacing_mm:g} mm, {trained.network.config}")


@torch.no_grad()
def keep_share(network: MMLN, share: float) -> None:
    """Scale what the levels add to the velocity, in place."""
    for level in network.levels:
        level.output.weight.mul_(share)  # type: ignore[union-attr, operator]


if __name__ == "__main__":
    main()
