"""A live daemon is killed more than a hundred times while another process appends torn lines and bursts to its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.crash_trial import Explain, undisturbed_end
from support.live_trial import live_trial
from support.processes import Pipeline
from support.tally import SCALE, Tally
from support.workload import workload_log

pytestmark = pytest.mark.crash

SEED = 20260101


@pytest.mark.parametrize(("pace", "batch_bytes_max"), [("0", 1024), ('"auto"', 65_536)])
def test_a_storm_of_kills_leaves_no_trace(
    tmp_path: Path, explain: Explain, tally: Tally, pace: str, batch_bytes_max: int
) -> None:
    """At both paces. With larger batches, what is written is no backlog, so commits are held."""
    kills = 55 * SCALE
    log = workload_log(100 * kills, SEED)
    live = Pipeline(tmp_path / "live", tmp_path / "live" / "durable", batch_bytes_max=batch_bytes_max, pace=pace)
    with live_trial(live, log, seed=SEED, explain=explain) as trial:
        for _ in range(kills):
            trial.kill_once()
        end = trial.finish()
    verified = live.verify()
    assert verified.exit_code == 0, verified
    assert end == undisturbed_end(tmp_path / "undisturbed", log, explain)
    tally("SIGKILL of a live daemon with a writer", "any moment", kills)
