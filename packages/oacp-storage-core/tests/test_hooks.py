"""Wrappers are applied as configured or not at all; observers are told and can break nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oacp_storage_core import (
    HookConfig,
    MemoryStorage,
    Storage,
    StorageClosedError,
    StorageConfigError,
    create_storage,
    hooks,
    open_storage,
)

HOOKS = "oacp_storage.hooks"

TAGGING = """
    from oacp_storage_core import StorageWrapper, hookimpl

    class Tagging(StorageWrapper):
        def __init__(self, wrapped, config):
            super().__init__(wrapped)
            self.config = config

        async def store_interaction(self, agent_id, interaction, **keywords):
            trail = [*interaction.get("trail", []), {tag!r}]
            return await self.wrapped.store_interaction(agent_id, dict(interaction, trail=trail), **keywords)

    @hookimpl
    def oacp_storage_wrap(storage, config):
        return Tagging(storage, config)
"""

OBSERVING = """
    from oacp_storage_core import hookimpl
    seen = []

    @hookimpl
    def oacp_storage_opened(storage, config):
        seen.append(("opened", storage, config))

    @hookimpl
    def oacp_storage_closed(storage, config):
        seen.append(("closed", storage, config))
"""


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OACP_STORAGE_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tags(site) -> None:
    """Two wrappers, ``redact`` and ``encrypt``, each of which leaves its name in what passes it."""
    for tag in ("redact", "encrypt"):
        site.install(f"dist-{tag}", {HOOKS: {tag: f"tag_{tag}"}}, {f"tag_{tag}": TAGGING.format(tag=tag)})


def refusal(**options: object) -> str:
    with pytest.raises(StorageConfigError) as caught:
        create_storage("memory", **options)
    return str(caught.value)


# --- wrappers -----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_data_passes_the_wrappers_in_the_order_in_which_they_are_named(tags) -> None:
    async with open_storage("memory", wrappers=["redact", "encrypt"]) as storage:
        await storage.store_interaction("a", {"x": 1})
        assert await storage.get_interactions("a") == [{"x": 1, "trail": ["redact", "encrypt"]}]
    async with open_storage("memory", wrappers=["encrypt", "redact"]) as storage:
        await storage.store_interaction("a", {"x": 1})
        assert await storage.get_interactions("a") == [{"x": 1, "trail": ["encrypt", "redact"]}]


def test_the_last_is_innermost_and_each_receives_the_previous_result(tags) -> None:
    outer: Any = create_storage("memory", wrappers=["redact", "encrypt"])
    assert type(outer).__module__ == "tag_redact"
    inner = outer.wrapped
    assert type(inner).__module__ == "tag_encrypt"
    assert isinstance(inner.wrapped, MemoryStorage)


def test_installing_wraps_nothing(tags) -> None:
    assert isinstance(create_storage("memory"), MemoryStorage)
    assert "tag_redact" not in sys.modules
    create_storage("memory", wrappers=["encrypt"])
    assert "tag_encrypt" in sys.modules
    assert "tag_redact" not in sys.modules


def test_wrappers_and_their_settings_stand_in_the_file(tags, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret")
    conf = tmp_path / "conf"
    conf.mkdir()
    conf.joinpath("oacp.toml").write_text(
        """
        [storage.main]
        url = "memory://shared?namespace=n"
        wrappers = ["redact", { name = "encrypt", key_file = "key.bin", key = "${THE_KEY}", depth = { a = [1] } }]
        """
    )
    storage: Any = create_storage(conf / "oacp.toml")
    redact, encrypt = storage.config, storage.wrapped.config
    assert (redact.wrapper, dict(redact.settings)) == ("redact", {})
    assert encrypt.wrapper == "encrypt"
    assert encrypt.settings == {"key_file": "key.bin", "key": "s3cret", "depth": {"a": [1]}}
    for config in (redact, encrypt):
        assert (config.name, config.backend) == ("main", "memory")
        assert config.url == "memory://shared?namespace=n"
        assert config.directory == conf
    assert "s3cret" not in repr(encrypt)


def test_the_configuration_that_hooks_see_has_no_password(tags) -> None:
    storage: Any = create_storage("memory://me:s3cret@x?namespace=n", wrappers=["encrypt"])
    config = storage.config
    assert config.url == "memory://me:***@x?namespace=n"
    assert config.directory == Path.cwd()
    assert config.name is None
    assert "s3cret" not in repr(config)
    assert "s3cret" not in str(vars(config))


def test_a_keyword_replaces_the_wrappers_of_the_file(tags, tmp_path) -> None:
    path = tmp_path / "oacp.toml"
    path.write_text('[storage.main]\nbackend = "memory"\nwrappers = ["redact", "encrypt"]')
    assert type(create_storage("main")).__module__ == "tag_redact"
    assert type(create_storage("main", wrappers=["encrypt"])).__module__ == "tag_encrypt"
    assert isinstance(create_storage("main", wrappers=[]), MemoryStorage)


def test_a_missing_wrapper_refuses_to_make_the_storage(tags, tmp_path) -> None:
    path = tmp_path / "oacp.toml"
    path.write_text('[storage.main]\nbackend = "memory"\nwrappers = ["redact", "encrpyt"]')
    with pytest.raises(StorageConfigError) as caught:
        create_storage("main")
    assert str(caught.value) == (
        f"{path}, [storage.main]: the wrapper 'encrpyt' is not installed (did you mean 'encrypt'?); installed are "
        "encrypt, redact: install the distribution that has it, or take it out of wrappers (data is then stored "
        "without it)"
    )


def test_a_missing_wrapper_is_missing_where_none_is_installed() -> None:
    assert "the wrapper 'encrypt' is not installed; installed are" in refusal(wrappers=["encrypt"])


@pytest.mark.asyncio
async def test_a_missing_wrapper_refuses_to_open() -> None:
    with pytest.raises(StorageConfigError, match="the wrapper 'encrypt' is not installed"):
        async with open_storage("memory", wrappers=["encrypt"]):
            pytest.fail("it was opened")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "import nowhere_x",
            "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_x'; reinstall it: pip",
        ),
        ("raise SystemExit('x')", "cannot be loaded: SystemExit: x"),
        ("", "returned NoneType instead of a Storage; no storage was made"),
        (
            "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrap(storage): return None",
            "returned NoneType instead of a Storage",
        ),
        (
            "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrap(storage): return 7",
            "returned int instead of a Storage; no storage was made: tell the authors of dist-bad",
        ),
        (
            "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrap(storage): 1 / 0",
            "failed, so no storage was made: ZeroDivisionError: division by zero",
        ),
        (
            "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrap(config): config.settings['k']",
            "failed, so no storage was made: KeyError: 'k'",
        ),
        (
            "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrap(store): ...",
            "cannot be loaded: PluginValidationError",
        ),
        (
            "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrapp(storage): ...",
            "cannot be loaded: PluginValidationError: unknown hook 'oacp_storage_wrapp'",
        ),
    ],
)
def test_a_wrapper_that_fails_refuses_to_make_the_storage(site, source, reason) -> None:
    site.install("dist-bad", {HOOKS: {"bad": "bad_hooks"}}, {"bad_hooks": source})
    for _ in range(2):  # nor at the second time
        message = refusal(wrappers=[{"name": "bad", "key_file": "key.bin"}])
        assert message.startswith("the wrapper 'bad' (bad_hooks of dist-bad 1.0) ")
        assert reason in message


def test_a_secret_in_what_a_wrapper_raises_is_not_repeated(site) -> None:
    source = (
        "from oacp_storage_core import hookimpl\n@hookimpl\ndef oacp_storage_wrap(config):\n"
        "    raise ValueError('not 32 bytes: ' + config.settings['key'])"
    )
    site.install("dist-bad", {HOOKS: {"bad": "bad_hooks"}}, {"bad_hooks": source})
    with pytest.raises(StorageConfigError) as caught:
        create_storage("memory", wrappers=[{"name": "bad", "key": "s3cret"}])
    assert "failed with ValueError, so no storage was made; its message is not repeated" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_wrapper_claimed_twice_is_refused(site) -> None:
    for one in ("one", "two"):
        site.install(f"dist-{one}", {HOOKS: {"shared": f"hooks_{one}"}}, {f"hooks_{one}": "1 / 0"})
    message = refusal(wrappers=["shared"])
    assert "the wrapper 'shared' is claimed twice: by dist-" in message
    assert "dist-one 1.0 (hooks_one)" in message
    assert "dist-two 1.0 (hooks_two)" in message


def test_a_wrapper_may_be_named_twice(tags) -> None:
    storage: Any = create_storage(
        "memory", wrappers=[{"name": "encrypt", "n": 1}, {"name": "encrypt", "n": 2}]
    )
    assert storage.config.settings == {"n": 1}
    assert storage.wrapped.config.settings == {"n": 2}


def test_a_plugin_may_be_an_object_under_two_names(site) -> None:
    source = TAGGING.format(tag="x") + "\n    import sys\n    itself = sys.modules[__name__]\n"
    site.install(
        "dist-two", {HOOKS: {"one": "both_hooks", "two": "both_hooks:itself"}}, {"both_hooks": source}
    )
    storage: Any = create_storage("memory", wrappers=["one", "two"])
    assert storage.config.wrapper == "one"
    assert storage.wrapped.config.wrapper == "two"


def test_the_settings_of_a_wrapper_cannot_be_changed() -> None:
    config: Any = HookConfig(backend="memory", directory=Path(), settings={"a": 1})
    with pytest.raises(TypeError):
        config.settings["a"] = 2


def test_a_class_constructed_directly_is_not_wrapped(tags) -> None:
    assert type(MemoryStorage()) is MemoryStorage


# --- observers ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_observers_are_told_after_opening_and_after_closing(site) -> None:
    site.install("dist-look", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    async with open_storage("memory://x:s3cret@y") as storage:
        seen = sys.modules["look_hooks"].seen
        assert isinstance(storage, MemoryStorage)
        [(what, told, config)] = seen
        assert what == "opened"
        assert told is storage
        assert (config.backend, config.url, config.wrapper) == ("memory", "memory://x:***@y", None)
        assert dict(config.settings) == {}
        await storage.store_interaction("a", {})
    assert [what for what, _, _ in seen] == ["opened", "closed"]
    with pytest.raises(StorageClosedError):
        await seen[1][1].get_interactions("a")


@pytest.mark.asyncio
async def test_observers_are_loaded_at_the_first_opening_and_told_once_each(site) -> None:
    site.install("dist-look", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    storage = create_storage("memory")
    await storage.store_interaction("a", {})
    assert "look_hooks" not in sys.modules
    async with storage:
        await storage.open()
    await storage.close()
    assert [what for what, _, _ in sys.modules["look_hooks"].seen] == ["opened", "closed"]


@pytest.mark.asyncio
async def test_what_is_closed_without_having_been_opened_is_no_news(site) -> None:
    site.install("dist-look", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    await create_storage("memory").close()
    assert "look_hooks" not in sys.modules


@pytest.mark.asyncio
async def test_observers_are_not_told_of_what_failed_to_open(site) -> None:
    site.install("dist-look", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    site.install_backend("dead", "async def open(self): raise StorageConnectionError('no server')")
    with pytest.raises(Exception, match="no server"):
        async with open_storage("dead"):
            pytest.fail("it was opened")
    async with open_storage("memory"):
        assert [config.backend for _, _, config in sys.modules["look_hooks"].seen] == ["memory"]


@pytest.mark.asyncio
async def test_observers_are_told_of_the_outermost_wrapper(site, tags) -> None:
    site.install("dist-look", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    async with open_storage("memory", wrappers=[{"name": "encrypt", "key": "s3cret"}]) as storage:
        [(_, told, config)] = sys.modules["look_hooks"].seen
        assert told is storage
        assert dict(config.settings) == {}


@pytest.mark.asyncio
async def test_an_observer_that_fails_is_logged_and_the_others_are_told(site, caplog) -> None:
    failing = OBSERVING.replace("seen.append", "1 / 0; seen.append")
    site.install("dist-z", {HOOKS: {"a-bad": "failing_hooks"}}, {"failing_hooks": failing})
    site.install("dist-y", {HOOKS: {"broken": "broken_hooks"}}, {"broken_hooks": "import nowhere_x"})
    site.install("dist-x", {HOOKS: {"quits": "quitting_hooks"}}, {"quitting_hooks": "raise SystemExit"})
    site.install(
        "dist-w", {HOOKS: {"typo": "typo_hooks"}}, {"typo_hooks": OBSERVING.replace("_opened", "_opend")}
    )
    site.install(
        "dist-v",
        {HOOKS: {"waits": "waiting_hooks"}},
        {"waiting_hooks": OBSERVING.replace("def ", "async def ")},
    )
    site.install("dist-u", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    async with open_storage("memory") as storage:
        await storage.store_interaction("a", {})
    async with open_storage("memory"):
        pass
    assert [what for what, _, _ in sys.modules["look_hooks"].seen] == ["opened", "closed"] * 2
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("the hooks 'broken' (broken_hooks of dist-y 1.0) cannot be loaded") == 1
    assert logged.count("the hooks 'quits' (quitting_hooks of dist-x 1.0) cannot be loaded") == 1
    assert logged.count("the hooks 'typo' (typo_hooks of dist-w 1.0) cannot be loaded") == 1
    assert logged.count("the observer oacp_storage_opened of dist-z:a-bad failed") == 2
    assert logged.count("the observer oacp_storage_closed of dist-z:a-bad failed") == 2
    assert logged.count("the observer oacp_storage_opened of dist-v:waits failed") == 2
    assert "must be a plain function, not async" in caplog.text


@pytest.mark.asyncio
async def test_an_observer_does_not_change_what_the_application_holds(site) -> None:
    site.install("dist-look", {HOOKS: {"look": "look_hooks"}}, {"look_hooks": OBSERVING})
    storage = create_storage("memory", namespace="n")
    assert type(storage) is MemoryStorage
    direct = MemoryStorage()
    async with direct:
        assert "look_hooks" not in sys.modules


# --- the specifications ---------------------------------------------------------------------------------------


def test_every_hook_says_its_contract() -> None:
    specs = {name: spec for name, spec in vars(hooks.HookSpecs).items() if name.startswith("oacp_")}
    assert sorted(specs) == ["oacp_storage_closed", "oacp_storage_opened", "oacp_storage_wrap"]
    for spec in specs.values():
        assert list(inspect.signature(spec).parameters) == ["self", "storage", "config"]
        assert len(str(spec.__doc__).split()) > 15
    assert Storage.__name__ in str(hooks.HookSpecs.oacp_storage_wrap.__annotations__)


def test_pluggy_is_not_imported_where_no_hook_is_installed(tmp_path) -> None:
    code = (
        "import sys, oacp_storage_core\n"
        "from oacp_storage_core import config\n"
        "config.offers = lambda group: []\n"
        "oacp_storage_core.create_storage('memory')\n"
        "assert 'pluggy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
