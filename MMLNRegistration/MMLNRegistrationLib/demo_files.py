"""The demo's pair as files, for the sample data of the Slicer module.

python -m MMLNRegistrationLib.demo_files FOLDER [COARSENING]
"""

from __future__ import annotations

import sys
from pathlib import Path

from . import io
from .errors import InputError
from .quality.demo_pair import make_demo_pair


def write_demo_files(folder: Path, coarsening: int = 1) -> None:
    """Write fixed.nii.gz and moving.nii.gz of the demo's pair, and the tissues of both as label maps.

    folder: is there already. coarsening: see make_demo_pair.

    Raises InputError when the template is not installed or the folder cannot be written.
    """
    pair = make_demo_pair(coarsening=coarsening)
    volumes = {
        "fixed.nii.gz": pair.fixed,
        "moving.nii.gz": pair.moving,
        "fixed_tissues.nii.gz": pair.fixed_tissues,
        "moving_tissues.nii.gz": pair.moving_tissues,
    }
    for name, volume in volumes.items():
        io.write_volume(volume, folder / name)


def main(arguments: list[str]) -> int:
    """0 when the files are written, 2 when they cannot be, with one sentence on the standard error."""
    try:
        write_demo_files(Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 1)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
