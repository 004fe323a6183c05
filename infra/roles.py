"""IAM roles of the stack's own code, each within the permissions boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pulumi_aws as aws

from infra import policies
from infra.options import child_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pulumi

    from infra.policies import Statement, Text


class BoundedRole(NamedTuple):
    """A role and its policies. What runs with the role depends on the policies too, or it starts without them."""

    role: aws.iam.Role
    policies: list[aws.iam.RolePolicy]


def create_role(
    name: str, parent: pulumi.Resource, *, path: str, boundary: Text, trust: Text, statements: Sequence[Statement]
) -> BoundedRole:
    """Create a role below an IAM path, and its policy if there are statements.

    `boundary` is the output of the policy: IAM refuses a role whose boundary does not exist yet.
    """
    role = aws.iam.Role(name, name=name, path=path, assume_role_policy=trust, permissions_boundary=boundary, opts=child_of(parent))
    if not statements:
        return BoundedRole(role, [])
    policy = aws.iam.RolePolicy(name, role=role.id, policy=policies.document(*statements), opts=child_of(parent))
    return BoundedRole(role, [policy])
