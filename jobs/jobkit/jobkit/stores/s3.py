"""A store in an S3 bucket, or in one of a compatible service (AWS_ENDPOINT_URL).

Rights that it needs: s3:ListBucket, s3:GetObject, s3:PutObject, and s3:DeleteObject for `delete_if_match`; for `erase` also
s3:ListBucketVersions and s3:DeleteObjectVersion. Requests that fail temporarily are retried for about 17 seconds; AWS_MAX_ATTEMPTS sets
another number of attempts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import random
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from jobkit import failpoints
from jobkit.errors import AuthError, MisconfiguredError, TemporaryError
from jobkit.stores.base import NotFoundError, Stat, check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

REQUEST_ATTEMPTS = 6
FIRST_PAUSE_S, BACKOFF_FACTOR = 0.05, 4.0  # 17 seconds in all, give or take half
MAX_RETRY_AFTER_S = 20.0  # a longer Retry-After is cut to this
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
CONFLICT_ATTEMPTS = 5
DOWNLOAD_CHUNK_BYTES = 1 << 20
DELETE_BATCH = 1000  # the limit of DeleteObjects
VERSION_RIGHTS = "deleting for good takes s3:ListBucketVersions and s3:DeleteObjectVersion, too"


class S3Store:
    """A prefix in a bucket. If-None-Match and If-Match give the conditional writes.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3  # noqa: PLC0415  a quarter of a second that file:// need not pay
        from botocore.config import Config  # noqa: PLC0415

        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        attempts = int(os.environ.get("AWS_MAX_ATTEMPTS") or REQUEST_ATTEMPTS)  # the Config would override the variable
        config = Config(retries={"mode": "standard", "total_max_attempts": attempts}, connect_timeout=5, read_timeout=60)
        with self._translate_errors(""):
            self._client: Any = boto3.client("s3", config=config)
        self._client.meta.events.register_first("needs-retry.s3", partial(_compute_pause_s, attempts))
        self._client.meta.events.register("after-call.s3", self._record_date)
        self._last_date: tuple[datetime, float] | None = None  # the latest response's Date, and the monotonic time when it came

    def uri(self, key: str) -> str:
        """Return s3://bucket/prefix/key."""
        return f"s3://{self.bucket}/{self._full_key(key)}"

    def get(self, key: str) -> bytes:
        """Return the object. Raises NotFoundError."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Return the object and its ETag. Raises NotFoundError."""
        with self._translate_errors(key):
            response = self._client.get_object(Bucket=self.bucket, Key=self._full_key(key))
            return response["Body"].read(), response["ETag"]

    def download(self, key: str, path: Path) -> None:
        """Write the object to a local file in chunks. Raises NotFoundError."""
        with self._translate_errors(key), path.open("wb") as file:
            response = self._client.get_object(Bucket=self.bucket, Key=self._full_key(key))
            for chunk in response["Body"].iter_chunks(DOWNLOAD_CHUNK_BYTES):
                file.write(chunk)

    def exists(self, key: str) -> bool:
        """Whether the key has an object."""
        try:
            self._head(key)
        except NotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes | Path, content_type: str | None = None) -> None:
        """Write an object, replacing an existing one."""
        self._put(key, data, content_type)

    def copy(self, key: str, to: str) -> None:
        """Copy the object inside the bucket. Raises NotFoundError."""
        source = {"Bucket": self.bucket, "Key": self._full_key(key)}
        with self._translate_errors(key), failpoints.surround("put"):
            self._client.copy_object(Bucket=self.bucket, Key=self._full_key(to), CopySource=source)

    def put_if_absent(self, key: str, data: bytes, content_type: str | None = None) -> bool:
        """Write with If-None-Match. After a refusal, compare the bytes: the object may be our own from a write whose response was lost."""
        return self._put(key, data, content_type, IfNoneMatch="*")

    def put_if_match(self, key: str, data: bytes, etag: str | None, content_type: str | None = None) -> bool:
        """Write with If-Match. After a refusal, compare the bytes, as `put_if_absent` does."""
        return self._put(key, data, content_type, **({"IfMatch": etag} if etag else {"IfNoneMatch": "*"}))

    def delete_if_match(self, key: str, etag: str) -> bool:
        """Delete with If-Match."""
        for _ in range(CONFLICT_ATTEMPTS):
            try:
                with self._translate_errors(key):
                    try:
                        with failpoints.surround("delete"):
                            self._client.delete_object(Bucket=self.bucket, Key=self._full_key(key), IfMatch=etag)
                    except self._client.exceptions.ClientError as error:
                        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                        if status == 412:  # noqa: PLR2004  another object, or none any more
                            return not self.exists(key)
                        if status == 409:  # noqa: PLR2004  another conditional write is in progress; S3 asks for a retry
                            continue
                        raise
            except NotFoundError:
                pass  # deleted already
            return True
        raise self._conflict_error(key)

    def get_size(self, key: str) -> int:
        """Return the object's size in bytes. Raises NotFoundError."""
        return int(self._head(key)["ContentLength"])

    def stat(self, key: str) -> Stat:
        """Return the object's metadata; S3 keeps the SHA-256 of objects that were written in one part. Raises NotFoundError."""
        head = self._head(key, ChecksumMode="ENABLED")
        return Stat(int(head["ContentLength"]), head["LastModified"].astimezone(UTC), _decode_sha256(head.get("ChecksumSHA256")))

    def now(self) -> datetime:
        """Return the time (UTC) by the Date of S3's latest response; this machine's time if there was none with a Date."""
        if self._last_date is None:
            return datetime.now(UTC)
        date, received_s = self._last_date
        return date + timedelta(seconds=time.monotonic() - received_s)

    def list_keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys below a prefix in the order in which S3 lists them, that of UTF-8, which is Python's order of texts too."""
        options = {"StartAfter": self._full_key(after)} if after else {}
        for page in self._list_pages(prefix, **options):
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(self.prefix)

    def list_folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the common prefixes directly below a prefix."""
        common = (item["Prefix"] for page in self._list_pages(prefix, Delimiter="/") for item in page.get("CommonPrefixes", ()))
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in common)

    def list_temporary_files(self, prefix: str) -> Sequence[str]:  # noqa: ARG002
        """Return an empty list: S3 shows no object before it is complete."""
        return []

    def erase(self, prefix: str, matches: Callable[[str], bool]) -> Sequence[str]:
        """Delete every version of each object, and the delete markers of objects that were deleted before."""
        return sorted({item["Key"].removeprefix(self.prefix) for item in self._erase(prefix, lambda item: matches(item["Key"]))})

    def erase_old_versions(self, prefix: str, matches: Callable[[str], bool]) -> None:
        """Delete every version but the latest."""
        self._erase(prefix, lambda item: matches(item["Key"]) and not item["IsLatest"])

    def list_old_versions(self, prefix: str) -> Sequence[str]:
        """Return the keys of versions that are not the latest."""
        return sorted({item["Key"].removeprefix(self.prefix) for item in self._list_versions(prefix) if not item["IsLatest"]})

    def list_deleted(self, prefix: str) -> Sequence[str]:
        """Return the keys whose latest version is a delete marker over another version."""
        listed = self._list_versions(prefix)
        marked = {item["Key"] for item in listed if _is_deletion(item)}
        return sorted(key.removeprefix(self.prefix) for key in marked & {item["Key"] for item in listed if "Size" in item})

    def restore_deleted(self, prefix: str) -> None:
        """Delete the delete markers that are the latest versions: the versions below them are current again."""
        while self.list_deleted(prefix):  # an object that was deleted twice has a marker below the first
            self._erase(prefix, _is_deletion)

    def _full_key(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _head(self, key: str, **options: str) -> dict[str, Any]:
        with self._translate_errors(key):
            head: dict[str, Any] = self._client.head_object(Bucket=self.bucket, Key=self._full_key(key), **options)
            return head

    def _put(self, key: str, data: bytes | Path, content_type: str | None, **condition: str) -> bool:
        """Write an object under a condition. Returns False if the condition does not hold and the object has other bytes."""
        options = {"ContentType": content_type} if content_type else {}
        if isinstance(data, bytes):
            options["ChecksumAlgorithm"] = "SHA256"  # S3 keeps it with the object, so that `stat` returns it
        for _ in range(CONFLICT_ATTEMPTS):
            with self._translate_errors(key):
                try:
                    with failpoints.surround("put"), nullcontext(data) if isinstance(data, bytes) else data.open("rb") as body:
                        self._client.put_object(Bucket=self.bucket, Key=self._full_key(key), Body=body, **options, **condition)
                except self._client.exceptions.ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    if status == 412:  # noqa: PLR2004  precondition failed, perhaps because of our own write whose response was lost
                        return self.exists(key) and self.get(key) == data
                    if status == 409:  # noqa: PLR2004  another conditional write is in progress; S3 asks for a retry
                        continue
                    raise
                return True
        raise self._conflict_error(key)

    def _conflict_error(self, key: str) -> TemporaryError:
        return TemporaryError(f"{self.uri(key)} is being written by others all the time; try again later")

    def _erase(self, prefix: str, matches: Callable[[dict[str, Any]], bool]) -> Sequence[dict[str, Any]]:
        """Delete the versions and delete markers that match, given by their keys in this store; return them with their full keys."""
        listed = self._list_versions(prefix)
        versions = [item for item in listed if matches({**item, "Key": item["Key"].removeprefix(self.prefix)})]
        try:
            for start in range(0, len(versions), DELETE_BATCH):
                batch = [{name: item[name] for name in ("Key", "VersionId")} for item in versions[start : start + DELETE_BATCH]]
                with self._translate_errors(prefix), failpoints.surround("delete"):
                    response = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
                _check_deleted(response.get("Errors", ()), self.url)
        except AuthError as error:
            raise AuthError(f"{error}; {VERSION_RIGHTS}") from None
        return versions

    def _list_versions(self, prefix: str) -> list[dict[str, Any]]:
        """Return the versions and delete markers below a prefix."""
        pages = self._client.get_paginator("list_object_versions")
        try:
            with self._translate_errors(prefix):
                listed = list(pages.paginate(Bucket=self.bucket, Prefix=self.prefix + (check_key(prefix) if prefix else "")))
        except AuthError as error:
            raise AuthError(f"{error}; {VERSION_RIGHTS}") from None
        return [item for page in listed for kind in ("Versions", "DeleteMarkers") for item in page.get(kind, ())]

    def _list_pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        full = self.prefix + (check_key(prefix) if prefix else "")
        with self._translate_errors(prefix):
            pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=full, **options))
        while True:
            with self._translate_errors(prefix):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _record_date(self, http_response: Any, **_: object) -> None:  # noqa: ANN401  untyped
        date = getattr(http_response, "headers", {}).get("Date")
        with suppress(ValueError):
            self._last_date = parsedate_to_datetime(str(date)).astimezone(UTC), time.monotonic()

    @contextmanager
    def _translate_errors(self, key: str) -> Iterator[None]:
        """Raise S3's errors as NotFoundError or a JobError with the right exit code."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

        where = f"s3://{self.bucket}/{self.prefix}{key}"
        try:
            yield
        except ClientError as error:
            raise _translate_response(error.response, key, where) from None
        except NoCredentialsError:
            raise MisconfiguredError(f"no AWS credentials for {where}; give the job a role or set AWS_PROFILE") from None
        except BotoCoreError as error:
            raise TemporaryError(f"S3 did not answer for {where}: {error}") from None


