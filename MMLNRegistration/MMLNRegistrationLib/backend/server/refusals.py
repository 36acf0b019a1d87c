"""How a request is refused: a status and one sentence, whatever refused it."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ...errors import InputError

_SENTENCES = {
    404: "There is nothing at this address; see /api for what there is.",
    405: "This address does not take this method; see /api for what it takes.",
}


class Refusal(Exception):
    """A request that is not carried out. retry_after_seconds: when asking again may help.

    closes: whether the connection goes too; else what the client is still sending is read and thrown away, so that it
    comes to read the answer.
    """

    def __init__(
        self, status: int, sentence: str, retry_after_seconds: int | None = None, *, closes: bool = False
    ) -> None:
        super().__init__(sentence)
        self.status, self.retry_after_seconds, self.closes = status, retry_after_seconds, closes


def refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse({"sentence": sentence}, status, headers)


def tell_refusals(app: FastAPI) -> None:
    """Let an application answer errors in one sentence each."""

    @app.exception_handler(Refusal)
    async def _(request: Request, error: Refusal) -> JSONResponse:
        headers = {"Connection": "close"} if error.closes else {}
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(error.retry_after_seconds)
        return refused(error.status, str(error), headers)

    @app.exception_handler(InputError)
    async def _(request: Request, error: InputError) -> JSONResponse:
        return refused(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = (f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.errors())
        return refused(400, f"The request is not as it should be ({'; '.join(problems)}); see /api.")

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        sentence = _SENTENCES.get(error.status_code, f"The request cannot be carried out: {error.detail}.")
        return refused(error.status_code, sentence, dict(error.headers) if error.headers else None)

    @app.exception_handler(ClientDisconnect)
    async def _(request: Request, error: ClientDisconnect) -> JSONResponse:
        return refused(400, "The connection broke before the request had arrived.")  # which nobody reads

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> JSONResponse:
        return refused(500, "The server has failed by a fault of the program; its log says more.")
