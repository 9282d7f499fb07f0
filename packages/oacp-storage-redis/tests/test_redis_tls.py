"""TLS: what is trusted is used, and everything else is refused at once, saying that it is TLS.

A server built with TLS speaks it itself (Debian's is, those in pip wheels are not); for another one the proxy does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from oacp_storage_conformance.servers import RedisServer
from oacp_storage_conformance.servers.process import free_port
from oacp_storage_core import StorageConnectionError, create_storage
from oacp_storage_redis import RedisStorage
from redis_testing import RedisProxy, refused

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


class Files:
    """An authority, and certificates of it, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.trusted = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.trusted))

    def certificate(self, name: str, host: str, *, not_after: datetime | None = None) -> tuple[str, str]:
        """A certificate for the host, and its key."""
        made = self.authority.issue_cert(host, not_after=not_after)
        certificate, key = (str(self.directory / f"{name}.{end}") for end in ("pem", "key"))
        made.private_key_pem.write_to_path(key)
        Path(certificate).write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def speaking_tls(
    files: Files, certificate: tuple[str, str], *, ask_clients: bool = False
) -> AsyncIterator[str]:
    """The URL, without a query, of a server that shows this certificate."""
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", certificate[0], "--tls-key-file", certificate[1]]
    options += [
        "--tls-ca-cert-file",
        str(files.trusted),
        "--tls-auth-clients",
        "yes" if ask_clients else "no",
    ]
    try:
        server = await asyncio.to_thread(RedisServer(options=tuple(options)).start)
    except RuntimeError:  # this build has no TLS
        server = await asyncio.to_thread(RedisServer().start)
        port = 0
    try:
        if port:
            yield f"rediss://127.0.0.1:{port}"
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if ask_clients:
            context.load_verify_locations(files.trusted)
            context.verify_mode = ssl.CERT_REQUIRED
        with RedisProxy(server.port, context) as proxy:
            yield f"rediss://127.0.0.1:{proxy.port}"
    finally:
        await asyncio.to_thread(server.stop)


async def works(url: str) -> None:
    async with create_storage(url) as storage:
        watching = storage.watch_interactions("ann", after=0)
        await storage.store_interaction("ann", {"n": 1})
        assert (await anext(watching)).data == {"n": 1}
        assert await storage.get_interactions("ann") == [{"n": 1}]


@pytest.mark.asyncio
async def test_a_trusted_certificate_is_accepted_and_any_other_refused(files: Files) -> None:
    async with speaking_tls(files, files.certificate("right", "127.0.0.1")) as url:
        await works(f"{url}?ssl_ca_certs={files.trusted}")
        begun = asyncio.get_running_loop().time()
        await refused(RedisStorage(url), StorageConnectionError, "over TLS.*ssl_ca_certs")
        assert asyncio.get_running_loop().time() - begun < 10, "trying again does not make it trusted"
        plain = url.replace("rediss", "redis")
        await refused(RedisStorage(plain, timeout=6), StorageConnectionError, "whether it speaks TLS")


@pytest.mark.asyncio
async def test_a_certificate_for_another_host_is_refused(files: Files) -> None:
    async with speaking_tls(files, files.certificate("other", "redis.example.org")) as url:
        await refused(RedisStorage(f"{url}?ssl_ca_certs={files.trusted}"), StorageConnectionError, "over TLS")
        await works(f"{url}?ssl_ca_certs={files.trusted}&ssl_check_hostname=false")


@pytest.mark.asyncio
async def test_an_expired_certificate_is_refused_unless_none_is_asked_for(files: Files) -> None:
    certificate = files.certificate("expired", "127.0.0.1", not_after=YESTERDAY)
    async with speaking_tls(files, certificate) as url:
        await refused(RedisStorage(f"{url}?ssl_ca_certs={files.trusted}"), StorageConnectionError, "over TLS")
        await works(f"{url}?ssl_cert_reqs=none")


@pytest.mark.asyncio
async def test_a_server_that_asks_for_a_certificate(files: Files) -> None:
    own = files.certificate("client", "client.example.org")
    async with speaking_tls(files, files.certificate("right", "127.0.0.1"), ask_clients=True) as url:
        trusting = f"{url}?ssl_ca_certs={files.trusted}"
        await refused(RedisStorage(trusting, timeout=6), StorageConnectionError, "TLS")
        await works(f"{trusting}&ssl_certfile={own[0]}&ssl_keyfile={own[1]}")


@pytest.mark.asyncio
async def test_a_server_without_tls_is_told_from_an_absent_one(oacp_redis_server: RedisServer) -> None:
    url = f"rediss://127.0.0.1:{oacp_redis_server.port}"
    await refused(
        RedisStorage(url, timeout=6, connect_timeout=1), StorageConnectionError, "TLS|does not answer"
    )
