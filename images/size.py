"""How large an image is and how fast it starts, against what is allowed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from images.docker_cli import docker, layers

MB = 1_000_000
BUDGET_MB = {"extract": 90, "load": 80, "publish": 200, "transform": 190}  # unpacked, over the base image; by the verb in a job's name
DESCRIBE_S = 0.5  # in a container, from nothing to the answer
OWN_CPU_S = 0.1  # of that, what our process works
TRIES = 20  # the best counts, and the first that is good enough: what else the machine does is no fault of the image
CLOCK = f"""
import resource, subprocess
best = float("inf")
for _ in range({TRIES}):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["/app/bin/job", "describe"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    best = min(best, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    if best <= {OWN_CPU_S}:
        break
print(best)
"""


@dataclass(frozen=True)
class Measured:
    """An image's size over the base in bytes, the seconds `describe` takes in a container, and those its process works."""

    job: str
    size_bytes: int
    describe_s: float
    own_cpu_s: float

    @property
    def excesses(self) -> list[str]:
        """What is over its budget, in words; empty when nothing is."""
        limits = (
            ("MB over the base", self.size_bytes / MB, budget_bytes(self.job) / MB),
            ("s for describe in a container", self.describe_s, DESCRIBE_S),
            ("s of work for describe", self.own_cpu_s, OWN_CPU_S),
        )
        return [f"{self.job}: {value:.2f} {unit}, {limit:g} are allowed" for unit, value, limit in limits if value > limit]


def weight_bytes(image: str, base: str) -> int:
    """The size of an image over its base. All of what the recipe adds counts, and of what it takes from the base nothing."""
    lowest, *ours = layers(image)
    return sum(ours) + max(0, lowest - sum(layers(base)))


def budget_bytes(job: str) -> int:
    """The most that a job's image may weigh over the base."""
    return BUDGET_MB[job.partition("-")[0]] * MB


def measure(job: str, image: str, base: str) -> Measured:
    """One image on its base."""
    worked = docker("run", "--rm", "--network", "none", "--entrypoint", "/app/bin/python", image, "-c", CLOCK)
    return Measured(job, weight_bytes(image, base), _describe_s(image), float(worked))


def _describe_s(image: str) -> float:
    best = float("inf")
    for _ in range(TRIES):
        began = time.perf_counter()
        docker("run", "--rm", "--network", "none", image, "describe")
        best = min(best, time.perf_counter() - began)
        if best <= DESCRIBE_S:
            break
    return best
