"""``oacp.toml``: tables, what is filled in, and relative paths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from behind_adapter import backend_of
from oacp_storage_core import BackendNotFoundError, StorageConfigError, create_storage
from oacp_storage_core.toml_file import find_config


@pytest.fixture
def conf(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for ``oacp.toml``, which is not the working directory, and a backend ``shop``."""
    site.install_backend(
        "shop",
        """
        relative_urls = True
        @classmethod
        def from_url(cls, url, **options):
            made = cls(**options)
            made.given["url"] = url
            return made
        """,
        parameters=(
            "path: 'str | os.PathLike[str]' = 'x', home: 'Path | None' = None, pool_size: int = 4, wal: bool = True, "
            "password: str = '', dsn: str = '', hosts: 'list[int]' = []"
        ),
    )
    monkeypatch.delenv("OACP_STORAGE_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf"
    folder.mkdir()
    return folder


def given(folder: Path, table: str, **options: object) -> Any:
    """What the backend of ``[storage.main]`` with this content was given."""
    path = folder / "oacp.toml"
    path.write_text(f"[storage.main]\n{table}\n")
    return backend_of(create_storage(path, **options)).given


def refusal(folder: Path, content: str) -> str:
    path = folder / "oacp.toml"
    path.write_text(content)
    with pytest.raises(StorageConfigError) as caught:
        create_storage(path)
    return str(caught.value)


# --- the file -----------------------------------------------------------------------------------------------


def test_all_keys_but_backend_and_wrappers_are_options(conf) -> None:
    got = given(conf, 'backend = "shop"\npool_size = 9\nwal = false\nhosts = [1, 2]\nwrappers = []')
    assert (got["pool_size"], got["wal"], got["hosts"]) == (9, False, [1, 2])


def test_other_keys_of_the_file_are_not_ours(conf) -> None:
    path = conf / "oacp.toml"
    path.write_text('title = "x"\n[agents]\ncount = 3\n[storage.main]\nbackend = "shop"\n')
    create_storage(path)


def test_a_plain_text_of_the_file_is_not_converted(conf) -> None:
    message = refusal(conf, '[storage.main]\nbackend = "shop"\npool_size = "9"')
    assert message.startswith(f"{conf}/oacp.toml, [storage.main]: backend 'shop' (")
    assert "the option 'pool_size' must be int, not str '9'" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[storage.main\n", "oacp.toml is not TOML: Expected ']'"),
        ("", "oacp.toml: there is no storage; add a table [storage.main]"),
        (
            'default = "mian"\n[storage.main]\n[storage.x]',
            "default names the storage 'mian', which is not there (did you mean 'main'?); there are main, x",
        ),
        ("[storages.main]", "oacp.toml: the key 'storages' is not known (did you mean 'storage'?)"),
        (
            "[Storage.x]\n[storage.main]",
            "oacp.toml: the key 'Storage' is not known (did you mean 'storage'?)",
        ),
        (
            'defualt = "x"\n[storage.main]\n[storage.x]',
            "oacp.toml: the key 'defualt' is not known (did you mean 'default'?)",
        ),
        (
            "[store.main]",
            "there is no storage, but a table 'store' (did you mean 'storage'?); add a table [storage.main]",
        ),
        (
            "[agents]\n[x.y]",
            "there is no storage, its tables 'agents', 'x' are not ours; add a table [storage.main]",
        ),
        ('default = "main"', "default names the storage 'main', which is not there; there are none"),
        ("default = 3\n[storage.main]", "default must be the name of a storage, not int"),
        ("storage = 3", "storages are tables with a name, as in [storage.main]"),
        ('[storage]\nbackend = "memory"', "storages are tables with a name, as in [storage.main]"),
        (
            "[storage.a]\n[storage.b]",
            'which storage? Name one, or add default = "..." at the top; there are a, b',
        ),
        ("[storage.main]\npool_size = 3", 'oacp.toml, [storage.main]: needs backend = "..." or url = "..."'),
        (
            '[storage.main]\nbackend = "shop"\nurl = "shop://h"',
            "backend and url are both given; give only one of them",
        ),
        ('[storage.main]\nurl = "shop:/h"', "oacp.toml, [storage.main]: the URL shop:/h is malformed"),
        ('[storage.main]\nbackend = "shop"\nwal = 3', "oacp.toml, [storage.main]: backend 'shop' ("),
        (
            '[storage.main]\nurl = "shop://h?wal=1"\nwal = true',
            "is given both in the URL's query and beside it",
        ),
    ],
)
def test_a_faulty_file_says_where_and_what(conf, content, reason) -> None:
    message = refusal(conf, content)
    assert message.startswith(f"{conf}/oacp.toml")
    assert reason in message


