"""A batch on this machine: several workers, each busy with one pair at a time, on the devices in turn."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch

from ..pipeline.device import choose_device
from .batch_results import PairEnd
from .batch_score import finished_pair
from .batch_table import BatchPair
from .jobs import Job
from .local import LocalClient

OnEnd = Callable[[BatchPair, PairEnd], None]
OnStep = Callable[[str, str], None]
"""Called with a pair's name and the step that it has come to."""

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_CANCEL = 5.0


def batch_devices(device: str) -> list[str]:
    """The devices to share the work out to: auto means every GPU, or the processor. Raises InputError."""
    if device == "auto" and torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device if choose_device(device).type == "cuda" else "cpu"]


def processor_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_local(
    pairs: Sequence[BatchPair],
    on_end: OnEnd,
    on_step: OnStep,
    *,
    devices: Sequence[str],
    workers: int | None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Register pairs, and call on_end for each as it ends. workers: processes, one per device by default.

    Unless the requests name a number of threads, several workers share the processor's cores out evenly. An exception
    that comes meanwhile, such as by Ctrl-C, cancels what runs. environment: as in LocalClient.
    Raises InputError when a worker cannot be started.
    """
    count = min(workers or len(devices), max(len(pairs), 1))
    threads = None if count == 1 else max(1, processor_cores() // count)
    waiting = deque(pairs)
    with ExitStack() as stack:
        lanes = [
            _Lane(stack.enter_context(LocalClient(idle_seconds=None, environment=environment)), device, threads)
            for device in (devices[number % len(devices)] for number in range(count))
        ]
        try:
            while waiting or any(lane.pair for lane in lanes):
                for lane in lanes:
                    lane.look(on_end, on_step)
                    if lane.pair is None and waiting:
                        lane.begin(waiting.popleft())
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        except BaseException:
            _cancel(lanes)
            raise


class _Lane:
    """A worker and the pair that it is busy with."""

    def __init__(self, client: LocalClient, device: str, threads: int | None) -> None:
        self.client, self.device, self.threads = client, device, threads
        self.pair: BatchPair | None = None
        self.job: Job | None = None
        self._step = ""

    def begin(self, pair: BatchPair) -> None:
        self._step = ""
        request = replace(pair.request, device=self.device, threads=pair.request.threads or self.threads)
        self.pair, self.job = pair, self.client.submit(request)

    def look(self, on_end: OnEnd, on_step: OnStep) -> None:
        self.client.poll()
        if self.pair is None or self.job is None:
            return
        if self.job.step != self._step:
            self._step = self.job.step
            on_step(self.pair.name, self._step)
        if self.job.done:
            pair, error = self.pair, self.job.error
            self.pair = self.job = None
            if error is not None:
                on_end(pair, PairEnd(None, sentence=str(error)))
            else:
                on_end(pair, finished_pair(pair) or PairEnd(None, sentence="The results vanished; register it again."))


def _cancel(lanes: Sequence[_Lane]) -> None:
    """Stop all at once, so that closing the clients one by one need not wait for each."""
    jobs = [lane.job for lane in lanes if lane.job is not None]
    for job in jobs:
        job.cancel()
    end = time.monotonic() + _SECONDS_TO_CANCEL
    while not all(job.done for job in jobs) and time.monotonic() < end:
        for lane in lanes:
            lane.client.poll()
        time.sleep(_SECONDS_BETWEEN_LOOKS)
