"""A folder of an SFTP server as a source of dropped files: log in, list the files, read them. Nothing on the server is ever changed.

The server has to prove one of the host keys that the options name; a key is never trusted because it is the first one. Login is by the
private key or the password at a reference. Errors, beyond those in the docstrings:

    TemporaryError      (75)  no connection, no answer in time, a connection that breaks off
    AuthError           (77)  another host key, a refused login, a folder that the user may not list
    MisconfiguredError  (78)  a folder that does not exist, a private key that cannot be used
"""

from __future__ import annotations

import os
import stat
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import quote, unquote, urlsplit

import asyncssh
from anyio import fail_after, move_on_after
from anyio.from_thread import start_blocking_portal
from jobkit import secrets
from jobkit.contracts import escape_text
from jobkit.errors import AuthError, MisconfiguredError, TemporaryError, UsageError

from extract_dropped_files.source import KINDS, UnreadableError, UnsettledError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from anyio.from_thread import BlockingPortal
    from asyncssh import SFTPAttrs

PORT = 22
HOST_KEY_ALGORITHMS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256")
HOME = "/~/"  # in a URL, as curl has it: a path from the folder in which a login begins
CONNECT_S = 30.0  # for the connection, and again for the login
ANSWER_S = 30.0  # for each list of a folder and each CHUNK_BYTES of a file
CHUNK_BYTES = 256 << 10
MAX_FILES = 100_000  # in a folder
MAX_TEXT_CHARS = 160  # of what a server says


class Server(NamedTuple):
    """A folder of a server. `contract` is that of its files; without one, each folder in it is named as the contract of its files."""

    user: str
    host: str
    port: int
    path: str
    host_keys: tuple[str, ...]
    credential: str
    contract: str | None

    @property
    def address(self) -> str:
        """The server, for people."""
        return self.host if self.port == PORT else f"{self.host}:{self.port}"


class RemoteFile(NamedTuple):
    """A file on the server: its key in the drop, its path, size and time of change (seconds since 1970; None if it keeps none).

    problem: why it is never read; None if it may be.
    """

    key: str
    path: str
    size_bytes: int | None
    modified: int | None
    problem: str | None = None


def parse_server(url: str, host_keys: str | None, credential: str, contract: str | None) -> Server:
    """Return the server that the options describe. Raises UsageError (2) without a host key, or with one that is none."""
    parts = urlsplit(url)
    if not host_keys:
        raise UsageError("--sftp needs --sftp-host-key, the server's public key as the bank publishes it; no other server is trusted")
    keys = tuple(key.strip() for key in host_keys.split(","))
    for key in keys:
        try:
            asyncssh.import_public_key(key)
        except asyncssh.KeyImportError:
            raise UsageError(f"--sftp-host-key: {key!r} is not a public key; expected one such as 'ssh-ed25519 AAAAC3Nza...'") from None
    path = unquote(parts.path)
    path = path.removeprefix(HOME) or "." if path.startswith(HOME) else path or "/"
    return Server(unquote(parts.username or ""), parts.hostname or "", parts.port or PORT, path, keys, credential, contract)


@contextmanager
def connect(server: Server) -> Iterator[Session]:
    """Log in to a server. A thread keeps the connection alive while files are processed."""
    credential = secrets.resolve_login(server.credential)
    key = _read_private_key(server, credential) if credential.startswith(secrets.PEM) else None
    os.environ.setdefault("LOGNAME", server.user)  # asyncssh 2.24 wants a local user, even unused; a container's may have no name
    with start_blocking_portal() as portal:
        with _translate_errors(server, "log in"):
            stack, client = portal.call(_log_in, server, key, None if key else credential)
        try:
            yield Session(server, portal, client)
        finally:
            portal.call(_log_out, stack)


