"""All jobs of a server: taken in, given to the lanes in fair turns, told about, cancelled, and removed.

Everything here happens in the thread of the event loop; the lanes' threads send their news there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..messages import EntryEvent, ErrorEvent, ProgressEvent, ResultEvent, Train, Work
from ..protocol import encode_event, encode_request, parse_request
from .event_log import EventLog
from .fair_queue import FairQueue
from .lane import Lane
from .limits import Limits
from .orders import OUTPUT, Order, read_order
from .records import DONE, ENDED, FAILED, RUNNING, WAITING, Journal, Record
from .refusals import Refusal
from .training_jobs import KEPT_LONGER, going_on, remove_all_but_results, stopped_in_time
from .uploads import Uploads
from .views import job_view, shown_key, table_row, told

QUEUE_STEP = "wait in the queue"
_MOST_ATTEMPTS = 2
_SECONDS_UNTIL_RETRY = 5
_SHOWN_JOBS = 20

log = logging.getLogger("mmln.server")


class Board:
    """The jobs and who works on them."""

    def __init__(self, folder: Path, limits: Limits, devices: Sequence[str], threads: int | None) -> None:
        """folder: the server's own. threads: at most so many of the processor for each job, None for all."""
        self.limits, self._threads = limits, threads
        self.uploads = Uploads(folder / "uploads", limits)
        self._journal = Journal(folder / "jobs")
        self._records: dict[str, Record] = {}
        self._logs: dict[str, EventLog] = {}
        self._unwanted: set[str] = set()
        self._overdue: set[str] = set()
        self._gone: deque[Record] = deque(maxlen=_SHOWN_JOBS)
        self._queue = FairQueue()
        self._loop = asyncio.get_running_loop()
        self.lanes = [Lane(device, self) for device in devices]
        self.stopping = False
        for record in self._journal.read():
            self._recover(record)

    def start(self) -> None:
        """Start the workers, and go on with the jobs that waited when the server ended."""
        for lane in self.lanes:
            lane.start()
        self._dispatch()

    def accept(self, key: str, client: str, body: bytes) -> Record:
        """Take in a job. Who sends the same again is told of the first. Raises InputError and Refusal."""
        digest = hashlib.sha256(body).hexdigest()
        if record := self._records.get(key):
            if record.body_digest != digest:
                raise Refusal(409, "There is another job of this key; choose a new key for each job.")
            return record
        if self.stopping:
            raise Refusal(503, "The server is about to stop; ask again when it is back.", _SECONDS_UNTIL_RETRY)
        if len(self._queue) >= self.limits.waiting_jobs:
            raise Refusal(
                429, f"The queue is full ({len(self._queue)} jobs wait); ask again in a while.", _SECONDS_UNTIL_RETRY
            )
        order = read_order(body, key, self._journal.folder(key), self.uploads, self._threads)
        if isinstance(order.request, Train) and not self.limits.training_hours:
            raise InputError("This server takes no trainings; train on another one, or on your own machine.")
        device = getattr(order.request, "device", "auto")
        if not any(lane.fits(device) for lane in self.lanes):
            names = ", ".join(lane.device for lane in self.lanes)
            raise InputError(f"The server does not compute on {device!r}; choose auto, or one of {names}.")
        record = self._store(key, client, order, device, digest)
        self._records[key], self._logs[key] = record, EventLog(0)
        self._tell_queue(record)
        self._queue.put(record)
        log.info("job %s: %s accepted", shown_key(key), record.kind)
        self._dispatch()
        return record

    def get(self, key: str) -> Record:
        """What is known of a job. Raises Refusal (404)."""
        if record := self._records.get(key):
            return record
        raise Refusal(
            404, f"There is no such job, or no longer: results are kept for {self.limits.keep_seconds / 60:g} minutes."
        )

    def events(self, key: str) -> EventLog:
        """What a job tells. Raises Refusal (404)."""
        self.get(key)
        return self._logs[key]

    def cancel(self, key: str) -> Record:
        """Stop a job; it ends as cancelled, unless it is done before that. Raises Refusal (404)."""
        record = self.get(key)
        if record.state == WAITING:
            self._queue.remove(record)
            self._end(record, ErrorEvent(id=key, cause="cancelled", sentence="Cancelled."))
        elif record.state == RUNNING:
            next(lane for lane in self.lanes if lane.key == key).cancel()
        return record

    def remove(self, key: str) -> None:
        """Forget a job and all its files; one that is not done is cancelled first. Raises Refusal (404)."""
        record = self.cancel(key)
        if record.state == RUNNING:
            self._unwanted.add(key)  # it goes as soon as its worker lets go of it
            return
        self._forget(record)
        log.info("job %s: removed", shown_key(key))

    def result_file(self, key: str, name: str) -> Path:
        """A result of a job that is done. Raises Refusal (404, 409)."""
        record = self.get(key)
        if record.state not in ENDED:
            raise Refusal(409, "The job is not done; wait for its result.")
        if record.state != DONE or record.event is None or name not in record.event["files"]:
            raise Refusal(404, "The job has no such file; its result lists what it has.")
        return self._journal.folder(key) / OUTPUT / name

    def view(self, record: Record) -> dict[str, Any]:
        """A job as its client sees it."""
        before = self._queue.count_before(record) if record.state == WAITING else None
        return job_view(record, self._last(record), before)

    def rows(self) -> list[dict[str, Any]]:
        """The last jobs, newest first, also those whose files are gone, as everybody sees them."""
        newest = sorted((*self._records.values(), *self._gone), key=lambda record: record.accepted_at, reverse=True)
        return [table_row(record, self._last(record)) for record in newest[:_SHOWN_JOBS]]

    @property
    def waiting(self) -> int:
        """How many jobs are in the queue."""
        return len(self._queue)

    @property
    def running(self) -> bool:
        """Whether a worker is at work."""
        return any(lane.key is not None for lane in self.lanes)

    @property
    def has_results(self) -> bool:
        """Whether there are results that nobody has fetched yet."""
        return any(record.state == DONE for record in self._records.values())

    def let_readers_go(self) -> None:
        """End the streams of events; their readers come back when the server does."""
        for events in self._logs.values():
            events.close()

    def look_after(self) -> None:
        """Remove results that nobody has fetched in time, and a while later what is known of them; stop trainings that
        have had their time."""
        self.uploads.remove_old()
        now = time.time()
        for record in list(self._records.values()):
            if record.state == RUNNING and record.kind == "train":
                self._watch_training(record, now)
            if record.ended_at is None:
                continue
            keep = self.limits.keep_seconds * (KEPT_LONGER if record.kind == "train" else 1)
            if now - record.ended_at > 2 * keep:
                self._forget(record)
            elif now - record.ended_at > keep and record.state == DONE:
                sentence = f"The results were removed, since nobody fetched them within {keep / 60:g} minutes."
                self._fail(record, ErrorEvent(id=record.key, cause="failed", sentence=sentence))

    async def stop(self) -> None:
        """End the workers. What ran is put back to those that wait, for the next start of the server."""
        self.stopping = True
        for lane in self.lanes:
            lane.stop()
        for lane in self.lanes:
            await asyncio.to_thread(lane.join)
            await asyncio.sleep(0)  # for what the lane has told last
            if lane.key is not None:
                record = self._records[lane.key]
                record.state = WAITING
                self._journal.remove_half_done(record)
                self._journal.write(record)
                log.info("job %s: stopped, to be begun anew when the server is back", shown_key(record.key))
        self.let_readers_go()

    # What the lanes tell, in their threads.

    def progressed(self, key: str, step: str, fraction: float) -> None:
        """See lane.Listener."""
        self._soon(lambda: self._tell(key, ProgressEvent(id=key, step=step, fraction=fraction)))

    def entered(self, key: str, entry: Mapping[str, Any]) -> None:
        """See lane.Listener."""
        self._soon(lambda: self._tell(key, EntryEvent(id=key, entry=dict(entry))))

    def ended(self, lane: Lane, key: str, event: ResultEvent | ErrorEvent) -> None:
        """See lane.Listener."""
        self._soon(lambda: self._release(lane, key, event))

    def informed(self, lane: Lane, report: dict[str, Any]) -> None:
        """See lane.Listener."""
        self._soon(lambda: setattr(lane, "report", report))

    def _soon(self, action: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action)

    def _recover(self, record: Record) -> None:
        """Take up a job that an earlier process of this server has left."""
        self._records[record.key], self._logs[record.key] = record, EventLog(record.attempts)
        record.stored_bytes = self._journal.stored_bytes(record.key)
        self.uploads.stored_bytes += record.stored_bytes
        if record.state in ENDED:
            self._logs[record.key].add(record.event or {}, is_last=True)
            return
        self._journal.remove_half_done(record)
        if record.state == RUNNING and record.attempts >= _MOST_ATTEMPTS and not self._journal.came_further(record):
            sentence = f"The job is lost: the server broke down {record.attempts} times in the middle of it."
            self._fail(record, ErrorEvent(id=record.key, cause="failed", sentence=sentence))
            return
        record.state = WAITING
        self._tell_queue(record)
        self._queue.put(record)
        log.info("job %s: waits again after a restart", shown_key(record.key))

    def _watch_training(self, record: Record, now: float) -> None:
        self._count_stored(record)
        if now - (record.begun_at or now) > self.limits.training_hours * 3600 and record.key not in self._overdue:
            self._overdue.add(record.key)
            self.cancel(record.key)

    def _count_stored(self, record: Record) -> None:
        stored_bytes = self._journal.stored_bytes(record.key)
        self.uploads.stored_bytes += stored_bytes - record.stored_bytes
        record.stored_bytes = stored_bytes

    def _store(self, key: str, client: str, order: Order, device: str, digest: str) -> Record:
        line = encode_request(key, order.request).decode()
        texts_bytes = sum(map(len, order.texts.values()))
        size = sum(upload.bytes for upload in order.files.values()) + texts_bytes
        record = Record(key, client, order.kind, device, line, digest, size)
        try:
            for path, upload in order.files.items():
                self.uploads.take(upload, path)
            self._journal.write_texts(order.texts)
            self._journal.write(record)
            self.uploads.stored_bytes += texts_bytes
        except OSError as error:
            self._journal.remove(key)
            self.uploads.stored_bytes -= sum(
                upload.bytes for upload in order.files.values() if not upload.path.exists()
            )
            raise Refusal(503, f"The server cannot store the job ({error.strerror}); try again later.") from error
        return record

    def _dispatch(self) -> None:
        for lane in self.lanes if not self.stopping else ():
            while lane.key is None and (record := self._queue.take(lane.fits)):
                self._begin(lane, record)

    def _begin(self, lane: Lane, record: Record) -> None:
        record.state, record.begun_at = RUNNING, time.time()
        record.attempts += 1
        if not self._write(record):
            self._end(record, ErrorEvent(id=record.key, cause="failed", sentence="The server's disk is full."))
            return
        lane.give(record.key, self._request(record))

    def _request(self, record: Record) -> Work:
        return going_on(parse_request(record.line.encode().rstrip())[1])

    def _release(self, lane: Lane, key: str, event: ResultEvent | ErrorEvent) -> None:
        lane.key = None
        record = self._records[key]
        if key in self._overdue and isinstance(event, ErrorEvent) and key not in self._unwanted:
            event = stopped_in_time(key, self._journal.folder(key) / OUTPUT, self.limits.training_hours)
        self._overdue.discard(key)
        self._end(record, event)
        if key in self._unwanted:
            self._forget(record)
        self._dispatch()

    def _end(self, record: Record, event: ResultEvent | ErrorEvent) -> None:
        if isinstance(event, ErrorEvent):
            self._fail(record, event)
        else:
            record.state = DONE
            if record.kind == "train":
                remove_all_but_results(self._journal.folder(record.key) / OUTPUT)
            self._settle(record, event)

    def _fail(self, record: Record, event: ErrorEvent) -> None:
        record.state = FAILED
        self._journal.remove_results(record.key)
        self._settle(record, event)

    def _settle(self, record: Record, event: ResultEvent | ErrorEvent) -> None:
        """The job is over: keep what its client may fetch, and tell."""
        self._journal.remove_input(record.key)
        self._count_stored(record)
        record.ended_at = record.ended_at or time.time()
        record.event = told(event, self._journal.folder(record.key))
        self._write(record)
        self._logs[record.key].add(record.event, is_last=True)
        cause = event.cause if isinstance(event, ErrorEvent) else "done"
        log.info("job %s: %s", shown_key(record.key), cause)

    def _write(self, record: Record) -> bool:
        try:
            self._journal.write(record)
        except OSError as error:
            log.error("job %s: the journal cannot be written (%s)", shown_key(record.key), error.strerror)
            return False
        return True

    def _last(self, record: Record) -> dict[str, Any]:
        events = self._logs.get(record.key)
        return (events.last if events else None) or {}

    def _forget(self, record: Record) -> None:
        self._journal.remove(record.key)
        self.uploads.stored_bytes -= record.stored_bytes
        self._logs.pop(record.key).close()
        del self._records[record.key]
        self._unwanted.discard(record.key)
        if record.event is not None:
            record.event = {"cause": record.event.get("cause")}  # the report's figures are nobody's any more
        self._gone.append(record)

    def _tell(self, key: str, event: ProgressEvent | EntryEvent) -> None:
        record = self._records.get(key)
        if record is not None and record.state == RUNNING:
            self._logs[key].add(json.loads(encode_event(event)))

    def _tell_queue(self, record: Record) -> None:
        self._logs[record.key].add(
            json.loads(encode_event(ProgressEvent(id=record.key, step=QUEUE_STEP, fraction=0.0)))
        )
