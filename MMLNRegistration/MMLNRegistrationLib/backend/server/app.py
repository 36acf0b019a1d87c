"""The interface: what address does what. Everything but the empty pages needs the token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.types import ASGIApp

from ... import __version__
from ..protocol import LARGEST_LINE_BYTES, PROTOCOL_VERSION
from .board import Board
from .machine import memory
from .orders import KEY
from .pages import add_pages
from .refusals import Refusal, tell_refusals
from .schema import job_schema
from .token import TokenGate
from .views import shown_key
from .volume_headers import SUFFIXES

_LARGEST_BODY_BYTES = LARGEST_LINE_BYTES
_SECONDS_BETWEEN_SIGNS_OF_LIFE = 5.0
_BINARY = {"schema": {"type": "string", "format": "binary"}}

Key = Annotated[str, Path(pattern=f"^{KEY}$", description="32 digits and letters a to f, chosen by the client")]
Client = Annotated[
    str, Header(alias="X-Client", pattern="^[A-Za-z0-9-]{0,64}$", description="the same for all jobs of one client")
]


def _answers(**statuses: str) -> dict[int | str, dict[str, Any]]:
    """For the description: refusals of an address, e.g. s404="no such job"."""
    schema = {"type": "object", "properties": {"sentence": {"type": "string"}}, "required": ["sentence"]}
    every = {"s400": "not as it should be", "s401": "the token is missing or wrong", **statuses}
    return {
        int(status[1:]): {"description": text, "content": {"application/json": {"schema": schema}}}
        for status, text in every.items()
    }


def make_app(
    board: Callable[[], Board], token: str, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]
) -> ASGIApp:
    """The application. board: there once the lifespan has begun."""
    app = FastAPI(
        title="MMLNRegistration server",
        version=__version__,
        description="Registrations of brain volumes, and trainings, as jobs: upload, ask, follow, fetch, remove.",
        docs_url=None,  # FastAPI's own page loads its script from elsewhere
        redoc_url=None,
        openapi_url=None,  # below, with the token
        lifespan=lifespan,
    )
    tell_refusals(app)
    open_paths = add_pages(app)
    _add_uploads(app, board)
    _add_jobs(app, board)
    _add_results(app, board)

    @app.get("/v1/status", responses=_answers())
    async def status() -> dict[str, Any]:
        """The server, its devices and limits, the queue, and the last jobs, of all clients but without names."""
        jobs = board()
        limits = jobs.limits
        return {
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "stopping": jobs.stopping,
            "devices": [
                {"device": lane.device, "job": shown_key(lane.key) if lane.key else None, "worker": lane.report}
                for lane in jobs.lanes
            ],
            "waiting": jobs.waiting,
            "memory": memory(),
            "stored_bytes": jobs.uploads.stored_bytes,
            "limits": {
                "upload_bytes": limits.upload_bytes,
                "voxels": limits.voxels,
                "storage_bytes": limits.storage_bytes,
                "job_files": limits.job_files,
                "waiting_jobs": limits.waiting_jobs,
                "training_hours": limits.training_hours,
                "keep_seconds": limits.keep_seconds,
                "suffixes": list(SUFFIXES),
            },
            "jobs": jobs.rows(),
        }

    _describe(app)
    return TokenGate(app, token, open_paths)


def _add_uploads(app: FastAPI, board: Callable[[], Board]) -> None:
    @app.put(
        "/v1/uploads/{key}",
        status_code=201,
        responses=_answers(s413="too large", s503="no room at present"),
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}},
    )
    async def upload(
        request: Request,
        key: Key,
        suffix: Annotated[str, Query(description=f"the format, one of {', '.join(SUFFIXES)}")],
        client: Client = "",
    ) -> dict[str, Any]:
        """Send a file. Sent again under the same key, it is stored once."""
        announced = request.headers.get("content-length", "")
        arrived = await board().uploads.receive(
            key, suffix, int(announced) if announced.isdecimal() else None, request.stream(), client
        )
        return {"upload": key, "bytes": arrived.bytes, "voxels": arrived.voxels}

    @app.delete("/v1/uploads/{key}", status_code=204, response_class=Response, responses=_answers())
    async def remove_upload(key: Key) -> None:
        """Remove a file that no job has taken."""
        board().uploads.remove(key)


def _add_jobs(app: FastAPI, board: Callable[[], Board]) -> None:
    @app.put(
        "/v1/jobs/{key}",
        status_code=201,
        responses=_answers(
            s404="an upload is not here",
            s409="the key is taken",
            s413="the body is too long",
            s415="not JSON",
            s429="the queue is full",
            s503="the server stops, or has no room",
        ),
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": job_schema()}}}},
    )
    async def ask(request: Request, key: Key, client: Client = "") -> dict[str, Any]:
        """Ask for work. Asked again with the same key and words, it is done once."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "A job is asked for in JSON; send Content-Type: application/json.")
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST_BODY_BYTES:
                raise Refusal(413, f"A job has at most {_LARGEST_BODY_BYTES} bytes; send volumes as uploads.")
        return board().view(board().accept(key, client, body))

    @app.get("/v1/jobs/{key}", responses=_answers(s404="no such job"))
    async def look(key: Key) -> dict[str, Any]:
        """How far a job is, and how it ended."""
        return board().view(board().get(key))

    @app.post("/v1/jobs/{key}/cancel", status_code=202, responses=_answers(s404="no such job"))
    async def cancel(key: Key) -> dict[str, Any]:
        """Stop a job; one that has ended stays as it is."""
        return board().view(board().cancel(key))

    @app.delete("/v1/jobs/{key}", status_code=204, response_class=Response, responses=_answers(s404="no such job"))
    async def remove(key: Key) -> None:
        """Remove a job with all its files, once its results have arrived; one that is not done is cancelled."""
        board().remove(key)


def _add_results(app: FastAPI, board: Callable[[], Board]) -> None:
    @app.get(
        "/v1/jobs/{key}/events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
            **_answers(s404="no such job"),
        },
    )
    async def events(
        key: Key, after: Annotated[int, Query(ge=0, le=2**53, description="number of the last event known")] = 0
    ) -> StreamingResponse:
        """What a job tells, from now to its end: an object a line, {"number": N, "event": a message of the worker}.

        Empty lines are signs of life. The last event is a result or an error; a stream that ends before that was
        broken off, and `after` goes on where it was.
        """
        entries = board().events(key).follow(after, _SECONDS_BETWEEN_SIGNS_OF_LIFE)

        async def lines() -> AsyncIterator[bytes]:
            async for entry in entries:
                yield (json.dumps(entry._asdict()) if entry else "").encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"})

    @app.get(
        "/v1/jobs/{key}/files/{name}",
        response_class=FileResponse,
        responses={
            200: {"content": {"application/octet-stream": _BINARY}},
            **_answers(s404="no such file", s409="the job is not done"),
        },
    )
    async def result_file(
        key: Key, name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_.]{1,64}$", description="as in the result")]
    ) -> FileResponse:
        """A file of a result."""
        path = board().result_file(key, name)
        if not await asyncio.to_thread(path.is_file):
            raise Refusal(404, "The file is not here any more.")
        return FileResponse(path, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


def _describe(app: FastAPI) -> None:
    """Say in the description that a token is needed, and leave out what FastAPI says of errors."""
    original = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = original()
            schema["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
            schema["security"] = [{"token": []}]
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)
        return app.openapi_schema or schema

    app.openapi = described  # type: ignore[method-assign]

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())