def test_a_file_that_cannot_be_read_says_so(conf) -> None:
    with pytest.raises(StorageConfigError, match=r"none\.toml: there is no such file"):
        create_storage("none.toml")
    conf.joinpath("oacp.toml").mkdir()
    with pytest.raises(StorageConfigError, match=r"oacp\.toml cannot be read: Is a directory"):
        create_storage(conf / "oacp.toml")
    conf.joinpath("latin.toml").write_bytes("x = 'ü'".encode("latin-1"))
    with pytest.raises(StorageConfigError, match=r"latin\.toml is not TOML: it is not UTF-8 \(byte 5\)"):
        create_storage(conf / "latin.toml")


def test_a_malformed_file_is_not_passed_over_for_a_backend_of_the_name(conf, monkeypatch) -> None:
    conf.joinpath("oacp.toml").write_text("[storage.shop")
    monkeypatch.chdir(conf)
    with pytest.raises(StorageConfigError, match="is not TOML"):
        create_storage("shop")


def test_a_folder_named_oacp_toml_is_no_configuration(conf, monkeypatch) -> None:
    conf.joinpath("inner", "oacp.toml").mkdir(parents=True)
    conf.joinpath("oacp.toml").write_text("")
    assert find_config(conf / "inner") == conf / "oacp.toml"


def test_a_folder_that_may_not_be_searched_holds_no_configuration(conf, monkeypatch) -> None:
    conf.joinpath("oacp.toml").write_text("")
    inner = conf / "inner"
    inner.mkdir()
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if path.parent == inner:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert find_config(inner) == conf / "oacp.toml"


# --- what is filled in --------------------------------------------------------------------------------------


def test_variables_and_files_are_filled_in(conf, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_USER", "me")
    conf.joinpath("secret").write_text("s3cret\n")
    conf.joinpath("crlf").write_bytes(b"two\nlines\r\n")
    got = given(
        conf, 'backend = "shop"\npassword = "${file:secret}"\ndsn = "<${SHOP_USER}|${file:crlf}|$$x|$y|$>"'
    )
    assert got["password"] == "s3cret"
    assert got["dsn"] == "<me|two\nlines|$x|$y|$>"
    assert given(conf, f'backend = "shop"\npassword = "${{file:{conf}/secret}}"')["password"] == "s3cret"


def test_what_is_filled_in_is_not_filled_in_again(conf, monkeypatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "${HOME}$$")
    assert given(conf, 'backend = "shop"\npassword = "${SHOP_PASSWORD}"')["password"] == "${HOME}$$"


def test_texts_that_are_filled_in_are_converted(conf, monkeypatch) -> None:
    monkeypatch.setenv("N", "12")
    monkeypatch.setenv("NO", "false")
    got = given(
        conf, 'backend = "shop"\npool_size = "${N}"\nwal = "${NO}"\nhosts = [1, "${N}"]\npassword = "${N}"'
    )
    assert (got["pool_size"], got["wal"], got["hosts"], got["password"]) == (12, False, [1, 12], "12")


def test_only_the_table_in_use_is_filled_in(conf) -> None:
    path = conf / "oacp.toml"
    path.write_text(
        'default = "a"\n[storage.a]\nbackend = "shop"\n[storage.b]\nbackend = "shop"\npassword = "${NOT_SET_AT_ALL}"'
    )
    create_storage(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "${NOT_SET_AT_ALL}",
            "[storage.main] password: the environment variable NOT_SET_AT_ALL is not set; set it",
        ),
        ("${}", "${} is neither ${NAME} of a variable nor ${file:PATH}; write $$ for a dollar sign"),
        ("${no-name}", "${no-name} is neither ${NAME} of a variable nor ${file:PATH}"),
        ("${A:-b}", "${A:-b} is neither"),
        ("${file:}", "${file:} is neither"),
        ("a ${OPEN", "password: ${ has no closing }; write $$ for a dollar sign"),
        ("${file:nowhere}", "nowhere of ${file:nowhere} cannot be read: No such file or directory"),
        ("${file:binary}", "binary of ${file:binary} is not UTF-8"),
        ("${file:nothing}", "nothing of ${file:nothing} is empty"),
        ("${SHOP_NOTHING}x", "the environment variable SHOP_NOTHING is empty; set it to the value"),
    ],
)
def test_what_cannot_be_filled_in_says_where_and_why(conf, text, reason, monkeypatch) -> None:
    conf.joinpath("binary").write_bytes(b"\xff")
    conf.joinpath("nothing").write_text("\n")
    monkeypatch.setenv("SHOP_NOTHING", "")
    message = refusal(conf, f'[storage.main]\nbackend = "shop"\npassword = "{text}"')
    assert message.startswith(f"{conf}/oacp.toml, [storage.main] password: ")
    assert reason in message


