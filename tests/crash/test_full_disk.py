"""A disk that is full, read-only or limited: the job stops with a message that names the file, and completes once it can write."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.crash_trial import Explain, stopped_for_storage, undisturbed_end
from support.ext4 import read_only, resize, tmpfs
from support.processes import Committed, Pipeline
from support.tally import Tally
from support.workload import workload_log

pytestmark = pytest.mark.crash

LOG = workload_log(3000, seed=20260303)
SMALL_BYTES = 200 << 10
AMPLE_BYTES = 32 << 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, explain: Explain) -> Committed:
    return undisturbed_end(tmp_path_factory.mktemp("undisturbed"), LOG, explain)


def pipeline_on(durable: Path, root: Path) -> Pipeline:
    pipeline = Pipeline(root / "pipeline", durable, batch_bytes_max=16_384)
    pipeline.prepare(LOG)
    return pipeline


def completes(pipeline: Pipeline, undisturbed: Committed) -> None:
    finished = pipeline.run()
    assert finished.exit_code == 0, finished
    assert pipeline.committed() == undisturbed


@pytest.mark.root
def test_a_disk_that_fills_up_is_a_stop_and_freed_the_run_completes(
    tmp_path: Path, undisturbed: Committed, explain: Explain, tally: Tally
) -> None:
    durable = tmp_path / "disk"
    with tmpfs(durable, SMALL_BYTES):
        pipeline = pipeline_on(durable, tmp_path)
        for _ in range(2):
            stopped_for_storage(pipeline.run(), durable, "a full disk")
        committed = pipeline.committed()
        assert committed is not None
        assert 0 < committed.offset < len(LOG), "the disk is to be full in the middle of the log"
        explain(committed, LOG)
        resize(durable, AMPLE_BYTES)
        completes(pipeline, undisturbed)
    tally("full disk (tmpfs), then freed", "any write", 2)


@pytest.mark.root
def test_a_disk_that_is_full_from_the_start_is_a_stop(tmp_path: Path, undisturbed: Committed, tally: Tally) -> None:
    durable = tmp_path / "disk"
    with tmpfs(durable, 4096):
        pipeline = pipeline_on(durable, tmp_path)
        stopped_for_storage(pipeline.run(), durable, "a disk of one page")
        resize(durable, AMPLE_BYTES)
        completes(pipeline, undisturbed)
    tally("full disk (tmpfs), then freed", "any write", 1)


@pytest.mark.root
@pytest.mark.parametrize("begun", [False, True], ids=["a new state", "a started state"])
def test_a_read_only_disk_is_a_stop(tmp_path: Path, undisturbed: Committed, begun: bool, tally: Tally) -> None:
    durable = tmp_path / "disk"
    with tmpfs(durable, AMPLE_BYTES):
        pipeline = pipeline_on(durable, tmp_path)
        if begun:
            pipeline.log.write_bytes(LOG[: LOG.index(b"\n", 1000) + 1])
            assert pipeline.run("--once").exit_code == 0
            with pipeline.log.open("ab") as log:
                log.write(LOG[log.tell() :])
        with read_only(durable):
            stopped_for_storage(pipeline.run(), durable, "a read-only disk")
        completes(pipeline, undisturbed)
    tally("read-only disk", "any write", 1)


@pytest.mark.parametrize("limit_bytes", [100, 2_000, 20_000, 100_000])
def test_a_limit_on_the_size_of_files_is_a_stop(
    tmp_path: Path, undisturbed: Committed, explain: Explain, limit_bytes: int, tally: Tally
) -> None:
    pipeline = pipeline_on(tmp_path / "durable", tmp_path)
    finished = pipeline.run(prefix=["prlimit", f"--fsize={limit_bytes}"])
    stopped_for_storage(finished, pipeline.durable, f"files limited to {limit_bytes} bytes")
    committed = pipeline.committed()
    if committed is not None:
        explain(committed, LOG)
    completes(pipeline, undisturbed)
    tally("file size limit (short write, then EFBIG)", "write", 1)
