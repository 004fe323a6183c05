"""The types of the flows' parameters, with the descriptions that Prefect's form for a new run shows."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

Lake = Annotated[str, Field(description="Where the lake is: s3://bucket/lake or a directory.")]
Warehouse = Annotated[
    str, Field(description="The warehouse: postgresql://{job}@host:5432/database. {job} becomes the name of each job, which is its role.")
]
WarehousePassword = Annotated[
    str, Field(description="The reference to the password of a job's role, such as file:///secrets/roles/{job}; never the password itself.")
]
Docs = Annotated[str, Field(description="Where the documentation of the marts is written: s3://bucket/docs or a directory.")]
Site = Annotated[str, Field(description="Where the marts are published: s3://bucket/site or a directory.")]
Audience = Annotated[Literal["internal", "public"], Field(description="For whom the site is. It decides which marts are published.")]
Timezone = Annotated[str, Field(description="The time zone of the vendor, such as Europe/Berlin. It decides which day `today` is.")]
Extracts = Annotated[
    dict[str, dict[str, object]],
    Field(description='The extract jobs to run, each with its options: {"extract-ecb-fx-rates": {"start": "today", "end": "today"}}.'),
]
Start = Annotated[date, Field(description="The first day to fetch, inclusive.")]
End = Annotated[date, Field(description="The last day to fetch, inclusive.")]
Concurrency = Annotated[int, Field(ge=1, le=100, description="How many runs of each job may work at a time.")]
Loaders = Annotated[int, Field(ge=1, le=100, description="How many runs load at a time; each takes a share of the datasets.")]
Refetch = Annotated[bool, Field(description="Also fetch what the lake holds already.")]
PlanOnly = Annotated[bool, Field(description="Publish the plan as an artifact, and fetch nothing.")]
DeprecatedConcurrency = Annotated[int | None, Field(ge=1, le=100, description="Deprecated: use concurrency.")]
DeprecatedRefetch = Annotated[bool | None, Field(description="Deprecated: use refetch.")]
