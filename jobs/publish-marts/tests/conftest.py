from __future__ import annotations

from tests.fixtures_postgres import postgres_server, warehouse

__all__ = ["postgres_server", "warehouse"]
