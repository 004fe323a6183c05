"""Resource options of a component's children."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_ROOT = pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)


def child_of(
    parent: pulumi.Resource,
    *,
    depends_on: Sequence[pulumi.Resource] = (),
    ignore_changes: Sequence[str] = (),
    protect: bool | None = None,
    retain_on_delete: bool | None = None,
) -> pulumi.ResourceOptions:
    """Return the options of a child of `parent`.

    The alias is the URN that the resource had before it became a child: a stack deployed by then keeps it instead of replacing it.
    """
    return pulumi.ResourceOptions(
        parent=parent,
        aliases=[AT_ROOT],
        depends_on=list(depends_on),
        ignore_changes=list(ignore_changes),
        protect=protect,
        retain_on_delete=retain_on_delete,
    )
