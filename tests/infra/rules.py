"""Rules over the graph of a stack. Each yields the names of the resources that break it; `VIOLATIONS` seeds one for each rule."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jobs.catalogue import catalogue
from tests.infra.graph_reader import (
    ALARM,
    BUCKET,
    DATABASE,
    FUNCTION,
    LOGS,
    QUEUE,
    REPOSITORY,
    ROLE,
    TASK,
    as_list,
    container_of,
    containers_of,
    policy_documents,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.testing.mock_engine import Graph

SPECS = catalogue()
RESOURCELESS_ACTIONS = {
    "ecr:GetAuthorizationToken",
    "ecs:DescribeTaskDefinition",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    *("ec2:DescribeAvailabilityZones", "secretsmanager:GetRandomPassword"),
    *(f"ssmmessages:{verb}{channel}Channel" for verb in ("Create", "Open") for channel in ("Control", "Data")),
    *("states:SendTaskSuccess", "states:SendTaskFailure", "states:SendTaskHeartbeat"),
}


def find_unprotected_buckets(stack: Graph) -> Iterator[str]:
    """Buckets that are public, unversioned, unencrypted, without lifecycle, or open to requests without TLS."""
    for bucket in stack.of(BUCKET):
        by_type = {resource.type: resource.inputs for resource in stack.resources if resource.name == bucket.name}
        blocked = by_type.get("s3/bucketPublicAccessBlock:BucketPublicAccessBlock", {})
        flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        policy = json.loads(by_type.get("s3/bucketPolicy:BucketPolicy", {}).get("policy", '{"Statement": []}'))
        denied = [statement for statement in policy["Statement"] if statement["Effect"] == "Deny"]
        checks = (
            all(blocked.get(flag) is True for flag in flags),
            by_type.get("s3/bucketVersioning:BucketVersioning", {}).get("versioningConfiguration") == {"status": "Enabled"},
            "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration" in by_type,
            "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration" in by_type,
            "s3/bucketOwnershipControls:BucketOwnershipControls" in by_type,
            any(statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for statement in denied),
        )
        if not all(checks):
            yield bucket.name


def find_overwritable_commits(stack: Graph) -> Iterator[str]:
    """The lake, if a job can write a commit without If-None-Match, or anybody without If-None-Match and If-Match."""
    policy = json.loads(stack.the("s3/bucketPolicy:BucketPolicy", "-lake").inputs["policy"])
    conditional = [statement for statement in policy["Statement"] if "Null" in statement.get("Condition", {})]
    matching = [
        (statement["Condition"]["Null"], sorted(statement["Condition"].get("ArnLike", {})))
        for statement in conditional
        if statement["Effect"] == "Deny" and "_commits" in statement["Resource"][0]
    ]
    if matching != [
        ({"s3:if-none-match": "true"}, ["aws:PrincipalArn"]),
        ({"s3:if-none-match": "true", "s3:if-match": "true"}, []),
    ]:
        yield "lake"


def find_unprotected_log_groups(stack: Graph) -> Iterator[str]:
    """Log groups without retention or encryption."""
    yield from (logs.name for logs in stack.of(LOGS) if not (logs.inputs.get("retentionInDays") and logs.inputs.get("kmsKeyId")))


def find_mutable_repositories(stack: Graph) -> Iterator[str]:
    """Repositories with mutable tags, without encryption, scan or lifecycle."""
    tidied = {resource.name for resource in stack.of("ecr/lifecyclePolicy:LifecyclePolicy")}
    for repository in stack.of(REPOSITORY):
        inputs = repository.inputs
        encrypted = [entry.get("encryptionType") for entry in inputs.get("encryptionConfigurations", [])] == ["KMS"]
        scanned = inputs.get("imageScanningConfiguration") == {"scanOnPush": True}
        if inputs.get("imageTagMutability") != "IMMUTABLE" or not encrypted or not scanned or repository.name not in tidied:
            yield repository.name


def find_unhardened_tasks(stack: Graph) -> Iterator[str]:
    """Tasks that run by tag, as root, with a writable root file system or with capabilities.

    The agent of Systems Manager writes into the bastion's container.
    """
    for task, definition in [(each, container) for each in stack.of(TASK) for container in containers_of(each)]:
        linux = definition.get("linuxParameters", {})
        checks = (
            re.search(r"@sha256:[0-9a-f]{64}$", definition["image"]),
            definition.get("readonlyRootFilesystem") is True or task.name.endswith("-bastion"),
            definition.get("user", "0").split(":")[0] not in ("0", "root"),
            linux.get("initProcessEnabled") is True,
            linux.get("capabilities") == {"drop": ["ALL"]} or task.name.endswith("-bastion"),
            definition.get("stopTimeout") == 120,
            not definition.get("privileged"),
            definition.get("logConfiguration", {}).get("logDriver") == "awslogs",
            task.inputs.get("networkMode") == "awsvpc",
        )
        if not all(checks):
            yield task.name


def find_plaintext_secrets(stack: Graph) -> Iterator[str]:
    """Variables of tasks that hold a secret in plain text."""
    for task in stack.of(TASK):
        for variable in (variable for definition in containers_of(task) for variable in definition["environment"]):
            if re.search("AUTH|PASSWORD|TOKEN|SECRET|API_KEY", variable["name"]) or re.search(r"://[^/]*:[^/]*@", variable["value"]):
                yield f"{task.name} {variable['name']}"


def find_shared_roles(stack: Graph) -> Iterator[str]:
    """Tasks that share a role."""
    seen: set[str] = set()
    for task in stack.of(TASK):
        for key in ("taskRoleArn", "executionRoleArn"):
            if task.inputs[key] in seen:
                yield f"{task.name} {key}"
            seen.add(task.inputs[key])


def find_unbounded_roles(stack: Graph) -> Iterator[str]:
    """Roles that trust too much, or that have no permissions boundary."""
    for role in stack.of(ROLE):
        (statement,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        conditions = statement.get("Condition", {}).get("StringEquals", {})
        if "Federated" in statement["Principal"]:
            issuer = "token.actions.githubusercontent.com"
            subject = conditions.get(f"{issuer}:sub", "")
            if not re.fullmatch(r"repo:[\w.-]+/[\w.-]+:environment:[\w-]+", subject) or f"{issuer}:aud" not in conditions:
                yield role.name
        elif "aws:SourceAccount" not in conditions or not role.inputs.get("permissionsBoundary"):
            yield role.name


def find_unprotected_databases(stack: Graph) -> Iterator[str]:
    """Databases that are public, unencrypted, unprotected or without a week of backups."""
    for database in stack.of(DATABASE):
        inputs = database.inputs
        parameters = {
            entry["name"]: entry["value"] for entry in stack.the("rds/parameterGroup:ParameterGroup", database.name).inputs["parameters"]
        }
        checks = (
            inputs.get("publiclyAccessible") is False,
            inputs.get("storageEncrypted") is True and inputs.get("kmsKeyId"),
            inputs.get("manageMasterUserPassword") is True and "password" not in inputs,
            inputs.get("iamDatabaseAuthenticationEnabled") is True,
            inputs.get("deletionProtection") is True,
            inputs.get("backupRetentionPeriod", 0) >= 7,
            inputs.get("copyTagsToSnapshot") is True,
            parameters.get("rds.force_ssl") == "1",
        )
        if not all(checks):
            yield database.name


def find_unencrypted_queues_and_topics(stack: Graph) -> Iterator[str]:
    """Queues and topics without a key."""
    for kind in ("sqs/queue:Queue", "sns/topic:Topic"):
        yield from (resource.name for resource in stack.of(kind) if not resource.inputs.get("kmsMasterKeyId"))


def find_inbound_access(stack: Graph) -> Iterator[str]:
    """Rules, groups and subnets that the internet can reach, and egress other than HTTPS."""
    for rule in stack.of("vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        if "referencedSecurityGroupId" not in rule.inputs:
            yield rule.name
    for rule in stack.of("vpc/securityGroupEgressRule:SecurityGroupEgressRule"):
        if "referencedSecurityGroupId" not in rule.inputs and rule.inputs["toPort"] != 443:
            yield rule.name
    for group in stack.of("ec2/securityGroup:SecurityGroup"):
        if group.inputs.get("ingress") or group.inputs.get("egress"):
            yield group.name
    for subnet in stack.of("ec2/subnet:Subnet"):
        if subnet.inputs.get("mapPublicIpOnLaunch"):
            yield subnet.name


def find_exposed_services(stack: Graph) -> Iterator[str]:
    """Services with a public address or without rollback."""
    for service in stack.of("ecs/service:Service"):
        inputs = service.inputs
        if inputs["networkConfiguration"].get("assignPublicIp") is not False or inputs["deploymentCircuitBreaker"] != {
            "enable": True,
            "rollback": True,
        }:
            yield service.name


def find_wildcard_policies(stack: Graph) -> Iterator[str]:
    """Policies that allow every action of a service, or an action on every resource."""
    for name, policy in policy_documents(stack):
        if name.startswith("kms/"):
            continue  # in a key policy "*" means the key itself
        for statement in policy["Statement"]:
            actions, resources = as_list(statement["Action"]), as_list(statement.get("Resource", []))
            if statement["Effect"] == "Deny":
                continue
            if any("*" in action for action in actions) or ("*" in resources and not set(actions) <= RESOURCELESS_ACTIONS):
                yield name


def find_unsafe_functions(stack: Graph) -> Iterator[str]:
    """Functions that run by tag, outside the VPC, without limit, or that can lose an event."""
    dead = {inputs["deadLetterConfig"]["targetArn"] for inputs in (f.inputs for f in stack.of(FUNCTION)) if "deadLetterConfig" in inputs}
    queues = {f"arn:aws:sqs:eu-central-1:123456789012:{queue.inputs['name']}" for queue in stack.of(QUEUE)}
    for function in stack.of(FUNCTION):
        inputs = function.inputs
        targets = [target.inputs for target in stack.of("cloudwatch/eventTarget:EventTarget") if target.name == function.name]
        permissions = [
            resource.inputs for resource in stack.of("lambda/permission:Permission") if resource.inputs["function"] == inputs["name"]
        ]
        groups = {logs.inputs["name"] for logs in stack.of(LOGS)}
        checks = (
            re.search(r"@sha256:[0-9a-f]{64}$", inputs["imageUri"]),
            inputs.get("reservedConcurrentExecutions", -1) > 0,
            inputs.get("vpcConfig", {}).get("subnetIds") and inputs["vpcConfig"].get("securityGroupIds"),
            "deadLetterConfig" in inputs and dead <= queues,
            targets and all(target.get("deadLetterConfig", {}).get("arn") in queues for target in targets),
            permissions and all(":rule/" in granted.get("sourceArn", "") and granted.get("sourceAccount") for granted in permissions),
            inputs.get("loggingConfig", {}).get("logGroup") in groups,
            not [name for name, value in inputs["environment"]["variables"].items() if re.search(r"://[^/]*:[^/]*@", value)],
        )
        if not all(checks):
            yield function.name


def find_missing_drop_notifications(stack: Graph) -> Iterator[str]:
    """The lake or the rule, if a dropped file does not reach the function."""
    inputs = [resource.inputs for resource in stack.of("s3/bucketNotification:BucketNotification") if resource.name.endswith("-lake")]
    if [notification.get("eventbridge") for notification in inputs] != [True]:
        yield "the lake sends no events"
    rule = stack.the("cloudwatch/eventRule:EventRule", "-start-dropped-files")
    pattern = json.loads(rule.inputs["eventPattern"])
    bucket = stack.the(BUCKET, "-lake").inputs["bucket"]
    detail = {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "drop/"}]}}
    if pattern != {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": detail}:
        yield rule.name


def find_missing_alarms(stack: Graph) -> Iterator[str]:
    """Dead-letter queues, functions and jobs that can fail without an alarm."""
    alarms = [alarm.inputs for alarm in stack.of(ALARM) if alarm.inputs.get("alarmActions")]
    watched = {value for alarm in alarms for value in alarm.get("dimensions", {}).values()}
    yield from (queue.name for queue in stack.of(QUEUE) if queue.name.endswith("-dead") and queue.inputs["name"] not in watched)
    yield from (function.name for function in stack.of(FUNCTION) if function.inputs["name"] not in watched)
    filters = {resource.inputs["name"]: resource.inputs for resource in stack.of("cloudwatch/logMetricFilter:LogMetricFilter")}
    alarms_by_metric = {alarm["metricName"]: alarm for alarm in alarms if alarm["namespace"].startswith("finelt/")}
    stack_name = next(stack.of("ecs/cluster:Cluster")).name.removeprefix("finelt-")
    for spec in SPECS:
        late = [f"{spec.name}-done"] if spec.schedule or "site" in spec.writes else []
        for metric in (f"{spec.name}-failed", *late):
            counted = filters.get(metric, {"metricTransformation": {"name": ""}})
            log_group = counted.get("logGroupName")
            missing = alarms_by_metric.get(counted["metricTransformation"]["name"], {}).get("treatMissingData")
            if log_group != f"/finelt/{stack_name}/{spec.name}" or missing != ("breaching" if metric in late else "notBreaching"):
                yield metric


def find_excess_delete_permissions(stack: Graph) -> Iterator[str]:
    """Policies that allow to delete objects elsewhere than in the drop and among the metadata of Iceberg tables."""
    for name, policy in policy_documents(stack):
        for statement in policy["Statement"]:
            below = [resource.partition(":::")[2].partition("/")[2] for resource in as_list(statement.get("Resource", []))]
            if statement["Effect"] == "Allow" and "s3:DeleteObject" in as_list(statement["Action"]) and not name.endswith("-boundary"):
                yield from (f"{name} {key}" for key in below if key not in ("drop/*", "lake/iceberg/*"))


VIOLATIONS: dict[Callable[[Graph], Iterator[str]], Callable[[Graph], Graph]] = {
    find_unprotected_buckets: lambda stack: stack.without("s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "-lake"),
    find_overwritable_commits: lambda stack: stack.with_inputs(
        "s3/bucketPolicy:BucketPolicy", "-lake", policy=json.dumps({"Statement": []})
    ),
    find_unprotected_log_groups: lambda stack: stack.with_inputs(LOGS, "-flow-logs", retentionInDays=None),
    find_mutable_repositories: lambda stack: stack.with_inputs(REPOSITORY, "-load-warehouse", imageTagMutability="MUTABLE"),
    find_unhardened_tasks: lambda stack: with_container(stack, "-load-warehouse", image="repository:tag"),
    find_plaintext_secrets: lambda stack: with_container(
        stack, "-load-warehouse", environment=[{"name": "PREFECT_API_AUTH_STRING", "value": "x"}]
    ),
    find_shared_roles: lambda stack: stack.with_inputs(
        TASK, "-load-warehouse", taskRoleArn=stack.the(TASK, "-publish-marts").inputs["taskRoleArn"]
    ),
    find_unbounded_roles: lambda stack: stack.with_inputs(ROLE, "-load-warehouse", permissionsBoundary=None),
    find_unprotected_databases: lambda stack: stack.with_inputs(DATABASE, "-warehouse", publiclyAccessible=True),
    find_unencrypted_queues_and_topics: lambda stack: stack.with_inputs(QUEUE, "-task-events-dead", kmsMasterKeyId=None),
    find_unsafe_functions: lambda stack: stack.with_inputs(FUNCTION, "-start-dropped-files", deadLetterConfig=None),
    find_missing_drop_notifications: lambda stack: stack.with_inputs("s3/bucketNotification:BucketNotification", "-lake", eventbridge=None),
    find_missing_alarms: lambda stack: stack.without(ALARM, "-extract-sec-filers-late"),
    find_excess_delete_permissions: lambda stack: stack.with_inputs(
        "iam/rolePolicy:RolePolicy",
        "-extract-sec-filers",
        policy=json.dumps(
            {"Statement": [{"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": ["arn:aws:s3:::lake/lake/raw/sec_filers/*"]}]}
        ),
    ),
    find_inbound_access: lambda stack: stack.with_inputs(
        "vpc/securityGroupIngressRule:SecurityGroupIngressRule", "-jobs-to-warehouse", referencedSecurityGroupId=None, cidrIpv4="0.0.0.0/0"
    ),
    find_exposed_services: lambda stack: stack.with_inputs(
        "ecs/service:Service", "-prefect", networkConfiguration={"assignPublicIp": True}
    ),
    find_wildcard_policies: lambda stack: stack.with_inputs(
        "iam/rolePolicy:RolePolicy",
        "-load-warehouse",
        policy=json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}),
    ),
}


def with_container(stack: Graph, name: str, **changed: Any) -> Graph:
    """Return the graph with a changed container definition in one task."""
    definition = {**container_of(stack.the(TASK, name)), **changed}
    return stack.with_inputs(TASK, name, containerDefinitions=json.dumps([definition]))
