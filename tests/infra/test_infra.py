"""The infrastructure, without an account: every resource of the graph obeys its rule, and every rule catches who does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.validate import ParamValidator
from parliament import analyze_policy_string

from infra import access, costs, jobs, settings
from infra.testing.mock_engine import Graph, graph
from jobs.catalogue import catalogue
from tests.infra.cloudformation import KINDS, template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPECS = catalogue()
UNDERSTOOD = {"RESOURCE_STAR", "MISMATCHED_TYPE_BUT_USABLE"}  # the first has a rule of its own; an ARN compared as a string is exact
NO_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    *("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"),
}
EVERYWHERE = "lambda:SourceFunctionArn"  # which Lambda adds to every call of a function's code, whatever the service
DATABASE, TASK, BUCKET = "rds/instance:Instance", "ecs/taskDefinition:TaskDefinition", "s3/bucket:Bucket"
FUNCTION, ALARM, QUEUE = "lambda/function:Function", "cloudwatch/metricAlarm:MetricAlarm", "sqs/queue:Queue"
LOGS, ROLE, REPOSITORY = "cloudwatch/logGroup:LogGroup", "iam/role:Role", "ecr/repository:Repository"


@pytest.fixture(scope="session")
def dev() -> Graph:
    return graph()


def documents(found: Graph) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every IAM document that says what somebody may do, by type and name."""
    for resource in found.resources:
        if "policy" in resource.inputs and resource.type != "ecr/lifecyclePolicy:LifecyclePolicy":
            yield f"{resource.type} {resource.name}", json.loads(resource.inputs["policy"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def container(resource: Any) -> dict[str, Any]:
    (only,) = json.loads(resource.inputs["containerDefinitions"])
    return dict(only)


# Rules: each gives the names of those who break it.


def buckets_are_private_versioned_encrypted_and_tidy(found: Graph) -> Iterator[str]:
    for bucket in found.of(BUCKET):
        beside = {resource.type: resource.inputs for resource in found.resources if resource.name == bucket.name}
        blocked = beside.get("s3/bucketPublicAccessBlock:BucketPublicAccessBlock", {})
        flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        policy = json.loads(beside.get("s3/bucketPolicy:BucketPolicy", {}).get("policy", '{"Statement": []}'))
        denied = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
        good = (
            all(blocked.get(flag) is True for flag in flags),
            beside.get("s3/bucketVersioning:BucketVersioning", {}).get("versioningConfiguration") == {"status": "Enabled"},
            "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration" in beside,
            "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration" in beside,
            "s3/bucketOwnershipControls:BucketOwnershipControls" in beside,
            any(statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for statement in denied),
        )
        if not all(good):
            yield bucket.name


def commits_are_made_by_put_if_absent(found: Graph) -> Iterator[str]:
    policy = json.loads(found.the("s3/bucketPolicy:BucketPolicy", "-lake").inputs["policy"])
    asked = [statement for statement in policy["Statement"] if "Null" in statement.get("Condition", {})]
    good = [
        s
        for s in asked
        if s["Effect"] == "Deny" and s["Condition"]["Null"] == {"s3:if-none-match": "true"} and "_commits" in s["Resource"][0]
    ]
    if not good:
        yield "lake"


def logs_end_and_are_encrypted(found: Graph) -> Iterator[str]:
    yield from (logs.name for logs in found.of(LOGS) if not (logs.inputs.get("retentionInDays") and logs.inputs.get("kmsKeyId")))


def repositories_never_change_a_tag_and_are_scanned(found: Graph) -> Iterator[str]:
    tidied = {resource.name for resource in found.of("ecr/lifecyclePolicy:LifecyclePolicy")}
    for repository in found.of(REPOSITORY):
        told = repository.inputs
        encrypted = [entry.get("encryptionType") for entry in told.get("encryptionConfigurations", [])] == ["KMS"]
        scanned = told.get("imageScanningConfiguration") == {"scanOnPush": True}
        if told.get("imageTagMutability") != "IMMUTABLE" or not encrypted or not scanned or repository.name not in tidied:
            yield repository.name


def tasks_are_hardened_and_run_by_digest(found: Graph) -> Iterator[str]:
    for task in found.of(TASK):
        only = container(task)
        linux = only.get("linuxParameters", {})
        good = (
            re.search(r"@sha256:[0-9a-f]{64}$", only["image"]),
            only.get("readonlyRootFilesystem") is True,
            only.get("user", "0").split(":")[0] not in ("0", "root"),
            linux.get("initProcessEnabled") is True,
            linux.get("capabilities") == {"drop": ["ALL"]},
            only.get("stopTimeout") == 120,
            not only.get("privileged"),
            only.get("logConfiguration", {}).get("logDriver") == "awslogs",
            task.inputs.get("networkMode") == "awsvpc",
        )
        if not all(good):
            yield task.name


def no_secret_stands_in_a_tasks_plain_environment(found: Graph) -> Iterator[str]:
    for task in found.of(TASK):
        for variable in container(task)["environment"]:
            if re.search("AUTH|PASSWORD|TOKEN|SECRET|API_KEY", variable["name"]) or re.search(r"://[^/]*:[^/]*@", variable["value"]):
                yield f"{task.name} {variable['name']}"


def tasks_have_roles_of_their_own(found: Graph) -> Iterator[str]:
    taken: set[str] = set()
    for task in found.of(TASK):
        for key in ("taskRoleArn", "executionRoleArn"):
            if task.inputs[key] in taken:
                yield f"{task.name} {key}"
            taken.add(task.inputs[key])


def roles_are_trusted_narrowly_and_bounded(found: Graph) -> Iterator[str]:
    for role in found.of(ROLE):
        (statement,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        conditions = statement.get("Condition", {}).get("StringEquals", {})
        if "Federated" in statement["Principal"]:
            issuer = "token.actions.githubusercontent.com"
            subject = conditions.get(f"{issuer}:sub", "")
            if not re.fullmatch(r"repo:[\w.-]+/[\w.-]+:environment:\w+", subject) or f"{issuer}:aud" not in conditions:
                yield role.name
        elif "aws:SourceAccount" not in conditions or not role.inputs.get("permissionsBoundary"):
            yield role.name


def databases_are_private_encrypted_and_kept(found: Graph) -> Iterator[str]:
    for database in found.of(DATABASE):
        told = database.inputs
        parameters = {
            entry["name"]: entry["value"] for entry in found.the("rds/parameterGroup:ParameterGroup", database.name).inputs["parameters"]
        }
        good = (
            told.get("publiclyAccessible") is False,
            told.get("storageEncrypted") is True and told.get("kmsKeyId"),
            told.get("manageMasterUserPassword") is True and "password" not in told,
            told.get("iamDatabaseAuthenticationEnabled") is True,
            told.get("deletionProtection") is True,
            told.get("backupRetentionPeriod", 0) >= 7,
            told.get("copyTagsToSnapshot") is True,
            parameters.get("rds.force_ssl") == "1",
        )
        if not all(good):
            yield database.name


def queues_and_topics_are_encrypted(found: Graph) -> Iterator[str]:
    for kind in ("sqs/queue:Queue", "sns/topic:Topic"):
        yield from (resource.name for resource in found.of(kind) if not resource.inputs.get("kmsMasterKeyId"))


def nobody_is_let_in_from_outside(found: Graph) -> Iterator[str]:
    for rule in found.of("vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        if "referencedSecurityGroupId" not in rule.inputs:
            yield rule.name
    for rule in found.of("vpc/securityGroupEgressRule:SecurityGroupEgressRule"):
        if "referencedSecurityGroupId" not in rule.inputs and rule.inputs["toPort"] != 443:
            yield rule.name
    for group in found.of("ec2/securityGroup:SecurityGroup"):
        if group.inputs.get("ingress") or group.inputs.get("egress"):
            yield group.name
    for subnet in found.of("ec2/subnet:Subnet"):
        if subnet.inputs.get("mapPublicIpOnLaunch"):
            yield subnet.name


def services_are_private_and_take_back_what_does_not_come_up(found: Graph) -> Iterator[str]:
    for service in found.of("ecs/service:Service"):
        told = service.inputs
        if told["networkConfiguration"].get("assignPublicIp") is not False or told["deploymentCircuitBreaker"] != {
            "enable": True,
            "rollback": True,
        }:
            yield service.name


def no_policy_allows_more_than_it_names(found: Graph) -> Iterator[str]:
    for name, policy in documents(found):
        if name.startswith("kms/"):
            continue  # in a key's policy "*" is the key, and the account itself governs it
        for statement in policy["Statement"]:
            actions, resources = listed(statement["Action"]), listed(statement.get("Resource", []))
            if statement["Effect"] == "Deny":
                continue
            if any("*" in action for action in actions) or ("*" in resources and not set(actions) <= NO_RESOURCE):
                yield name


def functions_run_by_digest_inside_and_lose_no_event(found: Graph) -> Iterator[str]:
    dead = {told["deadLetterConfig"]["targetArn"] for told in (f.inputs for f in found.of(FUNCTION)) if "deadLetterConfig" in told}
    queues = {f"arn:aws:sqs:eu-central-1:123456789012:{queue.inputs['name']}" for queue in found.of(QUEUE)}
    for function in found.of(FUNCTION):
        told = function.inputs
        targets = [target.inputs for target in found.of("cloudwatch/eventTarget:EventTarget") if target.name == function.name]
        permissions = [made.inputs for made in found.of("lambda/permission:Permission") if made.inputs["function"] == told["name"]]
        groups = {logs.inputs["name"] for logs in found.of(LOGS)}
        good = (
            re.search(r"@sha256:[0-9a-f]{64}$", told["imageUri"]),
            told.get("reservedConcurrentExecutions", -1) > 0,
            told.get("vpcConfig", {}).get("subnetIds") and told["vpcConfig"].get("securityGroupIds"),
            "deadLetterConfig" in told and dead <= queues,
            targets and all(target.get("deadLetterConfig", {}).get("arn") in queues for target in targets),
            permissions and all(":rule/" in made.get("sourceArn", "") and made.get("sourceAccount") for made in permissions),
            told.get("loggingConfig", {}).get("logGroup") in groups,
            not [name for name, value in told["environment"]["variables"].items() if re.search(r"://[^/]*:[^/]*@", value)],
        )
        if not all(good):
            yield function.name


def dropped_files_start_something(found: Graph) -> Iterator[str]:
    told = [made.inputs for made in found.of("s3/bucketNotification:BucketNotification") if made.name.endswith("-lake")]
    if [made.get("eventbridge") for made in told] != [True]:
        yield "the lake tells nothing"
    rule = found.the("cloudwatch/eventRule:EventRule", "-start-dropped-files")
    pattern = json.loads(rule.inputs["eventPattern"])
    where = found.the(BUCKET, "-lake").inputs["bucket"]
    detail = {"bucket": {"name": [where]}, "object": {"key": [{"prefix": "drop/"}]}}
    if pattern != {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": detail}:
        yield rule.name


def whatever_can_go_wrong_wakes_somebody(found: Graph) -> Iterator[str]:
    alarms = [alarm.inputs for alarm in found.of(ALARM) if alarm.inputs.get("alarmActions")]
    watched = {value for alarm in alarms for value in alarm.get("dimensions", {}).values()}
    yield from (queue.name for queue in found.of(QUEUE) if queue.name.endswith("-dead") and queue.inputs["name"] not in watched)
    yield from (function.name for function in found.of(FUNCTION) if function.inputs["name"] not in watched)
    counted = {made.inputs["name"]: made.inputs for made in found.of("cloudwatch/logMetricFilter:LogMetricFilter")}
    alarmed = {alarm["metricName"]: alarm for alarm in alarms if alarm["namespace"].startswith("finelt/")}
    stack = next(found.of("ecs/cluster:Cluster")).name.removeprefix("finelt-")
    for spec in SPECS:
        late = [f"{spec.name}-done"] if spec.schedule or "site" in spec.writes else []
        for metric in (f"{spec.name}-failed", *late):
            place = counted.get(metric, {}).get("logGroupName")
            missing = alarmed.get(metric, {}).get("treatMissingData")
            if place != f"/finelt/{stack}/{spec.name}" or missing != ("breaching" if metric in late else "notBreaching"):
                yield metric


def only_what_takes_dropped_files_may_delete(found: Graph) -> Iterator[str]:
    for name, policy in documents(found):
        for statement in policy["Statement"]:
            below = [resource.partition(":::")[2].partition("/")[2] for resource in listed(statement.get("Resource", []))]
            if statement["Effect"] == "Allow" and "s3:DeleteObject" in listed(statement["Action"]) and not name.endswith("-boundary"):
                yield from (f"{name} {key}" for key in below if key != "drop/*")


RULES: dict[Callable[[Graph], Iterator[str]], Callable[[Graph], Graph]] = {
    buckets_are_private_versioned_encrypted_and_tidy: lambda found: found.without(
        "s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "-lake"
    ),
    commits_are_made_by_put_if_absent: lambda found: found.with_inputs(
        "s3/bucketPolicy:BucketPolicy", "-lake", policy=json.dumps({"Statement": []})
    ),
    logs_end_and_are_encrypted: lambda found: found.with_inputs(LOGS, "-flow-logs", retentionInDays=None),
    repositories_never_change_a_tag_and_are_scanned: lambda found: found.with_inputs(
        REPOSITORY, "-load-warehouse", imageTagMutability="MUTABLE"
    ),
    tasks_are_hardened_and_run_by_digest: lambda found: with_container(found, "-load-warehouse", image="repository:tag"),
    no_secret_stands_in_a_tasks_plain_environment: lambda found: with_container(
        found, "-load-warehouse", environment=[{"name": "PREFECT_API_AUTH_STRING", "value": "x"}]
    ),
    tasks_have_roles_of_their_own: lambda found: found.with_inputs(
        TASK, "-load-warehouse", taskRoleArn=found.the(TASK, "-publish-marts").inputs["taskRoleArn"]
    ),
    roles_are_trusted_narrowly_and_bounded: lambda found: found.with_inputs(ROLE, "-load-warehouse", permissionsBoundary=None),
    databases_are_private_encrypted_and_kept: lambda found: found.with_inputs(DATABASE, "-warehouse", publiclyAccessible=True),
    queues_and_topics_are_encrypted: lambda found: found.with_inputs(QUEUE, "-task-events-dead", kmsMasterKeyId=None),
    functions_run_by_digest_inside_and_lose_no_event: lambda found: found.with_inputs(
        FUNCTION, "-start-dropped-files", deadLetterConfig=None
    ),
    dropped_files_start_something: lambda found: found.with_inputs("s3/bucketNotification:BucketNotification", "-lake", eventbridge=None),
    whatever_can_go_wrong_wakes_somebody: lambda found: found.without(ALARM, "-extract-sec-filers-late"),
    only_what_takes_dropped_files_may_delete: lambda found: found.with_inputs(
        "iam/rolePolicy:RolePolicy",
        "-extract-sec-filers",
        policy=json.dumps(
            {"Statement": [{"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": ["arn:aws:s3:::lake/lake/raw/sec_filers/*"]}]}
        ),
    ),
    nobody_is_let_in_from_outside: lambda found: found.with_inputs(
        "vpc/securityGroupIngressRule:SecurityGroupIngressRule", "-jobs-to-warehouse", referencedSecurityGroupId=None, cidrIpv4="0.0.0.0/0"
    ),
    services_are_private_and_take_back_what_does_not_come_up: lambda found: found.with_inputs(
        "ecs/service:Service", "-prefect", networkConfiguration={"assignPublicIp": True}
    ),
    no_policy_allows_more_than_it_names: lambda found: found.with_inputs(
        "iam/rolePolicy:RolePolicy",
        "-load-warehouse",
        policy=json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}),
    ),
}


def with_container(found: Graph, name: str, **changed: Any) -> Graph:
    only = {**container(found.the(TASK, name)), **changed}
    return found.with_inputs(TASK, name, containerDefinitions=json.dumps([only]))


every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@every_rule
def test_the_stack_obeys(rule: Callable[[Graph], Iterator[str]], dev: Graph) -> None:
    assert list(rule(dev)) == []


@every_rule
def test_the_rule_catches_who_does_not(rule: Callable[[Graph], Iterator[str]], dev: Graph) -> None:
    assert list(rule(RULES[rule](dev)))


def test_nothing_is_there_twice(dev: Graph) -> None:
    assert dev.duplicates() == []


def test_a_first_preview_knows_nothing_yet_and_goes_through(dev: Graph) -> None:
    assert len(graph(unknown=True).resources) == len(dev.resources)


@pytest.mark.parametrize(
    "choices",
    [
        {"egress": "nat-per-zone"},
        {"egress": "endpoints"},
        {"server_replicas": "2", "multi_az": "true"},
        {"architecture": "x86_64", "spot": "false"},
        {"audience": "public"},
    ],
    ids=lambda choices: " ".join(f"{name}={value}" for name, value in choices.items()),
)
def test_every_choice_is_a_stack_that_obeys(choices: dict[str, str]) -> None:
    found = graph("prod", choices=choices)
    assert found.duplicates() == []
    for rule in RULES:
        assert list(rule(found)) == [], rule.__name__


def test_a_choice_that_cannot_be_is_refused_with_what_may_be() -> None:
    for name, value, words in (
        ("architecture", "riscv", "choose one of arm64, x86_64"),
        ("egress", "none", "nat, nat-per-zone, endpoints"),
        ("audience", "everybody", "internal, public"),
        ("log_days", "13", "finelt:logDays = 13; choose one of 1, 3, 5, 7, 14"),
        ("repository", "finelt", "expected such as organisation/repository"),
        ("backup_days", "0", "expected 1 to 35"),
    ):
        with pytest.raises(settings.SettingsError, match=words):
            graph(choices={name: value})


def test_a_job_that_reads_what_nobody_writes_is_refused() -> None:
    from dataclasses import replace

    lost = replace(SPECS[0], reads=("raw/nothing",))
    with pytest.raises(jobs.CatalogueError, match=f"{lost.name}: it reads 'raw/nothing', which no job writes; correct it to one of .*raw/"):
        jobs.check([*SPECS, lost])


def test_a_job_may_touch_its_own_datasets_secrets_and_nothing_else(dev: Graph) -> None:
    for spec in SPECS:
        policy = json.loads(dev.the("iam/rolePolicy:RolePolicy", f"dev-{spec.name}").inputs["policy"])
        written = [r for s in policy["Statement"] if "s3:PutObject" in s["Action"] for r in s["Resource"]]
        expected = {f"lake/{dataset}/*" for dataset in spec.writes if dataset.startswith("raw/")}
        expected |= {"site/*"} if "site" in spec.writes else set()
        expected |= {"docs/*"} if "warehouse/marts" in spec.writes else set()
        expected |= {"drop/*"} if "drop" in spec.writes else set()
        assert {resource.partition(":::")[2].partition("/")[2] for resource in written} == expected, spec.name
        secrets = [r for s in policy["Statement"] if "secretsmanager:GetSecretValue" in s["Action"] for r in s["Resource"]]
        assert len(secrets) == len(spec.secrets)
        assert all(f"/{spec.name}/" in secret or "/warehouse/password" in secret for secret in secrets)


def allowed(policy: dict[str, Any], action: str, resource: str, **context: str) -> bool:
    """What IAM says: a Deny that fits counts before any Allow; a condition fits only where the request has its key."""

    def fits(statement: dict[str, Any]) -> bool:
        wanted = statement.get("Condition", {}).get("StringEquals", {})
        return (
            any(fnmatchcase(action, pattern) for pattern in listed(statement["Action"]))
            and any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"]))
            and all(context.get(key.partition(":")[2]) in listed(value) for key, value in wanted.items())
        )

    effects = {statement["Effect"] for statement in policy["Statement"] if fits(statement)}
    return effects == {"Allow"}


def test_who_deploys_cannot_change_who_may_deploy(dev: Graph) -> None:
    """A deployment that was taken over keeps within what the account's owner gave it."""
    policy = json.loads(dev.the("iam/rolePolicy:RolePolicy", "dev-deploy").inputs["policy"])
    here = "arn:aws:iam::123456789012"
    boundary = {"PermissionsBoundary": f"{here}:policy/finelt-dev-boundary"}
    assert {"iam:UpdateAssumeRolePolicy", "iam:DeleteRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"} <= set(access.ON_ITSELF)
    for role in ("finelt-dev-deploy", "finelt-dev-eu-deploy"):  # its own, and that of another stack whose name begins the same
        for action in access.ON_ITSELF:
            context = {**boundary, "PassedToService": "ecs-tasks.amazonaws.com"}
            assert not allowed(policy, action, f"{here}:role/{role}", **context), (role, action)
    job = f"{here}:role/finelt-dev-load-warehouse"
    for action in ("CreateRole", "PutRolePolicy", "DeleteRolePolicy", "PutRolePermissionsBoundary"):
        assert allowed(policy, f"iam:{action}", job, **boundary)
        assert not allowed(policy, f"iam:{action}", job)
        assert not allowed(policy, f"iam:{action}", job, PermissionsBoundary=f"{here}:policy/other")
    for action in ("UpdateAssumeRolePolicy", "DeleteRole"):  # of a role that has the boundary, which stays
        assert allowed(policy, f"iam:{action}", job)
    assert not allowed(policy, "iam:DeleteRolePermissionsBoundary", job, **boundary)
    for action in ("CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicy", "DeletePolicyVersion"):
        assert not allowed(policy, f"iam:{action}", boundary["PermissionsBoundary"])


def test_the_worker_may_run_our_tasks_and_pass_their_roles_alone(dev: Graph) -> None:
    policy = json.loads(dev.the("iam/rolePolicy:RolePolicy", "dev-worker").inputs["policy"])
    (run,) = [s for s in policy["Statement"] if s["Action"] == ["ecs:RunTask"]]
    (hand,) = [s for s in policy["Statement"] if s["Action"] == ["iam:PassRole"]]
    names = {*(spec.name for spec in SPECS), "flows"}
    assert {resource.partition("task-definition/finelt-dev-")[2].removesuffix(":*") for resource in run["Resource"]} == names
    assert {resource.partition("role/finelt-dev-")[2].removesuffix("-start") for resource in hand["Resource"]} == names


def test_there_is_a_repository_an_image_and_a_task_per_job_and_no_list_of_them(dev: Graph) -> None:
    names = {f"finelt-dev-{spec.name}" for spec in SPECS}
    for kind in (REPOSITORY, TASK, "docker:index/image:Image"):
        assert {resource.name for resource in dev.of(kind)} >= names
    for image in dev.of("docker:index/image:Image"):
        build = image.inputs["build"]
        assert build["context"].startswith("../.build/"), "an absolute path would be a change on every other machine"
        assert build["platform"] == "linux/arm64"


def test_aws_would_understand_every_policy(dev: Graph) -> None:
    for name, policy in documents(dev):
        if name.startswith(("kms/", "s3/", "sqs/", "sns/", "ecr/")):
            continue  # policies of resources have a principal, which parliament does not know
        findings = [finding for finding in analyze_policy_string(json.dumps(policy)).findings if finding.issue not in UNDERSTOOD]
        findings = [finding for finding in findings if EVERYWHERE not in str(finding.detail)]
        assert findings == [], (name, [str(finding) for finding in findings])


def test_ecs_would_take_every_task(dev: Graph) -> None:
    client = boto3.client("ecs", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    shape = client.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
    for task in dev.of(TASK):
        asked = {"family": task.inputs["family"], "containerDefinitions": json.loads(task.inputs["containerDefinitions"])}
        report = ParamValidator().validate(asked, shape)
        assert not report.has_errors(), (task.name, report.generate_report())


def test_a_job_with_two_secrets_is_given_both() -> None:
    secrets = {("a", "token"): 1, ("a", "password"): 2, ("b", "token"): 3}
    assert jobs.by_job(secrets) == {"a": {"token": 1, "password": 2}, "b": {"token": 3}}


def test_the_function_may_do_no_more_than_it_does(dev: Graph) -> None:
    policy = json.loads(dev.the("iam/rolePolicy:RolePolicy", "dev-start-dropped-files").inputs["policy"])
    allowed = {action: statement["Resource"] for statement in policy["Statement"] for action in statement["Action"]}
    assert {action.partition(":")[0] for action in allowed} == {"secretsmanager", "logs", "sqs", "kms", "ec2"}
    (denied,) = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
    assert {action for action in allowed if action.startswith("ec2:")} == set(denied["Action"])
    assert denied["Condition"]["ArnEquals"]["lambda:SourceFunctionArn"].endswith(":function:finelt-dev-start-dropped-files")
    assert [arn.partition(":secret:")[2][:-7] for arn in allowed["secretsmanager:GetSecretValue"]] == ["finelt-dev/prefect/auth"]
    assert [arn.rpartition(":")[2] for arn in allowed["sqs:SendMessage"]] == ["finelt-dev-start-dropped-files-dead"]


def test_the_function_asks_for_what_is_registered_and_understands_what_the_rule_lets_through(
    dev: Graph,
) -> None:
    from orchestration.events import start_dropped_files as ours

    told = dev.the(FUNCTION, "-start-dropped-files").inputs
    variables = told["environment"]["variables"]
    job, _, pool = variables["FINELT_DEPLOYMENT"].partition("/")
    assert (job in {spec.name for spec in SPECS}, pool) == (True, "ecs")
    module, _, name = told["imageConfig"]["commands"][0].rpartition(".")
    assert (module, name) == (ours.__name__, ours.handler.__name__)
    stack = {variable["name"]: variable["value"] for variable in container(dev.the(TASK, "-register"))["environment"]}["FINELT_STACK"]
    assert json.loads(stack)["parameters"]["drop"].endswith(f"/{variables['FINELT_DROP']}".rstrip("/"))
    event = {"detail": {"bucket": {"name": "b"}, "object": {"key": f"{variables['FINELT_DROP']}x/y.csv", "sequencer": "1"}}}
    assert ours.dropped(event, variables["FINELT_DROP"])[0] == "x/y.csv"


def test_what_is_registered_is_what_was_made(dev: Graph) -> None:
    """The one-shot task gets every task definition, and the jobs' options by reference to secrets."""
    told = {variable["name"]: variable["value"] for variable in container(dev.the(TASK, "-register"))["environment"]}
    stack = json.loads(told["FINELT_STACK"])
    assert set(stack["tasks"]) == {*(spec.name for spec in SPECS), "flows"}
    assert stack["parameters"]["lake"].startswith("s3://finelt-dev-lake-")
    assert stack["parameters"]["warehouse_password"] == "secretsmanager://finelt-dev/{job}/warehouse_password"
    assert set(stack["warehouse"]["secrets"]) == {spec.name for spec in SPECS if "warehouse_password" in spec.secrets}
    for spec in SPECS:
        for option in spec.secrets:
            value = stack["parameters"].get(spec.name, {}).get(option) or stack["parameters"][option]
            assert value.replace("{job}", spec.name) == f"secretsmanager://finelt-dev/{spec.name}/{option}"


def test_the_site_is_open_to_all_only_where_it_is_for_the_public(dev: Graph) -> None:
    for audience, found in (("internal", dev), ("public", graph(choices={"audience": "public"}))):
        served = [resource for resource in found.resources if resource.type == "cloudfront/distribution:Distribution"]
        policy = json.loads(found.the("s3/bucketPolicy:BucketPolicy", "-site").inputs["policy"])
        readers = [statement for statement in policy["Statement"] if statement["Effect"] == "Allow"]
        assert (len(served), len(readers)) == ((1, 1) if audience == "public" else (0, 0))
        told = {variable["name"]: variable["value"] for variable in container(found.the(TASK, "-register"))["environment"]}
        assert json.loads(told["FINELT_STACK"])["parameters"]["audience"] == audience


def mistakes(found: Graph, folder: Path) -> dict[str, str]:
    """What cfn-lint has to say against the values in a graph, by the resource's logical name."""
    file = folder / "template.json"
    file.write_text(json.dumps(template(found)))
    known = ("W3010", "W3691")  # zones are asked of AWS; a major version of Postgres is meant
    command = [Path(sys.executable).with_name("cfn-lint"), "--format", "json", "--regions", "eu-central-1", "--ignore-checks", *known]
    done = subprocess.run([*command, "--template", str(file)], capture_output=True, text=True, check=False)
    return {problem["Location"]["Path"][1]: problem["Message"] for problem in json.loads(done.stdout)}


PUBLIC = {"egress": "endpoints", "audience": "public"}


@pytest.mark.parametrize("choices", [{}, {"server_replicas": "2", "multi_az": "true", "egress": "nat-per-zone"}, PUBLIC], ids=str)
def test_aws_would_take_every_value(choices: dict[str, str], tmp_path: Path) -> None:
    assert mistakes(graph(choices=choices), tmp_path) == {}


def test_a_value_that_aws_does_not_take_is_found(dev: Graph, tmp_path: Path) -> None:
    seeded: dict[str, tuple[str, dict[str, Any]]] = {
        ALARM: ("-dropped-files-errors", {"comparisonOperator": "MoreThan"}),
        LOGS: ("-start-dropped-files", {"retentionInDays": 13}),
        FUNCTION: ("-start-dropped-files", {"architectures": ["arm65"]}),
        TASK: ("-load-warehouse", {"memory": "8192"}),
        DATABASE: ("-warehouse", {"instanceClass": "db.t4g.tiny"}),
        "ec2/subnet:Subnet": ("-private-0", {"cidrBlock": "10.20.0.0/99"}),
        QUEUE: ("-task-events", {"visibilityTimeoutSeconds": 90_000}),
        "lambda/permission:Permission": ("-start-dropped-files", {"action": "invoke"}),
    }
    wrong = dev
    for kind, (name, inputs) in seeded.items():
        wrong = wrong.with_inputs(kind, name, **inputs)
    found = mistakes(wrong, tmp_path)
    types = {told["Type"] for name, told in template(wrong)["Resources"].items() if name in found}
    expected = {f"AWS::{KINDS[kind].type}" for kind in seeded}
    assert types == expected, found


def test_the_page_of_costs_is_what_the_program_asks_for() -> None:
    assert costs.PAGE.read_text(encoding="utf-8") == costs.page(), "run ./scripts/costs"
