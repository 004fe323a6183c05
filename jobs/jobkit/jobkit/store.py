"""Objects under a URL, on a local directory or in S3, with the one primitive commits need: put if absent.

Hand-written because no library gives both stores a durable put-if-absent with one meaning: fsspec has none on local files,
object-store bindings do not fsync, and boto3 reports a lost answer that was really stored as a refusal.
"""

from __future__ import annotations

import base64
import binascii
import errno
import fcntl
import hashlib
import os
import random
import shutil
import tempfile
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, urlsplit

from jobkit import failpoints, urls
from jobkit.errors import AuthError, MisconfiguredError, TemporaryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONFLICT_TRIES, REQUEST_TRIES = 5, 6
FIRST_PAUSE_S, LONGER = 0.05, 4.0  # 17 seconds in all, give or take half
ERASED_AT_ONCE = 1000  # as many as S3 takes in one request
ASKED_PAUSE_S = 20.0  # at most, where S3 says how long
BUSY = frozenset({429, 500, 502, 503, 504})
NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class NotFoundError(KeyError):
    """No object has this key."""


class Stat(NamedTuple):
    """What a store says of an object without sending it: size, time of its last change, and SHA-256 in hex where the store keeps one."""

    bytes: int
    modified: datetime
    sha256: str | None = None


class Store(Protocol):
    """Bytes by key. Every write is atomic: a reader sees the old object, the new one, or none."""

    url: str

    def get(self, key: str) -> bytes:
        """The object. Raises NotFoundError."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object and a tag that changes when it does. Raises NotFoundError."""

    def exists(self, key: str) -> bool:
        """Whether the key has an object."""

    def put(self, key: str, data: bytes | Path, content_type: str | None = None) -> None:
        """Write, replacing what is there. Of a path what its file holds, which is never in memory as a whole."""

    def put_if_absent(self, key: str, data: bytes, content_type: str | None = None) -> bool:
        """Write if the key is free. True when our bytes are there afterwards, False when others are."""

    def put_if_match(self, key: str, data: bytes, tag: str | None, content_type: str | None = None) -> bool:
        """Write if the object still has this tag (None: if there is none). False when it has not."""

    def delete_if_match(self, key: str, tag: str) -> bool:
        """Remove the object if it still has this tag. True when it is gone, False when another is there."""

    def size(self, key: str) -> int:
        """How many bytes the object has. Raises NotFoundError."""

    def stat(self, key: str) -> Stat:
        """What is known of the object without reading it. Raises NotFoundError."""

    def now(self) -> datetime:
        """The time by the store's own clock, in UTC."""

    def unfinished(self, prefix: str) -> Sequence[str]:
        """The keys of files that interrupted writes left below a prefix; `list` does not show them. Sorted."""

    def list(self, prefix: str) -> Sequence[str]:
        """The keys that begin with this prefix, which ends in a slash or is empty; sorted."""

    def folders(self, prefix: str) -> Sequence[str]:
        """The names right below a prefix that have objects under them; sorted."""

    def erase(self, prefix: str, wanted: Callable[[str], bool]) -> Sequence[str]:
        """Delete for good the objects below a prefix whose keys are wanted, with what a versioned bucket keeps of them; gives the keys."""

    def erase_old_versions(self, prefix: str, wanted: Callable[[str], bool]) -> None:
        """Delete for good what a versioned bucket keeps of such objects besides what they are now."""

    def uri(self, key: str) -> str:
        """Where the object is, for a person or another tool."""


def open_store(url: str) -> Store:
    """The store at a path, file:///path or s3://bucket/prefix. Raises UsageError on anything else, and does not repeat it."""
    parts = urlsplit(urls.check_place(url))
    if parts.scheme == "s3":
        return S3Store(parts.netloc, parts.path.strip("/"))
    return FileStore(Path(unquote(parts.path)) if parts.scheme else Path(url).absolute())


def _file_url(path: Path) -> str:
    """The path as a URL that open_store reads back. What a URL may hold stays as it is, so that `year=2016` reads as `year=2016`."""
    return f"file://{quote(str(path), safe='/=:,@+~!$()*')}"


