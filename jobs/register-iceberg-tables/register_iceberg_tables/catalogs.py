"""Opens the catalogue of the Iceberg tables. What else a catalogue needs is pyiceberg's own: PYICEBERG_CATALOG__FINELT__<PROPERTY>."""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.request import url2pathname

from jobkit.errors import AuthError, MisconfiguredError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobkit.lake import Lake
    from pyiceberg.catalog import Catalog

NAME = "finelt"
REFUSALS = {"AccessDeniedException", "AccessDenied", "ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"}
FOLDER = "iceberg"  # below the lake: the tables' metadata; never data


def open_catalog(lake: Lake, catalog: str) -> Catalog:
    """Return the catalogue. Raises UsageError (2) for sqlite without a path if the lake is no directory, MisconfiguredError (78)."""
    from pyiceberg.catalog import load_catalog  # noqa: PLC0415  slow

    warehouse = lake.store.uri(FOLDER)
    if catalog == "glue":
        return load_catalog(NAME, type="glue", warehouse=warehouse, **_aws_settings())
    path = _sqlite_path(lake, catalog)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MisconfiguredError(f"{path.parent} cannot be created: {error.strerror}; correct --catalog") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise MisconfiguredError(f"{path} cannot be written; correct --catalog or the permissions")
    return load_catalog(NAME, type="sql", uri=f"sqlite:///{path}", warehouse=warehouse, **_aws_settings())


def _aws_settings() -> dict[str, str]:
    """Return what boto3 or pyarrow do not take from the environment.

    boto3 1.43 does not read AWS_REGION, which ECS sets; pyiceberg 0.12 tells pyarrow no endpoint of another S3.
    """
    region, endpoint = os.environ.get("AWS_REGION"), os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return {name: value for name, value in (("client.region", region), ("s3.endpoint", endpoint)) if value}


def _sqlite_path(lake: Lake, catalog: str) -> Path:
    _, _, path = catalog.partition(":///")
    if path:
        return Path(path)
    if not lake.store.url.startswith("file:"):
        raise UsageError(
            f"the lake {lake.store.url} is no directory, so --catalog sqlite needs a path: sqlite:////path/catalog.db, or glue"
        )
    return Path(url2pathname(lake.store.uri(f"{FOLDER}/catalog.db").removeprefix("file://")))


_P = ParamSpec("_P")
_R = TypeVar("_R")


def translate_errors(verb: Callable[_P, _R]) -> Callable[_P, _R]:
    """Raise errors of the catalogue and of files as ours: AuthError (77) if AWS refuses, TemporaryError (75) for everything else."""

    @wraps(verb)
    def translated(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  slow
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  slow

        try:
            return verb(*args, **kwargs)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in REFUSALS:
                raise AuthError(f"AWS refused {error.operation_name}: {code}; the role needs this action on the tables' database") from None
            raise TemporaryError(f"AWS answered {code} to {error.operation_name}; run this again later") from None
        except (BotoCoreError, SQLAlchemyError, OSError) as error:
            text = " ".join(str(error).split())
            raise TemporaryError(f"the catalogue or a file of a table cannot be reached: {text[:300]}; run this again later") from None

    return translated
