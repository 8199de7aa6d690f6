"""The process around the loop, in this one: what it hands to whom."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field

import pytest

from event_processor.assembly import Mode
from event_processor.engine.loop import Processor, StopReason
from event_processor.model.contracts import Notices
from event_processor.service import daemon
from event_processor.service.daemon import Daemon
from event_processor.service.systemd import ServiceNotifier
from support.engine import FakeClock, configuration, environment
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/pipeline"


@dataclass
class Watcher:
    said: list[str] = field(default_factory=list)

    def rest(self) -> None:
        self.said.append("rest")

    def attend(self) -> None:
        self.said.append("attend")

    def stop(self) -> None:
        self.said.append("stop")


def test_the_loop_may_tell_its_watcher_to_rest_and_the_watcher_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fs, watcher, relied_on = SimulatedFileSystem(1), Watcher(), []
    fs.plant(f"{FOLDER}/log.jsonl", b'{"id": 1, "category": "a", "value": 1}\n')

    def rely_on(processor: Processor, notices: Notices) -> None:
        relied_on.append(notices)
        processor.stop()

    monkeypatch.setattr(daemon, "watch_sources", lambda *_: watcher)
    monkeypatch.setattr(Processor, "rely_on", rely_on)
    notifier = ServiceNotifier.from_environment({}, process_id=1, clock=FakeClock())
    process = Daemon(lambda: configuration(FOLDER), lambda _: environment(fs), Mode(), notifier)
    monkeypatch.setattr(FakeClock, "wait", lambda *_: pytest.fail("the loop waits, and nobody handed it the watcher"))
    assert process.run().reason is StopReason.SIGNAL
    assert relied_on == [watcher]
    assert watcher.said == ["stop"]


def test_a_reload_frees_the_memory_of_the_pipeline_that_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    fs, lives, alive = SimulatedFileSystem(1), list[weakref.ref[Processor]](), list[int]()
    fs.plant(f"{FOLDER}/log.jsonl", b'{"id": 1, "category": "a", "value": 1}\n')

    def rely_on(processor: Processor, _: Notices) -> None:
        # As lanes and an application do, in which objects refer to each other in circles.
        circle: list[object] = [processor]
        circle.append(circle)
        lives.append(weakref.ref(processor))
        alive.append(sum(life() is not None for life in lives))
        (processor.stop if len(lives) == 4 else processor.reload)()

    monkeypatch.setattr(daemon, "watch_sources", lambda *_: Watcher())
    monkeypatch.setattr(Processor, "rely_on", rely_on)
    notifier = ServiceNotifier.from_environment({}, process_id=1, clock=FakeClock())
    process = Daemon(lambda: configuration(FOLDER), lambda _: environment(fs), Mode(), notifier)
    gc.disable()
    try:
        assert process.run().reason is StopReason.SIGNAL
    finally:
        gc.enable()
    assert alive == [1, 1, 1, 1]
