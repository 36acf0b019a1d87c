"""A batch on a Dask cluster: each pair is a task, carried out in the Dask worker's process.

The workers read and write the same paths as this machine: all must lie on a file system that they share. Needs the
extra dask here, and this package on the scheduler and the workers.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distributed import Client, Future, KilledWorker, get_worker, wait
from distributed.diagnostics.plugin import WorkerPlugin

from ..errors import InputError, RegistrationError
from ..progress import Cancelled
from .batch_folder import partial_results
from .batch_results import PairEnd, finished_report
from .batch_table import BatchPair

if TYPE_CHECKING:
    from .batch_local import OnEnd, OnStep

_PLUGIN = "mmln-batch"
_SECONDS_TO_CONNECT = 10.0
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_TO_CANCEL = 10.0
_SECONDS_BETWEEN_TRIES = 0.2


class OneAtATime(WorkerPlugin):
    """What a Dask worker keeps between tasks: warm networks, and a lock, as its threads are for one pair at a time."""

    name = _PLUGIN

    def setup(self, worker: Any) -> None:
        """Called by Dask in each worker, also in those that come later. torch is loaded here."""
        from .runner import Runner
        from .turns import turns_folder

        self._worker = worker
        self._lock = threading.Lock()
        self._runner = Runner(turns_folder())

    def register(self, pair: BatchPair, key: Any) -> PairEnd:
        """Carry out a task of this key. Raises Cancelled when Dask wants it no more, or the batch has gone."""
        from .batch_score import finished_pair
        from .failures import failure_of
        from .runner import free_memory

        def check(step: str, fraction: float) -> None:
            task = self._worker.state.tasks.get(key)
            if task is None or task.state != "executing":
                raise Cancelled

        request = replace(pair.request, threads=pair.request.threads or self._worker.state.nthreads)
        while not self._lock.acquire(timeout=_SECONDS_BETWEEN_TRIES):
            check("", 0.0)
        try:
            if finished_report(request.output) is None:  # else a worker died just after it had written the result
                self._runner.run(request, check)
        except Cancelled:
            raise
        except Exception as error:
            return PairEnd(None, sentence=failure_of(error, request).sentence)
        finally:
            free_memory()
            self._lock.release()
        return finished_pair(pair) or PairEnd(None, sentence="The results vanished; register it again.")


def run_dask(pairs: Sequence[BatchPair], on_end: OnEnd, on_step: OnStep, *, address: str) -> None:
    """Register pairs on the workers of the scheduler at an address, and call on_end for each as it ends.

    Unless the requests name a number of threads, each takes as many as its Dask worker has. Dask tries a pair again
    whose worker died; one whose workers die again and again fails. An exception that comes meanwhile cancels the rest.
    Raises InputError when the scheduler cannot be reached, RegistrationError when it goes away.
    """
    client = _connect(address)
    running: dict[Future, BatchPair] = {}
    try:
        client.register_plugin(OneAtATime())
        waiting = deque(pairs)
        while waiting or running:
            workers = len(client.nthreads())
            if not workers:
                on_step("", "waiting for Dask workers")
            # No more than one each: what waits behind another pair on one worker could not go to an idle one.
            while waiting and len(running) < workers:
                pair = waiting.popleft()
                running[client.submit(_register, pair, pure=False)] = pair
            _pause(client, list(running))
            for future in [future for future in running if future.done()]:
                pair = running.pop(future)
                on_end(pair, _end_of(future, pair, address))
    except BrokenPipeError:  # who reads our lines has gone, not the scheduler
        raise
    except OSError as error:
        raise RegistrationError(_gone(address)) from error
    finally:
        _cancel(client, running)
        with suppress(OSError, TimeoutError):
            client.close(timeout=_SECONDS_TO_CONNECT)


def _register(pair: BatchPair) -> PairEnd:
    """The task, in a thread of a Dask worker."""
    worker = get_worker()
    plugin = worker.plugins[_PLUGIN]
    assert isinstance(plugin, OneAtATime)
    return plugin.register(pair, worker.get_current_task())


def _connect(address: str) -> Any:
    try:
        return Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        raise InputError(
            f"The Dask scheduler at {address} cannot be reached; start one, and give its address as it shows it."
        ) from error


def _pause(client: Any, futures: list[Future]) -> None:
    """Until one is done, or it is time to look for new workers."""
    if not futures:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        return
    with client.as_current(), suppress(TimeoutError):
        wait(futures, timeout=_SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED")


def _end_of(future: Future, pair: BatchPair, address: str) -> PairEnd:
    if future.status in ("cancelled", "lost"):
        raise RegistrationError(_gone(address))
    error = future.exception()
    if error is None:
        end: PairEnd = future.result()
        if end.report is not None and finished_report(pair.request.output) is None:
            sentence = "A Dask worker wrote the results where this machine does not see them; share the file system."
            return PairEnd(None, sentence=sentence)
        return end
    if isinstance(error, KilledWorker):
        sentence = "Dask's workers died again and again at this pair, perhaps for want of memory; see their logs."
    elif isinstance(error, ImportError):
        sentence = f"A Dask worker lacks {error.name}; install the same version of mmln-registration there."
    else:
        sentence = f"The Dask worker failed ({type(error).__name__}: {error}); see its log."
    return PairEnd(None, sentence=sentence)


def _cancel(client: Any, running: dict[Future, BatchPair]) -> None:
    """Take the tasks back, and wait until those at work have removed what they began."""
    if not running:
        return
    with suppress(OSError, TimeoutError):
        client.cancel(list(running), force=True)
    folders = {pair.request.output.parent for pair in running.values()}
    end = time.monotonic() + _SECONDS_TO_CANCEL
    while any(partial_results(folder) for folder in folders) and time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _gone(address: str) -> str:
    return f"The Dask scheduler at {address} has gone; start it again, and go on with --resume."
