"""Measures an image's size and start time against their budgets."""

from __future__ import annotations

import time
from dataclasses import dataclass

from images.docker_cli import docker, list_layer_bytes

MB = 1_000_000
BUDGET_MB = {
    "extract": 90,
    "load": 80,
    "publish": 200,
    "register": 320,
    "transform": 190,
    "extract-dropped-files": 105,  # the cryptography of SFTP takes 20
}  # unpacked, over the base image; by the job's name, or the verb in it
DESCRIBE_S = 0.5  # in a new container, until the answer
CPU_S = 0.1  # of that, the CPU time of our process
ATTEMPTS = 20  # at most; the best counts, because other load on the machine only slows a container down
CPU_SCRIPT = f"""
import resource, subprocess
best = float("inf")
for _ in range({ATTEMPTS}):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["/app/bin/job", "describe"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    best = min(best, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    if best <= {CPU_S}:
        break
print(best)
"""


@dataclass(frozen=True)
class Measurement:
    """An image's size over the base in bytes, and the time and CPU time of `describe` in a container in seconds."""

    job: str
    size_bytes: int
    describe_s: float
    own_cpu_s: float

    @property
    def excesses(self) -> list[str]:
        """One sentence for each exceeded budget."""
        limits = (
            ("MB over the base", self.size_bytes / MB, budget_bytes(self.job) / MB),
            ("s for describe in a container", self.describe_s, DESCRIBE_S),
            ("s of CPU time for describe", self.own_cpu_s, CPU_S),
        )
        return [f"{self.job}: {value:.2f} {unit}, the limit is {limit:g}" for unit, value, limit in limits if value > limit]


def measure_bytes_over_base(image: str, base: str) -> int:
    """Return the size of an image over its base. What the recipe adds counts; what it removes from the base does not."""
    lowest, *added = list_layer_bytes(image)
    return sum(added) + max(0, lowest - sum(list_layer_bytes(base)))


def budget_bytes(job: str) -> int:
    """Return the largest allowed size of a job's image over its base."""
    return BUDGET_MB.get(job, BUDGET_MB[job.partition("-")[0]]) * MB


def measure_image(job: str, image: str, base: str) -> Measurement:
    """Measure an image."""
    cpu_s = docker("run", "--rm", "--network", "none", "--entrypoint", "/app/bin/python", image, "-c", CPU_SCRIPT)
    return Measurement(job, measure_bytes_over_base(image, base), _time_describe_s(image), float(cpu_s))


def _time_describe_s(image: str) -> float:
    best = float("inf")
    for _ in range(ATTEMPTS):
        started_s = time.perf_counter()
        docker("run", "--rm", "--network", "none", image, "describe")
        best = min(best, time.perf_counter() - started_s)
        if best <= DESCRIBE_S:
            break
    return best
