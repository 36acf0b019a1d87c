"""Commands that have to do with a server: to be one, and to let one work. Without torch."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from .backend.jobs import JobError
from .backend.messages import Work
from .backend.remote import RemoteClient
from .command_requests import propagate_request, register_request
from .console import console, print_propagation, print_verdict
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
    print_verdict(_asked(arguments, register_request(arguments)), arguments.output)


def propagate(arguments: argparse.Namespace) -> None:
    """mmln propagate SUBJECT --atlas IMAGE=LABELS [--atlas ...] --output DIR --server URL."""
    print_propagation(_asked(arguments, propagate_request(arguments)), arguments.output)


def _asked(arguments: argparse.Namespace, request: Work) -> dict[str, Any]:
    """The report of a request that a server has carried out."""
    with console() as progress, RemoteClient(arguments.server, _token(arguments)) as client:
        if client.sends_in_clear:
            progress.close()
            print("mmln: The volumes go over the network unencrypted; use a server with https.", file=sys.stderr)
        try:
            return client.run(request, progress).report
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
