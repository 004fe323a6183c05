"""The command `finelt`: everything that finelt does, as subcommands that are loaded when they are called.

The help must not import Prefect, dbt or Pulumi, so the table below has the short help of each subcommand too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.shell_completion import CompletionItem
from jobkit.errors import ExitCode, JobError
from jobkit.version import version_option

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[1]
IS_CHECKOUT = (ROOT / "jobs" / "jobkit" / "pyproject.toml").is_file()  # else finelt was installed from a wheel
INFRA = ("pulumi", "pulumi_aws", "pulumi_docker", "pulumi_command", "parliament")
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}  # the other program has options and help of its own


class Entry(NamedTuple):
    """A subcommand: where it is, its line in the help, and whether it works without a checkout of the repository."""

    target: str
    help: str
    is_portable: bool = False


SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "Begin": {
        "init": Entry("finelt.init:main", "Write finelt.toml: your tickers, companies and vendors.", is_portable=True),
        "demo": Entry("orchestration.local.demo:main", "Run the whole pipeline here, from vendors to marts."),
        "stop": Entry("orchestration.local.stop:main", "Stop what `finelt demo --keep` left running."),
        "doctor": Entry("finelt.cli:doctor", "List what is missing on this machine, and the fix."),
    },
    "Ask": {
        "sql": Entry("finelt.sql:main", "Query the warehouse.", is_portable=True),
        "shell": Entry("finelt.shell:main", "Open psql, or print the connection string.", is_portable=True),
        "state": Entry("finelt.state:main", "Show what is loaded up to when, for each source."),
        "quarantine": Entry("finelt.quarantine:main", "List, show, replay or drop rows that broke their contract.", is_portable=True),
        "lake": Entry("finelt.lake:main", "Verify, repair or restore the lake, or expire old versions.", is_portable=True),
        "erase": Entry("finelt.erasure.command:main", "Erase a person or an account from lake, warehouse, site and drop, and prove it."),
        "site": Entry("publish_marts.site:main", "List or withdraw published versions; declare the audience."),
    },
    "Runs": {
        "run": Entry("orchestration.compose.run_flow:main", "Run a flow, such as a backfill, in containers or on a kept demo."),
        "runs": Entry("finelt.runs:list_runs", "List the latest runs."),
        "logs": Entry("finelt.runs:show_logs", "Print the log of a run."),
        "cancel": Entry("finelt.runs:cancel", "Cancel a run and its steps."),
    },
    "Run it in containers, in AWS, or under another scheduler": {
        "compose": Entry("orchestration.compose.command:main", "Start and stop the stack of docker-compose.yml."),
        "stack": Entry("infra.stack:main", "Create and update a stack in AWS."),
        "costs": Entry("infra.costs:main", "Compute what a stack in AWS costs."),
        "images": Entry("images.__main__:images", "Build, test, measure and push the images."),
        "deploy": Entry("orchestration.deployments.register:main", "Register every job and flow on a Prefect server."),
        "worker": Entry("orchestration.workers.command:main", "Run a Prefect worker."),
        "emit": Entry("orchestration.emit.__main__:emit", "Print jobs for Airflow, Dagster, Argo, cron and others."),
        "roles": Entry("orchestration.warehouse_roles:main", "Create the database roles of the jobs and of readers."),
        "upgrade": Entry("finelt.upgrade:main", "Show what an upgrade migrates in lake and warehouse, or migrate it.", is_portable=True),
        "rebuild": Entry("finelt.rebuild:main", "Rebuild a warehouse from the lake, and compare the two."),
        "reload": Entry("finelt.reload:main", "Load a dataset's table again after its types, key or leaf changed."),
        "lake-marts": Entry("finelt.lake_marts.command:main", "Build the marts of prices outside Postgres, on a Ray cluster."),
    },
    "Develop": {
        "new": Entry("finelt.cli:new", "Create a job."),
        "dbt": Entry("finelt.dbt:main", "Build models in a schema of your own, on the demo's data."),
        "try": Entry("finelt.try_command:main", "Propose a data contract for a CSV file or a Singer stream."),
        "contracts": Entry("finelt.contracts:main", "Validate the data contracts, or list what a change breaks."),
        "docs": Entry("finelt.job_docs:main", "Write docs/jobs, one page per job."),
        "conformance": Entry("verification.conformance:main", "Test whether an image keeps the job contract, in any language."),
        "bench": Entry("verification.benchmarks.__main__:main", "Measure this machine; with --write, write docs/benchmarks.md."),
        "faults": Entry("verification.faults.__main__:main", "Inject faults into real jobs, and write docs/reliability.md."),
    },
}
EXAMPLES = """\b
Examples:
  finelt init                                   # then edit finelt.toml
  finelt demo --keep                            # Prefect, Postgres and the site stay up
  finelt sql "select * from marts.fct_yield order by curve_date desc limit 5"
  finelt runs; finelt logs RUN; finelt stop

\b
Completion, of bash (or zsh_source, fish_source):
  eval "$(_FINELT_COMPLETE=bash_source finelt)"
"""


class Commands(click.Group):
    """A group that imports a subcommand when it is called. `sections` has titles, and below them the subcommands by name."""

    def __init__(self, name: str, sections: Mapping[str, Mapping[str, Entry]], *, is_checkout: bool = IS_CHECKOUT) -> None:
        super().__init__(name, no_args_is_help=True, context_settings=SETTINGS)
        self.is_checkout = is_checkout
        self.sections = {
            title: {name: entry for name, entry in entries.items() if self._is_available(entry)} for title, entries in sections.items()
        }
        self.all_entries = {name: entry for entries in sections.values() for name, entry in entries.items()}

    def _is_available(self, entry: Entry) -> bool:
        return self.is_checkout or entry.is_portable

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return [name for entries in self.sections.values() for name in entries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        entry = self.all_entries.get(cmd_name)
        if entry is None:
            return None
        if not self._is_available(entry):
            ctx.fail(f"{cmd_name} needs a checkout of finelt's repository; this finelt was installed from a wheel")
        module, _, attribute = entry.target.partition(":")
        try:
            command: click.Command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name not in INFRA:
                raise
            ctx.fail(f"{cmd_name} needs the libraries of infra/; install them with ./scripts/setup infra")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of subcommands without importing any."""
        del ctx
        for title, entries in self.sections.items():
            if entries:
                with formatter.section(title):
                    formatter.write_dl([(name, entry.help) for name, entry in entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of subcommands without importing any."""
        names = [(name, entry) for entries in self.sections.values() for name, entry in entries.items() if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=entry.help) for name, entry in names), *click.Command.shell_complete(self, ctx, incomplete)]


@click.command("doctor", context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def doctor(arguments: tuple[str, ...]) -> None:
    """List what is missing on this machine, with the command that fixes it."""
    from finelt import doctor as checks  # noqa: PLC0415  it must run without click, so it has a parser of its own

    sys.exit(checks.main(list(arguments), prog="finelt doctor"))


new = Commands("new", {"Commands": {"job": Entry("finelt.new_job:main", "Create an extract job, with tests, image and deployment.")}})
new.help = "Create a job."

finelt = version_option()(Commands("finelt", SECTIONS))
finelt.help = "Financial data from vendors to tables and files that people can trust."
finelt.epilog = EXAMPLES


def main() -> None:
    """Run the command. Print an expected error as one sentence and exit with its code."""
    try:
        finelt.main(prog_name="finelt")
    except JobError as error:
        click.echo(f"finelt: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has ended; without this the interpreter reports that it cannot flush
        sys.exit(ExitCode.DONE)


if __name__ == "__main__":
    main()
