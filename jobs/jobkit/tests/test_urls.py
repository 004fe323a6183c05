"""URLs hold no credentials, and what is refused is not repeated."""

from __future__ import annotations

import pytest
from jobkit import urls
from jobkit.errors import UsageError
from jobkit.http import Client, Rate
from jobkit.stores import FileStore, open_store

SECRET = "Tulip4c9A"

PLACES = [
    "s3://AKIA:{}@bucket/lake",
    "s3://{}@bucket/lake",
    "S3://AKIA:{}@bucket",
    "s3://AKIA:{}/bucket",
    "s3:/AKIA:{}@bucket",
    " s3://AKIA:{}@bucket",
    "x s3://AKIA:{}@bucket",
    "s3://bucket/lake?X-Amz-Signature={}",
    "s3://bucket/lake#{}",
    "AKIA:{}@bucket/lake",
    "//u:{}@host/lake",
    "file://u:{}@/lake",
    "file://{}@localhost/lake",
    "file:///lake?password={}",
    "https://u:{}@host/lake",
    "s3://[{}/lake",
    "{}\0",
]
WEB = [
    "https://u:{}@host",
    "https://{}@host/x",
    "https://u%3A{}@host",
    "https://@host/{}",
    "https://host/?api_key={}",
    "https://host?{}",
    "https://host/#{}",
    "https://host/x;token={}",
    "https://host/x;t%6fken={}",
    "https://host:{}/x",
    "https://[{}/x",
    "ftp://host/{}",
    "https://host/{}\r\nx",
    "https://ho st/{}",
    "{}",
]
WAREHOUSES = [
    "postgresql://u:{}@h/x",
    "postgresql://u:{}@h:5432/x?sslmode=require",
    "postgres://u:{}@w@h/x",
    "postgresql://u%3A{}@h/x",
    "postgresql://u:{}/w@h/x",
    "postgresql://u@h/x?password={}",
    "postgresql://u@h/x?p%61ssword={}",
    "postgresql://u@h/x?PASSWORD={}",
    "postgresql://u@h/x?sslmode=require&sslpassword={}",
    "postgresql://u@h/x?sslmode=require;password={}",
    "postgresql://u@h/x?sslmode=require%20password={}",
    "postgresql://u@h/x?application_name=password={}",
    "postgresql://u@h/x?passfile=/{}",
    "postgresql://u@h/x?options=-c%20a={}",
    "postgresql://u@h/x?host=h&user={}",
    "postgresql://u@h/x?{}",
    "postgresql://u@h/x#password={}",
    "postgresql://u@h/x%20password={}",
    "postgresql://u@h/x;password={}",
    "postgresql://u@h:{}/x",
    "postgresql://u@[{}/x",
    "postgresql:///x?user=u&password={}",
    "host=h user=u password={}",
    "mysql://u:{}@h/x",
    "{}",
]

SFTP = [
    "sftp://u:{}@host/out",
    "sftp://u%3A{}@host/out",
    "sftp://u@host/out?password={}",
    "sftp://u@host/out#{}",
    "sftp://host/{}",
    "sftp://u@host:{}/out",
    "ssh://u@host/{}",
    "{}",
]


@pytest.mark.parametrize(
    ("check", "url"),
    [
        *((urls.check_place, url) for url in PLACES),
        *((urls.check_web, url) for url in WEB),
        *((urls.check_warehouse, url) for url in WAREHOUSES),
        *((urls.check_sftp, url) for url in SFTP),
        *((lambda url: open_store(url).url, url) for url in PLACES),
        *((lambda url: Client(url, hosts=(), accept=(), rate=Rate(1, 1)).base_url, url) for url in WEB),
    ],
)
def test_a_url_with_a_credential_is_refused_and_not_repeated(check: object, url: str) -> None:
    with pytest.raises(UsageError) as refused:
        check(url.format(SECRET))  # type: ignore[operator]
    assert SECRET.lower() not in str(refused.value).lower()


@pytest.mark.parametrize(
    ("check", "url"),
    [
        (urls.check_place, "lake"),
        (urls.check_place, "/a/b c/100%/x?y"),
        (urls.check_place, "./lake@home"),
        (urls.check_place, "file:///a/b%20c"),
        (urls.check_place, "s3://bucket-1.a/prefix/year=2016"),
        (urls.check_web, "https://api.example"),
        (urls.check_web, "http://127.0.0.1:8080/~html/www.ecb.europa.eu"),
        (urls.check_web, "https://[::1]:8080/a/b-c_d"),
        (urls.check_warehouse, "postgresql://finelt@127.0.0.1:5432/finelt"),
        (urls.check_warehouse, "postgres://finelt@db.example/finelt?sslmode=verify-full&sslrootcert=/etc/ssl/ca.pem&connect_timeout=5"),
        (urls.check_warehouse, "postgresql://finelt@[::1]:5432/finelt?application_name=nightly"),
        (urls.check_sftp, "sftp://u4711@sftp.bank.example/out/camt.053 daily"),
        (urls.check_sftp, "sftp://u%40bank@[::1]:2222/~/out"),
        (urls.check_warehouse, "postgresql://finelt@a:5432,b:5433/finelt?target_session_attrs=read-write"),
    ],
)
def test_a_plain_url_is_taken(check: object, url: str) -> None:
    assert check(url) == url  # type: ignore[operator]


@pytest.mark.parametrize(
    "name", ["PREFECT_API_URL", "OPENLINEAGE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
)
@pytest.mark.parametrize("url", ["https://u:{}@host/api", "https://{}@host", "https://host/api?api_key={}", "https://[{}/x"])
def test_an_environment_with_a_credential_in_a_url_is_refused(name: str, url: str) -> None:
    with pytest.raises(UsageError, match=name) as refused:
        urls.check_environment({"HOME": "/root", name: url.format(SECRET)})
    assert SECRET not in str(refused.value)


def test_other_environments_are_not() -> None:
    """A proxy's own password has no other place."""
    urls.check_environment({"HTTPS_PROXY": "http://u:pw@proxy:3128", "PREFECT_API_URL": "http://127.0.0.1:4200/api", "X": "https://u:p@h"})


@pytest.mark.parametrize("name", ["lake", "a b", "100%", "year=2016", "ü", "a#b", "a?b", "a%20b"])
def test_a_directorys_url_leads_back_to_it_and_shows_its_names(tmp_path: object, name: str) -> None:
    store = open_store(f"{tmp_path}/{name}")
    assert isinstance(store, FileStore)
    found = open_store(store.url)
    assert isinstance(found, FileStore)
    assert found.root == store.root
    assert store.uri("raw/year=2016/x.json").endswith("/raw/year=2016/x.json")
