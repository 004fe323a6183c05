"""The settings of a stack, read from Pulumi.<stack>.yaml and validated before any resource is created."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pulumi
from jobkit import urls
from jobkit.errors import UsageError

Architecture = Literal["arm64", "x86_64"]
Egress = Literal["nat", "nat-per-zone", "nat-instance", "endpoints"]
Audience = Literal["internal", "public"]
ZONES = 2
SFTP_PORT = 22
SETTINGS_FILE = Path(__file__).parents[1] / "finelt.toml"  # described in orchestration/deployments/parameters.py
# What it says of other stacks: one in AWS has a lake, a warehouse, a site and a secret for notifications of its own.
LOCAL_REFERENCES = ("env://", "file://")
OF_OTHER_STACKS = ("lake", "warehouse", "warehouse_password", "docs", "site", "audience", "drop", "webhook", "start", "end")


STACK_NAME = "dev: at most 16 lower-case letters, digits and single hyphens between them, not ending with -preview"


class SettingsError(Exception):
    """A setting is invalid; the message says which, and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """One stack: its region and account, and the settings of Pulumi.<stack>.yaml under their names in snake case."""

    stack: str
    region: str
    account: str
    architecture: Architecture
    egress: Egress
    audience: Audience
    site_domain: str
    site_certificate: str
    spot: bool
    warehouse_class: str
    warehouse_gb: int
    prefect_class: str
    multi_az: bool
    server_replicas: int
    protect: bool
    backup_days: int
    log_days: int
    insights: bool
    budget_usd: int
    alarm_email: str
    repository: str
    first_in_account: bool
    parameters: dict[str, Any]
    reserved_concurrency: int

    @property
    def name(self) -> str:
        """The prefix of all resource names."""
        return f"finelt-{self.stack}"

    @property
    def role_path(self) -> str:
        """The IAM path of the roles of services. No path of another stack begins with it."""
        return f"/finelt/{self.stack}/"

    @property
    def run_role_path(self) -> str:
        """The IAM path of the roles of jobs and flows, which the worker may pass to tasks."""
        return f"{self.role_path}runs/"

    @property
    def sftp_ports(self) -> list[int]:
        """The ports of the SFTP servers that jobs take files from."""
        return sorted({urls.split(url).port or SFTP_PORT for url in _list_sftp_urls(self.parameters)})

    @property
    def platform(self) -> str:
        """The platform that images are built for."""
        return "linux/arm64" if self.architecture == "arm64" else "linux/amd64"


# The retention periods that CloudWatch accepts. Source: PutRetentionPolicy in its API reference.
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


def load() -> Settings:
    """Read the settings of the stack that Pulumi runs. Raises SettingsError."""
    config, aws = pulumi.Config("finelt"), pulumi.Config("aws")
    return validate(
        Settings(
            stack=pulumi.get_stack(),
            region=aws.require("region"),
            account=_read_account(aws),
            architecture=config.require("architecture"),  # type: ignore[arg-type]  # validated below
            egress=config.require("egress"),  # type: ignore[arg-type]
            audience=config.require("audience"),  # type: ignore[arg-type]
            site_domain=config.get("siteDomain") or "",
            site_certificate=config.get("siteCertificate") or "",
            spot=config.require_bool("spot"),
            warehouse_class=config.require("warehouseClass"),
            warehouse_gb=config.require_int("warehouseGb"),
            prefect_class=config.require("prefectClass"),
            multi_az=config.require_bool("multiAz"),
            server_replicas=config.require_int("serverReplicas"),
            protect=config.require_bool("protect"),
            backup_days=config.require_int("backupDays"),
            log_days=config.require_int("logDays"),
            insights=config.require_bool("insights"),
            budget_usd=config.require_int("budgetUsd"),
            alarm_email=config.require("alarmEmail"),
            repository=config.require("repository"),
            first_in_account=config.require_bool("firstInAccount"),
            parameters=_read_parameters(config),
            reserved_concurrency=config.get_int("reservedConcurrency", 0) or 0,
        )
    )


def _read_account(config: pulumi.Config) -> str:
    """Return the one account that the AWS provider may use."""
    accounts = config.require_object("allowedAccountIds")
    if not (isinstance(accounts, list) and len(accounts) == 1):
        raise SettingsError(f'aws:allowedAccountIds = {accounts!r}; name one account, such as ["123456789012"]')
    return str(accounts[0])


