"""One log, one program, and what an undisturbed run makes of it; then the same run, disturbed at one point and resumed.

Owns: what must hold after a kill and after a fault, in one place for every test that disturbs.
Always: each attempt has a folder of its own, removed when it went well and kept for the post-mortem when it did not.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from support.faults import Failure, Site, fault_prefix, injected, record_prefix, sites
from support.processes import MAIN_JOB, Committed, Finished, Pipeline

__all__ = [
    "MAIN_PROGRAM",
    "SMALL_INDEX_PROGRAM",
    "STORAGE_EXIT",
    "CrashTrial",
    "Explain",
    "Program",
    "stopped_for_storage",
    "undisturbed_end",
]

STORAGE_EXIT: Final = 74
KILLED_EXIT: Final = -signal.SIGKILL

ALTERED_JOB: Final = str(Path(__file__).with_name("altered_job.py"))

Explain = Callable[[Committed, bytes], None]
"""Asserts that what is committed is what the log says, up to the committed offset; by a model of its own."""


def stopped_for_storage(finished: Finished, path: Path, place: str) -> None:
    """Asserts that a run ended because of a failed call, and said on which file; no traceback reached the user.

    A temporary file may be named by the file whose place it takes.
    """
    assert finished.exit_code == STORAGE_EXIT, f"{place}: {finished}"
    named = str(path).removesuffix(".tmp")
    assert named in finished.stderr, f"{place}: the message does not name {path}: {finished.stderr}"
    assert "Traceback" not in finished.stderr, f"{place}: {finished.stderr}"


def undisturbed_end(folder: Path, log: bytes, explain: Explain) -> Committed:
    """What one run without any disturbance commits, in batches of the default size."""
    pipeline = Pipeline(folder, folder / "durable", batch_bytes_max=4_194_304)
    pipeline.prepare(log)
    finished = pipeline.run()
    assert finished.exit_code == 0, finished
    committed = pipeline.committed()
    assert committed is not None, "an undisturbed run commits"
    explain(committed, log)
    return committed


NOT_RELIED_ON: Final = ("state/conditions.json", "state/.conditions.json.partial")
"""News for people. If they cannot be written, the run goes on."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is run to be disturbed, what is run to resume, and the environment that both add to ours."""

    disturbed: tuple[str, ...]
    resuming: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


MAIN_PROGRAM: Final = Program((sys.executable, ALTERED_JOB, "names", "0"), MAIN_JOB)
"""The main job. Where it is to be disturbed, its files have the same names in every run, so that a point can be met again."""
SMALL_INDEX_PROGRAM: Final = Program(
    (sys.executable, ALTERED_JOB, "names,small-index", "0"), (sys.executable, ALTERED_JOB, "small-index", "0")
)
"""The same with an index so small that a short log makes it seal and merge."""