async def _log_in(server: Server, key: asyncssh.SSHKey | None, password: str | None) -> tuple[AsyncExitStack, asyncssh.SFTPClient]:
    """Return a client, and what closes it. Nothing of the user's own settings is used: no agent, no keys, no known hosts.

    A server with several keys presents the first kind that we ask for, so the kinds of the trusted keys come first.
    """
    stack, trusted = AsyncExitStack(), [asyncssh.import_public_key(one) for one in server.host_keys]
    kinds = {one.get_algorithm().replace("ssh-rsa", "rsa-sha2-512") for one in trusted}
    try:
        connection = await stack.enter_async_context(
            asyncssh.connect(
                server.host,
                server.port,
                config=None,
                known_hosts=(trusted, [], []),
                server_host_key_algs=sorted(HOST_KEY_ALGORITHMS, key=lambda kind: kind not in kinds),
                username=server.user,
                client_keys=[key] if key else None,
                password=password,
                agent_path=None,
                connect_timeout=CONNECT_S,
                login_timeout=CONNECT_S,
                keepalive_interval=CONNECT_S,
            )
        )
        with fail_after(ANSWER_S):
            client = await connection.start_sftp_client(path_errors="surrogateescape")
    except BaseException:
        await _log_out(stack)
        raise
    return stack, client


async def _log_out(stack: AsyncExitStack) -> None:
    with move_on_after(ANSWER_S):
        await stack.aclose()


