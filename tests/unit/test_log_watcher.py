"""The watcher of folders: what it does if the kernel refuses it."""

from __future__ import annotations

import errno
from pathlib import Path
from threading import Event

import pytest
from watchdog.observers import Observer

from event_processor.connectors.files.following import watch
from event_processor.connectors.files.following.watch import LogWatcher
from event_processor.storage.durable import OperatingSystem
from support.file_source import Recorder


@pytest.mark.parametrize("refused_at", ["start", "schedule"])
def test_without_an_inotify_instance_it_says_so_once_and_only_polls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused_at: str
) -> None:
    """The kernel refuses the observer, or each folder."""

    class Refused(Observer):  # type: ignore[misc, valid-type]
        pass

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(Refused, "__init__" if refused_at == "start" else "schedule", refuse)
    monkeypatch.setattr(watch, "Observer", Refused)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    telemetry = Recorder()
    watcher = LogWatcher([f"{tmp_path}/*/x.log"], Event(), fs=OperatingSystem(), telemetry=telemetry)
    watcher.start()
    for _ in range(3):
        watcher.rest()
        watcher.attend()
    watcher.stop()
    [(_, facts)] = telemetry.reports
    assert "max_user_instances" in str(facts["reason"])
