"""Who reaches what: the site is private unless its audience is public, and people enter the network through the bastion only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from click.testing import CliRunner
from moto import mock_aws

from infra import stack
from infra.testing.mock_engine import ACCOUNT, REGION, Graph, Resource, graph
from orchestration import warehouse_roles
from tests.infra.graph_reader import CHOICES, PUBLIC, as_list, container_of, environment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DISTRIBUTION, DELIVERY, SOURCE = (
    "cloudfront/distribution:Distribution",
    "cloudwatch/logDelivery:LogDelivery",
    "cloudwatch/logDeliverySource:LogDeliverySource",
)
INGRESS, POLICY = "vpc/securityGroupIngressRule:SecurityGroupIngressRule", "iam/policy:Policy"


def find_untrue_tls(given: Graph) -> Iterator[str]:
    """CloudFront's own certificate accepts TLS 1.0, whatever policy is set with it; with an own certificate the policy is at least 1.2."""
    for site in given.of(DISTRIBUTION):
        certificate = site.inputs["viewerCertificate"]
        policy = certificate.get("minimumProtocolVersion")
        if certificate.get("cloudfrontDefaultCertificate"):
            if policy:
                yield f"{site.name} claims {policy} with CloudFront's certificate"
        elif policy != "TLSv1.2_2021" or not site.inputs["aliases"]:
            yield f"{site.name} has a certificate without TLS 1.2 or a domain"


def find_unlogged_readers(given: Graph) -> Iterator[str]:
    """Each request to a site or to a bucket of data leaves a record in the bucket of access logs."""
    sources = {source.physical_name: source.inputs["resourceArn"] for source in given.of(SOURCE)}
    logged = {sources[delivery.inputs["deliverySourceName"]] for delivery in given.of(DELIVERY)}
    yield from (site.name for site in given.of(DISTRIBUTION) if site.arn not in logged)
    buckets = {logging.inputs["bucket"] for logging in given.of("s3/bucketLogging:BucketLogging")}
    for bucket in given.of("s3/bucket:Bucket"):
        if bucket.physical_name not in buckets and not bucket.name.endswith("-access-logs"):
            yield bucket.name


def find_open_sites(given: Graph) -> Iterator[str]:
    """Only a site whose audience is public has a distribution, and jobs publish for the same audience."""
    (description,) = given.of("s3/bucketObjectv2:BucketObjectv2")
    audience = json.loads(description.inputs["content"])["parameters"]["audience"]
    if audience != "public":
        yield from (site.name for site in given.of(DISTRIBUTION))


def find_other_ways_in(given: Graph) -> Iterator[str]:
    """People reach Prefect and the warehouse through the bastion, which nobody can connect to."""
    groups = {group.id: group.name.removeprefix("finelt-dev-") for group in given.of("ec2/securityGroup:SecurityGroup")}
    allowed = {"prefect": {"jobs", "worker", "events", "bastion"}, "warehouse": {"jobs", "bastion"}, "bastion": set[str]()}
    for rule in given.of(INGRESS):
        server, client = (groups.get(rule.inputs.get(key, "")) for key in ("securityGroupId", "referencedSecurityGroupId"))
        if server in allowed and client not in allowed[str(server)]:
            yield f"{client} reaches {server}"


