"""Health and errors: what a storage tells about itself, and what it never tells."""

from __future__ import annotations

import logging
import pickle
from typing import Any, get_args

import pytest

from oacp_storage_conformance.clause import ClauseName, Trait, clause
from oacp_storage_conformance.place import Place
from oacp_storage_conformance.sources import password_of
from oacp_storage_core import Capability, Durability, Health, StorageConfigError, StorageError

HEALTH, ERRORS = ClauseName.HEALTH, ClauseName.ERRORS


class HealthClause:
    """``health()``, and the errors of a storage."""

    @clause(HEALTH)
    async def test_health_tells_the_condition(self, place: Place) -> None:
        """health() tells that all is well, how long a round trip takes, and what acknowledged data survives.

        Look at: Health, and whether it works on a storage that nobody has opened yet.
        """
        for storage in (place.storage, place.build()):
            health = await storage.health()
            assert isinstance(health, Health)
            assert health.ok is True
            assert health.error is None
            assert health.backend.strip()
            assert health.latency is None or 0 <= health.latency < 30
            assert health.durability in get_args(Durability)
            assert health.schema_version is None or health.schema_version >= 1
            assert all(warning.strip() for warning in health.warnings)

    @clause(HEALTH, Trait.STORAGE)
    async def test_health_and_the_class_agree_on_durability(self, place: Place) -> None:
        """A durable backend's health never says that data survives nothing; one that is not durable says just that.

        Weaker durability than promised is named by a warning.

        Look at: the class attribute durable, and the settings from which Health.durability is read.
        """
        health = await place.storage.health()
        assert health.latency is not None
        assert (health.durability != "none") is place.storage.durable
        if health.durability not in {"power-cut", "crash"}:
            assert health.warnings, "where nobody promises durability, a warning names the reason"

    @clause(ERRORS)
    async def test_errors_say_what_the_user_can_do(self, place: Place) -> None:
        """Every error is a StorageError, says what was wrong in words, and survives pickling with all it carries.

        Look at: messages taken from a driver as they are, and constructors that pickle cannot call.
        """
        agent, storage = place.name("ann"), place.storage
        calls: list[Any] = [storage.get_interactions(""), storage.store_interaction(agent, {"a": object()})]
        if place.has(Capability.VERSIONED_STATE):
            calls.append(storage.store_agent_state(agent, {}, expected_version=7))
        if place.has(Capability.IDEMPOTENT_APPEND):
            await storage.store_interaction(agent, {"n": 1}, interaction_id="taken")
            calls.append(storage.store_interaction(agent, {"n": 2}, interaction_id="taken"))
        for call in calls:
            with pytest.raises(StorageError) as caught:
                await call
            error = caught.value
            assert len(str(error).split()) >= 4, f"that says too little: {error}"
            again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))

    @clause(ERRORS)
    async def test_nothing_shows_the_password(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        """No message, repr, log or health report shows a password.

        Look at: __repr__, Health, log records and messages that quote the URL.
        """
        secret = password_of(place.setting.source)
        if secret is None:
            place.setting.does_not_apply("the source has no password")
        with caplog.at_level(logging.DEBUG):
            storage = await place.open()
            await storage.store_interaction(place.name("ann"), {})
            shown = [repr(storage), str(storage), repr(await storage.health())]
            with pytest.raises(StorageConfigError) as caught:
                place.setting.build(no_such_option=True)
            shown += [str(caught.value), repr(caught.value)]
            with pytest.raises(StorageError) as refused:
                await storage.get_interactions("")
            shown.append(str(refused.value))
            await storage.close()
        shown += [record.getMessage() for record in caplog.records if not record.name.startswith("asyncio")]
        for text in shown:
            assert secret not in text, "a password is shown (this message does not repeat where)"