def test_the_place_is_named_at_any_depth(conf) -> None:
    message = refusal(
        conf,
        '[storage.main]\nbackend = "shop"\nwrappers = [{name = "e", keys = {one = "${NOT_SET_AT_ALL}"}}]',
    )
    assert "[storage.main] wrappers.keys.one: the environment variable NOT_SET_AT_ALL is not set" in message


def test_what_was_filled_in_is_not_shown(conf, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_POOL", "s3cret")
    message = refusal(conf, '[storage.main]\nbackend = "shop"\npool_size = "${SECRET_POOL}"')
    assert "the option 'pool_size' must be int, not the str filled in for it" in message
    assert "s3cret" not in message


def test_user_and_password_of_a_url_are_percent_encoded(conf, monkeypatch) -> None:
    monkeypatch.setenv("U", "me:x")
    monkeypatch.setenv("PW", "p@s/s?w#o%rd")
    monkeypatch.setenv("HOSTS", "h1:1,h2:2/db?a=b@c")
    quoted = "p%40s%2Fs%3Fw%23o%25rd"
    url = given(conf, 'url = "shop://${U}:${PW}@${HOSTS}"')["url"]
    assert url == f"shop://me%3Ax:{quoted}@h1:1,h2:2/db?a=b@c"
    assert given(conf, 'backend = "shop"\ndsn = "x://u:${PW}@h"')["dsn"] == f"x://u:{quoted}@h"
    conf.joinpath("a@b").write_text("x/y")
    assert given(conf, 'url = "shop://me:${PW}@h/${file:a@b}"')["url"] == f"shop://me:{quoted}@h/x/y"
    monkeypatch.setenv("URL", "shop://me:p%40@h")
    assert given(conf, 'url = "${URL}"')["url"] == "shop://me:p%40@h"
    assert given(conf, 'url = "shop://h/${HOSTS}"')["url"] == "shop://h/h1:1,h2:2/db?a=b@c"
    assert given(conf, 'backend = "shop"\ndsn = "${U}@${PW}"')["dsn"] == "me:x@p@s/s?w#o%rd"


# --- relative paths -----------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(conf, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SUB", "sub")
    got = given(conf, 'backend = "shop"\npath = "./data"\nhome = "${SUB}"\ndsn = "data"')
    assert (got["path"], got["home"], got["dsn"]) == (str(conf / "data"), conf / "sub", "data")
    got = given(conf, 'backend = "shop"\npath = "/data"\nhome = "~/x"')
    assert (got["path"], got["home"]) == ("/data", Path("/home/me/x"))
    assert given(conf, 'backend = "shop"\npath = ":memory:"')["path"] == ":memory:"


def test_paths_of_a_relatively_named_file_are_relative_to_it_too(conf, monkeypatch) -> None:
    given(conf, 'backend = "shop"\npath = "data"')
    monkeypatch.chdir(conf.parent)
    assert backend_of(create_storage("conf/oacp.toml")).given["path"] == str(conf / "data")


def test_paths_left_to_their_defaults_are_relative_to_the_file_too(conf, site) -> None:
    site.install_backend(
        "defaults",
        """
        @classmethod
        def from_url(cls, url, **options):
            return cls(**options)
        """,
        parameters="path: 'str | os.PathLike[str]' = 'a.db', home: Path = Path('h'), log: 'Path | None' = None, "
        "run: Path = Path('/run/x'), name: str = 'n'",
    )
    path = conf / "oacp.toml"
    path.write_text('[storage.main]\nbackend = "defaults"')
    assert backend_of(create_storage(path)).given == {
        "path": str(conf / "a.db"),
        "home": conf / "h",
        "log": None,
        "run": Path("/run/x"),
        "name": "n",
    }
    assert backend_of(create_storage(path, path="b.db")).given["path"] == "b.db"
    assert backend_of(create_storage({"backend": "defaults"})).given["path"] == "a.db"
    path.write_text('[storage.main]\nurl = "defaults://h"')
    assert backend_of(create_storage(path)).given["path"] == "a.db"


def test_a_path_in_the_call_is_relative_to_the_working_directory(conf) -> None:
    got = given(conf, 'backend = "shop"\npath = "data"\nhome = "h"', path="mine")
    assert (got["path"], got["home"]) == ("mine", conf / "h")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("shop:///oacp.db", "shop:///{quoted}/oacp.db"),
        ("shop:///a%20b/c.db?x=1&y=%zz", "shop:///{quoted}/a%20b/c.db?x=1&y=%zz"),
        ("shop:////var/x.db", "shop:////var/x.db"),
        ("shop:///:memory:", "shop:///:memory:"),
        ("shop:///", "shop:///"),
        ("shop://host/x", "shop://host/x"),
        ("shop://", "shop://"),
    ],
)
def test_a_relative_url_is_relative_to_the_file(conf, url, expected) -> None:
    folder = conf / "a b"
    folder.mkdir()
    quoted = str(folder).replace(" ", "%20")
    assert given(folder, f'url = "{url}"')["url"] == expected.format(quoted=quoted)


