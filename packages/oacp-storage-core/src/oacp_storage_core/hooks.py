"""Hooks: what cuts across backends, by plugins of the entry-point group ``oacp_storage.hooks`` (pluggy).

A plugin is a module (or object) with functions marked ``@hookimpl``; its entry point gives it its name:

    [project.entry-points."oacp_storage.hooks"]
    encrypt = "my_package.encryption"

There are hooks around a storage's life, none per operation: what wants to see or change operations returns a
``StorageWrapper`` from ``oacp_storage_wrap``.

**Wrappers.** Installing a plugin wraps nothing. ``wrappers = ["redact", "encrypt"]`` in the configuration (or as
a keyword) names them in the order in which data passes them on its way in: ``redact`` is outermost and sees it
first, ``encrypt``, the last, is innermost, next to the backend. They are built from the inside: ``encrypt``
receives the backend's storage, ``redact`` receives what ``encrypt`` returned, and the application holds what
``redact`` returned. A table in place of a name, ``{ name = "encrypt", key_file = "key.bin" }``, hands the rest of
its keys to that wrapper. If one cannot be had, no storage is made: otherwise plaintext would be stored.

**Observers.** All installed plugins with ``oacp_storage_opened`` or ``oacp_storage_closed`` are told of every
storage that ``create_storage`` or ``open_storage`` made, when its ``open()`` and ``close()`` are called (``async
with`` does so; a storage that opens by itself at its first use does not). They are loaded at the first opening.
Whatever they raise is logged and goes no further.

A storage that was constructed directly from its class has neither wrappers nor observers.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pluggy

from oacp_storage_core.entry_points import HOOKS, Offer, lookup, offers
from oacp_storage_core.errors import StorageConfigError
from oacp_storage_core.near_miss import did_you_mean
from oacp_storage_core.sources import WrapperSettings
from oacp_storage_core.storage import Storage
from oacp_storage_core.urls import secrets_among

PROJECT = "oacp_storage"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook of its name."""

_log = logging.getLogger("oacp_storage.hooks")


