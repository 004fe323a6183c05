"""Renders a stack's graph as a CloudFormation template for cfn-lint, which knows the values that AWS accepts.

Pulumi's types say only `str`. Most properties have the same name in both, except for the first letter. The tables are the differences.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.testing.mock_engine import Graph

Properties = dict[str, Any]
LITERAL_KEYS = ("Variables", "Options")  # the keys below these are names that we choose


class Kind(NamedTuple):
    """A type in CloudFormation. `names` maps properties to their name there, or None if they do not exist."""

    type: str
    names: Mapping[str, str | None] = {}
    finish: Callable[[Properties], Properties] = dict


def capitalise_keys(value: Any, parent: str = "") -> Any:
    """Return the value with the first letter of every key in upper case."""
    if isinstance(value, dict):
        keep = parent in LITERAL_KEYS
        return {key if keep else key[0].upper() + key[1:]: capitalise_keys(inner, key[0].upper() + key[1:]) for key, inner in value.items()}
    return [capitalise_keys(inner, parent) for inner in value] if isinstance(value, list) else value


def wrap_in(name: str) -> Callable[[Properties], Properties]:
    """Return a function that nests all properties in one."""
    return lambda properties: {name: properties}


def parse_json(*names: str) -> Callable[[Properties], Properties]:
    """Return a function that parses the named properties, which are JSON text in Pulumi."""
    return lambda properties: {key: json.loads(value) if key in names else value for key, value in properties.items()}


def _distribution(properties: Properties) -> Properties:
    for origin in properties["Origins"]:
        origin["Id"] = origin.pop("OriginId")
        origin["S3OriginConfig"] = {"OriginAccessIdentity": ""}
    certificate = properties["ViewerCertificate"]
    if "CloudfrontDefaultCertificate" in certificate:
        certificate["CloudFrontDefaultCertificate"] = certificate.pop("CloudfrontDefaultCertificate")
    return {"DistributionConfig": properties}


def _budget(properties: Properties) -> Properties:
    notifications = [
        {"Subscribers": [{"Address": arn, "SubscriptionType": "SNS"} for arn in entry.pop("SubscriberSnsTopicArns")], "Notification": entry}
        for entry in properties.pop("Notifications")
    ]
    limit = {"Amount": float(properties.pop("LimitAmount")), "Unit": properties.pop("LimitUnit")}
    filters = {entry["Name"]: entry["Values"] for entry in properties.pop("CostFilters")}
    return {"Budget": {**properties, "BudgetLimit": limit, "CostFilters": filters}, "NotificationsWithSubscribers": notifications}


def _alarm(properties: Properties) -> Properties:
    return {**properties, "Dimensions": [{"Name": name, "Value": value} for name, value in properties["Dimensions"].items()]}


def _metric_filter(properties: Properties) -> Properties:
    entry = properties.pop("MetricTransformation")
    return {**properties, "MetricTransformations": [{f"Metric{key}": value for key, value in entry.items()}]}


def _service(properties: Properties) -> Properties:
    network, breaker = properties.pop("NetworkConfiguration"), properties.pop("DeploymentCircuitBreaker")
    network["AssignPublicIp"] = "ENABLED" if network["AssignPublicIp"] else "DISABLED"
    properties["DeploymentConfiguration"] = {
        "DeploymentCircuitBreaker": breaker,
        "MinimumHealthyPercent": properties.pop("DeploymentMinimumHealthyPercent"),
    }
    if registry := properties.pop("ServiceRegistries", None):
        properties["ServiceRegistries"] = [registry]
    return {**properties, "NetworkConfiguration": {"AwsvpcConfiguration": network}}


def _task(properties: Properties) -> Properties:
    return {**properties, "ContainerDefinitions": capitalise_keys(json.loads(properties["ContainerDefinitions"]))}


def _function(properties: Properties) -> Properties:
    properties["ImageConfig"] = {"EntryPoint": properties["ImageConfig"]["EntryPoints"], "Command": properties["ImageConfig"]["Commands"]}
    return {"Code": {"ImageUri": properties.pop("ImageUri")}, **properties}


def _repository(properties: Properties) -> Properties:
    (encryption,) = properties.pop("EncryptionConfigurations")
    return {**properties, "EncryptionConfiguration": encryption}


def _parameters(properties: Properties) -> Properties:
    return {**properties, "Parameters": {entry["Name"]: entry["Value"] for entry in properties["Parameters"]}}


def _discovery(properties: Properties) -> Properties:
    for record in properties["DnsConfig"]["DnsRecords"]:
        record["TTL"] = record.pop("Ttl")
    return properties


def _flow_log(properties: Properties) -> Properties:
    return {**properties, "ResourceType": "VPC"}


DOCUMENT = "PolicyDocument"
GROUP_RULE = {"SecurityGroupId": "GroupId", "CidrIpv4": "CidrIp"}
KINDS = {
    "budgets/budget:Budget": Kind("Budgets::Budget", {"Name": "BudgetName"}, _budget),
    "cloudfront/distribution:Distribution": Kind("CloudFront::Distribution", {"OrderedCacheBehaviors": "CacheBehaviors"}, _distribution),
    "cloudfront/originAccessControl:OriginAccessControl": Kind("CloudFront::OriginAccessControl", {}, wrap_in("OriginAccessControlConfig")),
    "cloudwatch/dashboard:Dashboard": Kind("CloudWatch::Dashboard"),
    "cloudwatch/eventRule:EventRule": Kind("Events::Rule", {}, parse_json("EventPattern")),
    "cloudwatch/logGroup:LogGroup": Kind("Logs::LogGroup", {"Name": "LogGroupName"}),
    "cloudwatch/logMetricFilter:LogMetricFilter": Kind(
        "Logs::MetricFilter", {"Name": "FilterName", "Pattern": "FilterPattern"}, _metric_filter
    ),
    "cloudwatch/metricAlarm:MetricAlarm": Kind("CloudWatch::Alarm", {"Name": "AlarmName", "OkActions": "OKActions"}, _alarm),
    "ec2/eip:Eip": Kind("EC2::EIP", {"Instance": "InstanceId"}),
    "ec2/flowLog:FlowLog": Kind("EC2::FlowLog", {"VpcId": "ResourceId", "IamRoleArn": "DeliverLogsPermissionArn"}, _flow_log),
    "ec2/instance:Instance": Kind(
        "EC2::Instance",
        {"Ami": "ImageId", "VpcSecurityGroupIds": "SecurityGroupIds", "RootBlockDevice": None, "AssociatePublicIpAddress": None}
        | {"UserDataReplaceOnChange": None, "MetadataOptions": None},
    ),
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
    "ecs/service:Service": Kind("ECS::Service", {"Name": "ServiceName", "WaitForSteadyState": None}, _service),
    "ecs/taskDefinition:TaskDefinition": Kind("ECS::TaskDefinition", {"SkipDestroy": None}, _task),
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
    "iam/policy:Policy": Kind("IAM::ManagedPolicy", {"Name": "ManagedPolicyName", "Policy": DOCUMENT}, parse_json(DOCUMENT)),
    "iam/role:Role": Kind(
        "IAM::Role", {"Name": "RoleName", "AssumeRolePolicy": "AssumeRolePolicyDocument"}, parse_json("AssumeRolePolicyDocument")
    ),
    "kms/alias:Alias": Kind("KMS::Alias", {"Name": "AliasName"}),
    "kms/key:Key": Kind("KMS::Key", {"Policy": "KeyPolicy", "DeletionWindowInDays": "PendingWindowInDays"}, parse_json("KeyPolicy")),
    "lambda/function:Function": Kind("Lambda::Function", {"Name": "FunctionName"}, _function),
    "lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Kind(
        "Lambda::EventInvokeConfig", {}, lambda properties: {**properties, "Qualifier": "$LATEST"}
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
            "ApplyImmediately": None,
            "FinalSnapshotIdentifier": None,
        },
        lambda properties: {
            **{key: value for key, value in properties.items() if key != "MasterUserSecretKmsKeyId"},
            "MasterUserSecret": {"KmsKeyId": properties["MasterUserSecretKmsKeyId"]},
            "AllocatedStorage": str(properties["AllocatedStorage"]),
        },
    ),
    "rds/parameterGroup:ParameterGroup": Kind("RDS::DBParameterGroup", {}, _parameters),
    "rds/subnetGroup:SubnetGroup": Kind("RDS::DBSubnetGroup", {"Description": "DBSubnetGroupDescription"}),
    "s3/bucket:Bucket": Kind("S3::Bucket", {"Bucket": "BucketName", "ForceDestroy": None}),
    "s3/bucketPolicy:BucketPolicy": Kind("S3::BucketPolicy", {"Policy": DOCUMENT}, parse_json(DOCUMENT)),
    "secretsmanager/secret:Secret": Kind("SecretsManager::Secret", {"RecoveryWindowInDays": None}),
    "servicediscovery/privateDnsNamespace:PrivateDnsNamespace": Kind("ServiceDiscovery::PrivateDnsNamespace"),
    "servicediscovery/service:Service": Kind("ServiceDiscovery::Service", {"ForceDestroy": None}, _discovery),
    "cloudwatch/logDelivery:LogDelivery": Kind("Logs::Delivery", {"Region": None}),
    "cloudwatch/logDeliveryDestination:LogDeliveryDestination": Kind(
        "Logs::DeliveryDestination",
        {"Region": None},
        lambda properties: {
            "DestinationResourceArn": properties.pop("DeliveryDestinationConfiguration")["DestinationResourceArn"],
            **properties,
        },
    ),
    "cloudwatch/logDeliverySource:LogDeliverySource": Kind("Logs::DeliverySource", {"Region": None}),
    "ssm/parameter:Parameter": Kind("SSM::Parameter"),
    "sns/topic:Topic": Kind("SNS::Topic", {"Name": "TopicName"}),
    "sns/topicPolicy:TopicPolicy": Kind(
        "SNS::TopicPolicy",
        {"Policy": DOCUMENT},
        lambda properties: {DOCUMENT: json.loads(properties[DOCUMENT]), "Topics": [properties["Arn"]]},
    ),
    "sns/topicSubscription:TopicSubscription": Kind("SNS::Subscription", {"Topic": "TopicArn"}),
    "sqs/queue:Queue": Kind(
        "SQS::Queue",
        {
            "Name": "QueueName",
            "MessageRetentionSeconds": "MessageRetentionPeriod",
            "VisibilityTimeoutSeconds": "VisibilityTimeout",
        },
        parse_json("RedrivePolicy"),
    ),
    "sqs/queuePolicy:QueuePolicy": Kind(
        "SQS::QueuePolicy",
        {"Policy": DOCUMENT},
        lambda properties: {DOCUMENT: json.loads(properties[DOCUMENT]), "Queues": [properties["QueueUrl"]]},
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
        lambda properties: {**properties, DOCUMENT: json.loads(properties[DOCUMENT]), "PolicyName": properties["RoleName"]},
    ),
}


def _encryption(properties: Properties) -> Properties:
    rules = []
    for rule in properties["rules"]:
        entry = rule["applyServerSideEncryptionByDefault"]
        key = {"KMSMasterKeyID": entry["kmsMasterKeyId"]} if "kmsMasterKeyId" in entry else {}
        rules.append({"ServerSideEncryptionByDefault": {"SSEAlgorithm": entry["sseAlgorithm"], **key}})
    return {"BucketEncryption": {"ServerSideEncryptionConfiguration": rules}}


def _lifecycle(properties: Properties) -> Properties:
    rules = []
    for rule in capitalise_keys(properties["rules"]):
        rule.pop("Filter")  # every object
        if "Expiration" in rule:
            rule["ExpirationInDays"] = rule.pop("Expiration")["Days"]
        rules.append(rule)
    return {"LifecycleConfiguration": {"Rules": rules}}


def _without_bucket(properties: Properties) -> Properties:
    return {key: value for key, value in capitalise_keys(properties).items() if key != "Bucket"}


# Resources in Pulumi that are properties of another resource of the same name in CloudFormation.
PARTS: dict[str, tuple[str, Callable[[Properties], Properties]]] = {
    "cloudwatch/eventTarget:EventTarget": (
        "cloudwatch/eventRule:EventRule",
        lambda properties: {"Targets": [{"Id": "one", "Arn": properties["arn"], **_dead_letter_config(properties)}]},
    ),
    "ecr/lifecyclePolicy:LifecyclePolicy": (
        "ecr/repository:Repository",
        lambda properties: {"LifecyclePolicy": {"LifecyclePolicyText": properties["policy"]}},
    ),
    "ecr/repositoryPolicy:RepositoryPolicy": (
        "ecr/repository:Repository",
        lambda properties: {"RepositoryPolicyText": json.loads(properties["policy"])},
    ),
    "iam/rolePolicyAttachment:RolePolicyAttachment": ("iam/role:Role", lambda properties: {"ManagedPolicyArns": [properties["policyArn"]]}),
    "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": ("s3/bucket:Bucket", _lifecycle),
    "s3/bucketLogging:BucketLogging": (
        "s3/bucket:Bucket",
        lambda properties: {
            "LoggingConfiguration": {"DestinationBucketName": properties["targetBucket"], "LogFilePrefix": properties["targetPrefix"]}
        },
    ),
    "s3/bucketNotification:BucketNotification": (
        "s3/bucket:Bucket",
        lambda properties: {"NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": properties["eventbridge"]}}},
    ),
    "s3/bucketOwnershipControls:BucketOwnershipControls": (
        "s3/bucket:Bucket",
        lambda properties: {"OwnershipControls": {"Rules": [capitalise_keys(properties["rule"])]}},
    ),
    "s3/bucketPublicAccessBlock:BucketPublicAccessBlock": (
        "s3/bucket:Bucket",
        lambda properties: {"PublicAccessBlockConfiguration": _without_bucket(properties)},
    ),
    "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": ("s3/bucket:Bucket", _encryption),
    "s3/bucketVersioning:BucketVersioning": ("s3/bucket:Bucket", _without_bucket),
}
# Types that CloudFormation does not have. Components (finelt:...) are left out as well.
UNSUPPORTED = {
    "command:local:Command",
    "docker:index/image:Image",
    "s3/bucketObjectv2:BucketObjectv2",
    "ebs/encryptionByDefault:EncryptionByDefault",
    "ec2/defaultSecurityGroup:DefaultSecurityGroup",
    "s3/accountPublicAccessBlock:AccountPublicAccessBlock",
    "secretsmanager/secretVersion:SecretVersion",
}


def _dead_letter_config(properties: Properties) -> Properties:
    return {"DeadLetterConfig": {"Arn": properties["deadLetterConfig"]["arn"]}} if "deadLetterConfig" in properties else {}


def render_template(stack: Graph) -> dict[str, Any]:
    """Return the template. Raises KeyError on a type that no table here has."""
    templates: dict[tuple[str, str], dict[str, Any]] = {}
    resources = [resource for resource in stack.resources if not resource.type.startswith("finelt:")]
    for resource in resources:
        if resource.type not in PARTS and resource.type not in UNSUPPORTED:
            kind = KINDS[resource.type]
            properties = {
                kind.names.get(key, key): value for key, value in capitalise_keys(json.loads(json.dumps(resource.inputs))).items()
            }
            properties.pop(None, None)  # type: ignore[call-overload]
            templates[resource.type, resource.name] = {"Type": f"AWS::{kind.type}", "Properties": kind.finish(properties)}
    for resource in resources:
        if resource.type in PARTS:
            whole, part = PARTS[resource.type]
            templates[whole, resource.name]["Properties"] |= part(resource.inputs)
    by_logical_name = {re.sub(r"\W|_", "", f"{kind}{name.title()}"): properties for (kind, name), properties in templates.items()}
    assert len(by_logical_name) == len(templates)
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": by_logical_name}