@dataclass(slots=True)
class CrashTrial:
    """Runs of `program` on `log`: disturbed once, then resumed. `begun`: each starts from a copy of what a crash left there.

    The undisturbed run is made on construction, twice, to see that it makes the same calls each time, started by a new interpreter or forked from one
    that has imported the program: `undisturbed` is its end, `sites` is where it met the disk, and how often.
    """

    root: Path
    log: bytes
    explain: Explain
    program: Program = MAIN_PROGRAM
    begun: Pipeline | None = None
    undisturbed: Committed = field(init=False)
    sites: Counter[Site] = field(init=False)
    _numbers: itertools.count[int] = field(init=False, default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.undisturbed, self.sites = self._recorded(warm=False)
        _, again = self._recorded(warm=True)
        assert again == self.sites, f"two undisturbed runs differ in calls, so points would be missed: {again - self.sites}"

    def _recorded(self, *, warm: bool) -> tuple[Committed, Counter[Site]]:
        pipeline = replace(self.pipeline(), warm=warm)
        trace = pipeline.folder / "trace"
        finished = pipeline.run(prefix=record_prefix(trace), environment=self.program.environment)
        assert finished.exit_code == 0, finished
        committed = pipeline.committed()
        assert committed is not None, "an undisturbed run commits"
        self.explain(committed, self.log)
        return committed, sites(trace, pipeline.durable)

    def pipeline(self) -> Pipeline:
        """A new pipeline on the log, in a folder of its own."""
        folder = self.root / f"{next(self._numbers):05}"
        pipeline = Pipeline(folder, folder / "durable", self.program.disturbed)
        if self.begun is None:
            pipeline.prepare(self.log)
        else:
            self.begun.copy_to(folder)
        return pipeline

    def interrupted(self) -> Pipeline:
        """A pipeline killed in the middle of a write about halfway through a run, as it was left."""
        pipeline = self.pipeline()
        finished = self._altered(pipeline, "torn", len(self.log) // 250).run()
        assert finished.exit_code == KILLED_EXIT, finished
        return pipeline

    def calls(self, *kinds: str, folder: str = "") -> dict[Site, int]:
        """How many calls of `kinds` the undisturbed run made at each site, in `folder` or anywhere; may be empty."""
        return {site: count for site, count in self.sites.items() if site.kind in kinds and site.file.startswith(folder)}

    def kill(self, site: Site, when: int) -> bool:
        """SIGKILL at the `when`th call of `site`; then an undisturbed run must end as if nothing had been. Whether it was reached."""
        pipeline = self.pipeline()
        trace = pipeline.folder / "trace"
        prefix = fault_prefix(site, "SIGKILL", when, durable=pipeline.durable, trace=trace)
        finished = pipeline.run(prefix=prefix, environment=self.program.environment)
        place = f"SIGKILL at call {when} of {site.call} on {site.file}, in {pipeline.folder}"
        return self._went_well(pipeline, finished, place, reached=finished.exit_code == KILLED_EXIT)

    def fail(self, site: Site, when: int, failure: Failure) -> bool:
        """The `when`th call of `site` fails: the job says so, stops, counts nothing false, and resumes. Whether it was reached."""
        pipeline = self.pipeline()
        trace = pipeline.folder / "trace"
        prefix = fault_prefix(site, failure, when, durable=pipeline.durable, trace=trace)
        finished = pipeline.run(prefix=prefix, environment=self.program.environment)
        reached = injected(trace)
        place = f"{failure} at call {when} of {site.call} on {site.file}, in {pipeline.folder}"
        if reached and site.file in NOT_RELIED_ON:
            self._went_well(pipeline, finished, place, reached=False)
            return True
        if reached:
            stopped_for_storage(finished, pipeline.durable / site.file, place)
        return self._went_well(pipeline, finished, place, reached=reached)

    def tear_write(self, when: int) -> bool:
        """SIGKILL when half of the `when`th write is done, whatever the file. Whether it was reached."""
        pipeline = self.pipeline()
        finished = self._altered(pipeline, "torn", when).run()
        place = f"SIGKILL halfway through write {when}, in {pipeline.folder}"
        return self._went_well(pipeline, finished, place, reached=finished.exit_code == KILLED_EXIT)

    def shorten_writes(self, bytes_max: int) -> None:
        """A run in which no write takes more than `bytes_max` ends as any other."""
        pipeline = self.pipeline()
        finished = self._altered(pipeline, "short", bytes_max).run()
        self._went_well(pipeline, finished, f"writes of {bytes_max} bytes at most, in {pipeline.folder}", reached=False)

    def _altered(self, pipeline: Pipeline, alteration: str, number: int) -> Pipeline:
        """The same pipeline, run by the altered job."""
        return replace(pipeline, command=(sys.executable, ALTERED_JOB, alteration, str(number)))

    def _went_well(self, pipeline: Pipeline, finished: Finished, place: str, *, reached: bool) -> bool:
        """Asserts what must hold after a run, and gives back `reached`: whether it was disturbed.

        What is committed is true. A disturbed run, resumed, ends as the undisturbed one did; a run that ended by itself
        has done so already.
        """
        if reached:
            committed = pipeline.committed()
            if committed is not None:
                self.explain(committed, self.log)
            finished = replace(pipeline, command=self.program.resuming).run(environment=self.program.environment)
        assert finished.exit_code == 0, f"{place}, and then: {finished}"
        end = pipeline.committed()
        assert end == self.undisturbed, f"{place}: the end differs from an undisturbed run's: {end} != {self.undisturbed}"
        shutil.rmtree(pipeline.folder)
        return reached
