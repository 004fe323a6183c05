"""Each role may do what its code does, and no more."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from parliament import analyze_policy_string

from infra import deploy_role
from jobs.catalogue import catalogue
from tests.infra.graph_reader import ROLE, as_list, policy_documents, role_policy

if TYPE_CHECKING:
    from infra.testing.mock_engine import Graph

SPECS = catalogue()
# A rule covers the first; for the second, an ARN that is compared as a string is exact.
ACCEPTED_FINDINGS = {"RESOURCE_STAR", "MISMATCHED_TYPE_BUT_USABLE"}
# Lambda adds the first to every call of a function's code, whatever the service; KMS knows the second for every action on a key.
UNKNOWN_TO_PARLIAMENT = ("lambda:SourceFunctionArn", "kms:ResourceAliases")


def test_a_job_may_use_only_its_own_datasets_and_secrets(dev: Graph) -> None:
    for spec in SPECS:
        policy = role_policy(dev, f"dev-{spec.name}")
        written = [
            resource for statement in policy["Statement"] if "s3:PutObject" in statement["Action"] for resource in statement["Resource"]
        ]
        expected = {f"lake/{dataset}/*" for dataset in spec.writes if dataset.startswith("raw/")}
        expected |= {"site/*"} if "site" in spec.writes else set()
        expected |= {"docs/*"} if "warehouse/marts" in spec.writes else set()
        expected |= {"drop/*"} if "drop" in spec.writes else set()
        expected |= {"lake/iceberg/*"} if "iceberg" in spec.writes else set()
        assert {resource.partition(":::")[2].partition("/")[2] for resource in written} == expected, spec.name
        read = {
            resource.partition(":::")[2].partition("/")[2]
            for statement in policy["Statement"]
            if "s3:GetObject" in statement["Action"]
            for resource in statement["Resource"]
        }
        declared = {f"lake/{dataset.removesuffix('/*')}/*" for dataset in spec.reads if dataset.startswith("raw/")}
        declared |= {"site/*"} if "site" in spec.reads else {"docs/*"} if "site" in spec.writes else set()
        assert read == expected | declared, spec.name
        secrets = [
            resource
            for statement in policy["Statement"]
            if "secretsmanager:GetSecretValue" in statement["Action"]
            for resource in statement["Resource"]
        ]
        assert len(secrets) == len(spec.secrets)
        assert all(f"/{spec.name}/" in secret or "/warehouse/password" in secret for secret in secrets)


def is_allowed(policy: dict[str, Any], action: str, resource: str, **context: str) -> bool:
    """Return what IAM decides: a matching Deny overrides every Allow; a condition matches only if the request has its key."""

    def matches(statement: dict[str, Any]) -> bool:
        conditions = statement.get("Condition", {}).get("StringEquals", {})
        return (
            any(fnmatchcase(action, pattern) for pattern in as_list(statement["Action"]))
            and any(fnmatchcase(resource, pattern) for pattern in as_list(statement["Resource"]))
            and all(context.get(key.partition(":")[2]) in as_list(value) for key, value in conditions.items())
        )

    effects = {statement["Effect"] for statement in policy["Statement"] if matches(statement)}
    return effects == {"Allow"}


def test_the_deploy_role_cannot_change_itself_or_its_boundary(dev: Graph) -> None:
    """A compromised deployment keeps the permissions that the account's owner granted."""
    policy = role_policy(dev, "dev-deploy")
    account = "arn:aws:iam::123456789012"
    boundary = {"PermissionsBoundary": f"{account}:policy/finelt-dev-boundary"}
    assert {"iam:UpdateAssumeRolePolicy", "iam:DeleteRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"} <= set(
        deploy_role.DEPLOY_ROLE_DENIED_ACTIONS
    )
    for role in (
        "finelt-dev-deploy",
        "finelt-dev-preview",
        "finelt-dev-eu-deploy",
    ):  # this stack's, and that of a stack whose name begins with this one's
        for action in deploy_role.DEPLOY_ROLE_DENIED_ACTIONS:
            context = {**boundary, "PassedToService": "ecs-tasks.amazonaws.com"}
            assert not is_allowed(policy, action, f"{account}:role/{role}", **context), (role, action)
    job = f"{account}:role/finelt/dev/runs/finelt-dev-load-warehouse"
    for action in ("CreateRole", "PutRolePolicy", "DeleteRolePolicy", "PutRolePermissionsBoundary"):
        assert is_allowed(policy, f"iam:{action}", job, **boundary)
        assert not is_allowed(policy, f"iam:{action}", job)
        assert not is_allowed(policy, f"iam:{action}", job, PermissionsBoundary=f"{account}:policy/other")
    for action in ("UpdateAssumeRolePolicy", "DeleteRole"):  # the role has the boundary and keeps it
        assert is_allowed(policy, f"iam:{action}", job)
    widened = {"Statement": [*policy["Statement"], {"Effect": "Allow", "Action": ["iam:*"], "Resource": ["*"]}]}
    for action in deploy_role.DEPLOY_ROLE_DENIED_ACTIONS:
        assert not is_allowed(widened, action, f"{account}:role/finelt-dev-deploy"), "the Deny holds although another policy allows it"
    for action in deploy_role.BOUNDARY_DENIED_ACTIONS:
        assert not is_allowed(widened, action, boundary["PermissionsBoundary"])
    assert not is_allowed(widened, "iam:DeleteRolePermissionsBoundary", job, **boundary)
    for action in ("CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicy", "DeletePolicyVersion"):
        assert not is_allowed(policy, f"iam:{action}", boundary["PermissionsBoundary"])


