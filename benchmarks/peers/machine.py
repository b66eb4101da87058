"""What the machine can do at most: the memory bandwidth and the speed of products of matrices, on as many processes."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np

PACKAGES = ("sparkdml", "pyspark", "numpy", "scipy", "scikit-learn", "vowpalwabbit")
ROUNDS = 7


def bandwidth(processes: int, nbytes: int = 1 << 29) -> float:
    """Bytes a second that so many processes read from arrays far larger than the cache of a core, by NumPy's sum."""
    array_size = nbytes // 8

    def setup(number: int) -> Callable[[], Any]:
        array = np.ones(array_size)
        return lambda: array.sum()

    return processes * nbytes / seconds_of(processes, setup)


def gemm(processes: int, n: int = 1500) -> float:
    """Floating-point operations a second of products of n x n matrices, one thread a process."""

    def setup(number: int) -> Callable[[], Any]:
        A = np.random.default_rng(number).random((n, n))
        return lambda: A @ A

    return processes * 2.0 * n**3 / seconds_of(processes, setup)


def seconds_of(processes: int, setup: Callable[[int], Callable[[], Any]]) -> float:
    """The median of the rounds' times, all processes working at once; of the slowest.

    `setup` gets the number of the process and returns the work.
    """
    context = get_context("fork")
    barrier, results = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=_work, args=(setup, number, barrier, results)) for number in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return max(found)


def _work(setup: Callable[[int], Callable[[], Any]], number: int, barrier: Barrier, results: Any) -> None:
    work, times = setup(number), []
    for _ in range(ROUNDS):
        barrier.wait()
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    results.put(statistics.median(times))


def described(processes: int, nbytes: int = 1 << 29) -> dict[str, Any]:
    """The machine, the versions, and the two limits; the bandwidth is that of so many bytes a process."""
    return {
        "processor": _processor(),
        "cores": processes,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "bandwidth": bandwidth(processes, nbytes),
        "gemm": gemm(processes),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or os.uname().machine


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None
