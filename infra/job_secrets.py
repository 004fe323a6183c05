"""The jobs' secrets in Secrets Manager: one for each job and secret option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.keys import Keys
    from infra.settings import Settings
    from jobs.catalogue import JobSpec

PASSWORD_OPTION = "warehouse_password"  # noqa: S105  an option's name


def create_secret(
    settings: Settings, keys: Keys, name: str, opts: pulumi.ResourceOptions, *, recovery_days: int
) -> aws.secretsmanager.Secret:
    """Create a secret without a value, so that Pulumi's state never holds one. A deleted secret keeps its name for `recovery_days`."""
    return aws.secretsmanager.Secret(
        f"{settings.name}-{name}",
        name=f"{settings.name}/{name}",
        kms_key_id=keys.data.arn,
        recovery_window_in_days=recovery_days,
        opts=opts,
    )


@dataclass(frozen=True)
class JobSecretsArgs:
    """Arguments of `JobSecrets`."""

    settings: Settings
    keys: Keys
    specs: Sequence[JobSpec]


class JobSecrets(pulumi.ComponentResource):
    """Secrets by job and option. Each job that connects to the warehouse has its own role and password there.

    The secrets of a removed job are deleted at once, so that the job can be put back. A person then enters the keys of vendors again.
    """

    by_option: dict[tuple[str, str], aws.secretsmanager.Secret]

    def __init__(self, name: str, args: JobSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:JobSecrets", name, None, opts)
        self.by_option = {
            (spec.name, option): create_secret(args.settings, args.keys, f"{spec.name}/{option}", child_of(self), recovery_days=0)
            for spec in args.specs
            for option in spec.secrets
        }
        self.register_outputs({"arns": {"/".join(key): secret.arn for key, secret in self.by_option.items()}})

    def vendor_tokens(self) -> dict[tuple[str, str], aws.secretsmanager.Secret]:
        """Return the secrets whose value a person enters: the keys of vendors."""
        return {key: secret for key, secret in self.by_option.items() if key[1] != PASSWORD_OPTION}

    def warehouse_passwords(self) -> dict[str, aws.secretsmanager.Secret]:
        """Return the warehouse passwords by job. The registration task generates them; no person sees them."""
        return {job: secret for (job, option), secret in self.by_option.items() if option == PASSWORD_OPTION}
