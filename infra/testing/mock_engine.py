"""The resources of a stack, as Pulumi would ask AWS for them, without AWS: the program run under Pulumi's mocks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime import mocks, rpc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCOUNT, REGION = "123456789012", "eu-central-1"
SECRET = "4dabf18193072939515e22adb298388d"  # how Pulumi marks a secret on the wire
CONFIG = {
    "aws:region": REGION,
    "aws:allowedAccountIds": json.dumps([ACCOUNT]),
    "finelt:architecture": "arm64",
    "finelt:egress": "nat",
    "finelt:audience": "internal",
    "finelt:spot": "true",
    "finelt:warehouseClass": "db.t4g.micro",
    "finelt:warehouseGb": "20",
    "finelt:prefectClass": "db.t4g.micro",
    "finelt:multiAz": "false",
    "finelt:serverReplicas": "1",
    "finelt:protect": "true",
    "finelt:backupDays": "7",
    "finelt:logDays": "14",
    "finelt:budgetUsd": "150",
    "finelt:alarmEmail": "data@example.com",
    "finelt:repository": "example/finelt",
    "finelt:firstInAccount": "true",
}
ARNS = {
    "s3/bucket:Bucket": "arn:aws:s3:::{name}",
    "iam/role:Role": "arn:aws:iam::{account}:role/{name}",
    "kms/key:Key": "arn:aws:kms:{region}:{account}:key/00000000-0000-4000-8000-000000000000",
    "sqs/queue:Queue": "arn:aws:sqs:{region}:{account}:{name}",
    "sns/topic:Topic": "arn:aws:sns:{region}:{account}:{name}",
    "ecs/cluster:Cluster": "arn:aws:ecs:{region}:{account}:cluster/{name}",
    "ecs/taskDefinition:TaskDefinition": "arn:aws:ecs:{region}:{account}:task-definition/{name}:1",
    "cloudwatch/logGroup:LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}",
    "cloudwatch/eventRule:EventRule": "arn:aws:events:{region}:{account}:rule/{name}",
    "cloudfront/distribution:Distribution": "arn:aws:cloudfront::{account}:distribution/E000000000000",
    "secretsmanager/secret:Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
    "iam/openIdConnectProvider:OpenIdConnectProvider": "arn:aws:iam::{account}:oidc-provider/token.actions.githubusercontent.com",
    "lambda/function:Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "iam/policy:Policy": "arn:aws:iam::{account}:policy/{name}",
}
IDS = {
    "ec2/eip:Eip": "eipalloc",
    "ec2/internetGateway:InternetGateway": "igw",
    "ec2/natGateway:NatGateway": "nat",
    "ec2/routeTable:RouteTable": "rtb",
    "ec2/securityGroup:SecurityGroup": "sg",
    "ec2/subnet:Subnet": "subnet",
    "ec2/vpc:Vpc": "vpc",
}
DIGEST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{{name}}@sha256:{'0' * 64}"


@dataclass(frozen=True)
class Resource:
    """One resource: its type without the provider and its name in the program, and what is asked for."""

    type: str
    name: str
    inputs: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Graph:
    """All resources of a program's run."""

    resources: tuple[Resource, ...]

    def of(self, kind: str) -> Iterator[Resource]:
        """Those of a type, such as s3/bucket:Bucket."""
        return (resource for resource in self.resources if resource.type == kind)

    def the(self, kind: str, name: str) -> Resource:
        """The one of a type whose name ends so."""
        (found,) = [resource for resource in self.of(kind) if resource.name.endswith(name)]
        return found

    def with_inputs(self, kind: str, name: str, **inputs: Any) -> Graph:
        """The same but for some inputs of one resource; None takes one away."""
        old = self.the(kind, name)
        told = {key: value for key, value in {**old.inputs, **inputs}.items() if value is not None}
        new = replace(old, inputs=told)
        return replace(self, resources=tuple(new if resource is old else resource for resource in self.resources))

    def without(self, kind: str, name: str) -> Graph:
        """The same without one resource."""
        old = self.the(kind, name)
        return replace(self, resources=tuple(resource for resource in self.resources if resource is not old))

    def duplicates(self) -> list[tuple[str, str]]:
        """Types and names that occur twice, which Pulumi itself would refuse."""
        counted = Counter((resource.type, resource.name) for resource in self.resources)
        return [key for key, count in counted.items() if count > 1]


