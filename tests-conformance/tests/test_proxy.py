"""The proxy for tests of faults: it passes bytes, and cuts, holds and encrypts as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import trustme

from oacp_storage_conformance.patience import soon
from oacp_storage_conformance.servers import Proxy, once

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest_asyncio.fixture(loop_scope="function")
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back each line that it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def answer(streams: Streams, line: bytes) -> bytes:
    """What comes back; nothing where the connection was cut."""
    reader, writer = streams
    writer.write(line)
    try:
        return await soon(reader.readline(), "an answer or the end")
    except ConnectionError:
        return b""


@pytest.mark.asyncio
async def test_pieces_pass_until_a_rule_cuts_the_connection(echo: int) -> None:
    with Proxy(echo) as proxy:
        proxy.on_request = once(lambda data: b"bad" in data)
        for said, heard in ((b"good\n", b"good\n"), (b"bad\n", b"")):
            streams = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await answer(streams, said) == heard
            streams[1].close()
        proxy.on_reply = lambda data: b"secret" not in data
        streams = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await answer(streams, b"bad\n") == b"bad\n", "a rule of once() fires once"
        assert await answer(streams, b"secret\n") == b""
        streams[1].close()
        assert proxy.accepted == 3


@pytest.mark.asyncio
async def test_a_frozen_connection_stays_and_a_cut_one_ends(echo: int) -> None:
    with Proxy(echo) as proxy:
        streams = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await answer(streams, b"1\n") == b"1\n"
        proxy.frozen = True
        waiting = asyncio.ensure_future(answer(streams, b"2\n"))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        await asyncio.to_thread(proxy.cut)
        assert await soon(waiting, "the end of a cut connection") == b""
        streams[1].close()


@pytest.mark.parametrize("upgrade", [None, (8, b"S")])
@pytest.mark.asyncio
async def test_it_speaks_tls_at_once_or_when_it_is_asked(
    echo: int, upgrade: tuple[int, bytes] | None
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with Proxy(echo, tls, upgrade=upgrade) as proxy:
        if upgrade is None:
            streams = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=context)
        else:
            streams = await asyncio.open_connection("127.0.0.1", proxy.port)
            streams[1].write(b"12345678")
            assert await soon(streams[0].readexactly(1), "the answer to the question") == b"S"
            await streams[1].start_tls(context, server_hostname="127.0.0.1")
        assert await answer(streams, b"hello\n") == b"hello\n"
        streams[1].close()
