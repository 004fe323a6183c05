"""The monthly budget of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws

from infra.options import child_of

if TYPE_CHECKING:
    from infra.settings import Settings

THRESHOLDS_PCT = {"ACTUAL": 80, "FORECASTED": 100}


@dataclass(frozen=True)
class BudgetArgs:
    """Arguments of `Budget`."""

    settings: Settings
    topic: aws.sns.Topic
    topic_policy: aws.sns.TopicPolicy


class Budget(pulumi.ComponentResource):
    """A budget over everything with the stack's tag. It notifies at 80 % of actual and 100 % of forecast cost."""

    def __init__(self, name: str, args: BudgetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Budget", name, None, opts)
        aws.budgets.Budget(
            name,
            name=name,
            budget_type="COST",
            limit_amount=str(args.settings.budget_usd),
            limit_unit="USD",
            time_unit="MONTHLY",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:stack${name}"]}],
            notifications=[
                aws.budgets.BudgetNotificationArgs(
                    comparison_operator="GREATER_THAN",
                    notification_type=kind,
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                    subscriber_sns_topic_arns=[args.topic.arn],
                )
                for kind, percent in THRESHOLDS_PCT.items()
            ],
            opts=child_of(self, depends_on=[args.topic_policy]),  # AWS Budgets checks that it may publish
        )
        self.register_outputs({})