class HookConfig:
    """What a hook learns of the storage's configuration.

    It holds nothing secret but ``settings``, which only the wrapper gets whose table they are from. The options
    of the backend are not in it: nobody can tell which options of an unknown class are secret.
    """

    name: str | None
    """The storage's name in ``oacp.toml``; None for a URL, a mapping or a plain backend."""
    backend: str
    """The backend's name as it was looked up."""
    url: str | None
    """The URL, without its passwords, or None."""
    directory: Path
    """Where relative paths start: that of ``oacp.toml``, else the working directory."""
    wrapper: str | None
    """The name under which a wrapper was called; None for observers."""
    settings: Mapping[str, Any]
    """What the wrapper's table in ``wrappers`` says beside its name."""

    def __init__(
        self,
        *,
        name: str | None = None,
        backend: str,
        url: str | None = None,
        directory: Path,
        wrapper: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.backend = backend
        self.url = url
        self.directory = directory
        self.wrapper = wrapper
        self.settings = MappingProxyType(dict(settings or {}))

    def of_wrapper(self, wrapper: WrapperSettings) -> HookConfig:
        """The same for one wrapper, with its settings."""
        return HookConfig(
            name=self.name,
            backend=self.backend,
            url=self.url,
            directory=self.directory,
            wrapper=wrapper.name,
            settings=wrapper.settings,
        )

    def __repr__(self) -> str:
        return f"<HookConfig name={self.name!r} backend={self.backend!r} url={self.url!r} wrapper={self.wrapper!r}>"


class HookSpecs:
    """The hooks; the docstring of each is its contract."""

    @hookspec
    def oacp_storage_opened(self, storage: Storage, config: HookConfig) -> None:
        """The storage's ``open()`` has returned; ``storage`` is what the application holds.

        An observer: a plain function (not ``async``), which returns soon, as it runs on the event loop. What it
        returns is ignored, what it raises is logged.
        """

    @hookspec
    def oacp_storage_closed(self, storage: Storage, config: HookConfig) -> None:
        """The storage's ``close()`` has returned, after ``oacp_storage_opened``. An observer, as there.

        The storage is not to be used any more.
        """

    @hookspec(firstresult=True)
    def oacp_storage_wrap(self, storage: Storage, config: HookConfig) -> Storage | None:
        """Return a storage that stands in front of ``storage``: a ``StorageWrapper`` around it, as a rule.

        Called once for each place of the plugin in ``wrappers``, before anything is opened, with the storage
        to wrap and ``config.settings``. It may raise; then no storage is made. ``open()`` and ``close()`` of the
        result must open and close ``storage``.
        """


class Plugins:
    """The plugins that were loaded, each by itself, so that one cannot keep the others from working."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(HookSpecs)
        self._loaded: dict[str, object] = {}
        self._observers_loaded = False

    def get(self, offer: Offer) -> object:
        """The plugin of an entry point, imported and checked at its first use."""
        if offer.target not in self._loaded:
            plugin = offer.load()
            if not self._manager.is_registered(plugin):
                try:
                    self._manager.register(plugin, f"{offer.installed.name}:{offer.name}")
                    self._manager.check_pending()  # a misspelt hook would never be called
                except pluggy.PluginValidationError:
                    if self._manager.is_registered(plugin):  # as some versions of pluggy leave it
                        self._manager.unregister(plugin)
                    raise
            self._loaded[offer.target] = plugin
        return self._loaded[offer.target]

    def call(self, plugin: object, hook: str, storage: Storage, config: HookConfig) -> Any:
        """Call a hook of this plugin alone; None when it does not implement it."""
        others = [other for other in self._manager.get_plugins() if other is not plugin]
        return self._manager.subset_hook_caller(hook, others)(storage=storage, config=config)

    def notify(self, hook: str, storage: Storage, config: HookConfig) -> None:
        """Tell all installed observers; failures are logged."""
        self._load_observers()
        for plugin in self._manager.get_plugins():
            try:
                for result in self.call(plugin, hook, storage, config):
                    if inspect.iscoroutine(result):
                        result.close()
                        raise TypeError("an observer must be a plain function, not async")
            except Exception:  # noqa: BLE001 - an observer must not keep a storage from working
                _log.exception("the observer %s of %s failed", hook, self._manager.get_name(plugin))

    def _load_observers(self) -> None:
        if self._observers_loaded:
            return
        self._observers_loaded = True
        for offer in offers(HOOKS):
            try:
                self.get(offer)
            except (Exception, SystemExit):  # noqa: BLE001 - as above
                _log.exception(
                    "the hooks %r (%s of %s) cannot be loaded", offer.name, offer.target, offer.installed
                )


@cache
def plugins() -> Plugins:
    """The plugins of this process."""
    return Plugins()


def wrap(
    storage: Storage, config: HookConfig, wrappers: Sequence[WrapperSettings], where: str = ""
) -> Storage:
    """The storage in all these wrappers, the last of which is innermost; ``StorageConfigError`` without one."""
    for wrapper in reversed(wrappers):
        storage = _wrapped(storage, config.of_wrapper(wrapper), f"{where}: " if where else "")
    return storage


def _wrapped(storage: Storage, config: HookConfig, prefix: str) -> Storage:
    name = str(config.wrapper)
    found = lookup(HOOKS, name)
    if not found:
        installed = sorted({offer.name for offer in offers(HOOKS)})
        raise StorageConfigError(
            f"{prefix}the wrapper {name!r} is not installed{did_you_mean(name, installed)}; installed are "
            f"{', '.join(installed) or 'none'}: install the distribution that has it, or take it out of wrappers "
            "(data is then stored without it)"
        )
    claims = dict.fromkeys(f"{offer.installed} ({offer.target})" for offer in found)
    if len(claims) > 1:
        raise StorageConfigError(
            f"{prefix}the wrapper {name!r} is claimed twice: by {' and '.join(claims)}; uninstall one of them"
        )
    offer = found[0]
    label = f"{prefix}the wrapper {name!r} ({offer.target} of {offer.installed})"
    try:
        plugin = plugins().get(offer)
    except (Exception, SystemExit) as exc:
        raise StorageConfigError(
            f"{label} cannot be loaded: {type(exc).__name__}: {exc}; reinstall it: "
            f"pip install --force-reinstall {offer.installed.name}"
        ) from exc
    try:
        wrapped = plugins().call(plugin, "oacp_storage_wrap", storage, config)
    except Exception as exc:
        if any(secret in str(exc) for secret in secrets_among(config.settings)):
            raise StorageConfigError(
                f"{label} failed with {type(exc).__name__}, so no storage was made; its message is not repeated, "
                "because it contains a secret"
            ) from None  # nor may the cause be shown below it
        raise StorageConfigError(
            f"{label} failed, so no storage was made: {type(exc).__name__}: {exc}"
        ) from exc
    if not isinstance(wrapped, Storage):
        raise StorageConfigError(
            f"{label} returned {type(wrapped).__name__} instead of a Storage; no storage was made: tell the authors "
            f"of {offer.installed.name}"
        )
    return wrapped


def observe(storage: Storage, config: HookConfig) -> None:
    """Have this storage's ``open()`` and ``close()`` tell the observers.

    The two methods of the instance are replaced: a wrapper instead would hide what a class offers beyond
    ``Storage``, and an observer that somebody installs must not change what the application holds.
    """
    open_storage, close_storage = storage.open, storage.close
    opened = False

    async def open_and_tell() -> None:
        nonlocal opened
        await open_storage()
        if not opened:
            opened = True
            plugins().notify("oacp_storage_opened", storage, config)

    async def close_and_tell() -> None:
        nonlocal opened
        await close_storage()
        if opened:
            opened = False
            plugins().notify("oacp_storage_closed", storage, config)

    vars(storage).update(open=open_and_tell, close=close_and_tell)
