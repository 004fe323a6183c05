"""Write finelt.toml: the one file with a person's own tickers, companies and vendors."""

from __future__ import annotations

from pathlib import Path

import click
from jobkit import files
from jobkit.errors import UsageError
from jobkit.version import version_option

from orchestration.deployments.parameters import FILE

TEMPLATE = """\
# Your own universe. demo, run, deploy, emit and stack read this file from the current directory, else from the repository.
# Remove the # in front of a setting to use it. `finelt demo --live` asks the real vendors for it.

# The securities, and the companies by the number that SEC gives them (CIK).
# tickers = ["AAPL", "MSFT", "NVDA"]
# ciks = ["320193", "789019", "1045810"]

# The economic series of FRED, and the releases whose calendar you want, by the numbers that FRED gives them.
# series = ["GDP", "CPIAUCSL", "UNRATE"]
# releases = ["53", "10", "50"]

# SEC refuses anonymous clients: your name and address.
# contact = "Your Company you@company.example"

# The first day. Without it, two years back.
# start = 2020-01-01

# Whose data you want. Without it, that of all vendors.
# vendors = ["ecb", "treasury", "sec", "tiingo"]

# Who is notified of failed runs: the reference to a URL of Slack, Teams, mailtos:// and so on.
# webhook = "env://FINELT_WEBHOOK"

# Where the data is, for `finelt deploy` and `finelt emit`. The demo, compose and AWS have a lake, a warehouse and a site of their own.
# Write {job} for the name of the job, which is its role in the database.
# lake = "s3://my-bucket/lake"
# warehouse = "postgresql://{job}@warehouse.example:5432/finelt"
# warehouse_password = "file:///run/secrets/{job}"
# docs = "s3://my-bucket/docs"
# site = "s3://my-bucket/site"

# Options of one job, below its name; `JOB describe` lists them. An extract job with a table here is part of the demo.
# [extract-tiingo-prices]
# token = "env://TIINGO_TOKEN"
# requests_per_hour = 1000
"""


@click.command()
@version_option()
@click.option("--dir", "directory", type=click.Path(file_okay=False, path_type=Path), default=".", help="Where to. Default: here.")
def main(directory: Path) -> None:
    """Write finelt.toml with a comment for each setting. An existing file is never changed."""
    path = (directory / FILE).absolute()
    try:
        files.create_file(path, TEMPLATE.encode())
    except FileExistsError:
        raise UsageError(f"{path} exists and was not changed; edit it, or remove it first") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; choose another place with --dir") from None
    click.echo(f"{path} is written; edit it, then run `finelt demo`, or `finelt demo --live` for the real vendors")