def test_the_worker_may_run_tasks_only_on_its_cluster_and_pass_only_the_roles_of_jobs_and_flows(dev: Graph) -> None:
    policy = role_policy(dev, "dev-worker")
    (run,) = [statement for statement in policy["Statement"] if statement["Action"] == ["ecs:RunTask"]]
    assert run["Condition"] == {"ArnEquals": {"ecs:cluster": "arn:aws:ecs:eu-central-1:123456789012:cluster/finelt-dev"}}
    (pass_role,) = [statement for statement in policy["Statement"] if statement["Action"] == ["iam:PassRole"]]
    passed = {role.name for role in dev.of(ROLE) if any(fnmatchcase(role.arn, pattern) for pattern in pass_role["Resource"])}
    names = {*(spec.name for spec in SPECS), "flows"}
    assert passed == {f"finelt-dev-{name}{ending}" for name in names for ending in ("", "-start")}


def test_the_registration_reads_the_passwords_of_the_warehouse_and_no_key_of_a_vendor(dev: Graph) -> None:
    policy = role_policy(dev, "dev-register")
    secrets = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:finelt-dev"
    for action in ("GetSecretValue", "PutSecretValue"):
        assert is_allowed(policy, f"secretsmanager:{action}", f"{secrets}/load-warehouse/warehouse_password-AbCdEf")
        for other in ("extract-fred-series/token-AbCdEf", "prefect/auth-AbCdEf"):
            assert not is_allowed(policy, f"secretsmanager:{action}", f"{secrets}/{other}"), other


def test_a_preview_may_read_the_state_and_change_nothing(dev: Graph) -> None:
    """A pull request runs its own code with the role."""
    policy = role_policy(dev, "dev-preview")
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    reads = ("Get", "List", "Describe", "Decrypt")
    assert all(action.partition(":")[2].startswith(reads) for action in actions)
    assert not [attachment for attachment in dev.of("iam/rolePolicyAttachment:RolePolicyAttachment") if "preview" in attachment.name]
    assert "s3:GetObject" in actions
    assert not is_allowed(policy, "s3:GetObject", "arn:aws:s3:::finelt-dev-lake-123456789012/lake/raw/x")
    trust = json.loads(dev.the(ROLE, "-preview").inputs["assumeRolePolicy"])["Statement"][0]["Condition"]["StringEquals"]
    assert trust["token.actions.githubusercontent.com:sub"] == "repo:example/finelt:environment:dev-preview"


def test_every_policy_is_valid_iam(dev: Graph) -> None:
    for name, policy in policy_documents(dev):
        if name.startswith(("kms/", "s3/", "sqs/", "sns/", "ecr/")):
            continue  # parliament rejects the principal of a resource's policy
        findings = [finding for finding in analyze_policy_string(json.dumps(policy)).findings if finding.issue not in ACCEPTED_FINDINGS]
        findings = [finding for finding in findings if not any(key in f"{finding.detail}{finding}" for key in UNKNOWN_TO_PARLIAMENT)]
        assert findings == [], (name, [str(finding) for finding in findings])


def test_the_function_may_do_only_what_it_does(dev: Graph) -> None:
    policy = role_policy(dev, "dev-start-dropped-files")
    resources = {action: statement["Resource"] for statement in policy["Statement"] for action in statement["Action"]}
    assert {action.partition(":")[0] for action in resources} == {"secretsmanager", "logs", "sqs", "kms", "ec2"}
    (denied,) = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
    assert {action for action in resources if action.startswith("ec2:")} == set(denied["Action"])
    assert denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"].endswith(":function:finelt-dev-start-dropped-files")
    assert [arn.partition(":secret:")[2][:-7] for arn in resources["secretsmanager:GetSecretValue"]] == ["finelt-dev/prefect/auth"]
    assert [arn.rpartition(":")[2] for arn in resources["sqs:SendMessage"]] == ["finelt-dev-start-dropped-files-dead"]
