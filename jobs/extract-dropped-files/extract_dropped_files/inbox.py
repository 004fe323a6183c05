"""The files of an SFTP server that the drop has not taken.

The server is not ours to change, so the drop keeps what was taken from it:

    <drop>/taken/<digest of the file's URL>.json    sha256, size and time of change of the file when it was taken

A file is listed again when its size or time has changed, and taken again only if its content has, too.
"""

from __future__ import annotations

import hashlib
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from jobkit.stores import NotFoundError

from extract_dropped_files.source import TAKEN, DroppedFile, UnreadableError, describe_excess, find_key_problem, is_unfinished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobkit.stores import Store

    from extract_dropped_files.sftp import RemoteFile, Session

SETTLE_S = 5.0  # a file that grows is as it was listed for less than that


class Inbox:
    """The waiting files of a server. `store` is that of the drop."""

    def __init__(self, store: Store, session: Session, contracts: Sequence[str]) -> None:
        self._store, self._session = store, session
        listed = [file for file in session.list_files(contracts) if not is_unfinished(file.key)]
        self._listed_s = time.monotonic()
        self._records = {file.key: self._read_record(file) for file in listed}
        waiting = [file for file in listed if not self._is_known(file)]
        self._files = {file.key: file for file in sorted(waiting, key=lambda file: (file.modified or 0, file.key))}

    def list_waiting(self) -> list[str]:
        """Return the keys of the files that wait, as they came: of two files for the same rows, the later one counts."""
        return list(self._files)

    def read(self, key: str, max_bytes: int) -> DroppedFile | None:
        """Return the file, None if it is gone. Raises UnreadableError if it is too large or no file, UnsettledError."""
        file = self._files[key]
        if problem := file.problem or find_key_problem(key):
            raise UnreadableError(f"{problem}; it stays where it is")
        if (file.size_bytes or 0) > max_bytes:
            raise UnreadableError(describe_excess(max_bytes))
        time.sleep(max(0.0, self._listed_s + SETTLE_S - time.monotonic()))
        data = self._session.read(file)
        if data is None:
            return None
        record = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": file.size_bytes, "modified": file.modified}
        release = partial(self._store.put, self._record_key(file), json.dumps(record).encode(), "application/json")
        is_repeated = self._records[key].get("sha256") == record["sha256"]
        return DroppedFile(key, data, self._session.uri(file), release, is_repeated)

    def _is_known(self, file: RemoteFile) -> bool:
        record = self._records[file.key]
        return file.modified is not None and (record.get("bytes"), record.get("modified")) == (file.size_bytes, file.modified)

    def _read_record(self, file: RemoteFile) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self._store.get(self._record_key(file)))
        except NotFoundError:
            return {}
        return record

    def _record_key(self, file: RemoteFile) -> str:
        return f"{TAKEN}{hashlib.sha256(self._session.uri(file).encode()).hexdigest()}.json"
