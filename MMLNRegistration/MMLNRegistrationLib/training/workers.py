"""Work for several processes at once, such that stopping or killing this one leaves none of them behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

import SimpleITK as sitk
import torch

from ..errors import RegistrationError

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_parallel(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """function(job) of each job, as they come. function and jobs must be picklable.

    Processes rather than threads: ITK's Python callbacks hold the interpreter. With one worker all is done in this one.
    Raises RegistrationError when a process is killed, and what function raises.
    """
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield function(job)
        return
    count = min(workers, len(jobs))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_become_worker) as executor:
        futures: list[Future[Result]] = [executor.submit(function, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RegistrationError(
                "A process that prepared data was killed, perhaps for want of memory; start again with fewer threads."
            ) from error
        finally:
            for future in futures:
                future.cancel()


def _become_worker() -> None:
    """Leave Ctrl-C, which the terminal sends to all processes, to the parent, end when it is killed, use one thread."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
