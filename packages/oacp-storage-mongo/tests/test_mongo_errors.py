"""What is wrong with a server is said in words, in time, and without the password."""

from __future__ import annotations

import asyncio
import gc
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from mongo_testing import MongoProxy, name_of, sockets_left_by_pymongo
from oacp_storage_conformance.servers import MongoServer
from oacp_storage_core import StorageConfigError, StorageConnectionError, StorageError, create_storage
from oacp_storage_mongo import MongoStorage

SECRET = "open sesame/@:?"
QUOTED = "open%20sesame%2F%40%3A%3F"
DRIVERS = ("motor", "pymongo")
pytestmark = sockets_left_by_pymongo


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_later_tests() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def refused(storage: MongoStorage, kind: type[StorageError], words: str) -> None:
    try:
        with pytest.raises(kind, match=words) as caught:
            await storage.open()
        assert "sesame" not in str(caught.value)
        assert "sesame" not in repr(caught.value.__cause__)
        health = await storage.health()
        assert not health.ok
        assert "sesame" not in repr(health)
    finally:
        await storage.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A replica set that asks for a password, with the users ``owner`` and ``reader``."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("b2FjcC1zdG9yYWdl" * 4)
    key.chmod(0o600)
    with MongoServer(options=("--keyFile", str(key))) as server:
        client: MongoClient[dict[str, Any]] = MongoClient("127.0.0.1", server.ports[0], directConnection=True)
        with client:
            roles = [{"role": "root", "db": "admin"}]
            client.admin.command("createUser", "admin", pwd=SECRET, roles=roles)
        client = MongoClient(
            "127.0.0.1", server.ports[0], directConnection=True, username="admin", password=SECRET
        )
        with client:
            for name, role in (("owner", "readWrite"), ("reader", "read")):
                roles = [{"role": role, "db": "oacp"}]
                client.admin.command("createUser", name, pwd=SECRET, roles=roles)
        yield server


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_the_role_of_the_readme_can_do_everything(guarded: MongoServer, driver: Any) -> None:
    url = guarded.url.replace("://", f"://owner:{QUOTED}@")
    for storage in (
        MongoStorage(url, driver=driver),
        MongoStorage(guarded.url, username="owner", password=SECRET, driver=driver),
    ):
        async with storage:
            await storage.record_turn("ann", interactions=[{"n": 1}], state={"n": 1}, learning={"k": {}})
            await storage.store_system_state("key", {"n": 1})
            assert await storage.delete_interactions("ann", keep_last=0) == 1
            assert (await storage.delete_agent("ann")).states == 1
            assert (await storage.health()).durability == "power-cut"
            assert [damage async for damage in storage.verify()] == []
            watching = storage.watch_interactions("ann", after=0)
            await storage.store_interaction("ann", {"n": 2})
            assert (await anext(watching)).data == {"n": 2}
            await storage.delete_agent("ann")
            assert "sesame" not in repr(storage)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_a_wrong_or_missing_password_is_refused(guarded: MongoServer, driver: Any) -> None:
    await refused(MongoStorage(guarded.url, driver=driver), StorageConnectionError, "asks for a user")
    wrong = MongoStorage(guarded.url, username="owner", password="sesame", driver=driver)
    await refused(wrong, StorageConnectionError, "refuses the user or the password")


@pytest.mark.asyncio
async def test_a_user_without_the_role_is_told_which(guarded: MongoServer) -> None:
    storage = MongoStorage(guarded.url, username="owner", password=SECRET, database="others")
    await refused(storage, StorageConfigError, "readWrite")
    async with MongoStorage(guarded.url, username="owner", password=SECRET) as storage:
        await storage.store_interaction("ann", {"n": 1})
    async with MongoStorage(guarded.url, username="reader", password=SECRET) as storage:
        assert await storage.get_interactions("ann") == [{"n": 1}]
        with pytest.raises(StorageConfigError, match="readWrite"):
            await storage.store_interaction("ann", {"n": 2})


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_nobody_there_is_said_within_the_connect_timeout(driver: Any) -> None:
    begun = asyncio.get_running_loop().time()
    storage = MongoStorage("mongodb://127.0.0.1:1", connect_timeout=0.5, driver=driver)
    await refused(storage, StorageConnectionError, "cannot be reached: check hosts and ports")
    assert asyncio.get_running_loop().time() - begun < 10


