"""The access of RDS's master user, which the tasks of a deployment have and no service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_access(environ: Mapping[str, str], *, host: str, port: int | str) -> dict[str, Any]:
    """Return libpq's parameters for a verified connection as the master user, without a database.

    FINELT_MASTER_USER and FINELT_MASTER_PASSWORD are the login; SSL_CERT_FILE has the certificates to trust.
    """
    return {
        "host": host,
        "port": port,
        "user": environ["FINELT_MASTER_USER"],
        "password": environ["FINELT_MASTER_PASSWORD"],
        "sslmode": "verify-full",
        "sslrootcert": environ["SSL_CERT_FILE"],
    }