def _checked(key: str) -> str:
    """The key. Refuses what could leave its prefix or confuse a file system."""
    if not key or key.startswith("/") or "\0" in key or any(part in ("", ".", "..") for part in key.rstrip("/").split("/")):
        raise UsageError(f"{key!r} is not a key: expected names joined by single slashes, none of them '.' or '..'")
    return key


class FileStore:
    """A local directory. Hard links give put-if-absent, fsync of file and folder makes it durable."""

    def __init__(self, root: Path) -> None:
        self.root, self.url = root, _file_url(root)

    def _path(self, key: str) -> Path:
        return self.root / _checked(key)

    def uri(self, key: str) -> str:
        """file:///..."""
        return _file_url(self._path(key))

    def get(self, key: str) -> bytes:
        """The object. Raises NotFoundError."""
        try:
            with _told(self._path(key)):
                return self._path(key).read_bytes()
        except NO_FILE:
            raise NotFoundError(key) from None

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object and its digest. Raises NotFoundError."""
        data = self.get(key)
        return data, hashlib.sha256(data).hexdigest()

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        with _told(self._path(key)):
            return self._path(key).is_file()

    def put(self, key: str, data: bytes | Path, content_type: str | None = None) -> None:  # noqa: ARG002  files have no type
        """Write beside and rename over."""
        path = self._path(key)
        with _told(path), _beside(path, data) as temporary:
            with failpoints.surround("rename"):
                temporary.replace(path)
            _sync_folder(path.parent)

    def put_if_absent(self, key: str, data: bytes, content_type: str | None = None) -> bool:  # noqa: ARG002
        """Write beside and hard-link: the link fails where the name is taken."""
        path = self._path(key)
        if self.exists(key):
            return self.get(key) == data
        with _told(path), _beside(path, data) as temporary:
            try:
                with failpoints.surround("link"):
                    os.link(temporary, path)
            except FileExistsError:
                return self.get(key) == data
            _sync_folder(path.parent)
            return True

    def put_if_match(self, key: str, data: bytes, tag: str | None, content_type: str | None = None) -> bool:
        """Compare and rename under a lock file beside the object."""
        path = self._path(key)
        with _told(path), _locked(path):
            if self._tag(key) != tag:
                return False
            self.put(key, data, content_type)
            return True

    def delete_if_match(self, key: str, tag: str) -> bool:
        """Compare and unlink under the same lock file."""
        path = self._path(key)
        with _told(path), _locked(path):
            if (found := self._tag(key)) == tag:
                with failpoints.surround("unlink"):
                    path.unlink()
                _sync_folder(path.parent)
            return found in (tag, None)

    def _tag(self, key: str) -> str | None:
        return self.get_with_etag(key)[1] if self.exists(key) else None

    def size(self, key: str) -> int:
        """The file's size. Raises NotFoundError."""
        try:
            with _told(self._path(key)):
                return self._path(key).stat().st_size
        except NO_FILE:
            raise NotFoundError(key) from None

    def stat(self, key: str) -> Stat:
        """Size and time of change. A file system keeps no digest. Raises NotFoundError."""
        try:
            with _told(self._path(key)):
                found = self._path(key).stat()
        except NO_FILE:
            raise NotFoundError(key) from None
        return Stat(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def now(self) -> datetime:
        """The time that the file system stamps on a new file: the server's, where the directory is on a network share."""
        with _told(self.root):
            _make_folder(self.root)
            with tempfile.TemporaryFile(dir=self.root) as file:
                return datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)

    def list(self, prefix: str) -> Sequence[str]:
        """Keys below a folder."""
        return self._files(prefix, lambda name: not name.startswith("."))

    def unfinished(self, prefix: str) -> Sequence[str]:
        """Temporary files below a folder, which killed writers leave; not the lock files, which stay."""
        return self._files(prefix, lambda name: name.startswith(".") and not name.endswith(".lock"))

    def _files(self, prefix: str, wanted: Callable[[str], bool]) -> Sequence[str]:
        folder = self.root / _checked(prefix) if prefix else self.root
        with _told(folder):
            above = len(f"{self.root}/")  # text and not paths: there may be thousands
            return sorted(f"{where}/{name}"[above:] for where, _, names in os.walk(folder) for name in names if wanted(name))

    def erase(self, prefix: str, wanted: Callable[[str], bool]) -> Sequence[str]:
        """Unlink, and remove the folders that are empty then."""
        found = [key for key in ([prefix] if self.exists(prefix) else self.list(prefix)) if wanted(key)]
        for key in found:
            with _told(self._path(key)), failpoints.surround("unlink"):
                self._path(key).unlink(missing_ok=True)
        folders = {folder for key in found for folder in self._path(key).parents if self.root in folder.parents}
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):  # not empty, or gone already
                folder.rmdir()
        return found

    def erase_old_versions(self, prefix: str, wanted: Callable[[str], bool]) -> None:
        """Nothing to do: a directory keeps no earlier versions."""

    def folders(self, prefix: str) -> Sequence[str]:
        """Folders right below a folder."""
        folder = self.root / _checked(prefix) if prefix else self.root
        try:
            with _told(folder):
                return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except FileNotFoundError:
            return []


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """File system errors as sentences with the right exit code."""
    try:
        yield
    except NO_FILE:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(f"no space left at {path.parent}; free some and run again, nothing half written is visible") from None
        raise MisconfiguredError(f"cannot use {path}: {error.strerror}; check that the place exists and may be written") from None


