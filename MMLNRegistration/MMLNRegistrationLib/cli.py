"""The command line: parsing, and how commands end. What they do is in `commands`.

Exit codes: 0 done; 2 bad input or usage, one sentence on the standard error; 1 anything else; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from . import __version__
from . import argument_numbers as numbers
from .backend.messages import DEFAULT_MODEL
from .errors import InputError, RegistrationError, is_out_of_memory
from .processors import share_processors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `mmln` command and return its exit code."""
    _ready_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    for argument in arguments:
        if not _is_unicode(argument):
            return _complain(f"{argument!r} is not a name in UTF-8; rename the file.", 2)
    parsed = _parser().parse_args(arguments)
    # A polite kill unwinds like Ctrl-C, so that temporary folders go.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _command(parsed)(parsed)
        sys.stdout.flush()
    except InputError as error:
        return _complain(str(error), 2)
    except RegistrationError as error:
        return _complain(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _complain("Out of memory; close other programs, or give smaller volumes.", 1)
    except KeyboardInterrupt as stop:
        return _complain(str(stop) or "Interrupted; nothing was written.", 130)
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.strerror is None:
            raise
        what = f"{error.filename} cannot be used" if error.filename else "A file cannot be read or written"
        return _complain(f"{what} ({error.strerror}); check the path, its rights and the space left.", 2)
    return 0


def _command(parsed: argparse.Namespace) -> Callable[[argparse.Namespace], None]:
    """The function of a command. Imported here, so that --help, usage errors and servers do not wait for torch."""
    if parsed.command == "serve" or getattr(parsed, "server", None):
        from . import server_commands

        return getattr(server_commands, parsed.command)
    if parsed.command == "batch":
        from . import batch_commands

        return batch_commands.batch
    if parsed.command == "reproduce":
        from . import reproduce_command

        return reproduce_command.reproduce
    from . import commands

    return getattr(commands, parsed.command)


def run() -> NoReturn:
    """Run the `mmln` command as a process of its own, and end that process with its exit code.

    It ends at once: in a usual exit HDF5 would complain once more about a damaged file, and crash after a full disk.
    By then main has removed what it made for a while, so that nothing is left to be done at exit.
    """
    share_processors()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _ready_streams() -> None:
    """See to it that output can neither fail nor land in a file that happens to get a closed stream's number."""
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal has no letters for


def _is_unicode(text: str) -> bool:
    """Python lets other names through, but ITK ends the process on them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _complain(sentence: str, code: int) -> int:
    """Say how it ended, on one line whatever the names of files hold."""
    print("mmln:", " ".join(sentence.split()), file=sys.stderr)
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    """Usage errors as one sentence, like all others."""

    def error(self, message: str) -> None:  # type: ignore[override]
        sentence = " ".join(message.split())
        print(f"{self.prog}: {sentence[0].upper()}{sentence[1:]}; see {self.prog} --help.", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mmln", description="Deformable brain registration with one trusted displacement field.")
    parser.add_argument("--version", action="version", version=f"mmln {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    register = commands.add_parser("register", help="register MOVING to FIXED")
    register.add_argument("fixed", type=Path, metavar="FIXED", help="volume file or DICOM folder")
    register.add_argument("moving", type=Path, metavar="MOVING")
    _add_output_folder(register)
    _add_registration_options(register)
    _add_server(register)
    register.add_argument(
        "--fixed-mask", type=Path, metavar="FILE", help="what to register in FIXED; the rest is ignored"
    )
    register.add_argument("--moving-mask", type=Path, metavar="FILE")
    register.add_argument("--moving-labels", type=Path, metavar="FILE", help="label map of MOVING to carry to FIXED")

    apply = commands.add_parser("apply", help="carry a volume through a transform")
    apply.add_argument("transform", type=Path, metavar="TRANSFORM")
    apply.add_argument("input", type=Path, metavar="INPUT")
    apply.add_argument("--reference", type=Path, required=True, metavar="FILE", help="the grid to sample on")
    apply.add_argument("--output", type=Path, required=True, metavar="FILE")
    apply.add_argument("--labels", action="store_true", help="INPUT is a label map: take the nearest voxel")
    apply.add_argument("--inverse", action="store_true", help="go the other way: INPUT lies in fixed space")

    jacobian = commands.add_parser("jacobian", help="Jacobian determinant of a displacement field")
    jacobian.add_argument("transform", type=Path, metavar="TRANSFORM")
    jacobian.add_argument("--output", type=Path, required=True, metavar="FILE")

    propagate = commands.add_parser("propagate", help="carry the labels of one or more atlases to a subject")
    propagate.add_argument("subject", type=Path, metavar="SUBJECT")
    propagate.add_argument(
        "--atlas",
        action="append",
        required=True,
        metavar="IMAGE=LABELS",
        help="atlas image and its label map; =TRANSFORM after it uses a registration made before; may be repeated",
    )
    propagate.add_argument(
        "--fusion",
        choices=("local_similarity", "majority"),
        default="local_similarity",
        help="several atlases: count votes by local likeness (default), or all alike",
    )
    propagate.add_argument("--names", type=Path, metavar="FILE", help="table label,name for the volumes' table")
    _add_output_folder(propagate)
    _add_registration_options(propagate)
    _add_server(propagate)

    evaluate = commands.add_parser("evaluate", help="register the pairs of a table and score them by their labels")
    evaluate.add_argument(
        "cases", type=Path, metavar="CASES.csv", help="columns fixed,moving,fixed_labels,moving_labels"
    )
    _add_output_folder(evaluate)
    _add_registration_options(evaluate)
    _add_server(evaluate)
    evaluate.add_argument(
        "--structures",
        type=Path,
        metavar="FILE",
        help="table label,structure,counts_for_fine_dice; default: every label",
    )

    _add_batch(commands.add_parser("batch", help="register the pairs of a table, here or on a Dask cluster"))

    demo = commands.add_parser("demo", help="register a made-up pair whose true field is known")
    _add_output_folder(demo, default=Path("mmln-demo"))
    _add_registration_options(demo)

    train = commands.add_parser("train", help="train a network on your own data")
    train.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="folder of scans (plain, BIDS, neurite-OASIS, LPBA40) or table image,labels,subject; may be repeated",
    )
    train.add_argument("--output", type=Path, required=True, metavar="RUN", help="the run's folder")
    train.add_argument(
        "--config", type=Path, metavar="FILE", help="JSON: a preset (paper or fast) and what differs from it"
    )
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    train.add_argument(
        "--validation-data",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="scans to validate on; default: a share of the subjects in --data",
    )
    train.add_argument(
        "--structures", type=Path, metavar="FILE", help="table label,structure for the Dice; default: every label"
    )
    train.add_argument("--cache", type=Path, metavar="DIR", help="for the prepared scans (default: in RUN)")
    train.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be used")
    _add_machine(train)
    _add_server(train)

    reproduce = commands.add_parser("reproduce", help="the paper's tables, on your copy of the data")
    reproduce.add_argument("--oasis", type=Path, required=True, metavar="DIR", help="neurite-OASIS, to train and test")
    reproduce.add_argument("--lpba40", type=Path, metavar="DIR", help="LPBA40, to test on as well")
    reproduce.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="for all of it; given again, it goes on there"
    )
    _add_machine(reproduce)

    _add_serve(commands.add_parser("serve", help="let others use this machine over HTTP"))
    commands.add_parser("models", help="list the trained networks that come with the package")
    commands.add_parser("doctor", help="say what is installed and what works")
    return parser


def _add_output_folder(parser: argparse.ArgumentParser, default: Path | None = None) -> None:
    parser.add_argument(
        "--output", type=Path, required=default is None, default=default, metavar="DIR", help="for the results"
    )
    parser.add_argument("--overwrite", action="store_true", help="write into DIR even if it is not empty")


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cases", type=Path, metavar="CASES.csv", help="columns fixed,moving and more, see docs/batch.md"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for results.csv and a folder a pair")
    road = parser.add_mutually_exclusive_group()
    road.add_argument(
        "--workers", type=numbers.positive, metavar="N", help="processes on this machine (default: 1 a device)"
    )
    road.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster that shares the file system")
    parser.add_argument("--resume", action="store_true", help="do what is missing or failed in DIR")
    _add_registration_options(parser)


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="let a server do it, see mmln serve")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the server's token (default: the variable MMLN_TOKEN)"
    )


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=numbers.port, default=8765, metavar="N", help="default: 8765; 0 for a free one")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the token that clients need (default: a new one, shown once)"
    )
    parser.add_argument(
        "--device", action="append", metavar="auto|cpu|cuda|cuda:N", help="may be repeated: one job at a time on each"
    )
    parser.add_argument(
        "--threads", type=numbers.positive, metavar="N", help="processor threads of each job (default: all)"
    )
    parser.add_argument("--ssl-certfile", type=Path, metavar="FILE", help="certificate: https instead of http")
    parser.add_argument("--ssl-keyfile", type=Path, metavar="FILE", help="its private key")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="for the volumes of jobs at work (default: a temporary one)"
    )
    parser.add_argument(
        "--upload-mib", type=numbers.size, default=2048, metavar="N", help="of one file, at most (2048)"
    )
    parser.add_argument(
        "--storage-gib", type=numbers.size, default=100, metavar="N", help="of all files, at most (100)"
    )
    parser.add_argument(
        "--voxels", type=numbers.size, default=512**3, metavar="N", help="of one volume, at most (512 cubed)"
    )
    parser.add_argument("--queue", type=numbers.size, default=100, metavar="N", help="jobs that may wait (100)")
    parser.add_argument(
        "--keep-seconds",
        type=numbers.size,
        default=3600,
        metavar="N",
        help="results that nobody fetches go after this (3600)",
    )
    parser.add_argument(
        "--training-hours",
        type=numbers.count,
        default=168,
        metavar="N",
        help="of one training, at most (168); 0: take none",
    )
    parser.add_argument(
        "--grace-seconds",
        type=numbers.count,
        default=30,
        metavar="N",
        help="for what runs when the server is to stop (30)",
    )


def _add_registration_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME|FILE|none",
        help=f"trained network (default: {DEFAULT_MODEL}); none: the refinement starts from zero",
    )
    parser.add_argument(
        "--initial", default="affine", metavar="affine|rigid|identity|FILE", help="linear start (default: affine)"
    )
    parser.add_argument(
        "--brain", choices=("auto", "none"), default="none", help="auto: extract the brain of both first"
    )
    parser.add_argument(
        "--refine",
        type=numbers.count,
        metavar="N",
        help="iterations of instance optimisation at full resolution; 0 for none",
    )
    _add_machine(parser)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--threads", type=numbers.positive, metavar="N", help="processor threads to use (default: all)")