def _is_deletion(item: dict[str, Any]) -> bool:
    """Whether a listed version is a delete marker that hides the others."""
    return bool(item["IsLatest"]) and "Size" not in item


def _check_deleted(errors: Sequence[dict[str, str]], url: str) -> None:
    """Raise AuthError or TemporaryError if objects of a batch were not deleted."""
    for error in errors:
        code, key = error.get("Code"), error.get("Key")
        message = f"{len(errors)} objects of {url} were not deleted, {key} for one: {code} {error.get('Message', '')}"
        raise AuthError(message) if code == "AccessDenied" else TemporaryError(f"{message}; run again")


def _decode_sha256(checksum: str | None) -> str | None:
    """Convert S3's base64 to hex. Returns None for an object written in several parts, whose checksum is of another kind."""
    try:
        digest = base64.b64decode(checksum or "", validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None


def _compute_pause_s(
    max_attempts: int,
    response: Any,  # noqa: ANN401  untyped
    attempts: int,
    caught_exception: Exception | None,
    **_: object,
) -> float | None:
    """Return the seconds to wait before the next attempt if S3 is busy or unreachable; None leaves the decision to botocore.

    botocore's first pause is half a second whatever happened, and it does not retry 429, which services compatible with S3 return.
    """
    from botocore.exceptions import ConnectionError as UnreachableError  # noqa: PLC0415
    from botocore.exceptions import HTTPClientError  # noqa: PLC0415

    is_busy = response is not None and response[0].status_code in RETRIED_STATUSES
    if attempts >= max_attempts or not (is_busy or isinstance(caught_exception, UnreachableError | HTTPClientError)):
        return None
    retry_after = str(response[0].headers.get("Retry-After", "")) if is_busy else ""
    pause_s = FIRST_PAUSE_S * BACKOFF_FACTOR ** (attempts - 1) * random.uniform(0.5, 1.5)  # noqa: S311  not a secret
    return max(pause_s, min(float(retry_after), MAX_RETRY_AFTER_S)) if retry_after.isdecimal() else pause_s


def _translate_response(response: dict[str, Any], key: str, where: str) -> Exception:
    """Return the exception that stands for an error response of S3."""
    error = response.get("Error", {})
    code, status = error.get("Code", ""), response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("NoSuchKey", "404"):
        return NotFoundError(key)
    if code == "NoSuchBucket":
        return MisconfiguredError(f"the bucket of {where} does not exist")
    if code == "RequestTimeTooSkewed":
        return MisconfiguredError(f"S3 refuses {where}: this machine's clock is off by more than 15 minutes; set it")
    if status in (401, 403):
        return AuthError(f"S3 refuses {where} ({code}); the job's role needs s3:GetObject, s3:PutObject and s3:ListBucket there")
    if status == 429 or status >= 500:  # noqa: PLR2004
        return TemporaryError(f"S3 is busy for {where} ({code}); try again later")
    return MisconfiguredError(f"S3 does not accept the request for {where}: {code} {error.get('Message', '')}")
