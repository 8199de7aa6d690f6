"""What every crash test stands on: where it may run, the undisturbed run it is compared with, and the account of what was tried."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import Final

import pytest

from support.crash_oracle import explained_by_the_reference
from support.crash_trial import SMALL_INDEX_PROGRAM, CrashTrial, Explain
from support.tally import SCALE, Tally
from support.workload import workload_log

PROPERTY: Final = "tried"
NEEDED: Final = ("strace", "prlimit", "mkfs.ext4", "mount")


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the account of this run."""
    config.pluginmanager.register(_Account(), "crash-account")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips where the machine cannot do it, saying why; in CI nothing may be skipped."""
    if os.environ.get("CI") == "true":
        return
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root (mounts, loop devices)")


@pytest.fixture(scope="session")
def explain() -> Explain:
    """The judge of what is committed: the independent model."""
    return explained_by_the_reference


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory, explain: Explain) -> CrashTrial:
    """The main job on a small log, recorded without a disturbance."""
    return CrashTrial(tmp_path_factory.mktemp("trial"), workload_log(30 * SCALE, seed=20251231), explain)


@pytest.fixture(scope="session")
def resumed_trial(trial: CrashTrial) -> CrashTrial:
    """The main job on what a crash left of it, recorded as it recovers without another disturbance."""
    again = CrashTrial(trial.root / "again", trial.log, trial.explain, begun=trial.interrupted())
    assert again.undisturbed == trial.undisturbed
    return again


@pytest.fixture(scope="session")
def index_trial(tmp_path_factory: pytest.TempPathFactory, explain: Explain) -> CrashTrial:
    """The main job with an index that seals and merges, recorded without a disturbance."""
    log = workload_log(40 * SCALE, seed=20251230)
    return CrashTrial(tmp_path_factory.mktemp("index"), log, explain, SMALL_INDEX_PROGRAM)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Notes for the account that something was tried, where, and how often; to be called once it went well."""

    def note(what: str, where: str, times: int) -> None:
        request.node.user_properties.append((PROPERTY, (what, where, times)))

    return note


class _Account:
    """Counts what the tests say they tried, and prints it at the end for people to read."""

    def __init__(self) -> None:
        self._tried: Counter[tuple[str, str]] = Counter()
        self._failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "crash" in report.keywords and report.failed:
            self._failed.append(report.nodeid)
        if report.when == "call":
            for name, noted in report.user_properties:
                if name == PROPERTY and isinstance(noted, (list, tuple)):
                    what, where, times = noted
                    self._tried[what, where] += times

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._tried and not self._failed:
            return
        terminalreporter.section("what was tried on real processes")
        width = max((len(what) for what, _ in self._tried), default=0)
        for (what, where), times in sorted((+self._tried).items()):
            terminalreporter.write_line(f"{times:7,}  {what:<{width}}  {where}")
        total = sum(self._tried.values())
        verdict = "each ended as an undisturbed run does" if not self._failed else f"{len(self._failed)} tests FAILED"
        terminalreporter.write_line(f"{total:7,}  in all: {verdict}")