def _read_private_key(server: Server, text: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_private_key(text)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
        raise MisconfiguredError(
            f"the private key at {server.credential} cannot be read; store it whole and without a passphrase, as PEM or OpenSSH writes it"
        ) from None


class Session:
    """A connection to a server after its login."""

    def __init__(self, server: Server, portal: BlockingPortal, client: asyncssh.SFTPClient) -> None:
        self._server, self._portal, self._client = server, portal, client

    def list_files(self, contracts: Sequence[str]) -> list[RemoteFile]:
        """Return all entries but folders, in the contract's folder or in those that are named as one of these contracts, readable or not.

        Raises MisconfiguredError if there is no such folder, UsageError if the contract is none of these.
        """
        root = self._server.path
        if self._server.contract not in (None, *contracts):
            raise UsageError(f"--sftp-contract {self._server.contract!r} is no contract; expected one of {', '.join(contracts)}")
        with _translate_errors(self._server, f"list {root}"):
            if self._server.contract:
                return self._portal.call(self._list_folder, self._server.contract, root)
            folders = sorted(name for name, _ in self._portal.call(self._scan, root) if name in contracts)
            found = [file for name in folders for file in self._portal.call(self._list_folder, name, f"{root.rstrip('/')}/{name}")]
        if not folders:
            raise MisconfiguredError(
                f"{root} on {self._server.address} has no folder of a contract; expected {', '.join(contracts)}, or --sftp-contract "
                "with the one of its files"
            )
        return found

    async def _list_folder(self, contract: str, path: str) -> list[RemoteFile]:
        files = []
        for name, listed in await self._scan(path):
            if not _is_kind(listed, stat.S_IFDIR):
                place = f"{path.rstrip('/')}/{name}"
                attributes = listed if listed.size is not None else await self._ask(place)
                files.append(RemoteFile(f"{contract}/{name}", place, attributes.size, attributes.mtime, _find_problem(attributes)))
        return files

    async def _ask(self, path: str) -> SFTPAttrs:
        """Return the attributes of a file whose entry in the folder has no size; a server may leave out any of them there."""
        with fail_after(ANSWER_S):
            return await self._client.lstat(path)

    async def _scan(self, path: str) -> list[tuple[str, SFTPAttrs]]:
        with fail_after(ANSWER_S):
            entries: AsyncIterator[asyncssh.SFTPName] = self._client.scandir(path)
            found = [(str(entry.filename), entry.attrs) async for entry in entries if str(entry.filename) not in (".", "..")]
        if len(found) > MAX_FILES:
            raise MisconfiguredError(f"{path} has {len(found):,} files; expected at most {MAX_FILES:,}. Have old ones removed from it")
        return found

    def read(self, file: RemoteFile) -> bytes | None:
        """Return the content of a file; None if it is gone.

        Raises UnsettledError (75) if it is not as it was listed, before or after, or if the server fails to read this file, UnreadableError
        (65) if it does not let us read it.
        """
        try:
            with _translate_errors(self._server, "read a file"), _translate_errors_of_file():
                data, states = self._portal.call(self._read, file)
        except FileNotFoundError:
            return None
        if any(state != (file.size_bytes, file.modified) for state in states) or len(data) != file.size_bytes:
            raise UnsettledError("it is still being written on the server; the next run reads it, once it is whole")
        return data

    async def _read(self, file: RemoteFile) -> tuple[bytes, list[tuple[int | None, int | None]]]:
        """Return the content, and size and time before and after. No more is read than was listed, and a byte."""
        limit = (file.size_bytes or 0) + 1
        data = bytearray()
        with fail_after(ANSWER_S):
            stream = await self._client.open(file.path, "rb")
        try:
            with fail_after(ANSWER_S):
                before = await stream.stat()
            while len(data) < limit:
                with fail_after(ANSWER_S):
                    chunk = cast("bytes", await stream.read(min(CHUNK_BYTES, limit - len(data))))
                if not chunk:
                    break
                data += chunk
        finally:
            with fail_after(ANSWER_S):
                await stream.close()
        with fail_after(ANSWER_S):
            after = await self._client.stat(file.path)
        return bytes(data), [(state.size, state.mtime) for state in (before, after)]

    def uri(self, file: RemoteFile) -> str:
        """Return the URL of a file, without the user."""
        return f"sftp://{self._server.address}/{quote(file.path.lstrip('/'), errors='surrogateescape')}"


def _is_kind(attributes: SFTPAttrs, kind: int) -> bool:
    """Return whether the server says that an entry is of this kind. Some servers do not say it."""
    return stat.S_IFMT(attributes.permissions or 0) == kind


def _find_problem(attributes: SFTPAttrs) -> str | None:
    kind = KINDS.get(stat.S_IFMT(attributes.permissions or 0))
    if kind:
        return f"it is {kind} on the server and is not read"
    return "the server does not say its size, so nobody knows when it is whole" if attributes.size is None else None


@contextmanager
def _translate_errors(server: Server, what: str) -> Iterator[None]:
    """Raise what went wrong as an error of the job; FileNotFoundError if what should be read is gone."""
    where = server.address
    try:
        yield
    except asyncssh.HostKeyNotVerifiable:
        raise AuthError(
            f"{where} has none of the keys in --sftp-host-key; ask the bank for its key, and change the option if the key is the bank's"
        ) from None
    except asyncssh.PermissionDenied:
        raise AuthError(f"{where} refuses the login; check the user in --sftp and the secret at {server.credential}") from None
    except asyncssh.KeyExchangeFailed as error:
        raise MisconfiguredError(f"{where} knows no algorithm that is safe today: {_quote(error.reason)}; ask the bank about it") from None
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        if what.startswith("read"):
            raise FileNotFoundError from None
        raise MisconfiguredError(f"{where} has no folder {server.path}; correct --sftp") from None
    except asyncssh.SFTPPermissionDenied:
        raise AuthError(f"{where} does not let us {what}; ask the bank for the right to do so") from None
    except asyncssh.SFTPError as error:
        raise TemporaryError(f"{where} does not {what}: {_quote(error.reason)}; try again later") from None
    except (asyncssh.Error, TimeoutError, OSError, EOFError) as error:
        raise TemporaryError(f"{where} cannot be reached to {what}: {_quote(str(error) or 'no answer in time')}; try again later") from None


@contextmanager
def _translate_errors_of_file() -> Iterator[None]:
    """Raise what is wrong with one file only as an error that does not stop the others."""
    try:
        yield
    except asyncssh.SFTPPermissionDenied:
        raise UnreadableError("the server does not let us read it; ask the bank for the right to do so. It stays where it is") from None
    except asyncssh.SFTPFailure as error:  # what servers say of a file that is locked
        raise UnsettledError(f"the server cannot read it now: {_quote(error.reason)}; the next run tries it again") from None


def _quote(text: str) -> str:
    return escape_text(text[:MAX_TEXT_CHARS])
