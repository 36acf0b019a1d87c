"""Put the best network of a training run into the package, in half precision, and its record beside the recipes.

    python Resources/bundle_model.py RUN --name t1-brain --description "..." --training-data "..." --commit HASH

The model goes to MMLNRegistrationLib/models/, the run's settings, split, environment, ledger and curves to
Resources/Training/NAME/: all that is needed to train it again.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from MMLNRegistrationLib.model.checkpoint import load_checkpoint, save_checkpoint
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
    arguments = parser.parse_args()

    trained = load_checkpoint(arguments.run / "best.safetensors")
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


if __name__ == "__main__":
    main()