class _Mocks(mocks.Mocks):
    def __init__(self, *, unknown: bool) -> None:
        self.seen: list[Resource] = []
        self._unknown = unknown

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        kind = args.typ.removeprefix("aws:")
        self.seen.append(Resource(kind, args.name, _plain(args.inputs)))
        computed = _computed(kind, args.name, args.inputs)
        if self._unknown:  # as in the preview of a stack that is not there yet
            return None, {**dict.fromkeys(computed, rpc.UNKNOWN), **args.inputs}
        return _id(kind, args.name, computed["name"]), {**computed, **args.inputs}

    def call(self, args: mocks.MockCallArgs) -> dict[Any, Any]:  # type: ignore[override]  # Pulumi takes this too
        if "AvailabilityZones" in args.token:
            return {"names": [f"{REGION}{letter}" for letter in "abc"]}
        if "AuthorizationToken" in args.token:
            return {"proxyEndpoint": "https://registry", "userName": "AWS", "password": "p4ssw0rd"}
        return {"randomPassword": "r4ndom"}


def _id(kind: str, name: str, named: str) -> str:
    """The id that AWS would give: its own for parts of a network, for most else the name."""
    return f"{IDS[kind]}-{hashlib.sha256(name.encode()).hexdigest()[:17]}" if kind in IDS else named


def _computed(kind: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What AWS would tell of a new resource."""
    named = str(inputs.get("name") or inputs.get("bucket") or name)
    arn = ARNS.get(kind, "arn:aws:{kind}:{region}:{account}:{name}")
    return {
        "arn": arn.format(name=named, region=REGION, account=ACCOUNT, kind=kind.partition("/")[0]),
        "name": named,
        "bucket": named,
        "identifier": named,
        "address": f"{named}.example.internal",
        "bucketRegionalDomainName": f"{named}.s3.{REGION}.amazonaws.com",
        "domainName": "d000000000000.cloudfront.net",
        "keyId": "00000000-0000-4000-8000-000000000000",
        "masterUserSecrets": [{"secretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-{named}-AbCdEf"}],
        "primaryEndpointAddress": f"{named}.example.internal",
        "repoDigest": DIGEST.format(name=named),
        "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{named}",
        "url": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{named}",
    }


def _plain(value: Any) -> Any:
    """A value without the marks of secrets, whole numbers whole again."""
    if isinstance(value, dict):
        return _plain(value["value"]) if SECRET in value else {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))


@cache
def _aside() -> ProcessPoolExecutor:
    """A process for Pulumi, whose event loops and deprecations are not for pytest's."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def graph(stack: str = "dev", *, unknown: bool = False, choices: Mapping[str, str] | None = None) -> Graph:
    """What a stack with these choices (as in Pulumi.<stack>.yaml, in snake case) is made of. Raises what the program raises."""
    return _aside().submit(_graph, stack, unknown, dict(choices or {})).result()


def _graph(stack: str, unknown: bool, choices: dict[str, str]) -> Graph:  # noqa: FBT001  across processes
    from infra.program import program

    mocked = _Mocks(unknown=unknown)
    asyncio.set_event_loop(asyncio.new_event_loop())  # Pulumi takes the current one
    mocks.set_mocks(mocked, project="finelt", stack=stack, preview=unknown)
    given = {f"finelt:{_camel(name)}": value for name, value in choices.items()}
    pulumi.runtime.set_all_config({**CONFIG, **given})

    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    return Graph(tuple(mocked.seen))
