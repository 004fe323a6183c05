"""An SFTP server on the loopback interface, with a folder of its own, that notes every change that a client tries to make."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
from anyio.from_thread import start_blocking_portal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER, PASSWORD = "finelt", "Tulip4c9A-river"
CHANGES = ("remove", "rename", "posix_rename", "setstat", "lsetstat", "mkdir", "rmdir", "symlink", "link")


class BankServer:
    """The state of the server: its folder, its keys, and what happens when it is asked."""

    def __init__(self, root: Path) -> None:
        self.root, self.host_key, self.user_key = (
            root,
            asyncssh.generate_private_key("ssh-ed25519"),
            asyncssh.generate_private_key("ssh-rsa"),
        )
        self.port = 0
        self.changes: list[str] = []
        self.reads: list[str] = []
        self.before_read: Callable[[Path], None] = lambda _: None
        self.before_stat: Callable[[Path], None] = lambda _: None
        self.stalls = self.lists_names_only = False

    @property
    def public_key(self) -> str:
        return self.host_key.export_public_key().decode().strip()

    @property
    def private_key(self) -> str:
        return self.user_key.export_private_key("pkcs1-pem").decode()

    def url(self, path: str = "") -> str:
        return f"sftp://{USER}@127.0.0.1:{self.port}{path}"

    def put(self, name: str, text: str, modified: int = 1_760_000_000) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        set_time(path, modified)
        return path


def set_time(path: Path, modified: int) -> None:
    os.utime(path, (modified, modified))


def build_login(bank: BankServer) -> type[asyncssh.SSHServer]:
    class Login(asyncssh.SSHServer):
        def begin_auth(self, _username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

        def public_key_auth_supported(self) -> bool:
            return True

        def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
            return username == USER and key.public_data == bank.user_key.public_data

    return Login


def build_files(bank: BankServer) -> type[asyncssh.SFTPServer]:
    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: Any) -> None:
            super().__init__(channel, chroot=str(bank.root).encode())

        def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            if pflags != asyncssh.FXF_READ:
                bank.changes.append(f"open {path!r}")
            local = Path(self.map_path(path).decode())
            bank.reads.append(local.name)
            bank.before_read(local)
            return super().open(path, pflags, attrs)

        def stat(self, path: bytes) -> Any:
            bank.before_stat(Path(self.map_path(path).decode()))
            return super().stat(path)

        async def scandir(self, path: bytes) -> Any:
            if bank.stalls:
                await asyncio.sleep(60)
            async for entry in super().scandir(path):
                if bank.lists_names_only:
                    entry.attrs = asyncssh.SFTPAttrs(permissions=entry.attrs.permissions)
                yield entry

    for name in CHANGES:
        setattr(Files, name, lambda _self, *_, name=name: bank.changes.append(name))
    return Files


@contextmanager
def serve(root: Path) -> Iterator[BankServer]:
    bank = BankServer(root)

    async def listen() -> asyncssh.SSHAcceptor:
        factories = {"server_factory": build_login(bank), "sftp_factory": build_files(bank)}
        return await asyncssh.listen("127.0.0.1", 0, server_host_keys=[bank.host_key], **factories)

    async def stop(acceptor: asyncssh.SSHAcceptor) -> None:
        acceptor.close()
        await acceptor.wait_closed()

    with start_blocking_portal() as portal:
        acceptor = portal.call(listen)
        bank.port = acceptor.get_port()
        try:
            yield bank
        finally:
            portal.call(stop, acceptor)
