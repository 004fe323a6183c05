"""One `pulumi up`, from an empty AWS account to a running platform. Read from top to bottom; each line is a module beside this one."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Pulumi runs this file from its own folder

from infra.program import program

program()
