"""URLs are taken apart without harm, and no password in one is ever shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oacp_storage_core import StorageConfigError, redact_url, split_url
from oacp_storage_core.urls import quote_userinfo, secrets_among


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://me:s3cret@db:5432/oacp?sslmode=require",
            "postgresql://me:***@db:5432/oacp?sslmode=require",
        ),
        (
            "mongodb://me:s3cret@h1:1,h2:2,h3/x?replicaSet=rs0",
            "mongodb://me:***@h1:1,h2:2,h3/x?replicaSet=rs0",
        ),
        ("redis://:s3cret@localhost:6379/0", "redis://:***@localhost:6379/0"),
        ("redis://s3cret@localhost", "redis://***@localhost"),
        ("redis://user%3As3cret@localhost", "redis://***@localhost"),
        ("postgresql://me:s3cret%40%2F@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:s3c@ret/s3c?r:et#x@db/x", "postgresql://me:***@db/x"),
        ("postgresql:///me:s3cret@db/x", "postgresql://***@db/x"),
        ("postgresql://db/x?user=me&password=s3cret", "postgresql://db/x?user=me&password=***"),
        ("postgresql://db/x?pass%77ord=s3cret&ssl=1", "postgresql://db/x?pass%77ord=***&ssl=1"),
        ("redis://h?pasword=s3cret", "redis://h?pasword=***"),
        ("mongodb://h/?authMechanismProperties=a:s3cret", "mongodb://h/?authMechanismProperties=***"),
        ("acme://h?colour=s3cret", "acme://h?colour=***"),
        ("mongodb://h/?ReplicaSet=rs0&pool%5Fsize=4", "mongodb://h/?ReplicaSet=rs0&pool%5Fsize=4"),
        ("postgresql://db/x?password=s3c&ret", "postgresql://db/x?password=***"),
        (
            "x://db/x?PassWord=s3cret&api_key=s3cret&access_token=s3cret",
            "x://db/x?PassWord=***&api_key=***&access_token=***",
        ),
        ("x://db/x?a=1;password=s3cret", "x://db/x?a=***"),
        ("x:///y?replica=postgres%3A%2F%2Fme%3As3cret%40db", "x:///y?replica=***"),
        (
            "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:s3cret",
            "mongodb://h/?authMechanismProperties=***",
        ),
        ("sqlite:///home/me@work/oacp.db", "sqlite:///home/me@work/oacp.db"),
        ("memory://", "memory://"),
        ("host=db user=me password=s3cret port=5", "host=db user=me password=*** port=5"),
        ("host=db password='s3 cret' port=5", "host=db password=*** port=5"),
        ("host=db password='s3 cret", "host=db password=***"),
        ("Server=db;Pwd=s3cret;Port=5", "Server=db;Pwd=***;Port=5"),
        ("host=db password=s3c@ret port=5", "host=db password=*** port=5"),
        ("postgresql://db/x?p%61ssword=s3c@ret", "postgresql://***"),
        ("me:s3cret@db", "me:***@db"),
        ("me:s3cret@db://x", "me:***@db://x"),
        ("9x://me:s3cret@db", "9x:***@db"),
        ("not a url", "not a url"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, shown) -> None:
    assert redact_url(url) == shown


HOSTILE = st.text("ab:/?#@%&;=,' \"+[]", max_size=8)


@given(user=HOSTILE, before=HOSTILE, after=HOSTILE, host=st.sampled_from(["db", "h1:1,h2:2", "[::1]:5"]))
@example(user="", before="://", after="", host="db")
def test_no_password_is_shown_however_badly_it_is_written(user, before, after, host) -> None:
    shown = redact_url(f"postgresql://{user}:{before}S3CRET{after}@{host}/db")
    assert "S3CRET" not in shown
    assert shown.endswith(f"@{host}/db")


@given(before=HOSTILE, after=HOSTILE)
def test_no_password_in_a_query_is_shown(before, after) -> None:
    value = f"{before}S3CRET{after}".replace("&", "%26")
    assert "S3CRET" not in redact_url(f"postgresql://db/x?a=1&password={value}&b=2")


@given(st.text())
def test_anything_can_be_redacted(text) -> None:
    assert isinstance(redact_url(text), str)
    assert isinstance(redact_url(f"x://{text}"), str)


def test_scheme_and_query_are_split_off_and_the_rest_is_left_alone() -> None:
    parts = split_url(
        "PostgreSQL://me:p%40s@h1:1,h2:2/db?pool%5Fsize=3&options=-c%20a%3Db&flag&x=a+b&&pool_size=4"
    )
    assert parts.scheme == "postgresql"
    assert parts.base == "PostgreSQL://me:p%40s@h1:1,h2:2/db"
    assert [(key, value) for key, value, _ in parts.query] == [
        ("pool_size", "3"),
        ("options", "-c a=b"),
        ("flag", ""),
        ("x", "a+b"),
        ("", ""),
        ("pool_size", "4"),
    ]
    assert parts.without({"pool_size"}) == "PostgreSQL://me:p%40s@h1:1,h2:2/db?options=-c%20a%3Db&flag&x=a+b&"
    assert parts.without({"pool_size", "options", "flag", "x", ""}) == parts.base


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("://me:s3cret@db", "must begin with a scheme"),
        ("9x://me:s3cret@db", "must begin with a scheme"),
        ("my scheme://me:s3cret@db", "must begin with a scheme"),
        ("sqlite:///a.db\n", "control character"),
        ("x://me:s3cret@db/\x00", "control character"),
        ("x://me:s3cret@db/?a=%ff", "not percent-encoded UTF-8"),
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url, reason) -> None:
    with pytest.raises(StorageConfigError) as caught:
        split_url(url)
    message = str(caught.value)
    assert message.startswith("the URL ")
    assert reason in message
    assert "s3cret" not in message
    assert message.isprintable()


def test_userinfo_is_quoted_whole() -> None:
    assert quote_userinfo("p@s/s:w?o#rd %ü") == "p%40s%2Fs%3Aw%3Fo%23rd%20%25%C3%BC"


def test_secrets_are_known_as_written_and_as_meant() -> None:
    options = {
        "password": "p1",
        "connection_string": "x://me:p%322@db?sslpassword=p3",
        "host": "db",
        "pool_size": 4,
    }
    assert secrets_among(options, "y://:p4@db?api_key=p%35") == {
        "p1", "x://me:p%322@db?sslpassword=p3", "p%322", "p22", "p3", "p4", "p%35", "p5",
    }  # fmt: skip
