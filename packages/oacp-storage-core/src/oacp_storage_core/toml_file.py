"""``oacp.toml``: named storages in a file, with values filled in from the environment and from secret files.

    default = "main"

    [storage.main]
    backend = "postgres"             # or: url = "postgresql://..."
    password = "${file:/run/secrets/pg}"
    pool_size = 20
    wrappers = ["redact", { name = "encrypt", key_file = "key.bin" }]

Paths are relative to the file, those that are left to a default included. In every text of a table ``${NAME}`` is
replaced by the environment variable, ``${file:PATH}`` by the content of the file without its last line break, and
``$$`` by a dollar sign; only the table in use is filled in. Where a text is a URL, what is filled in before its
``@`` (user, password) is percent-encoded, so that a secret may hold any character. Other keys of the file are not
ours; one that is nearly ``storage`` or ``default`` is taken for a slip of the pen, and refused.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oacp_storage_core.errors import StorageConfigError
from oacp_storage_core.near_miss import did_you_mean, nearest
from oacp_storage_core.urls import quote_userinfo

FILE_NAME = "oacp.toml"

_PLACEHOLDER = re.compile(r"\$(?:\$|\{(?P<what>[^{}]*)(?P<end>\}?))")
_KEYS = ("storage", "default")
_SLIP = 0.85  # "storages", "Storage", "defualt"; not "store"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ConfigFile(NamedTuple):
    """A file that was read: its named storages, not yet filled in, and which one is meant by default."""

    path: Path
    storages: Mapping[str, Mapping[str, Any]]
    default: str | None
    meant: str = ""
    """Of a file without storages: which of its tables was probably meant to hold them, for messages."""

    def default_name(self) -> str:
        """The name under ``default``, or of the only storage; ``StorageConfigError`` when neither is there."""
        names = ", ".join(sorted(self.storages))
        if self.default is None:
            if len(self.storages) == 1:
                return next(iter(self.storages))
            if self.storages:
                raise StorageConfigError(
                    f'{self.path}: which storage? Name one, or add default = "..." at the top; there are {names}'
                )
            raise StorageConfigError(
                f"{self.path}: there is no storage{self.meant}; add a table [storage.main]"
            )
        if self.default not in self.storages:
            raise StorageConfigError(
                f"{self.path}: default names the storage {self.default!r}, which is not there"
                f"{did_you_mean(self.default, self.storages)}; there are {names or 'none'}"
            )
        return self.default

    def where(self, name: str) -> str:
        """The place of a table, for messages."""
        return f"{self.path}, [storage.{name}]"

    def table(self, name: str) -> dict[str, FilledIn]:
        """The table of that name, filled in."""
        return {
            key: FilledIn.of(value, self.path.parent, f"{self.where(name)} {key}")
            for key, value in self.storages[name].items()
        }


class FilledIn(NamedTuple):
    """A value of a table; ``changed`` when something was filled in, at any depth."""

    value: Any
    changed: bool

    @classmethod
    def of(cls, value: Any, directory: Path, where: str) -> FilledIn:
        """Fill in texts, those in lists and tables included. ``where`` is for messages."""
        if isinstance(value, str):
            filled = _fill_in(value, directory, where)
            return cls(filled, _PLACEHOLDER.search(value) is not None)
        if isinstance(value, list):
            items = [cls.of(item, directory, where) for item in value]
            return cls([item.value for item in items], any(item.changed for item in items))
        if isinstance(value, dict):
            parts = {key: cls.of(item, directory, f"{where}.{key}") for key, item in value.items()}
            return cls({k: part.value for k, part in parts.items()}, any(p.changed for p in parts.values()))
        return cls(value, changed=False)


def find_config(start: Path | None = None) -> Path | None:
    """The nearest ``oacp.toml`` in ``start`` (by default the working directory) or above it."""
    directory = (start or Path.cwd()).absolute()
    for place in (directory, *directory.parents):
        path = place / FILE_NAME
        try:
            if path.is_file():
                return path
        except OSError:  # a folder that may not be searched holds no configuration for us
            continue
    return None


def read_config(path: Path) -> ConfigFile:
    """Read a file; ``StorageConfigError`` when it cannot be read, is not TOML, or is not of this form."""
    path = path.absolute()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageConfigError(f"{path}: there is no such file") from None
    except OSError as exc:
        raise StorageConfigError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise StorageConfigError(f"{path} is not TOML: it is not UTF-8 (byte {exc.start})") from None
    except tomllib.TOMLDecodeError as exc:
        raise StorageConfigError(f"{path} is not TOML: {exc}") from None
    for key in content:
        if key not in _KEYS and (meant := nearest(key, _KEYS, _SLIP)):
            raise StorageConfigError(f"{path}: the key {key!r} is not known (did you mean {meant!r}?)")
    storages = content.get("storage", {})
    if not isinstance(storages, dict) or not all(isinstance(table, dict) for table in storages.values()):
        raise StorageConfigError(f"{path}: storages are tables with a name, as in [storage.main]")
    default = content.get("default")
    if default is not None and not isinstance(default, str):
        raise StorageConfigError(
            f"{path}: default must be the name of a storage, not {type(default).__name__}"
        )
    return ConfigFile(path, storages, default, "" if storages else _meant(content))


def _meant(content: Mapping[str, Any]) -> str:
    """What the file has in place of storages."""
    tables = [key for key, value in content.items() if isinstance(value, dict) and key not in _KEYS]
    for key in tables:
        if hint := did_you_mean(key, ["storage"]):
            return f", but a table {key!r}{hint}"
    return f", its tables {', '.join(map(repr, tables))} are not ours" if tables else ""


def _fill_in(template: str, directory: Path, where: str) -> str:
    # Which @ ends the user and password is the template's to say, not that of what is filled in.
    skeleton = _PLACEHOLDER.sub(lambda match: "x" * len(match[0]), template)
    userinfo = range(skeleton.find("://") + 3, skeleton.rfind("@")) if "://" in skeleton else range(0)

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if not match["end"]:
            raise StorageConfigError(f"{where}: ${{ has no closing }}; write $$ for a dollar sign")
        value = _look_up(match["what"], directory, where)
        return quote_userinfo(value) if match.start() in userinfo else value

    return _PLACEHOLDER.sub(replacement, template)


def _look_up(what: str, directory: Path, where: str) -> str:
    kind, colon, name = what.partition(":")
    if colon and kind == "file" and name:
        path = directory / name
        try:
            content = re.sub(r"\r?\n\Z", "", path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise StorageConfigError(
                f"{where}: the file {path} of ${{{what}}} cannot be read: {exc.strerror or exc}"
            ) from exc
        except UnicodeDecodeError:
            raise StorageConfigError(f"{where}: the file {path} of ${{{what}}} is not UTF-8") from None
        if not content:
            raise StorageConfigError(
                f"{where}: the file {path} of ${{{what}}} is empty; write the value into it"
            )
        return content
    if not _VARIABLE.fullmatch(what):
        raise StorageConfigError(
            f"{where}: ${{{what}}} is neither ${{NAME}} of a variable nor ${{file:PATH}}; write $$ for a dollar sign"
        )
    if what not in os.environ:
        raise StorageConfigError(
            f"{where}: the environment variable {what} is not set; set it, or write $$ for a dollar sign"
        )
    if not os.environ[what]:
        raise StorageConfigError(f"{where}: the environment variable {what} is empty; set it to the value")
    return os.environ[what]
