"""The jobs that the flow `daily` runs where there is no drop folder; it registers no Iceberg tables."""

from jobs.catalogue import DROP, ICEBERG, catalogue

DAILY = [spec for spec in catalogue() if DROP not in spec.reads and ICEBERG not in spec.writes]
