"""Valkey, a Redis-compatible store that the replicas of Prefect's server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of
from infra.security_groups import REDIS_PORT

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.network import Network
    from infra.policies import Text
    from infra.settings import Settings


@dataclass(frozen=True)
class RedisArgs:
    """Arguments of `Redis`."""

    settings: Settings
    keys: Keys
    network: Network


class Redis(pulumi.ComponentResource):
    """An encrypted Valkey replication group, with a standby in the other zone if the stack has `multiAz`."""

    host: pulumi.Output[str]

    def __init__(self, name: str, args: RedisArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Redis", name, None, opts)
        settings = args.settings
        subnets = aws.elasticache.SubnetGroup(name, subnet_ids=args.network.subnet_ids, opts=child_of(self))
        group = aws.elasticache.ReplicationGroup(
            name,
            description=name,
            engine="valkey",
            node_type="cache.t4g.micro",
            num_cache_clusters=2 if settings.multi_az else 1,
            automatic_failover_enabled=settings.multi_az,
            subnet_group_name=subnets.name,
            security_group_ids=[args.network.security_group_id("redis")],
            at_rest_encryption_enabled=True,
            kms_key_id=args.keys.data.arn,
            transit_encryption_enabled=True,
            opts=child_of(self),
        )
        self.host = group.primary_endpoint_address
        self.register_outputs({"host": self.host})

    def server_environment(self) -> dict[str, Text]:
        """Return the settings with which Prefect's server uses the store."""
        url = pulumi.Output.concat("rediss://", self.host, f":{REDIS_PORT}/0")
        return {
            "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
            "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
            "PREFECT_REDIS_MESSAGING_URL": url,
            "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": url,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
            "PREFECT_SERVER_DOCKET_URL": url,
            "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
            "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",  # else no worker hears of a cleanup
        }
