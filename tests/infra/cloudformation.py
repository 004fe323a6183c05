"""A stack's graph as a CloudFormation template, for cfn-lint: it knows which values AWS takes where Pulumi's types say only `str`.

Most properties have the same name in both, but for the first letter. The tables below are the differences.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.testing.mock_engine import Graph

Properties = dict[str, Any]
FREE = ("Variables", "Options")  # keys below are our own


class Kind(NamedTuple):
    """A type in CloudFormation: properties that have another name there (None: that are not there), and what else is different."""

    type: str
    names: Mapping[str, str | None] = {}
    finish: Callable[[Properties], Properties] = dict


def lifted(value: Any, parent: str = "") -> Any:
    """The same with every key's first letter large."""
    if isinstance(value, dict):
        keep = parent in FREE
        return {key if keep else key[0].upper() + key[1:]: lifted(inner, key[0].upper() + key[1:]) for key, inner in value.items()}
    return [lifted(inner, parent) for inner in value] if isinstance(value, list) else value


def wrapped(name: str) -> Callable[[Properties], Properties]:
    return lambda told: {name: told}


def parsed(*names: str) -> Callable[[Properties], Properties]:
    return lambda told: {key: json.loads(value) if key in names else value for key, value in told.items()}


def _distribution(told: Properties) -> Properties:
    for origin in told["Origins"]:
        origin["Id"] = origin.pop("OriginId")
        origin["S3OriginConfig"] = {"OriginAccessIdentity": ""}
    told["ViewerCertificate"]["CloudFrontDefaultCertificate"] = told["ViewerCertificate"].pop("CloudfrontDefaultCertificate")
    del told["ViewerCertificate"]["MinimumProtocolVersion"]  # which AWS takes with a certificate of ours only
    return {"DistributionConfig": told}


def _budget(told: Properties) -> Properties:
    notifications = [
        {"Subscribers": [{"Address": arn, "SubscriptionType": "SNS"} for arn in one.pop("SubscriberSnsTopicArns")], "Notification": one}
        for one in told.pop("Notifications")
    ]
    limit = {"Amount": float(told.pop("LimitAmount")), "Unit": told.pop("LimitUnit")}
    filters = {entry["Name"]: entry["Values"] for entry in told.pop("CostFilters")}
    return {"Budget": {**told, "BudgetLimit": limit, "CostFilters": filters}, "NotificationsWithSubscribers": notifications}


def _alarm(told: Properties) -> Properties:
    return {**told, "Dimensions": [{"Name": name, "Value": value} for name, value in told["Dimensions"].items()]}


def _metric_filter(told: Properties) -> Properties:
    one = told.pop("MetricTransformation")
    return {**told, "MetricTransformations": [{f"Metric{key}": value for key, value in one.items()}]}


def _service(told: Properties) -> Properties:
    place, breaker = told.pop("NetworkConfiguration"), told.pop("DeploymentCircuitBreaker")
    place["AssignPublicIp"] = "ENABLED" if place["AssignPublicIp"] else "DISABLED"
    told["DeploymentConfiguration"] = {
        "DeploymentCircuitBreaker": breaker,
        "MinimumHealthyPercent": told.pop("DeploymentMinimumHealthyPercent"),
    }
    if registry := told.pop("ServiceRegistries", None):
        told["ServiceRegistries"] = [registry]
    return {**told, "NetworkConfiguration": {"AwsvpcConfiguration": place}}


def _task(told: Properties) -> Properties:
    return {**told, "ContainerDefinitions": lifted(json.loads(told["ContainerDefinitions"]))}


def _function(told: Properties) -> Properties:
    told["ImageConfig"] = {"EntryPoint": told["ImageConfig"]["EntryPoints"], "Command": told["ImageConfig"]["Commands"]}
    return {"Code": {"ImageUri": told.pop("ImageUri")}, **told}


def _repository(told: Properties) -> Properties:
    (encryption,) = told.pop("EncryptionConfigurations")
    return {**told, "EncryptionConfiguration": encryption}


def _parameters(told: Properties) -> Properties:
    return {**told, "Parameters": {entry["Name"]: entry["Value"] for entry in told["Parameters"]}}


def _discovery(told: Properties) -> Properties:
    for record in told["DnsConfig"]["DnsRecords"]:
        record["TTL"] = record.pop("Ttl")
    return told


def _flow_log(told: Properties) -> Properties:
    return {**told, "ResourceType": "VPC"}