@contextmanager
def _beside(path: Path, data: bytes | Path) -> Iterator[Path]:
    """A hidden, synced file with these bytes, or those of a file, in the folder of `path`; gone afterwards.

    Raises MisconfiguredError where `path` is a folder.
    """
    if path.is_dir():
        raise MisconfiguredError(f"cannot write {path}: a folder has that name; move it away or choose another place")
    _make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            failpoints.hit("before write")
            _write(data, file)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            with failpoints.surround("fsync"):
                os.fsync(file.fileno())
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _write(data: bytes | Path, file: IO[bytes]) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        with data.open("rb") as source:
            shutil.copyfileobj(source, file)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Nobody else compares and changes this object meanwhile. The lock file is gone afterwards."""
    _make_folder(path.parent)
    name = path.parent / f".{path.name}.lock"
    lock = _lock(name)
    try:
        yield
    finally:
        name.unlink(missing_ok=True)  # before the lock is released: whoever waits for it sees that the file is no longer there
        os.close(lock)


def _lock(name: Path) -> int:
    """The open lock file, locked, and still the one of this name: its last owner removed it."""
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock), name.lstat()):
                return lock
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entry durable before something is put inside."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise MisconfiguredError(f"cannot make the folder {folder}: {error.strerror}") from None
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class S3Store:
    """A prefix in a bucket. If-None-Match and If-Match give the conditional writes."""

    def __init__(self, bucket: str, prefix: str) -> None:
        import boto3  # noqa: PLC0415  a quarter of a second that file:// need not pay
        from botocore.config import Config  # noqa: PLC0415

        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        config = Config(retries={"mode": "standard", "total_max_attempts": REQUEST_TRIES}, connect_timeout=5, read_timeout=60)
        with self._told(""):
            self._client: Any = boto3.client("s3", config=config)
        self._client.meta.events.register_first("needs-retry.s3", _pause_s)
        self._client.meta.events.register("after-call.s3", self._note_time)
        self._answered: tuple[datetime, float] | None = None  # the newest answer's Date, and when it came by a clock that nobody sets

    def _note_time(self, http_response: Any, **_: object) -> None:  # noqa: ANN401  untyped
        date = getattr(http_response, "headers", {}).get("Date")
        with suppress(ValueError):
            self._answered = parsedate_to_datetime(str(date)).astimezone(UTC), time.monotonic()

    def _key(self, key: str) -> str:
        return self.prefix + _checked(key)

    def uri(self, key: str) -> str:
        """s3://..."""
        return f"s3://{self.bucket}/{self._key(key)}"

    def get(self, key: str) -> bytes:
        """The object. Raises NotFoundError."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object and its ETag. Raises NotFoundError."""
        with self._told(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(key))
            return answer["Body"].read(), answer["ETag"]

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            with self._told(key):
                self._client.head_object(Bucket=self.bucket, Key=self._key(key))
        except NotFoundError:
            return False
        return True

    def put(self, key: str, data: bytes | Path, content_type: str | None = None) -> None:
        """Write, replacing what is there."""
        self._put(key, data, content_type)

    def put_if_absent(self, key: str, data: bytes, content_type: str | None = None) -> bool:
        """Write with If-None-Match. A refusal is settled by reading back: our own write may be what is there."""
        return self._put(key, data, content_type, IfNoneMatch="*")

    def put_if_match(self, key: str, data: bytes, tag: str | None, content_type: str | None = None) -> bool:
        """Write with If-Match."""
        return self._put(key, data, content_type, **({"IfMatch": tag} if tag else {"IfNoneMatch": "*"}))

    def delete_if_match(self, key: str, tag: str) -> bool:
        """Delete with If-Match."""
        for _ in range(CONFLICT_TRIES):
            try:
                with self._told(key):
                    try:
                        with failpoints.surround("delete"):
                            self._client.delete_object(Bucket=self.bucket, Key=self._key(key), IfMatch=tag)
                    except self._client.exceptions.ClientError as error:
                        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                        if status == 412:  # noqa: PLR2004  another object, or none any more
                            return not self.exists(key)
                        if status == 409:  # noqa: PLR2004  another conditional write is under way; S3 asks to try again
                            continue
                        raise
            except NotFoundError:
                pass  # gone already
            return True
        raise TemporaryError(f"{self.uri(key)} is being written by others all the time; try again later")

    def size(self, key: str) -> int:
        """The object's size. Raises NotFoundError."""
        with self._told(key):
            return int(self._client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"])

    def stat(self, key: str) -> Stat:
        """Size, time of change, and the SHA-256 that S3 keeps of what was put in one piece. Raises NotFoundError."""
        with self._told(key):
            found = self._client.head_object(Bucket=self.bucket, Key=self._key(key), ChecksumMode="ENABLED")
        return Stat(int(found["ContentLength"]), found["LastModified"].astimezone(UTC), _sha256(found.get("ChecksumSHA256")))

    def now(self) -> datetime:
        """The time by the Date of S3's newest answer. Our own where none came yet, or without a Date."""
        if self._answered is None:
            return datetime.now(UTC)
        date, at = self._answered
        return date + timedelta(seconds=time.monotonic() - at)

    def unfinished(self, prefix: str) -> Sequence[str]:  # noqa: ARG002
        """None: S3 shows no object before it is whole."""
        return []

    def _put(self, key: str, data: bytes | Path, content_type: str | None, **condition: str) -> bool:
        kind = {"ContentType": content_type} if content_type else {}
        if isinstance(data, bytes):
            kind["ChecksumAlgorithm"] = "SHA256"  # kept with the object: `stat` has it without reading
        for _ in range(CONFLICT_TRIES):
            with self._told(key):
                try:
                    with failpoints.surround("put"), nullcontext(data) if isinstance(data, bytes) else data.open("rb") as body:
                        self._client.put_object(Bucket=self.bucket, Key=self._key(key), Body=body, **kind, **condition)
                except self._client.exceptions.ClientError as error:
                    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                    if status == 412:  # noqa: PLR2004  precondition failed; perhaps by our own put whose answer was lost
                        return self.exists(key) and self.get(key) == data
                    if status == 409:  # noqa: PLR2004  another conditional write is under way; S3 asks to try again
                        continue
                    raise
                return True
        raise TemporaryError(f"{self.uri(key)} is being written by others all the time; try again later")

    def list(self, prefix: str) -> Sequence[str]:
        """Keys below a prefix."""
        return sorted(item["Key"].removeprefix(self.prefix) for page in self._pages(prefix) for item in page.get("Contents", ()))

    def erase(self, prefix: str, wanted: Callable[[str], bool]) -> Sequence[str]:
        """Delete every version of each object, and the markers of those that were deleted before."""
        return sorted({item["Key"].removeprefix(self.prefix) for item in self._erase(prefix, lambda item: wanted(item["Key"]))})

    def erase_old_versions(self, prefix: str, wanted: Callable[[str], bool]) -> None:
        """Delete every version but the newest."""
        self._erase(prefix, lambda item: wanted(item["Key"]) and not item["IsLatest"])

    def _erase(self, prefix: str, wanted: Callable[[dict[str, Any]], bool]) -> Sequence[dict[str, Any]]:
        """Delete the versions that are wanted, by their keys in this store; gives them."""
        try:
            with self._told(prefix):
                asked = {"Bucket": self.bucket, "Prefix": self.prefix + _checked(prefix)}
                pages = list(self._client.get_paginator("list_object_versions").paginate(**asked))
            listed = [item for page in pages for kind in ("Versions", "DeleteMarkers") for item in page.get(kind, ())]
            found = [item for item in listed if wanted({**item, "Key": item["Key"].removeprefix(self.prefix)})]
            for at in range(0, len(found), ERASED_AT_ONCE):
                batch = [{name: item[name] for name in ("Key", "VersionId")} for item in found[at : at + ERASED_AT_ONCE]]
                with self._told(prefix), failpoints.surround("delete"):
                    answer = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
                _check_erased(answer.get("Errors", ()), self.url)
        except AuthError as error:
            raise AuthError(f"{error}; deleting for good takes s3:ListBucketVersions and s3:DeleteObjectVersion, too") from None
        return found

    def folders(self, prefix: str) -> Sequence[str]:
        """Common prefixes right below a prefix."""
        common = (item["Prefix"] for page in self._pages(prefix, Delimiter="/") for item in page.get("CommonPrefixes", ()))
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in common)

    def _pages(self, prefix: str, **more: str) -> Sequence[dict[str, Any]]:
        full = self.prefix + (_checked(prefix) if prefix else "")
        with self._told(prefix):
            return list(self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=full, **more))

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        """S3's errors as sentences with the right exit code."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415

        where = f"s3://{self.bucket}/{self.prefix}{key}"
        try:
            yield
        except ClientError as error:
            raise _s3_error(error, key, where) from None
        except NoCredentialsError:
            raise MisconfiguredError(f"no AWS credentials for {where}; give the job a role or set AWS_PROFILE") from None
        except BotoCoreError as error:
            raise TemporaryError(f"S3 did not answer for {where}: {error}") from None


def _check_erased(errors: Sequence[dict[str, str]], url: str) -> None:
    """Raises AuthError or TemporaryError where objects of a batch were not deleted."""
    for error in errors:
        told = (
            f"{len(errors)} objects of {url} were not deleted, {error.get('Key')} for one: {error.get('Code')} {error.get('Message', '')}"
        )
        raise AuthError(told) if error.get("Code") == "AccessDenied" else TemporaryError(f"{told}; run again")


def _sha256(checksum: str | None) -> str | None:
    """S3's base64 as hex; None for that of an object put in parts, which is another digest."""
    try:
        digest = base64.b64decode(checksum or "", validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None


def _pause_s(response: Any, attempts: int, caught_exception: Exception | None, **_: object) -> float | None:  # noqa: ANN401  untyped
    """Seconds until a request that found S3 busy or away is tried again; None leaves it to botocore.

    botocore waits half a second at first, whatever happened, and knows no 429, which S3's relatives answer.
    """
    from botocore.exceptions import ConnectionError as AwayError  # noqa: PLC0415
    from botocore.exceptions import HTTPClientError  # noqa: PLC0415

    busy = response is not None and response[0].status_code in BUSY
    if attempts >= REQUEST_TRIES or not (busy or isinstance(caught_exception, AwayError | HTTPClientError)):
        return None
    asked = str(response[0].headers.get("Retry-After", "")) if busy else ""
    pause_s = FIRST_PAUSE_S * LONGER ** (attempts - 1) * random.uniform(0.5, 1.5)  # noqa: S311  not a secret
    return max(pause_s, min(float(asked), ASKED_PAUSE_S)) if asked.isdecimal() else pause_s


def _s3_error(error: Any, key: str, where: str) -> Exception:  # noqa: ANN401  boto3's errors are untyped
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
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
    return MisconfiguredError(f"S3 does not accept the request for {where}: {code} {error.response.get('Error', {}).get('Message', '')}")