@pytest.mark.asyncio
async def test_a_standalone_server_is_refused_with_the_way_out() -> None:
    server = MongoServer()
    try:
        server.start()
        server.nodes[0].stop()
        server.start_node(0, standalone=True)
        url = f"mongodb://127.0.0.1:{server.ports[0]}"
        await refused(MongoStorage(url), StorageConfigError, "rs.initiate")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its key beside it."""
    directory = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"]
    subprocess.run(
        ["openssl", "req", "-x509", *key, *subject], cwd=directory, check=True, capture_output=True
    )
    return directory / "cert.pem"


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_tls_checks_the_certificate(
    oacp_mongo_server: MongoServer, certificate: Path, driver: Any, request: pytest.FixtureRequest
) -> None:
    """The server at hand has no TLS of its own, so a proxy speaks it for one."""
    plain = f"mongodb://127.0.0.1:{oacp_mongo_server.ports[0]}/?directConnection=true&tls=true"
    await refused(
        MongoStorage(plain, connect_timeout=1, driver=driver), StorageConnectionError, "over TLS|be reached"
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with MongoProxy(oacp_mongo_server.ports[0], tls) as proxy:
        url = f"{proxy.url}&tls=true"
        await refused(MongoStorage(url, connect_timeout=1, driver=driver), StorageConnectionError, "over TLS")
        options = f"tlsCAFile={certificate}&namespace={name_of(request)}&driver={driver}"
        async with create_storage(f"{url}&{options}") as storage:
            await storage.store_interaction("ann", {"n": 1})
            assert await storage.get_interactions("ann") == [{"n": 1}]


@pytest.mark.asyncio
async def test_a_database_of_others_is_left_alone(
    oacp_mongo_server: MongoServer, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    client: MongoClient[dict[str, Any]] = MongoClient(oacp_mongo_server.url)
    with client:
        client[name].agents.insert_one({"of": "somebody else"})
        await refused(
            MongoStorage(oacp_mongo_server.url, database=name),
            StorageConfigError,
            "that is not oacp-storage's",
        )
        assert client[name].list_collection_names() == ["agents"]
        client.drop_database(name)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MongoStorage("http://x"), "no URL of a MongoDB"),
        (lambda: MongoStorage("mongodb://a:port"), "malformed"),
        (lambda: MongoStorage("mongodb://u:s3c/ret@localhost:1"), "%2F"),
        (lambda: MongoStorage("mongodb://u:x?w=s3cret@localhost/"), "%3F"),
        (lambda: MongoStorage("mongodb+srv://u:s3c/ret@host.example.com"), "%2F"),
        (lambda: MongoStorage("mongodb+srv://u:x?w=s3cret@host.example.com/"), "%3F"),
        (lambda: MongoStorage("mongodb+srv://u:s3cret@@host.example.com/db"), "%40"),
        (lambda: MongoStorage("mongodb://a/?w=1"), "wait for a majority"),
        (lambda: MongoStorage("mongodb://a/?journal=false"), "wait for the journal"),
        (lambda: MongoStorage("mongodb://a/?readConcernLevel=local"), "what a majority has"),
        (lambda: MongoStorage("mongodb://a/?readPreference=secondary"), "go to the primary"),
        (lambda: MongoStorage("mongodb://a/?socketTimeoutMS=5"), "response_timeout"),
        (
            lambda: MongoStorage("mongodb://u:s3c@a/db?replicaSet=r&maxIdleTimeMS=soon"),
            "no such value of maxIdleTimeMS",
        ),
        (lambda: MongoStorage("mongodb://a/?replicaSt=s3c"), "did you mean 'replicaSet'"),
        (lambda: MongoStorage("mongodb+srv://a.example.com/?replicaSt=s3c"), "did you mean 'replicaSet'"),
        (lambda: create_storage("mongodb://a/?pool_sise=3"), "did you mean 'pool_size'"),
        (lambda: create_storage("mongodb://a", databse="x"), "did you mean 'database'"),
        (lambda: MongoStorage("mongodb://a/?tlsCAFile=/nowhere"), "cannot be read: No such file"),
        (lambda: MongoStorage("mongodb://a/one", database="two"), "give one"),
        (lambda: MongoStorage(database="a b"), "no name of a MongoDB database"),
        (lambda: MongoStorage(pool_size=0), "pool_size"),
        (lambda: MongoStorage(response_timeout=0), "response_timeout"),
        (lambda: MongoStorage(pool_size="9"), "'pool_size' must be int"),  # type: ignore[arg-type]
        (lambda: MongoStorage(coerce="no"), "'coerce' must be bool"),  # type: ignore[arg-type]
        (lambda: MongoStorage(driver="other"), "'motor'"),  # type: ignore[arg-type]
        (lambda: MongoStorage.from_url("mongodb://a", mongo_url="mongodb://b"), "mongo_url"),
    ],
)
def test_configuration_errors_say_what_is_wrong(make: Callable[[], object], words: str) -> None:
    with pytest.raises(StorageConfigError, match=words) as caught:
        make()
    assert "s3c" not in str(caught.value)
    assert "ret@" not in str(caught.value)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.asyncio
async def test_what_only_the_driver_refuses_is_said_without_the_password(driver: Any) -> None:
    storage = MongoStorage("mongodb+srv://u:ses:ame%2F@host.example.com/db", driver=driver)
    with pytest.raises(StorageConfigError, match="percent-encoded") as caught:
        await storage.open()
    assert "ame" not in str(caught.value).partition("is refused")[0]
    assert caught.value.__cause__ is None
    await storage.close()


def test_what_a_url_may_say_of_durability() -> None:
    MongoStorage("mongodb://a,b:1/x?replicaSet=rs0&w=majority&journal=true&readConcernLevel=majority")


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_a_driver_that_is_not_installed_is_named_with_the_command(driver: str) -> None:
    """In a process of its own, whose imports of that driver fail."""
    program = f"""
import asyncio, sys
sys.modules[{driver!r}] = None
from oacp_storage_core import StorageConfigError
from oacp_storage_mongo import MongoStorage
try:
    asyncio.run(MongoStorage("mongodb://127.0.0.1:1", connect_timeout=0.1).open())
except StorageConfigError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "pip install" in line