RULES: dict[Callable[[Graph], Iterator[str]], Callable[[Graph], Graph]] = {
    find_untrue_tls: lambda given: given.with_inputs(
        DISTRIBUTION, "-site", viewerCertificate={"cloudfrontDefaultCertificate": True, "minimumProtocolVersion": "TLSv1.2_2021"}
    ),
    find_unlogged_readers: lambda given: given.without(DELIVERY, "-site"),
    find_open_sites: lambda given: given.with_inputs(
        "s3/bucketObjectv2:BucketObjectv2", "-register", content=json.dumps({"parameters": {"audience": "internal"}})
    ),
    find_other_ways_in: lambda given: given.with_inputs(
        INGRESS, "-bastion-to-warehouse", securityGroupId=given.the("ec2/securityGroup:SecurityGroup", "-bastion").id
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_stack_obeys_the_rule(rule: Callable[[Graph], Iterator[str]]) -> None:
    for choices in CHOICES:
        assert list(rule(graph(choices=choices))) == [], rule.__doc__


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_finds_a_violation(rule: Callable[[Graph], Iterator[str]]) -> None:
    assert list(rule(RULES[rule](graph(choices=PUBLIC))))


def test_cloudfronts_own_certificate_is_used_without_a_claim() -> None:
    default = {"viewerCertificate": {"cloudfrontDefaultCertificate": True}, "aliases": []}
    assert not list(find_untrue_tls(Graph((Resource(DISTRIBUTION, "site", default),))))


def allowed_actions(given: Graph, policy: str) -> dict[str, list[str]]:
    """Return the resources of each action that a policy allows."""
    found: dict[str, list[str]] = {}
    for statement in json.loads(given.the(POLICY, policy).inputs["policy"])["Statement"]:
        for action in as_list(statement["Action"]):
            found.setdefault(action, []).extend(as_list(statement["Resource"]))
    return found


def test_a_reader_may_use_the_bastion_and_read_the_site_and_the_warehouse_and_nothing_else(dev: Graph) -> None:
    actions = allowed_actions(dev, "-reader")
    database = dev.the("rds/instance:Instance", "-warehouse")
    assert [arn.partition(":dbuser:")[2].partition("/")[2] for arn in actions["rds-db:connect"]] == [warehouse_roles.ANALYST]
    assert database.name
    assert set(actions["s3:GetObject"]) == {f"arn:aws:s3:::finelt-dev-site-{ACCOUNT}/site/*"}
    assert actions["ecs:RunTask"] == [f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/finelt-dev-bastion:*"]
    assert not [action for action in actions if action.startswith(("iam:C", "iam:P")) and action != "iam:PassRole"]
    assert {arn.rpartition("/")[2] for arn in actions["iam:PassRole"]} == {"finelt-dev-bastion", "finelt-dev-bastion-start"}
    assert "secretsmanager:GetSecretValue" not in actions, "Prefect's password starts jobs; it is the operator's"
    assert set(allowed_actions(dev, "-operator")) == {"secretsmanager:GetSecretValue", "kms:Decrypt"}


def test_the_tasks_agent_reaches_systems_manager_without_the_internet(dev: Graph) -> None:
    services = {endpoint.inputs["serviceName"].rpartition(".")[2] for endpoint in graph(choices=PUBLIC).of("ec2/vpcEndpoint:VpcEndpoint")}
    assert "ssmmessages" in services
    definition = container_of(dev.the("ecs/taskDefinition:TaskDefinition", "-bastion"))
    assert definition["readonlyRootFilesystem"] is False
    assert not any(service.name.endswith("-bastion") for service in dev.of("ecs/service:Service")), "it runs for a session only"


def test_the_browser_asks_the_forwarded_port(dev: Graph) -> None:
    url = environment_of(dev.the("ecs/taskDefinition:TaskDefinition", "-prefect"))["PREFECT_SERVER_UI_API_URL"]
    assert url == f"http://127.0.0.1:{stack.TARGETS['prefect'][1]}/api"


@pytest.fixture
def bastion(dev: Graph, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An emulated account with the bastion's description and cluster. Its task is running; yields a client of ECS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    with mock_aws():
        ecs = boto3.client("ecs", region_name=REGION)
        ecs.create_cluster(clusterName="finelt-dev")
        container = {"name": "job", "image": "i", "memory": 512, "cpu": 256}
        ecs.register_task_definition(family="finelt-dev-bastion", containerDefinitions=[container])
        (parameter,) = dev.of("ssm/parameter:Parameter")
        subnet = boto3.client("ec2", region_name=REGION).describe_subnets()["Subnets"][0]["SubnetId"]
        value = json.dumps({**json.loads(parameter.inputs["value"]), "subnets": [subnet], "security_groups": []})
        boto3.client("ssm", region_name=REGION).put_parameter(Name=parameter.inputs["name"], Type="String", Value=value)
        call = type(ecs)._make_api_call
        agent = {"runtimeId": "r1", "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}]}

        def call_with_agent(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            response = call(client, operation, parameters)
            if operation == "DescribeTasks":  # moto starts no agent
                response["tasks"] = [{**task, "lastStatus": "RUNNING", "containers": [agent]} for task in response["tasks"]]
            return response

        monkeypatch.setattr("botocore.client.BaseClient._make_api_call", call_with_agent)
        yield ecs


@pytest.mark.parametrize(
    ("target", "ports", "hint"),
    [("prefect", ("4200", "4200"), "open http://127.0.0.1:4200"), ("warehouse", ("5432", "5433"), "user=analyst")],
)
def test_connect_forwards_a_port_through_a_task_that_it_stops(
    target: str, ports: tuple[str, str], hint: str, bastion: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("aws", "session-manager-plugin"):
        (tmp_path / name).write_text(
            f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(tmp_path / 'log')!r}, 'w'))\n"
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "Pulumi.dev.yaml").write_text((stack.FOLDER / "Pulumi.dev.yaml").read_text().replace("000000000000", ACCOUNT))
    monkeypatch.setattr(stack, "FOLDER", tmp_path)
    result = CliRunner().invoke(stack.main, ["connect", "dev", target])
    assert result.exit_code == 0, result.output
    assert hint in result.output
    words = json.loads((tmp_path / "log").read_text())
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options["--target"].startswith("ecs:finelt-dev_")
    assert options["--target"].endswith("_r1")
    parameters = json.loads(options["--parameters"])
    assert (parameters["portNumber"], parameters["localPortNumber"]) == ([ports[0]], [ports[1]])
    assert parameters["host"][0]
    (task,) = bastion.list_tasks(cluster="finelt-dev", desiredStatus="STOPPED")["taskArns"]
    (state,) = bastion.describe_tasks(cluster="finelt-dev", tasks=[task], include=["TAGS"])["tasks"]
    assert state["tags"] == [{"key": "purpose", "value": "bastion"}]
    assert "password" not in result.output.lower().replace("pgpassword", "").replace("as the password", "")


def test_connect_names_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(stack.main, ["connect", "dev", "prefect"])
    assert result.exit_code == 1
    assert "there is no aws command" in result.output
