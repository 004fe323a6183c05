"""The program, as a function: tests run it too, under mocks."""

from __future__ import annotations

import pulumi

from images.plan import SERVICES
from infra import access, alarms, data, events, images, jobs, keys, network, orchestrator, settings, tasks
from jobs.catalogue import catalogue


def program() -> None:
    """Everything that a stack is."""
    make(settings.load())


def make(chosen: settings.Settings) -> None:
    """The resources of a stack, in the order in which they need each other."""
    specs = catalogue()
    jobs.check(specs)
    locks = keys.make(chosen)
    net = network.make(chosen, locks)
    deploy_role = access.make(chosen)
    pictures = images.make(
        [*specs, *(service for service in SERVICES if service.name in ("orchestration", events.FUNCTION))], chosen, locks
    )
    stores = data.make(chosen, locks, net, specs)
    cluster = tasks.cluster(chosen, locks)
    password = orchestrator.auth(chosen, locks)
    runs = jobs.make(chosen, locks, stores, pictures, specs, orchestrator.reporting(password))
    prefect = orchestrator.make(chosen, locks, net, stores, cluster, pictures["orchestration"].digest, runs, password)
    drops = events.make(chosen, locks, net, stores, pictures[events.FUNCTION], password, prefect.api_url)
    alarms.make(chosen, locks, stores, prefect, drops, runs, specs)
    pulumi.export("api_url", prefect.api_url)
    pulumi.export("cluster", cluster.name)
    pulumi.export("deploy_role", deploy_role)
    pulumi.export("lake", stores.lake.bucket)
    pulumi.export("register", prefect.register.definition.arn)
    pulumi.export("register_security_groups", [net.group_id("jobs")])
    pulumi.export("site", stores.distribution.domain_name if stores.distribution else stores.site.bucket)
    pulumi.export("stack", prefect.stack)
    pulumi.export("subnets", net.subnet_ids)
    pulumi.export("tasks", {name: made.definition.arn for name, made in {**runs, "flows": prefect.flows}.items()})
