"""The power fails under a live daemon, on a real ext4: what was not durable is gone, and nothing that was counted is."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.crash_trial import Explain, undisturbed_end
from support.ext4 import ext4_image
from support.live_trial import live_trial
from support.processes import Pipeline
from support.tally import SCALE, Tally
from support.workload import workload_log

pytestmark = [pytest.mark.crash, pytest.mark.root]

SEED = 20260202


def test_power_cuts_on_a_real_file_system_leave_no_trace(tmp_path: Path, explain: Explain, tally: Tally) -> None:
    cuts = 40 * SCALE
    log = workload_log(100 * cuts, SEED)
    with ext4_image(tmp_path / "disk.img", tmp_path / "disk") as disk:
        live = Pipeline(tmp_path / "live", disk.folder)
        with live_trial(live, log, seed=SEED, explain=explain) as trial:
            for _ in range(cuts):
                trial.cut_power_once(disk)
            end = trial.finish()
        verified = live.verify()
    assert verified.exit_code == 0, verified
    assert end == undisturbed_end(tmp_path / "undisturbed", log, explain)
    tally("power cut under a live daemon, ext4", "any moment", cuts)
