"""Postgres and Redis from the packages of the operating system, with TLS and certificates of a CA of their own.

The embedded Postgres of the demo has neither TLS nor the extension pg_trgm, which Prefect's server needs.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestration.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
TIMEOUT_S = 600  # only ends a test that hangs
REQUIRE = "FINELT_REQUIRE_DOCKER"  # set where every test has to run
HBA = "hostssl all {iam} 127.0.0.1/32 {method}\nhostssl all all 127.0.0.1/32 scram-sha-256\n"


def find_program(name: str, *folders: Path) -> Path:
    """Return the path of a program; skip the test if no package has installed it, or fail where every test has to run."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        (pytest.fail if os.environ.get(REQUIRE) == "1" else pytest.skip)(f"{name} is not installed here")
    return Path(found)


def find_postgres() -> Path:
    """Return the folder of the newest Postgres of the system."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return find_program("postgres", *reversed(folders)).parent


def find_redis() -> Path:
    """Return Valkey, or Redis where the system has no Valkey."""
    return Path(shutil.which("valkey-server") or find_program("redis-server"))


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


@dataclass(frozen=True)
class Certificates:
    """A CA and a certificate of it for 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make a CA, and a key and certificate for servers on this machine."""
    folder.mkdir(parents=True)
    now = dt.datetime.now(dt.UTC)

    def build(name: str, key: Any, issuer: str, *, is_ca: bool) -> x509.CertificateBuilder:
        common = {text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer)}
        builder = x509.CertificateBuilder().subject_name(common[name]).issuer_name(common[issuer]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        builder = builder.not_valid_after(now + dt.timedelta(days=1))
        return builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)

    ca_name = f"test CA {secrets.token_hex(4)}"
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = build(ca_name, ca_key, ca_name, is_ca=True).sign(ca_key, hashes.SHA256())
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    certificate = build("server", key, ca_name, is_ca=False).add_extension(address, critical=False).sign(ca_key, hashes.SHA256())
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    made.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.key.write_bytes(key.private_bytes(*private))
    return made


@dataclass(frozen=True)
class Server:
    """A Postgres as RDS runs it: TLS only, a master user who is no superuser, and a role `prefect` whose login needs no password.

    It does not check the IAM token, as RDS does. `binaries` is the folder of Postgres's programs.
    """

    port: int
    password: str
    ca: Path
    data: Path
    binaries: Path

    def connect(self, database: str, user: str = "admin", **more: Any) -> psycopg.Connection[Any]:
        """Connect as the superuser `admin`, or as another role with the same password."""
        access: dict[str, Any] = {"host": HOST, "port": self.port, "dbname": database, "user": user, "password": self.password}
        return psycopg.connect(**access | {"sslmode": "verify-full", "sslrootcert": str(self.ca), "autocommit": True} | more)

    def create_database(self, name: str) -> None:
        """Create a database whose owner is the master user."""
        with self.connect("postgres") as admin:
            admin.execute(f'create database "{name}" owner keeper')

    def allow_tokens(self, *, allow: bool) -> None:
        """Accept or refuse the logins of `prefect` from now on, and end its sessions."""
        (self.data / "pg_hba.conf").write_text(HBA.format(iam="prefect", method="trust" if allow else "reject"))
        with self.connect("postgres") as admin:
            admin.execute("select pg_reload_conf()")
        self.end_sessions()

    def end_sessions(self) -> None:
        """End all sessions of `prefect`."""
        with self.connect("postgres") as admin:
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'prefect'")

    def run(self, program: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run one of Postgres's client programs as the superuser."""
        environ = {"PGHOST": HOST, "PGPORT": str(self.port), "PGUSER": "admin", "PGPASSWORD": self.password, "PGSSLMODE": "require"}
        command = [str(self.binaries / program), *arguments]
        return subprocess.run(command, env={**os.environ, **environ}, check=True, capture_output=True, **more)


@contextmanager
def run_postgres(certificates: Certificates, binaries: Path | None = None) -> Iterator[Server]:
    """Run a Postgres. Root may not, so root runs it as `nobody`."""
    binaries = binaries or find_postgres()
    folder = Path(tempfile.mkdtemp(prefix="finelt-test-", dir="/var/tmp"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    who: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
    data, password, port = folder / "data", secrets.token_urlsafe(16), free_port()
    try:
        (folder / "password").write_text(password)
        for path in (certificates.certificate, certificates.key):
            shutil.copy(path, folder / path.name)
        if account:
            for path in (folder, *folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        (folder / certificates.key.name).chmod(0o600)
        words = ["-D", data, "--username=admin", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync", "--locale=C.UTF-8"]
        subprocess.run([binaries / "initdb", *words, "--encoding=UTF8"], check=True, capture_output=True, **who)
        (data / "pg_hba.conf").write_text(HBA.format(iam="prefect", method="trust"))
        settings = {"listen_addresses": HOST, "unix_socket_directories": "", "port": port, "fsync": "off", "ssl": "on"}
        settings |= {"ssl_cert_file": folder / certificates.certificate.name, "ssl_key_file": folder / certificates.key.name}
        command = [binaries / "postgres", "-D", data, *(word for item in settings.items() for word in ("-c", "{}={}".format(*item)))]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, **who) as process:
            server = Server(port, password, certificates.ca, data, binaries)
            try:
                wait_until(lambda: process.poll() is not None or _accepts(server), timeout_s=TIMEOUT_S, poll_every_s=0.1)
                assert process.poll() is None, (folder / "log").read_text()
                with server.connect("postgres") as admin:
                    admin.execute(f"create role keeper login createrole createdb password '{password}'")
                    admin.execute("create role rds_iam")
                    admin.execute("grant rds_iam to keeper with admin option")
                yield server
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder)


def _accepts(server: Server) -> bool:
    try:
        server.connect("postgres").close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def run_redis(folder: Path, certificates: Certificates) -> Iterator[int]:
    """Run a Redis that takes TLS connections only, as ElastiCache does; yield its port."""
    port = free_port()
    words = {"port": 0, "tls-port": port, "bind": HOST, "save": "", "dir": folder, "tls-auth-clients": "no"}
    words |= {"tls-cert-file": certificates.certificate, "tls-key-file": certificates.key, "tls-ca-cert-file": certificates.ca}
    command = [str(find_redis()), *(word for name, value in words.items() for word in (f"--{name}", str(value)))]
    with (folder / "redis.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until(lambda: process.poll() is not None or _listens(port), timeout_s=TIMEOUT_S, poll_every_s=0.1)
            assert process.poll() is None, (folder / "redis.log").read_text()
            yield port
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except OSError:
        return False
    return True
