"""The warehouse: the PostgreSQL database that jobs load, transform and publish from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi

from infra.database import CA_FILE, PostgresDatabase, PostgresDatabaseArgs

if TYPE_CHECKING:
    from infra.keys import Keys
    from infra.network import Network
    from infra.settings import Settings

DATABASE_NAME = "finelt"


@dataclass(frozen=True)
class WarehouseArgs:
    """Arguments of `Warehouse`."""

    settings: Settings
    keys: Keys
    network: Network


class Warehouse(pulumi.ComponentResource):
    """The warehouse's database. `url` is the value of the option `warehouse`; registration replaces {job} with the job's role."""

    database: PostgresDatabase
    url: pulumi.Output[str]

    def __init__(self, name: str, args: WarehouseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("finelt:infra:Warehouse", name, None, opts)
        settings = args.settings
        database_args = PostgresDatabaseArgs(
            settings, args.keys, args.network, "warehouse", DATABASE_NAME, settings.warehouse_class, settings.warehouse_gb
        )
        self.database = PostgresDatabase(name, database_args, pulumi.ResourceOptions(parent=self))
        verified = f"?sslmode=verify-full&sslrootcert={CA_FILE}"
        self.url = pulumi.Output.concat("postgresql://{job}@", self.database.instance.address, f":5432/{DATABASE_NAME}{verified}")
        self.register_outputs({"url": self.url})
