"""Backends are found by name, one by one, and what is wrong with one is said in words."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType
from typing import Any

import importlib_metadata
import pytest

from oacp_storage_core import (
    BackendConflictError,
    BackendLoadError,
    BackendLookupError,
    BackendNotFoundError,
    MemoryStorage,
    StorageBackend,
    available_backends,
    entry_points,
    load_backend,
)

BACKENDS = "oacp_storage.backends"


def message_of(error: type[BackendLookupError], name: str) -> str:
    with pytest.raises(error) as caught:
        load_backend(name)
    assert type(caught.value) is error
    return str(caught.value)


def test_first_party_backends_come_in_by_the_same_door() -> None:
    assert load_backend("memory") is MemoryStorage


def test_a_backend_is_found_by_each_of_its_names_in_any_case(site) -> None:
    module = site.install_backend("shelf")
    site.install(
        "more-names", {BACKENDS: {"shelf+tls": f"{module}:Backend", "shelf.v2-x": f"{module}:Backend"}}
    )
    found = load_backend("shelf")
    assert issubclass(found, StorageBackend)
    assert load_backend("SHELF") is load_backend("Shelf+TLS") is load_backend("shelf.v2-x") is found


def test_only_the_chosen_backend_is_imported(site) -> None:
    chosen, other = site.install_backend("chosen"), site.install_backend("other")
    available_backends()
    assert chosen not in sys.modules
    load_backend("chosen")
    assert chosen in sys.modules
    assert other not in sys.modules


def test_two_hundred_plugins_are_scanned_and_listed_and_none_is_imported(site) -> None:
    for i in range(200):
        points = {
            BACKENDS: {f"store{i}": f"store_{i}:Store", f"store{i}+tls": f"store_{i}:Store"},
            "console_scripts": {f"store{i}": f"store_{i}:main"},
        }
        modules = {f"store_{i}": "raise AssertionError('imported')"}
        site.install(f"store-{i}", points, modules, version=f"1.{i}", noticed=False)
    listed = {info.distribution: info for info in available_backends()}
    assert {f"store-{i}" for i in range(200)} <= listed.keys()
    assert listed["store-77"].names == ("store77", "store77+tls")
    assert listed["store-77"].version == "1.77"
    assert listed["store-77"].problem is None
    message_of(BackendNotFoundError, "store200")
    assert not [name for name in sys.modules if name.startswith("store_")]


def test_installed_distributions_are_scanned_once_and_again_on_a_miss(site, monkeypatch) -> None:
    site.install_backend("early")
    scans: list[int] = []
    distributions = importlib_metadata.distributions

    def counted() -> Any:
        scans.append(1)
        return distributions()

    monkeypatch.setattr(importlib_metadata, "distributions", counted)
    entry_points.scan(again=True)
    for _ in range(3):
        load_backend("early")
    assert len(scans) == 1
    site.install_backend("late", noticed=False)
    load_backend("late")
    assert len(scans) == 2
    message_of(BackendNotFoundError, "never")
    assert len(scans) == 3


# --- not installed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("postgres", "oacp-storage-postgres"),
        ("postgresql", "oacp-storage-postgres"),
        ("redis", "oacp-storage-redis"),
        ("rediss", "oacp-storage-redis"),
        ("redis+cluster", "oacp-storage-redis"),
        ("redis+sentinel", "oacp-storage-redis"),
        ("redis+unix", "oacp-storage-redis"),
        ("mongo", "oacp-storage-mongo"),
        ("mongodb", "oacp-storage-mongo"),
        ("mongodb+srv", "oacp-storage-mongo"),
        ("sqlite", "oacp-storage-sqlite"),
        ("file", "oacp-storage-file"),
    ],
)
def test_for_first_party_backends_the_pip_line_is_given(lone_site, name, distribution) -> None:
    message = message_of(BackendNotFoundError, name)
    assert f"no installed backend is called {name!r}" in message
    assert message.endswith(f"install it with: pip install {distribution}; installed are: none")


def test_a_near_miss_is_suggested_and_what_is_installed_is_named(lone_site) -> None:
    lone_site.install_backend("cabinet")
    message = message_of(BackendNotFoundError, "cabinte")
    assert "no installed backend is called 'cabinte'" in message
    assert message.endswith(" 'cabinte' (did you mean 'cabinet'?); installed are: cabinet")


def test_a_near_miss_of_a_first_party_backend_that_is_missing_says_how_to_install_it(lone_site) -> None:
    message = message_of(BackendNotFoundError, "postgrse")
    assert "did you mean 'postgres'?" in message
    assert "pip install oacp-storage-postgres" in message


@pytest.mark.parametrize(
    "name", ["postgresql:/me:s3cret@db/x", "me:s3cret@db", "host=db password=s3cret", "9x"]
)
def test_what_is_no_name_at_all_is_not_repeated_with_a_password(name) -> None:
    message = message_of(BackendNotFoundError, name)
    assert "s3cret" not in message
    assert "a URL has ://" in message


# --- installed but broken -----------------------------------------------------------------------------------


def test_a_backend_whose_import_fails_is_broken_and_not_missing(site) -> None:
    site.install(
        "dist-broken", {BACKENDS: {"broken": "broken_backend:Store"}}, {"broken_backend": "import nowhere_x"}
    )
    with pytest.raises(BackendLoadError) as caught:
        load_backend("broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert str(caught.value) == (
        "backend 'broken' (broken_backend:Store of dist-broken 1.0) is installed but cannot be imported: "
        "ModuleNotFoundError: No module named 'nowhere_x'; reinstall it with what it needs: "
        "pip install --force-reinstall dist-broken"
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("", "AttributeError"),
    ],
)
def test_whatever_goes_wrong_in_a_plugin_is_its_load_error(site, source, reason) -> None:
    site.install("dist-broken", {BACKENDS: {"broken": "broken_backend:Store"}}, {"broken_backend": source})
    message = message_of(BackendLoadError, "broken")
    assert "dist-broken 1.0" in message
    assert f"cannot be imported: {reason}" in message


def test_a_target_that_is_no_target_is_a_load_error(site) -> None:
    site.install("dist-odd", {BACKENDS: {"odd": "not a target!"}})
    assert "(not a target! of dist-odd 1.0) is installed but cannot be imported" in message_of(
        BackendLoadError, "odd"
    )


# --- claimed by two ----------------------------------------------------------------------------------------


def test_two_distributions_that_claim_a_name_conflict(site) -> None:
    site.install("dist-one", {BACKENDS: {"shared": "one_backend:One"}}, {"one_backend": "1 / 0"})
    site.install("dist-two", {BACKENDS: {"shared": "two_backend:Two"}}, version="2.1")
    message = message_of(BackendConflictError, "shared")
    assert "'shared' is claimed twice" in message
    assert "dist-one 1.0 (one_backend:One)" in message
    assert "dist-two 2.1 (two_backend:Two)" in message
    assert "pip uninstall dist-" in message


def test_one_distribution_that_is_found_twice_is_no_conflict(make_site, tmp_path) -> None:
    back, front = make_site(tmp_path / "back"), make_site(tmp_path / "front")
    back.install("My_Dist", {BACKENDS: {"twice": "twice_backend:Old"}}, version="1.0")
    front.install(
        "my.dist",
        {BACKENDS: {"twice": "twice_backend:New"}},
        {"twice_backend": "from oacp_storage_core import MemoryStorage as New"},
        version="2.0",
    )
    assert load_backend("twice") is MemoryStorage
    [info] = [info for info in available_backends() if "twice" in info.names]
    assert (info.distribution, info.version, info.problem) == ("my.dist", "2.0", None)


def test_metadata_left_behind_by_an_older_version_is_no_conflict(site) -> None:
    module = site.install_backend("stays")
    site.install("Dist.Stays", {BACKENDS: {"stays": f"{module}:Older"}}, version="0.9")
    assert len(entry_points.lookup(BACKENDS, "stays")) == 1


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("agents.db", "sqlite:///agents.db"),
        ("./data/my agents.sqlite", "sqlite:///data/my%20agents.sqlite"),
        ("/var/agents.db", "sqlite:////var/agents.db"),
        ("/var/lib/agents", "file:///var/lib/agents"),
    ],
)
def test_a_path_is_no_name_and_its_url_is_suggested(site, name: str, url: str) -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        load_backend(name)
    assert f"the path of a store is given in a URL: {url};" in str(caught.value)


@pytest.mark.parametrize("name", ["me:sesame@host/db", "host=db/x password=sesame", "plain"])
def test_no_url_is_suggested_for_what_is_no_path(site, name: str) -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        load_backend(name)
    assert "is given in a URL" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_relative_directory_is_suggested_as_an_absolute_url(site, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackendNotFoundError, match=f"in a URL: file://{tmp_path}/data;"):
        load_backend("./data")


def test_a_distribution_in_front_hides_what_only_an_older_one_behind_it_offers(make_site, tmp_path) -> None:
    back, front = make_site(tmp_path / "back"), make_site(tmp_path / "front")
    back.install("My_Dist", {BACKENDS: {"dropped": "dropped_backend:Old"}}, version="1.0")
    front.install("my-dist", {"console_scripts": {"x": "y:z"}}, version="2.0")
    message_of(BackendNotFoundError, "dropped")
    assert not [info for info in available_backends() if "dropped" in info.names]


# --- not a backend, or for another interface ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("class Store: pass", "the class Store"),
        ("Store = 7", "of type int"),
        ("def Store(): pass", "of type function"),
    ],
)
def test_what_is_not_a_storage_backend_is_refused(site, source, what) -> None:
    site.install("dist-alien", {BACKENDS: {"alien": "alien_backend:Store"}}, {"alien_backend": source})
    message = message_of(BackendLoadError, "alien")
    assert f"(alien_backend:Store of dist-alien 1.0) is not a StorageBackend but {what};" in message
    assert "tell the authors of dist-alien" in message


def test_a_backend_that_lacks_methods_is_refused(site) -> None:
    source = """
        from oacp_storage_core import StorageBackend
        class Store(StorageBackend):
            async def store_interaction(self, agent_id, interaction): ...
            async def get_interactions(self, agent_id, limit=100): ...
    """
    site.install("dist-half", {BACKENDS: {"half": "half_backend:Store"}}, {"half_backend": source})
    assert "lacks get_agent_state, store_agent_state" in message_of(BackendLoadError, "half")


@pytest.mark.parametrize(
    ("interface", "upgrade"), [("2", "oacp-storage-core"), ("99", "oacp-storage-core"), ("0", "dist-future")]
)
def test_a_backend_for_another_interface_version_is_refused(site, interface, upgrade) -> None:
    source = f"""
        from oacp_storage_core import MemoryStorage
        class Store(MemoryStorage, interface={interface}): ...
    """
    site.install("dist-future", {BACKENDS: {"future": "future_backend:Store"}}, {"future_backend": source})
    message = message_of(BackendLoadError, "future")
    assert (
        f"(future_backend:Store of dist-future 1.0) was made for version {interface} of the interface"
        in message
    )
    assert "this oacp-storage-core holds 1 to 1" in message
    assert message.endswith(f"pip install --upgrade {upgrade}")


def test_the_five_errors_survive_pickling(site) -> None:
    with pytest.raises(BackendNotFoundError) as caught:
        load_backend("nowhere")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# --- broken metadata ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"\xff\xfe\x00 not text", b"[console_scripts]\nno equals sign here\n"])
def test_a_broken_entry_points_file_of_somebody_else_does_not_stop_the_lookup(site, content) -> None:
    site.install("aaa-unrelated", content)
    site.install_backend("fine")
    with pytest.raises((ValueError, TypeError)):  # what the guard is against
        importlib_metadata.entry_points(group=BACKENDS)
    assert issubclass(load_backend("fine"), StorageBackend)
    listed = available_backends()
    assert [info.names for info in listed if info.distribution == "dist-fine"] == [("fine",)]
    assert not [info for info in listed if info.distribution == "aaa-unrelated"]
    message = message_of(BackendNotFoundError, "missing")
    assert "not looked at, because their entry_points.txt cannot be read: aaa-unrelated (" in message


def test_a_broken_entry_points_file_that_speaks_of_us_is_listed(site) -> None:
    site.install("bad-backend", b"[oacp_storage.backends]\nmine\n")
    [info] = [info for info in available_backends() if info.distribution == "bad-backend"]
    assert info.names == ()
    assert info.version == "1.0"
    assert info.problem is not None
    assert "entry_points.txt cannot be read" in info.problem


def test_broken_metadata_does_not_hide_a_backend(site) -> None:
    site.install_backend("nameless")
    site.folder.joinpath("dist_nameless-1.0.dist-info/METADATA").write_bytes(b"\xff\xff")
    assert issubclass(load_backend("nameless"), StorageBackend)
    [info] = [info for info in available_backends() if info.names == ("nameless",)]
    assert info.distribution == f"(a distribution without a name in {site.folder})"
    assert info.version == "unknown"


def test_a_finder_that_fails_midway_loses_only_what_comes_after_it(site, monkeypatch, caplog) -> None:
    site.install_backend("before")
    distributions = importlib_metadata.distributions

    def failing():
        yield from distributions()
        raise RuntimeError("a finder of somebody else")

    monkeypatch.setattr(importlib_metadata, "distributions", failing)
    assert issubclass(load_backend("before"), StorageBackend)
    entry_points.scan(again=True)
    assert issubclass(load_backend("before"), StorageBackend)
    assert "the search for installed distributions ended early" in caplog.text


class Elsewhere(importlib_metadata.Distribution):
    """A distribution that lies in no folder, as a provider of metadata may have it."""

    entry_points: Any = (
        importlib_metadata.EntryPoint("elsewhere", "oacp_storage_core.memory:MemoryStorage", BACKENDS),
    )

    def __init__(self, metadata: dict[str, str]) -> None:
        self._metadata = metadata

    @property
    def metadata(self):
        return self._metadata

    def read_text(self, filename):
        return None

    def locate_file(self, path):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("metadata", "name", "version"),
    [
        ({"Name": "dist-elsewhere", "Version": "4.2"}, "dist-elsewhere", "4.2"),
        ({}, "(a distribution without a name)", "unknown"),
    ],
)
def test_distributions_of_other_providers_count(monkeypatch, site, metadata, name, version) -> None:
    monkeypatch.setattr(importlib_metadata, "distributions", lambda: iter([Elsewhere(metadata)]))
    assert load_backend("elsewhere") is MemoryStorage
    [info] = available_backends()
    assert (info.names, info.distribution, info.version, info.problem) == (
        ("elsewhere",),
        name,
        version,
        None,
    )


# --- the list ----------------------------------------------------------------------------------------------


def test_the_list_names_what_is_broken_as_far_as_can_be_said_without_importing(site) -> None:
    site.install("dist-a", {BACKENDS: {"gone": "module_that_is_gone:Store"}})
    site.install("dist-b", {BACKENDS: {"Upper_Case": "sys:Store"}})
    site.install("dist-c", {BACKENDS: {"noclass": "sys"}})
    site.install("dist-d", {BACKENDS: {"clash": "sys:D"}})
    site.install("dist-e", {BACKENDS: {"clash": "sys:E"}})
    problems = {info.distribution: info.problem for info in available_backends()}
    assert problems["dist-a"] == "the module 'module_that_is_gone' is not there; reinstall it"
    assert "'Upper_Case' cannot be looked up" in str(problems["dist-b"])
    assert problems["dist-c"] == "the target 'sys' is not of the form module:Class"
    assert "'clash' is claimed twice: by dist-" in str(problems["dist-d"])
    assert problems["dist-d"] == problems["dist-e"]


def test_a_module_that_is_there_without_a_spec_is_no_problem(site, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))
    site.install("dist-hand", {BACKENDS: {"hand": "made_by_hand:Store"}})
    assert [info.problem for info in available_backends() if info.distribution == "dist-hand"] == [None]


def test_the_list_groups_the_names_of_one_target(site) -> None:
    points = {BACKENDS: {"pg": "sys:Pg", "pgsql": "sys:Pg", "other": "sys:Other"}}
    site.install("dist-names", points, version="3.2.1")
    listed = [info for info in available_backends() if info.distribution == "dist-names"]
    assert [(info.names, info.target, info.version, info.problem) for info in listed] == [
        (("other",), "sys:Other", "3.2.1", None),
        (("pg", "pgsql"), "sys:Pg", "3.2.1", None),
    ]


def test_a_name_that_cannot_be_looked_up_does_not_make_the_others_of_its_target_broken(site) -> None:
    site.install(
        "dist-names", {BACKENDS: {"Old_Name": "sys:Store", "clash": "sys:Store", "good": "sys:Store"}}
    )
    site.install("dist-other", {BACKENDS: {"clash": "sys:Other"}})
    listed = {info.names: info.problem for info in available_backends() if info.distribution == "dist-names"}
    assert listed.keys() == {("Old_Name",), ("clash",), ("good",)}
    assert listed["good",] is None
    assert "'Old_Name' cannot be looked up" in str(listed["Old_Name",])
    assert "'clash' is claimed twice" in str(listed["clash",])


def test_only_what_can_be_looked_up_is_suggested(lone_site) -> None:
    lone_site.install("dist-names", {BACKENDS: {"cabinet_1": "sys:Store", "shelf": "sys:Store"}})
    message = message_of(BackendNotFoundError, "cabinet-1")
    assert message.endswith("no installed backend is called 'cabinet-1'; installed are: shelf")


def test_a_broken_distribution_that_is_found_twice_is_told_of_once(make_site, tmp_path) -> None:
    for folder in ("back", "front"):
        make_site(tmp_path / folder).install("bad-backend", b"[oacp_storage.backends]\nmine\n")
    assert [info.distribution for info in available_backends()].count("bad-backend") == 1
    assert message_of(BackendNotFoundError, "missing").count("bad-backend (") == 1


def test_a_conflict_does_not_advise_to_remove_the_first_party_backend(site) -> None:
    site.install("oacp-storage-redis", {BACKENDS: {"redis": "ours:Ours"}})
    site.install("a-stranger", {BACKENDS: {"redis": "theirs:Theirs"}})
    assert "(pip uninstall a-stranger)" in message_of(BackendConflictError, "redis")


def test_a_future_interface_is_named_before_what_it_lacks_of_this_one(site) -> None:
    module = (
        "from oacp_storage_core import StorageBackend\nclass Future(StorageBackend, interface=9):\n    pass\n"
    )
    site.install("dist-future", {BACKENDS: {"future": "future_backend:Future"}}, {"future_backend": module})
    message = message_of(BackendLoadError, "future")
    assert "version 9 of the interface" in message
    assert "lacks" not in message
