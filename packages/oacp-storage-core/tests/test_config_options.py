"""Options: typed by the class's signature, from keywords, mappings and URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from behind_adapter import backend_of
from oacp_storage_core import StorageBackend, StorageConfigError, StorageConnectionError, create_storage
from oacp_storage_core.options import options_of

PARAMETERS = (
    "path: 'str | os.PathLike[str]' = 'x', *, pool_size: int = 4, timeout: float = 1.0, wal: bool = True, "
    "mode: \"Literal['full', 'normal']\" = 'full', limit: 'int | str' = '1MB', password: 'str | None' = None, "
    "hosts: 'Sequence[str]' = ()"
)
FROM_URL = """
    @classmethod
    def from_url(cls, url, **options):
        made = cls(**options)
        made.given["url"] = url
        return made
"""


@pytest.fixture
def shop(site) -> None:
    """A backend ``shop`` with options of all usual types."""
    site.install_backend("shop", FROM_URL, parameters=PARAMETERS)


def given(source: Any, **options: object) -> Any:
    """What the backend behind the adapter was given."""
    return backend_of(create_storage(source, **options)).given


def refusal(source: Any, **options: object) -> str:
    with pytest.raises(StorageConfigError) as caught:
        create_storage(source, **options)
    assert type(caught.value) is StorageConfigError
    return str(caught.value)


LABEL = "backend 'shop' (backend_shop:Backend of dist-shop 1.0)"
LISTED = "its options are coerce, hosts, limit, mode, password, path, pool_size, timeout, wal"


def test_keywords_arrive_as_they_are(shop) -> None:
    options = {"pool_size": 9, "timeout": 2, "wal": False, "mode": "normal", "limit": 5, "hosts": ["a"]}
    got = given("shop", path=Path("p"), **options)
    assert got == {**options, "path": Path("p"), "timeout": 2.0, "password": None}


def test_texts_of_a_query_are_converted(shop) -> None:
    got = given(
        "shop://h?pool_size=9&timeout=2.5&wal=false&mode=normal&limit=5&path=a%2Fb&hosts=a,b&password=12"
    )
    assert got == {
        "pool_size": 9, "timeout": 2.5, "wal": False, "mode": "normal", "limit": 5, "path": "a/b",
        "hosts": ["a", "b"], "password": "12", "url": "shop://h",
    }  # fmt: skip


def test_query_keys_that_are_no_options_are_left_in_the_url_for_the_driver(shop) -> None:
    url = "shop://me:p%40@h1:1,h2:2/db?sslmode=require&pool_size=9&options=-c%20x%3D1&readPreferenceTags=a&readPreferenceTags=b"
    got = given(url)
    assert got["pool_size"] == 9
    assert got["url"] == url.replace("&pool_size=9", "")
    assert given("shop://h?x=%zz&&y")["url"] == "shop://h?x=%zz&&y"


def test_an_unknown_option_names_the_nearest_and_all(shop) -> None:
    assert (
        refusal("shop", pol_size=3)
        == f"{LABEL} has no option 'pol_size' (did you mean 'pool_size'?); {LISTED}"
    )
    assert refusal({"backend": "shop", "zzz": 3}) == f"the mapping: {LABEL} has no option 'zzz'; {LISTED}"
    assert "has no option 'pol_size'" in refusal("shop://h", pol_size=3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pool_size": "9"}, "the option 'pool_size' must be int, not str '9'"),
        ({"pool_size": True}, "the option 'pool_size' must be int, not bool True"),
        ({"wal": 1}, "the option 'wal' must be bool, not int 1"),
        ({"mode": "nromal"}, "the option 'mode' must be 'full' or 'normal', not str 'nromal'"),
        ({"limit": 2.5}, "the option 'limit' must be int or str, not float 2.5"),
        ({"path": 3}, "the option 'path' must be str or a path, not int 3"),
        ({"hosts": "a"}, "the option 'hosts' must be a list of str, not str 'a'"),
        ({"hosts": {"a": 1}}, "the option 'hosts' must be a list of str, not dict"),
    ],
)
def test_an_ill_typed_option_says_what_it_must_be(shop, options, reason) -> None:
    assert refusal("shop", **options) == f"{LABEL}: {reason}; {LISTED}"


def test_an_ill_typed_text_in_a_query_says_what_it_must_be(shop) -> None:
    assert f"{LABEL}: the option 'pool_size' must be int, not str 'ten'" in refusal("shop://h?pool_size=ten")


def test_the_value_of_a_secret_is_not_shown(shop) -> None:
    assert "not int;" in refusal("shop", password=1234567)
    assert "1234567" not in refusal("shop", password=1234567)
    assert "s3cret" not in refusal("shop", pool_size="x://me:s3cret@db")


def test_an_option_given_twice_is_refused(shop) -> None:
    twice = f"{LABEL}: the option 'wal' stands twice in the URL's query"
    assert twice in refusal("shop://h?wal=1&wal=1")
    assert twice in refusal("shop://h?w%61l=1&x=2&wal=0")
    beside = f"{LABEL}: the option 'wal' is given both in the URL's query and beside it"
    assert beside in refusal("shop://h?wal=1", wal=True)
    assert beside in refusal({"url": "shop://h?wal=1", "wal": True})


def test_backend_and_url_at_once_are_refused(shop) -> None:
    assert "backend and url are both given; give only one of them" in refusal(
        {"backend": "shop", "url": "shop://h"}
    )


def test_url_beside_backend_is_an_option_of_a_class_that_has_it(site) -> None:
    site.install_backend("linked", parameters="url: str")
    assert given("linked", url="redis://h")["url"] == "redis://h"
    assert given({"backend": "linked", "url": "redis://h"})["url"] == "redis://h"


def test_wrappers_in_a_query_are_refused_and_not_left_to_the_driver(shop) -> None:
    assert "wrappers cannot stand in a URL" in refusal("shop://h?wrappers=encrypt")


def test_a_required_option_that_is_missing_is_named(site) -> None:
    site.install_backend("strict", parameters="server: str, bucket: str, port: int = 1")
    message = refusal("strict", port=2, server="h")
    assert (
        "(backend_strict:Backend of dist-strict 1.0) needs bucket; its options are bucket, coerce, port, server"
        in message
    )


def test_a_class_without_from_url_is_not_named_by_a_url(site) -> None:
    site.install_backend("plain", parameters="redis_url: str")
    message = refusal("plain://me:s3cret@h")
    assert "(backend_plain:Backend of dist-plain 1.0) cannot be named by a URL" in message
    assert "name it 'plain' and give its options (redis_url)" in message
    assert "s3cret" not in message


def test_named_parameters_of_from_url_are_options_too(site) -> None:
    body = """
        @classmethod
        def from_url(cls, url: str, *, retries: int = 0) -> 'Self':
            made = cls()
            made.given.update(url=url, retries=retries)
            return made
    """
    site.install_backend("narrow", body, parameters="other: int = 1")
    assert given("narrow://h?retries=3&other=2") == {"other": 1, "retries": 3, "url": "narrow://h?other=2"}
    assert "has no option 'other'" in refusal("narrow://h", other=2)


def test_keywords_that_are_passed_on_count_as_those_of_the_base(site) -> None:
    source = """
        from oacp_storage_core import MemoryStorage
        class Mine(MemoryStorage):
            def __init__(self, colour: str = "red", **common):
                super().__init__(**common)
        class Any(MemoryStorage):
            def __init__(self, *, number: int = 1, **anything):
                super().__init__()
                self.seen = anything
        class Odd(Any):
            def __init__(self, **keywords):
                super().__init__(**keywords)
        class Base(MemoryStorage):
            def __init__(self, place, size: int = 1):
                super().__init__()
                self.seen = (place, size)
        class Fixed(Base):
            def __init__(self, **keywords):
                super().__init__(place="mine", **keywords)
    """
    points = {
        "oacp_storage.backends": {"mine": "passing:Mine", "odd": "passing:Odd", "fixed": "passing:Fixed"}
    }
    site.install("dist-passing", points, {"passing": source})
    create_storage("mine", colour="blue", namespace="n", coerce=True)
    fixed: Any = create_storage("fixed", size=2)
    assert fixed.seen == ("mine", 2)
    assert "its options are coerce, colour, name, namespace" in refusal("mine", colr="blue")
    assert "the option 'coerce' must be bool" in refusal("mine", coerce="yes")
    odd: Any = create_storage("odd", number=2, namespace="n")
    assert odd.seen == {"namespace": "n"}
    assert "the option 'number' must be int" in refusal("odd", number="2")


def test_a_class_that_takes_any_keyword_gets_any(site) -> None:
    site.install_backend("loose", FROM_URL, parameters="size: int = 1, **extra")
    assert given("loose", colour="red") == {"size": 1, "extra": {"colour": "red"}}
    got = given("loose://h?size=2&colour=red")
    assert got["size"] == 2
    assert got["url"] == "loose://h?colour=red"  # nobody can tell whether it is an option or the driver's


def test_a_constructor_that_does_not_tell_takes_any_keyword() -> None:
    class Mine(StorageBackend):
        __init__ = dict.update  # written in C

    options = options_of(Mine)
    assert options.open
    assert options.hints == {}


def test_annotations_for_type_checkers_only_do_not_stand_in_the_way(site) -> None:
    source = """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from oacp_storage_core import MemoryStorage
        if TYPE_CHECKING:
            import ssl
            from os import PathLike
            from pathlib import Path
            from somewhere import Something
        class Mine(MemoryStorage):
            def __init__(
                self, path: str | PathLike[str] = "x", home: Path | None = None, size: int | Something = 1,
                tls: ssl.SSLContext | None = None, count: int = 1,
            ) -> None:
                super().__init__()
                self.seen = (path, home, size, tls, count)
    """
    site.install(
        "dist-late", {"oacp_storage.backends": {"late": "late_module:Mine"}}, {"late_module": source}
    )
    made: Any = create_storage("late", path="p", home="h", size="big", tls="x", count=2)
    assert made.seen == ("p", Path("h"), "big", "x", 2)
    assert "the option 'path' must be str or a path" in refusal("late", path=3)
    assert "the option 'count' must be int" in refusal("late", count="3")


def test_a_class_without_a_constructor_has_no_options(site) -> None:
    source = """
        from oacp_storage_core import StorageBackend
        class Mine(StorageBackend):
            async def store_interaction(self, agent_id, interaction): ...
            async def get_interactions(self, agent_id, limit=100): ...
            async def store_agent_state(self, agent_id, state): ...
            async def get_agent_state(self, agent_id): ...
    """
    site.install(
        "dist-bare", {"oacp_storage.backends": {"bare": "bare_module:Mine"}}, {"bare_module": source}
    )
    create_storage("bare", coerce=True)
    assert "has no option 'size'; its options are coerce" in refusal("bare", size=1)


# --- what the class itself refuses --------------------------------------------------------------------------


def test_what_a_constructor_raises_becomes_readable(site) -> None:
    site.install(
        "dist-raises",
        {"oacp_storage.backends": {"raises": "raises_module:Mine"}},
        {
            "raises_module": """
                from oacp_storage_core import MemoryStorage, StorageConnectionError
                class Mine(MemoryStorage):
                    def __init__(self, size: int = 1, password: str = "", dsn: str = "") -> None:
                        if size == 0:
                            raise StorageConnectionError("as it is")
                        raise ValueError(f"size {size} is too small for {password} at {dsn}")
            """
        },
    )
    with pytest.raises(StorageConfigError) as caught:
        create_storage("raises", size=2)
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value).endswith("refuses its options: ValueError: size 2 is too small for  at ")
    with pytest.raises(StorageConnectionError, match=r"^as it is$"):
        create_storage("raises", size=0)


@pytest.mark.parametrize(
    "options",
    [
        {"password": "s3cret"},
        {"dsn": "x://me:s3cret@db"},
        {"dsn": "x://me:%733cret@db"},
        {"dsn": "host=db password=s3cret"},
    ],
)
def test_a_password_in_what_a_constructor_raises_is_not_repeated(site, options) -> None:
    site.install(
        "dist-tells",
        {"oacp_storage.backends": {"tells": "tells_module:Mine"}},
        {
            "tells_module": """
                from urllib.parse import unquote
                from oacp_storage_core import MemoryStorage, StorageConfigError
                class Mine(MemoryStorage):
                    def __init__(self, password: str = "", dsn: str = "") -> None:
                        raise ValueError(f"no: {password} {unquote(dsn)}")
                    @classmethod
                    def from_url(cls, url: str) -> "Mine":
                        if url.endswith(":x"):
                            raise ValueError(f"invalid port in {unquote(url)}")
                        raise StorageConfigError(f"{unquote(url)} is not for us")
            """
        },
    )
    with pytest.raises(StorageConfigError) as caught:
        create_storage("tells", **options)
    assert "s3cret" not in str(caught.value)
    assert "refuses its options with ValueError; its message is not repeated" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    for url in ("tells://me:%733cret@db:x", "tells://me:%733cret@db"):
        with pytest.raises(StorageConfigError) as caught:
            create_storage(url)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(
        StorageConfigError, match=r"Mine of dist-tells 1.0\): tells://me:\*\*\*@db is not for us$"
    ):
        create_storage("tells://me:s3cret@db")
    with pytest.raises(StorageConfigError, match=r"^tells://me@db is not for us$"):
        create_storage("tells://me@db")


def test_from_url_must_make_a_backend(site) -> None:
    site.install_backend("nothing", "from_url = classmethod(lambda cls, url, **options: None)")
    with pytest.raises(Exception, match="from_url made no StorageBackend but a NoneType"):
        create_storage("nothing://h")
