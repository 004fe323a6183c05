"""The entry point that `pulumi up` runs, from an empty AWS account to a running platform."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Pulumi runs this file from its own folder

from infra.program import create_stack
from jobs.catalogue import catalogue

create_stack(catalogue())