DOCUMENT = "PolicyDocument"
GROUP_RULE = {"SecurityGroupId": "GroupId", "CidrIpv4": "CidrIp"}
KINDS = {
    "budgets/budget:Budget": Kind("Budgets::Budget", {"Name": "BudgetName"}, _budget),
    "cloudfront/distribution:Distribution": Kind("CloudFront::Distribution", {"OrderedCacheBehaviors": "CacheBehaviors"}, _distribution),
    "cloudfront/originAccessControl:OriginAccessControl": Kind("CloudFront::OriginAccessControl", {}, wrapped("OriginAccessControlConfig")),
    "cloudwatch/dashboard:Dashboard": Kind("CloudWatch::Dashboard"),
    "cloudwatch/eventRule:EventRule": Kind("Events::Rule", {}, parsed("EventPattern")),
    "cloudwatch/logGroup:LogGroup": Kind("Logs::LogGroup", {"Name": "LogGroupName"}),
    "cloudwatch/logMetricFilter:LogMetricFilter": Kind(
        "Logs::MetricFilter", {"Name": "FilterName", "Pattern": "FilterPattern"}, _metric_filter
    ),
    "cloudwatch/metricAlarm:MetricAlarm": Kind("CloudWatch::Alarm", {"Name": "AlarmName", "OkActions": "OKActions"}, _alarm),
    "ec2/eip:Eip": Kind("EC2::EIP"),
    "ec2/flowLog:FlowLog": Kind("EC2::FlowLog", {"VpcId": "ResourceId", "IamRoleArn": "DeliverLogsPermissionArn"}, _flow_log),
    "ec2/internetGateway:InternetGateway": Kind("EC2::InternetGateway", {"VpcId": None}),
    "ec2/natGateway:NatGateway": Kind("EC2::NatGateway"),
    "ec2/route:Route": Kind("EC2::Route"),
    "ec2/routeTable:RouteTable": Kind("EC2::RouteTable"),
    "ec2/routeTableAssociation:RouteTableAssociation": Kind("EC2::SubnetRouteTableAssociation"),
    "ec2/securityGroup:SecurityGroup": Kind("EC2::SecurityGroup", {"Description": "GroupDescription", "Ingress": None, "Egress": None}),
    "ec2/subnet:Subnet": Kind("EC2::Subnet"),
    "ec2/vpc:Vpc": Kind("EC2::VPC"),
    "ec2/vpcEndpoint:VpcEndpoint": Kind("EC2::VPCEndpoint"),
    "ecr/repository:Repository": Kind("ECR::Repository", {"Name": "RepositoryName", "ForceDelete": None}, _repository),
    "ecs/cluster:Cluster": Kind("ECS::Cluster", {"Name": "ClusterName", "Settings": "ClusterSettings"}),
    "ecs/clusterCapacityProviders:ClusterCapacityProviders": Kind(
        "ECS::ClusterCapacityProviderAssociations",
        {"ClusterName": "Cluster", "DefaultCapacityProviderStrategies": "DefaultCapacityProviderStrategy"},
    ),
    "ecs/service:Service": Kind("ECS::Service", {"Name": "ServiceName"}, _service),
    "ecs/taskDefinition:TaskDefinition": Kind("ECS::TaskDefinition", {}, _task),
    "elasticache/replicationGroup:ReplicationGroup": Kind(
        "ElastiCache::ReplicationGroup",
        {
            "Description": "ReplicationGroupDescription",
            "NodeType": "CacheNodeType",
            "SubnetGroupName": "CacheSubnetGroupName",
        },
    ),
    "elasticache/subnetGroup:SubnetGroup": Kind("ElastiCache::SubnetGroup", {"Name": "CacheSubnetGroupName"}),
    "iam/openIdConnectProvider:OpenIdConnectProvider": Kind("IAM::OIDCProvider", {"ClientIdLists": "ClientIdList"}),
    "iam/policy:Policy": Kind("IAM::ManagedPolicy", {"Name": "ManagedPolicyName", "Policy": DOCUMENT}, parsed(DOCUMENT)),
    "iam/role:Role": Kind(
        "IAM::Role", {"Name": "RoleName", "AssumeRolePolicy": "AssumeRolePolicyDocument"}, parsed("AssumeRolePolicyDocument")
    ),
    "kms/alias:Alias": Kind("KMS::Alias", {"Name": "AliasName"}),
    "kms/key:Key": Kind("KMS::Key", {"Policy": "KeyPolicy", "DeletionWindowInDays": "PendingWindowInDays"}, parsed("KeyPolicy")),
    "lambda/function:Function": Kind("Lambda::Function", {"Name": "FunctionName"}, _function),
    "lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Kind(
        "Lambda::EventInvokeConfig", {}, lambda told: {**told, "Qualifier": "$LATEST"}
    ),
    "lambda/permission:Permission": Kind("Lambda::Permission", {"Function": "FunctionName"}),
    "rds/instance:Instance": Kind(
        "RDS::DBInstance",
        {
            "Identifier": "DBInstanceIdentifier",
            "InstanceClass": "DBInstanceClass",
            "DbName": "DBName",
            "Username": "MasterUsername",
            "DbSubnetGroupName": "DBSubnetGroupName",
            "VpcSecurityGroupIds": "VPCSecurityGroups",
            "ParameterGroupName": "DBParameterGroupName",
            "MultiAz": "MultiAZ",
            "IamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
            "PerformanceInsightsEnabled": "EnablePerformanceInsights",
            "PerformanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
            "EnabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
            "SkipFinalSnapshot": None,
            "FinalSnapshotIdentifier": None,
        },
        lambda told: {
            **{key: value for key, value in told.items() if key != "MasterUserSecretKmsKeyId"},
            "MasterUserSecret": {"KmsKeyId": told["MasterUserSecretKmsKeyId"]},
            "AllocatedStorage": str(told["AllocatedStorage"]),
        },
    ),
    "rds/parameterGroup:ParameterGroup": Kind("RDS::DBParameterGroup", {}, _parameters),
    "rds/subnetGroup:SubnetGroup": Kind("RDS::DBSubnetGroup", {"Description": "DBSubnetGroupDescription"}),
    "s3/bucket:Bucket": Kind("S3::Bucket", {"Bucket": "BucketName", "ForceDestroy": None}),
    "s3/bucketPolicy:BucketPolicy": Kind("S3::BucketPolicy", {"Policy": DOCUMENT}, parsed(DOCUMENT)),
    "secretsmanager/secret:Secret": Kind("SecretsManager::Secret", {"RecoveryWindowInDays": None}),
    "servicediscovery/privateDnsNamespace:PrivateDnsNamespace": Kind("ServiceDiscovery::PrivateDnsNamespace"),
    "servicediscovery/service:Service": Kind("ServiceDiscovery::Service", {"ForceDestroy": None}, _discovery),
    "sns/topic:Topic": Kind("SNS::Topic", {"Name": "TopicName"}),
    "sns/topicPolicy:TopicPolicy": Kind(
        "SNS::TopicPolicy",
        {"Policy": DOCUMENT},
        lambda told: {DOCUMENT: json.loads(told[DOCUMENT]), "Topics": [told["Arn"]]},
    ),
    "sns/topicSubscription:TopicSubscription": Kind("SNS::Subscription", {"Topic": "TopicArn"}),
    "sqs/queue:Queue": Kind(
        "SQS::Queue",
        {
            "Name": "QueueName",
            "MessageRetentionSeconds": "MessageRetentionPeriod",
            "VisibilityTimeoutSeconds": "VisibilityTimeout",
        },
        parsed("RedrivePolicy"),
    ),
    "sqs/queuePolicy:QueuePolicy": Kind(
        "SQS::QueuePolicy",
        {"Policy": DOCUMENT},
        lambda told: {DOCUMENT: json.loads(told[DOCUMENT]), "Queues": [told["QueueUrl"]]},
    ),
    "vpc/securityGroupEgressRule:SecurityGroupEgressRule": Kind(
        "EC2::SecurityGroupEgress", {**GROUP_RULE, "ReferencedSecurityGroupId": "DestinationSecurityGroupId"}
    ),
    "vpc/securityGroupIngressRule:SecurityGroupIngressRule": Kind(
        "EC2::SecurityGroupIngress", {**GROUP_RULE, "ReferencedSecurityGroupId": "SourceSecurityGroupId"}
    ),
    "iam/rolePolicy:RolePolicy": Kind(
        "IAM::RolePolicy",
        {"Role": "RoleName", "Policy": DOCUMENT},
        lambda told: {**told, DOCUMENT: json.loads(told[DOCUMENT]), "PolicyName": told["RoleName"]},
    ),
}


