"""A good guest: what the suite's presence does to other people's pytest."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

from pytest_runs import run_pytest

HEAVY = {"hypothesis", "rich", "oacp_storage_core", "oacp_storage_conformance.suite", "msgspec", "cyclopts"}


def imported_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, sep='\\n')"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_the_plugin_imports_nothing_heavy():
    bare = imported_by("import pytest")
    with_plugin = imported_by("import pytest; import oacp_storage_conformance.plugin")
    assert "oacp_storage_conformance.plugin" in with_plugin
    assert not (with_plugin - bare) & HEAVY
    assert not [name for name in with_plugin - bare if not name.startswith(("oacp_storage_conformance", "random"))
                and name.partition(".")[0] not in sys.stdlib_module_names]  # fmt: skip


def test_a_session_without_the_suite_imports_nothing_heavy(tmp_path):
    source = """
        import sys

        def test_what_is_imported():
            found = {"rich", "oacp_storage_core", "oacp_storage_conformance.suite"} & set(sys.modules)
            assert not found, found
            assert "oacp_storage_conformance.plugin" in sys.modules
    """
    run = run_pytest(tmp_path, source, "-p", "no:hypothesispytest", "-p", "no:asyncio")
    assert run.status == 0, run.output
    assert "= oacp-storage conformance" not in run.output, (
        "nothing to tell where none of the suite's tests ran"
    )
    assert run.graded is None


STRICT = """
    [pytest]
    addopts = --strict-markers --strict-config
    filterwarnings = error
    xfail_strict = true
    asyncio_mode = {mode}
    asyncio_default_fixture_loop_scope = session
"""

SOURCE = """
    from uuid import uuid4
    import pytest
    from oacp_storage_conformance import StorageConformance

    @pytest.fixture(autouse=True)
    def storage():
        return "somebody else's fixture"

    class TestMine(StorageConformance):
        @pytest.fixture
        def storage_source(self):
            return f"memory://{uuid4().hex}"

    class TestOther(StorageConformance):
        @pytest.fixture
        def storage_source(self):
            return f"memory://{uuid4().hex}"
"""


def test_strict_settings_of_the_host_do_not_matter(tmp_path):
    """Warnings as errors, markers declared, session-wide loops, and two classes at once (inherited @given fails so)."""
    for mode in ("strict", "auto"):
        run = run_pytest(
            tmp_path, SOURCE, "-k", "Reference or random or Order or loop", ini=STRICT.format(mode=mode)
        )
        assert run.status == 0, run.output
        assert [target["target"] for target in run.targets] == [
            "test_mine.py::TestMine",
            "test_mine.py::TestOther",
        ]


def test_reports_can_be_sent_by_xdist(tmp_path):
    """What the suite puts on reports is plain, without subclasses: that is all that execnet takes."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "conftest.py").write_text(
        dedent(
            """
            import marshal

            def pytest_runtest_logreport(report):
                marshal.dumps(report.user_properties, 4)
                assert report.user_properties
            """
        )
    )
    run = run_pytest(
        project, SOURCE, "-k", "TestMine and (schema or limit_of_zero or methods_work or damaged)"
    )
    assert run.status == 0, run.output


def test_without_a_storage_the_command_line_says_so(tmp_path):
    run = run_pytest(tmp_path, "", "--pyargs", "oacp_storage_conformance")
    assert run.status == 4
    assert "no storage to prove: give --oacp-storage URL" in run.output


def test_the_marker_is_registered(tmp_path):
    run = run_pytest(tmp_path, "", "--markers")
    assert "@pytest.mark.oacp_storage_clause(name)" in run.output


def test_a_forgotten_fixture_says_what_to_do(tmp_path):
    source = """
        from oacp_storage_conformance import StorageConformance

        class TestMine(StorageConformance):
            pass
    """
    run = run_pytest(tmp_path, source, "-k", "limit_of_zero")
    assert run.status == 1
    assert "define the fixture storage_source in your test class" in run.output


WRONG = """
    from uuid import uuid4
    import pytest
    from oacp_storage_core import MemoryStorage
    from oacp_storage_conformance import StorageConformance

    class Wrong(MemoryStorage):
        async def store_agent_state(self, agent_id, state, **options):
            if len(state) > 1:
                state = {key: state[key] for key in sorted(state)}
            return await super().store_agent_state(agent_id, state, **options)

    class TestMine(StorageConformance):
        @pytest.fixture
        def storage_source(self):
            name = uuid4().hex
            return lambda **options: Wrong(name, **options)
"""


def test_a_random_failure_can_be_repeated(tmp_path):
    chosen = ("-k", "random_payloads", "--oacp-storage-examples", "60")
    first = run_pytest(tmp_path, WRONG, *chosen, "--oacp-storage-seed", "11")
    assert first.status == 1, first.output
    assert "--oacp-storage-seed=11" in first.output
    again = run_pytest(tmp_path, WRONG, *chosen, "--oacp-storage-seed", "11")
    failing = [line for line in first.output.splitlines() if "value=" in line]
    assert failing
    assert failing == [line for line in again.output.splitlines() if "value=" in line]
    fixed = run_pytest(tmp_path, WRONG, *chosen, "--oacp-storage-derandomize")
    assert "repeat this one with --oacp-storage-derandomize" in fixed.output
