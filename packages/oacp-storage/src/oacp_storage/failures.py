"""Failures put into words: what to say of an exception, with which status, and never with a password."""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import CycloptsError

from oacp_storage.drivers import advice, missing_module
from oacp_storage.exits import Status, Stop
from oacp_storage.hiding import secrets_in_reach
from oacp_storage_core import (
    BackendLookupError,
    InvalidKeyError,
    StorageConfigError,
    StorageError,
)
from oacp_storage_core.urls import redact_url

_USAGE = (BackendLookupError, StorageConfigError, InvalidKeyError)
SEE_CAUSE = "; the cause tells more"
"""How a message ends that leaves the words of a driver to its cause: for programs; here they are shown."""


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
    if isinstance(exc, StorageError):
        return _with_cause(exc, tokens), Status.USAGE if isinstance(exc, _USAGE) else Status.FAILED
    if isinstance(exc, OSError):
        place = f"{exc.filename}: " if exc.filename is not None else ""
        return f"{place}{exc.strerror or exc}", Status.FAILED
    request = "this is a defect: please report it with the traceback that OACP_STORAGE_TRACEBACK=1 shows"
    return f"unexpected {type(exc).__name__}{_in_words(exc, tokens)}; {request}", Status.FAILED


def _with_cause(exc: StorageError, tokens: Sequence[str]) -> str:
    """The message, with the first line of what a driver said in place of the reference to it."""
    message = str(exc)
    if SEE_CAUSE not in message:
        return message
    cause: BaseException | None = exc.__cause__
    while isinstance(cause, StorageError):
        cause = cause.__cause__
    return message.replace(SEE_CAUSE, "" if cause is None else _in_words(cause, tokens))


def _in_words(exc: BaseException, tokens: Sequence[str]) -> str:
    """The words of an exception that is not ours, as the end of a sentence."""
    if not str(exc).strip():
        return ""
    words = secrets_in_reach(tokens).one_line(str(exc))
    return f": {words}" if words is not None else " (its words are not shown, a password may be among them)"


def without_secrets(text: str, tokens: Sequence[str]) -> str:
    """The text with every URL of the command line made fit to be shown.

    That is for texts of our own, which show nothing else of a configuration.
    """
    for token in tokens:
        head, equals, url = token.partition("=") if token.startswith("-") else ("", "", token)
        if "://" in url and equals == ("=" if head else ""):
            text = text.replace(url, redact_url(url)).replace(" ".join(url.split()), redact_url(url))
    return text
