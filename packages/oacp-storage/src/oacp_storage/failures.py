"""Failures put into words: what to say of an exception, with which status, and never with a password."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import unquote

from cyclopts import CycloptsError

from oacp_storage.drivers import advice, missing_module
from oacp_storage.exits import Status, Stop
from oacp_storage_core import (
    BackendLookupError,
    InvalidKeyError,
    StorageConfigError,
    StorageError,
)
from oacp_storage_core.urls import redact_url

_URI_VARIABLE = "OACP_STORAGE_URI"

_TELLS_MORE = "the cause tells more"
_URL = re.compile(r"[\w.+-]+://\S+")
_ASSIGNED = re.compile(r"(?i)((?:password|passwd|pwd|secret|token|auth)\w*[\"']?\s*[=:]\s*)[^\s,;)]+")
_USAGE = (BackendLookupError, StorageConfigError, InvalidKeyError)


def describe(exc: Exception, tokens: Sequence[str]) -> tuple[str, Status]:
    """The message and the status for an exception that ended the command with these arguments."""
    if isinstance(exc, ExceptionGroup):  # of concurrent calls that failed; one says enough
        return describe(exc.exceptions[0], tokens)
    if isinstance(exc, Stop):
        return str(exc), exc.status
    if isinstance(exc, CycloptsError):
        command = " ".join(["oacp-storage", *(exc.command_chain or ())])
        return f"{str(exc).rstrip('.')}; see {command} --help", Status.USAGE
    module = missing_module(exc)
    if module is not None:
        return advice(module), Status.USAGE
    if isinstance(exc, _USAGE):
        return _with_cause(exc, tokens), Status.USAGE
    if isinstance(exc, StorageError):
        return _with_cause(exc, tokens), Status.FAILED
    if isinstance(exc, OSError):
        place = f"{exc.filename}: " if exc.filename is not None else ""
        return f"{place}{exc.strerror or exc}", Status.FAILED
    request = "this is a defect: please report it with the traceback that OACP_STORAGE_TRACEBACK=1 shows"
    return f"unexpected {type(exc).__name__}: {exc}; {request}", Status.FAILED


def _with_cause(exc: Exception, tokens: Sequence[str]) -> str:
    """The message, and the cause in one line where the message leaves it to the cause to tell more."""
    cause = exc.__cause__
    if cause is None or not str(exc).endswith(_TELLS_MORE):
        return str(exc)
    told = " ".join(str(cause).split())
    for password in _passwords(tokens):
        told = told.replace(password, "***")
    told = _URL.sub(lambda found: redact_url(found[0]), told)
    told = _ASSIGNED.sub(r"\1***", told)
    return f"{str(exc).removesuffix(_TELLS_MORE)}{type(cause).__name__}: {told}"


def _passwords(tokens: Sequence[str]) -> set[str]:
    """The passwords in URLs of the command line and the environment, as they are written and as they are meant."""
    found = set()
    for text in (*tokens, os.environ.get(_URI_VARIABLE, "")):
        userinfo, at, _ = text.partition("://")[2].rpartition("@")
        password = userinfo.partition(":")[2]
        if at and password:
            found |= {password, unquote(password)}
    return found


def without_secrets(text: str, tokens: Sequence[str]) -> str:
    """The text with every URL of the command line made fit to be shown."""
    for token in tokens:
        head, equals, url = token.partition("=") if token.startswith("-") else ("", "", token)
        if "://" in url and equals == ("=" if head else ""):
            text = text.replace(url, redact_url(url)).replace(" ".join(url.split()), redact_url(url))
    return text