def test_elsewhere_a_relative_url_stays_as_it_is(conf, site, monkeypatch) -> None:
    assert backend_of(create_storage("shop:///oacp.db")).given["url"] == "shop:///oacp.db"
    assert backend_of(create_storage({"url": "shop:///x"})).given["url"] == "shop:///x"
    monkeypatch.setenv("OACP_STORAGE_URI", "shop:///x")
    assert backend_of(create_storage()).given["url"] == "shop:///x"
    site.install_backend(
        "absolute",
        "from_url = classmethod(lambda cls, url, **options: setattr(made := cls(), 'seen', url) or made)",
    )
    conf.joinpath("oacp.toml").write_text('[storage.main]\nurl = "absolute:///data"')
    assert backend_of(create_storage(conf / "oacp.toml")).seen == "absolute:///data"


def test_the_environment_is_read_when_the_storage_is_made(conf, monkeypatch) -> None:
    monkeypatch.setitem(os.environ, "LATE", "one")
    assert given(conf, 'backend = "shop"\ndsn = "${LATE}"')["dsn"] == "one"
    monkeypatch.setitem(os.environ, "LATE", "two")
    assert given(conf, 'backend = "shop"\ndsn = "${LATE}"')["dsn"] == "two"


def test_what_a_backend_says_of_a_value_names_file_and_table(conf, site) -> None:
    site.install_backend(
        "picky",
        """
        def __init__(self, size: int = 4):
            raise StorageConfigError(f"size must be at least 1, not {size}")

        @classmethod
        def from_url(cls, url, **options):
            return cls(**options)
        """,
    )
    path = conf / "oacp.toml"
    for named in ('backend = "picky"\nsize = 0', 'url = "picky://?size=0"'):
        path.write_text(f"[storage.main]\n{named}")
        with pytest.raises(StorageConfigError) as caught:
            create_storage(path)
        assert str(caught.value) == (
            f"{path}, [storage.main]: backend 'picky' (backend_picky:Backend of dist-picky 1.0): "
            "size must be at least 1, not 0"
        )
    with pytest.raises(StorageConfigError, match=r"^size must be at least 1, not 0$"):
        create_storage("picky", size=0)


def test_a_backend_that_is_not_there_is_told_of_with_file_and_table(conf) -> None:
    path = conf / "oacp.toml"
    path.write_text('[storage.main]\nbackend = "shoop"')
    with pytest.raises(BackendNotFoundError) as caught:
        create_storage(path)
    assert str(caught.value).startswith(f"{path}, [storage.main]: no installed backend is called 'shoop'")
