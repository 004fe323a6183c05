"""Extract dropped files to the lake, each against the contract of its folder. A refused file is moved away with the reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobkit import command, options, urls
from jobkit.errors import UsageError

if TYPE_CHECKING:
    from jobkit.command import Job

    from extract_dropped_files.sftp import Server


def check_drop(url: str) -> str:
    """Check the place of the drop and return it. Raises UsageError (2), with the right option if it is an SFTP server."""
    if url.startswith("sftp:"):
        raise UsageError(
            "an SFTP server is named with --sftp; --drop is a directory or s3://bucket/prefix, which keeps what was taken from it"
        )
    return urls.check_place(url)


OPTIONS = [
    options.lake(),
    options.option(
        "--drop",
        required=True,
        type=options.CheckedText(check_drop),
        metavar="URL",
        help="Where files wait as DATASET/NAME: a directory or s3://bucket/prefix.",
    ),
    options.option("--key", metavar="DATASET/NAME", help="The file to take. Default: all files that wait."),
    options.option(
        "--sftp",
        type=options.CheckedText(urls.check_sftp),
        metavar="URL",
        help="Also take the new files of sftp://user@host:port/path, in which they stay.",
    ),
    options.option(
        "--sftp-host-key",
        metavar="KEY",
        help="The SFTP server's public key, such as 'ssh-ed25519 AAAAC3Nza...'; several with commas. A server with another key is refused.",
    ),
    options.secret("--sftp-credential", default="env://SFTP_CREDENTIAL", help="Where the private key or password for the SFTP server is."),
    options.option(
        "--sftp-contract",
        metavar="NAME",
        help="The contract of the files in the SFTP folder. Default: each folder in it is named as the contract of its files.",
    ),
    options.allow_shrinking(),
]


def run(job: Job, *, lake: str, drop: str, key: str | None, allow_shrinking: bool, **sftp: Any) -> None:  # noqa: ANN401
    """Take the dropped files. A refused file does not stop the others."""
    from extract_dropped_files import runner  # noqa: PLC0415  describe needs none of it

    runner.run(job, lake, drop, key, _build_server(**sftp), allow_shrinking=allow_shrinking)


def check(job: Job, *, lake: str, drop: str, key: str | None, allow_shrinking: bool, **sftp: Any) -> None:  # noqa: ANN401, ARG001
    """Load the contracts, list the drop, the SFTP server and the lake."""
    from extract_dropped_files import runner  # noqa: PLC0415

    runner.check(lake, drop, _build_server(**sftp))


def plan(job: Job, *, lake: str, drop: str, key: str | None, allow_shrinking: bool, **sftp: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG001
    """List the files that wait, the partitions that each would fill, and their latest commits."""
    from extract_dropped_files import runner  # noqa: PLC0415

    return runner.plan(lake, drop, key, _build_server(**sftp))


def _build_server(*, sftp: str | None, sftp_host_key: str | None, sftp_credential: str, sftp_contract: str | None) -> Server | None:
    if sftp is None:
        return None
    from extract_dropped_files.sftp import parse_server  # noqa: PLC0415  slow to import

    return parse_server(sftp, sftp_host_key, sftp_credential, sftp_contract)


main = command.build(__package__, OPTIONS, run=run, check=check, plan=plan)

if __name__ == "__main__":
    main()
