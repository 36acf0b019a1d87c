"""Commands that have to do with a server: to be one, and to let one work. Without torch."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .backend.jobs import JobError, OnEntry
from .backend.messages import Work
from .backend.remote import RemoteClient
from .command_requests import evaluate_request, propagate_request, register_request, train_request
from .console import (
    ConsoleProgress,
    TrainingLines,
    console,
    print_best,
    print_propagation,
    print_scores,
    print_verdict,
)
from .errors import InputError, RegistrationError

TOKEN_VARIABLE = "MMLN_TOKEN"
_MIB, _GIB = 1 << 20, 1 << 30


def serve(arguments: argparse.Namespace) -> None:
    """mmln serve."""
    try:
        from .backend.server.limits import Limits
        from .backend.server.serve import ServerSettings, is_loopback
        from .backend.server.serve import serve as run_server
        from .backend.server.token import new_token, read_token
    except ModuleNotFoundError as error:
        raise InputError(
            f"A server needs {error.name}, which is not installed; pip install 'mmln-registration[server]'."
        ) from error

    token = read_token(arguments.token_file) if arguments.token_file else new_token()
    settings = ServerSettings(
        token=token,
        host=arguments.host,
        port=arguments.port,
        devices=tuple(arguments.device or ("auto",)),
        threads=arguments.threads,
        folder=arguments.folder,
        certificate=arguments.ssl_certfile,
        certificate_key=arguments.ssl_keyfile,
        limits=Limits(
            upload_bytes=arguments.upload_mib * _MIB,
            voxels=arguments.voxels,
            storage_bytes=arguments.storage_gib * _GIB,
            waiting_jobs=arguments.queue,
            training_hours=arguments.training_hours,
            keep_seconds=arguments.keep_seconds,
            grace_seconds=arguments.grace_seconds,
        ),
    )
    if not is_loopback(arguments.host) and not arguments.ssl_certfile:
        print(
            "mmln serve: Without a certificate the token and all volumes go over the network unencrypted; "
            "give --ssl-certfile, or put the server behind a proxy that speaks https.",
            file=sys.stderr,
            flush=True,
        )

    def announce(address: str) -> None:
        print(f"Serving at {address}")
        if not arguments.token_file:
            print(f"Token: {token}")
        sys.stdout.flush()

    run_server(settings, announce)


def register(arguments: argparse.Namespace) -> None:
    """mmln register FIXED MOVING --output DIR --server URL."""
    print_verdict(_ask(arguments, register_request(arguments)), arguments.output)


def propagate(arguments: argparse.Namespace) -> None:
    """mmln propagate SUBJECT --atlas IMAGE=LABELS [--atlas ...] --output DIR --server URL."""
    print_propagation(_ask(arguments, propagate_request(arguments)), arguments.output)


def evaluate(arguments: argparse.Namespace) -> None:
    """mmln evaluate CASES.csv --output DIR --server URL."""
    scores: list[Mapping[str, Any]] = []
    report = _ask(arguments, evaluate_request(arguments), lambda progress: scores.append)
    print_scores(scores, report["means"], arguments.output)


def train(arguments: argparse.Namespace) -> None:
    """mmln train --data DIR --output RUN --server URL."""
    print_best(_ask(arguments, train_request(arguments), TrainingLines), arguments.output)


def _no_lines(progress: ConsoleProgress) -> OnEntry:
    """For requests that write no table."""
    return lambda entry: None


def _ask(
    arguments: argparse.Namespace, request: Work, on_entry: Callable[[ConsoleProgress], OnEntry] = _no_lines
) -> dict[str, Any]:
    """Let the server do it. Returns the report. on_entry: what is called with entries, made from the progress."""
    with console() as progress, RemoteClient(arguments.server, _token(arguments)) as client:
        if client.sends_in_clear:
            progress.close()
            print("mmln: The volumes go over the network unencrypted; use a server with https.", file=sys.stderr)
        try:
            return client.run(request, progress, on_entry(progress)).report
        except JobError as error:
            if error.cause == "cancelled":
                raise KeyboardInterrupt from error
            raise (InputError if error.cause == "input" else RegistrationError)(str(error)) from error


def _token(arguments: argparse.Namespace) -> str:
    if arguments.token_file is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            raise InputError(f"The server needs its token; give --token-file, or set the variable {TOKEN_VARIABLE}.")
        return token
    try:
        return arguments.token_file.read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{arguments.token_file} holds no token; give a text file with the token alone.") from error