def _encryption(told: Properties) -> Properties:
    rules = []
    for rule in told["rules"]:
        one = rule["applyServerSideEncryptionByDefault"]
        key = {"KMSMasterKeyID": one["kmsMasterKeyId"]} if "kmsMasterKeyId" in one else {}
        rules.append({"ServerSideEncryptionByDefault": {"SSEAlgorithm": one["sseAlgorithm"], **key}})
    return {"BucketEncryption": {"ServerSideEncryptionConfiguration": rules}}


def _lifecycle(told: Properties) -> Properties:
    rules = []
    for rule in lifted(told["rules"]):
        rule.pop("Filter")  # every object
        if "Expiration" in rule:
            rule["ExpirationInDays"] = rule.pop("Expiration")["Days"]
        rules.append(rule)
    return {"LifecycleConfiguration": {"Rules": rules}}


def _without_bucket(told: Properties) -> Properties:
    return {key: value for key, value in lifted(told).items() if key != "Bucket"}


# What is a resource in Pulumi and a property of another one, which has the same name, in CloudFormation.
PARTS: dict[str, tuple[str, Callable[[Properties], Properties]]] = {
    "cloudwatch/eventTarget:EventTarget": (
        "cloudwatch/eventRule:EventRule",
        lambda told: {"Targets": [{"Id": "one", "Arn": told["arn"], **_dead(told)}]},
    ),
    "ecr/lifecyclePolicy:LifecyclePolicy": (
        "ecr/repository:Repository",
        lambda told: {"LifecyclePolicy": {"LifecyclePolicyText": told["policy"]}},
    ),
    "ecr/repositoryPolicy:RepositoryPolicy": (
        "ecr/repository:Repository",
        lambda told: {"RepositoryPolicyText": json.loads(told["policy"])},
    ),
    "iam/rolePolicyAttachment:RolePolicyAttachment": ("iam/role:Role", lambda told: {"ManagedPolicyArns": [told["policyArn"]]}),
    "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ("s3/bucket:Bucket", _lifecycle),
    "s3/bucketLogging:BucketLogging": (
        "s3/bucket:Bucket",
        lambda told: {"LoggingConfiguration": {"DestinationBucketName": told["targetBucket"], "LogFilePrefix": told["targetPrefix"]}},
    ),
    "s3/bucketNotification:BucketNotification": (
        "s3/bucket:Bucket",
        lambda told: {"NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": told["eventbridge"]}}},
    ),
    "s3/bucketOwnershipControls:BucketOwnershipControls": (
        "s3/bucket:Bucket",
        lambda told: {"OwnershipControls": {"Rules": [lifted(told["rule"])]}},
    ),
    "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": (
        "s3/bucket:Bucket",
        lambda told: {"PublicAccessBlockConfiguration": _without_bucket(told)},
    ),
    "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": ("s3/bucket:Bucket", _encryption),
    "s3/bucketVersioning:BucketVersioning": ("s3/bucket:Bucket", _without_bucket),
}
# What CloudFormation has no type for, or what is no resource of AWS.
ABSENT = {
    "docker:index/image:Image",
    "ebs/encryptionByDefault:EncryptionByDefault",
    "ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "finelt:images:JobImage",
    "s3/accountPublicAccessBlock:AccountPublicAccessBlock",
    "secretsmanager/secretVersion:SecretVersion",
}


def _dead(told: Properties) -> Properties:
    return {"DeadLetterConfig": {"Arn": told["deadLetterConfig"]["arn"]}} if "deadLetterConfig" in told else {}


def template(found: Graph) -> dict[str, Any]:
    """The template. Raises KeyError on a type that no table here has."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for resource in found.resources:
        if resource.type not in PARTS and resource.type not in ABSENT:
            kind = KINDS[resource.type]
            told = {kind.names.get(key, key): value for key, value in lifted(json.loads(json.dumps(resource.inputs))).items()}
            told.pop(None, None)  # type: ignore[call-overload]
            made[resource.type, resource.name] = {"Type": f"AWS::{kind.type}", "Properties": kind.finish(told)}
    for resource in found.resources:
        if resource.type in PARTS:
            whole, part = PARTS[resource.type]
            made[whole, resource.name]["Properties"] |= part(resource.inputs)
    named = {re.sub(r"\W|_", "", f"{kind}{name.title()}"): told for (kind, name), told in made.items()}
    assert len(named) == len(made)
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": named}
