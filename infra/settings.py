"""The choices of a stack, read once and refused at once where they cannot be right."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import pulumi

Architecture = Literal["arm64", "x86_64"]
Egress = Literal["nat", "nat-per-zone", "endpoints"]
Audience = Literal["internal", "public"]
ZONES = 2


class SettingsError(Exception):
    """A choice that cannot be; the message says which and what may be."""


@dataclass(frozen=True)
class Settings:
    """One stack: where it is, and every choice of Pulumi.<stack>.yaml under the name it has there (in snake case)."""

    stack: str
    region: str
    account: str
    architecture: Architecture
    egress: Egress
    audience: Audience
    spot: bool
    warehouse_class: str
    warehouse_gb: int
    prefect_class: str
    multi_az: bool
    server_replicas: int
    protect: bool
    backup_days: int
    log_days: int
    budget_usd: int
    alarm_email: str
    repository: str
    first_in_account: bool

    @property
    def name(self) -> str:
        """What the names of all resources begin with."""
        return f"finelt-{self.stack}"

    @property
    def platform(self) -> str:
        """The platform that images are built for."""
        return "linux/arm64" if self.architecture == "arm64" else "linux/amd64"


# What CloudWatch takes for a log group. Source: PutRetentionPolicy in its API reference.
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


def load() -> Settings:
    """The settings of the stack that Pulumi runs. Raises SettingsError."""
    config, aws = pulumi.Config("finelt"), pulumi.Config("aws")
    return checked(
        Settings(
            stack=pulumi.get_stack(),
            region=aws.require("region"),
            account=_account(aws),
            architecture=config.require("architecture"),  # type: ignore[arg-type]  # checked below
            egress=config.require("egress"),  # type: ignore[arg-type]
            audience=config.require("audience"),  # type: ignore[arg-type]
            spot=config.require_bool("spot"),
            warehouse_class=config.require("warehouseClass"),
            warehouse_gb=config.require_int("warehouseGb"),
            prefect_class=config.require("prefectClass"),
            multi_az=config.require_bool("multiAz"),
            server_replicas=config.require_int("serverReplicas"),
            protect=config.require_bool("protect"),
            backup_days=config.require_int("backupDays"),
            log_days=config.require_int("logDays"),
            budget_usd=config.require_int("budgetUsd"),
            alarm_email=config.require("alarmEmail"),
            repository=config.require("repository"),
            first_in_account=config.require_bool("firstInAccount"),
        )
    )


def _account(config: pulumi.Config) -> str:
    """The one account that the provider may touch."""
    accounts = config.require_object("allowedAccountIds")
    if not (isinstance(accounts, list) and len(accounts) == 1):
        raise SettingsError(f'aws:allowedAccountIds = {accounts!r}; name one account, such as ["123456789012"]')
    return str(accounts[0])


def checked(found: Settings) -> Settings:
    """The same. Raises SettingsError with the first choice that cannot be."""
    for name, chosen, offered in (
        ("architecture", found.architecture, get_args(Architecture)),
        ("egress", found.egress, get_args(Egress)),
        ("audience", found.audience, get_args(Audience)),
        ("logDays", found.log_days, LOG_DAYS),
    ):
        if chosen not in offered:
            raise SettingsError(f"finelt:{name} = {chosen!r}; choose one of {', '.join(map(str, offered))}")
    for name, value, form, example in (
        ("account", found.account, r"\d{12}", "123456789012, in quotes, in aws:allowedAccountIds"),
        ("repository", found.repository, r"[\w.-]+/[\w.-]+", "organisation/repository"),
        ("alarmEmail", found.alarm_email, r"[^@\s]+@[^@\s]+", "somebody@example.com"),
        ("warehouseClass", found.warehouse_class, r"db\.\w+\.\w+", "db.t4g.micro"),
        ("prefectClass", found.prefect_class, r"db\.\w+\.\w+", "db.t4g.micro"),
        ("stack", found.stack, r"[a-z][a-z0-9-]{0,15}", "dev: names of AWS have little room"),
    ):
        if not re.fullmatch(form, value):
            raise SettingsError(f"finelt:{name} = {value!r}; expected such as {example}")
    for name, number, least, most in (
        ("warehouseGb", found.warehouse_gb, 20, 65_536),
        ("serverReplicas", found.server_replicas, 1, 8),
        ("backupDays", found.backup_days, 1, 35),
        ("budgetUsd", found.budget_usd, 1, 1_000_000),
    ):
        if not least <= number <= most:
            raise SettingsError(f"finelt:{name} = {number}; expected {least} to {most}")
    return found