def _read_parameters(config: pulumi.Config) -> dict[str, Any]:
    """Return the jobs' parameters: options for all jobs, and below a job's name for that job. Values of finelt.toml replace others."""
    parameters = config.get_object("parameters") or {}
    if not isinstance(parameters, dict):
        raise SettingsError(f"finelt:parameters = {parameters!r}; expected a mapping such as {{tickers: [AAPL]}}")
    return {**parameters, **read_settings_file(SETTINGS_FILE)}


def read_settings_file(path: Path) -> dict[str, Any]:
    """Return the values for jobs in finelt.toml; none without the file. Raises SettingsError if it cannot be read."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} is not a readable TOML file: {error}") from None
    return _select_shared(json.loads(json.dumps(values, default=str)))


def _select_shared(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that hold for every stack, at the top and below a job's name; no table without any.

    A reference to a variable or file of one machine is not among them: no task has it, and the stack has a secret of its own.
    """
    tables = {name: _select_shared(value) for name, value in values.items() if isinstance(value, dict)}
    shared = {**values, **tables}
    return {
        name: value
        for name, value in shared.items()
        if name not in OF_OTHER_STACKS and value != {} and not str(value).startswith(LOCAL_REFERENCES)
    }


def validate(settings: Settings) -> Settings:
    """Return the settings unchanged. Raises SettingsError with the first invalid one."""
    for name, value, choices in (
        ("architecture", settings.architecture, get_args(Architecture)),
        ("egress", settings.egress, get_args(Egress)),
        ("audience", settings.audience, get_args(Audience)),
        ("logDays", settings.log_days, LOG_DAYS),
    ):
        if value not in choices:
            raise SettingsError(f"finelt:{name} = {value!r}; choose one of {', '.join(map(str, choices))}")
    for name, text, pattern, example in (
        ("account", settings.account, r"\d{12}", "123456789012, in quotes, in aws:allowedAccountIds"),
        ("repository", settings.repository, r"[\w.-]+/[\w.-]+", "organisation/repository"),
        ("alarmEmail", settings.alarm_email, r"[^@\s]+@[^@\s]+", "somebody@example.com"),
        ("warehouseClass", settings.warehouse_class, r"db\.\w+\.\w+", "db.t4g.micro"),
        ("prefectClass", settings.prefect_class, r"db\.\w+\.\w+", "db.t4g.micro"),
        # RDS takes no name with two hyphens in a row. From the environment <stack>-preview, GitHub runs what a pull request changes.
        ("stack", settings.stack, r"(?!.{17})(?!.*-preview$)[a-z][a-z0-9]*(-[a-z0-9]+)*", STACK_NAME),
    ):
        if not re.fullmatch(pattern, text):
            raise SettingsError(f"finelt:{name} = {text!r}; expected a value such as {example}")
    _validate_site(settings)
    for url in _list_sftp_urls(settings.parameters):
        try:
            urls.check_sftp(url)
        except UsageError as error:
            raise SettingsError(f"finelt:parameters: sftp: {error}") from None
    for name, number, lowest, highest in (
        ("warehouseGb", settings.warehouse_gb, 20, 65_536),
        ("serverReplicas", settings.server_replicas, 1, 8),
        ("backupDays", settings.backup_days, 1, 35),
        ("budgetUsd", settings.budget_usd, 1, 1_000_000),
        ("reservedConcurrency", settings.reserved_concurrency, 0, 100),
    ):
        if not lowest <= number <= highest:
            raise SettingsError(f"finelt:{name} = {number}; expected {lowest} to {highest}")
    return settings


def _list_sftp_urls(parameters: dict[str, Any]) -> list[str]:
    """Return the values of --sftp, for all jobs or below a job's name."""
    values = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return [str(value["sftp"]) for value in values if value.get("sftp")]


def _validate_site(settings: Settings) -> None:
    """Raise SettingsError if the site's domain and certificate do not fit together."""
    domain, certificate = settings.site_domain, settings.site_certificate
    if bool(domain) != bool(certificate) or (domain and settings.audience != "public"):
        raise SettingsError("finelt:siteDomain and finelt:siteCertificate belong to a public site; set both with finelt:audience: public")
    if certificate and not re.fullmatch(r"arn:aws:acm:us-east-1:\d{12}:certificate/[\w-]+", certificate):
        raise SettingsError(
            f"finelt:siteCertificate = {certificate!r}; expected arn:aws:acm:us-east-1:...: CloudFront reads them there only"
        )
