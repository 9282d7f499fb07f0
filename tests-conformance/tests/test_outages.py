"""The tests of lost connections pass right storages and find wrong ones, on a pretended network."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_runs import run_pytest

OUTAGES = "lost_connections or absent_server or without_a_server"


SOURCE = """
    from functools import partial
    from uuid import uuid4
    import pytest
    from oacp_storage_conformance import StorageConformance
    from remote import Network, NetworkTamper, {backend}

    class TestMine(StorageConformance):
        @pytest.fixture
        def network(self):
            return Network()

        @pytest.fixture
        def storage_source(self, network):
            return partial({backend}, network, uuid4().hex)

        @pytest.fixture
        def storage_tamper(self, network):
            return NetworkTamper(network)
"""


@pytest.mark.parametrize(
    ("backend", "failing"),
    [
        ("Remote", set()),
        ("NeverKnows", set()),
        (
            "SendsAgain",
            {
                "test_lost_connections_lose_and_double_nothing",
                "test_lost_connections_count_no_increment_twice",
                "test_lost_connections_repeat_no_deletion",
            },
        ),
        (
            "SaysItFailed",
            {
                "test_lost_connections_lose_and_double_nothing",
                "test_lost_connections_count_no_increment_twice",
            },
        ),
        (
            "Believes",
            {
                "test_lost_connections_lose_and_double_nothing",
                "test_lost_connections_count_no_increment_twice",
            },
        ),
        (
            "LeaksTheDriver",
            {"test_an_absent_server_is_not_ok", "test_opening_without_a_server_is_an_error_with_advice"},
        ),
    ],
)
def test_wrong_storages_are_found(tmp_path, monkeypatch, backend, failing):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    run = run_pytest(tmp_path, SOURCE.format(backend=backend), "-k", OUTAGES)
    failed = {one["test"] for one in run.target["tests"] if one["outcome"] == "failed"}
    assert failing <= failed, run.output
    assert bool(failed) == bool(failing), run.output
    assert run.row("network")["declared"]
