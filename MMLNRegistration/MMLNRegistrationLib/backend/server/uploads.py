"""Files that clients have sent for jobs that they are about to ask for. Their names here are the server's own."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import InputError
from .limits import Limits
from .refusals import Refusal
from .volume_headers import SUFFIXES, count_voxels

_SECONDS_BETWEEN_PIECES = 60.0
_SECONDS_UNTIL_RETRY = 10


@dataclass(frozen=True)
class Upload:
    """A file that has arrived whole. voxels: None for what is no volume. client: who sent it.

    kept_since: when it arrived, or a later one of the same client.
    """

    key: str
    path: Path
    suffix: str
    bytes: int
    voxels: int | None
    kept_since: float
    client: str = ""


class Uploads:
    """The uploads that no job has taken yet. stored_bytes: of all files here and in jobs."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self.limits = folder, limits
        self._uploads: dict[str, Upload] = {}
        self.stored_bytes = 0
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in folder.iterdir():  # their clients send them again
            path.unlink()

    async def receive(
        self, key: str, suffix: str, announced_bytes: int | None, pieces: AsyncIterator[bytes], client: str = ""
    ) -> Upload:
        """Take in a file. Whoever sends one of the same key again is told of the first.

        Raises InputError and Refusal; nothing is left of the file then.
        """
        if suffix not in SUFFIXES:
            raise InputError(f"Files of the kind {suffix[:20]!r} are not taken; send {', '.join(SUFFIXES)}.")
        if key in self._uploads:
            return self._uploads[key]
        if announced_bytes is not None:
            self._require_room(announced_bytes, 0, announced_bytes > 2 * self.limits.upload_bytes)
        path = self._folder / f"{uuid.uuid4().hex}{suffix}"
        received = 0
        try:
            with path.open("xb") as file:
                async for piece in _soon(pieces):
                    self._require_room(received + len(piece), received, is_endless=announced_bytes is None)
                    self.stored_bytes += len(piece)
                    received += len(piece)
                    await asyncio.to_thread(file.write, piece)
            if not received:
                raise InputError("The upload is empty; check the file.")
            voxels = await asyncio.to_thread(count_voxels, path, suffix, self.limits.voxels)
            upload = Upload(key, path, suffix, received, voxels, time.monotonic(), client)
            self._keep_others_of(client)
            if self._uploads.setdefault(key, upload) is not upload:
                self._forget(path, received)
            return self._uploads[key]
        except OSError as error:
            self._forget(path, received)
            raise Refusal(
                503, f"The server cannot store the file ({error.strerror}); try again later.", _SECONDS_UNTIL_RETRY
            ) from error
        except BaseException:
            self._forget(path, received)
            raise

    def get(self, key: str) -> Upload | None:
        """The upload of this key, if it is here."""
        return self._uploads.get(key)

    def take(self, upload: Upload, path: Path) -> None:
        """Move an upload to the job that it is for. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        upload.path.rename(path)
        del self._uploads[upload.key]

    def remove(self, key: str) -> None:
        """Remove an upload that nobody wants any more, if it is here."""
        if upload := self._uploads.pop(key, None):
            self._forget(upload.path, upload.bytes)

    def remove_old(self) -> None:
        """Remove what no job has taken in time."""
        oldest = time.monotonic() - self.limits.keep_seconds
        for upload in [upload for upload in self._uploads.values() if upload.kept_since < oldest]:
            self.remove(upload.key)

    def _keep_others_of(self, client: str) -> None:
        """A job of many files takes long to arrive: its first ones wait for its last."""
        now = time.monotonic()
        for key, upload in self._uploads.items():
            if client and upload.client == client:
                self._uploads[key] = replace(upload, kept_since=now)

    def _require_room(self, size_bytes: int, already_stored: int, is_endless: bool) -> None:
        if size_bytes > self.limits.upload_bytes:
            sentence = f"The file is larger than the {self.limits.upload_bytes} bytes that this server takes."
            raise Refusal(413, sentence, closes=is_endless)
        if self.stored_bytes + size_bytes - already_stored > self.limits.storage_bytes:
            raise Refusal(
                503, "The server's storage is full of other jobs' files; try again later.", _SECONDS_UNTIL_RETRY
            )

    def _forget(self, path: Path, size_bytes: int) -> None:
        path.unlink(missing_ok=True)
        self.stored_bytes -= size_bytes


async def _soon(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """They, as long as one comes after the other."""
    iterator = aiter(pieces)
    while True:
        try:
            piece = await asyncio.wait_for(anext(iterator), _SECONDS_BETWEEN_PIECES)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError as error:
            raise Refusal(
                400, f"The upload has stood still for {_SECONDS_BETWEEN_PIECES:g} s; send it again."
            ) from error
        if piece:
            yield piece
