"""``create_storage`` and ``open_storage``: from a source to a storage that can be used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from oacp_storage_core.construct import construct
from oacp_storage_core.entry_points import HOOKS, offers
from oacp_storage_core.errors import BackendLookupError
from oacp_storage_core.registry import Found, find_backend
from oacp_storage_core.sources import Resolved, Source, resolve
from oacp_storage_core.storage import Storage
from oacp_storage_core.urls import redact_url


def create_storage(source: Source | None = None, **options: Any) -> Storage:
    """Build the storage that ``source`` means, without connecting; it opens at its first use.

    ``source`` is the name of a backend, a URL, the name of a storage in ``oacp.toml``, the path of such a file,
    or a mapping (see ``oacp_storage_core.sources``); without one it is the storage that the environment variable
    ``OACP_STORAGE_URI`` names, else the default of the nearest ``oacp.toml``.

    ``options`` are the keyword arguments of the backend's class, and ``wrappers`` (see
    ``oacp_storage_core.hooks``). A class with only the four methods of ``StorageBackend`` comes back in an
    adapter, which takes the option ``coerce``.

    Raises ``BackendLookupError`` when the backend cannot be had, and ``StorageConfigError`` when the source or
    an option is wrong or a wrapper cannot be had.
    """
    return _build(resolve(source, options))


@asynccontextmanager
async def open_storage(source: Source | None = None, **options: Any) -> AsyncIterator[Storage]:
    """Open a storage for the length of an ``async with`` block, and close it at the end.

    It takes what ``create_storage`` takes, and raises what that raises.
    """
    storage = create_storage(source, **options)
    try:
        await storage.open()
        yield storage
    finally:
        await storage.close()


def _build(resolved: Resolved) -> Storage:
    storage = construct(_find(resolved), resolved)
    if not resolved.wrappers and not offers(HOOKS):
        return storage  # pluggy need not even be imported
    from oacp_storage_core.hooks import HookConfig, observe, wrap

    config = HookConfig(
        name=resolved.name,
        backend=resolved.backend.lower(),
        url=None if resolved.url is None else redact_url(resolved.url),
        directory=resolved.directory or Path.cwd(),
    )
    storage = wrap(storage, config, resolved.wrappers, resolved.where)
    observe(storage, config)
    return storage


def _find(resolved: Resolved) -> Found:
    try:
        return find_backend(resolved.backend, resolved.configured)
    except BackendLookupError as exc:
        if not resolved.where:
            raise
        raise type(exc)(f"{resolved.where}: {exc}") from exc.__cause__
