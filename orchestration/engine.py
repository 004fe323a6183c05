"""Deprecated name of `orchestration.runtime.entrypoint`, which the deployments of flows have that version 0.1.0 registered."""

from __future__ import annotations

import sys

from orchestration.runtime import entrypoint

if __name__ == "__main__":
    sys.stderr.write("python -m orchestration.engine is deprecated and will be removed in the next version; run scripts/deploy again\n")
    entrypoint.main()
