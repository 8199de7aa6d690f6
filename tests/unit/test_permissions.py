"""Whose files a command makes, and what it says if it may not open one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from event_processor.cli.permissions import permission_hint
from event_processor.storage.file_system import OperatingSystem, OwnerKeepingSystem, file_system_for

STRANGER = 54_321

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, STRANGER, STRANGER + 1)
    return folder


def owner_of(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


@root_only
def test_what_root_creates_belongs_to_the_owner_of_the_state(folder: Path) -> None:
    fs = file_system_for(str(folder))
    assert isinstance(fs, OwnerKeepingSystem)
    fs.make_directory(str(folder / "ids"))
    for name, flags in (("new", os.O_CREAT | os.O_EXCL), ("appended", os.O_CREAT | os.O_APPEND)):
        fs.close(fs.open(str(folder / name), os.O_RDWR | flags))
    assert {owner_of(folder / name) for name in ("ids", "new", "appended")} == {(STRANGER, STRANGER + 1)}


@root_only
def test_what_was_there_keeps_its_owner_also_through_a_link(folder: Path) -> None:
    fs = file_system_for(str(folder))
    (folder / "other").write_bytes(b"")
    (folder / "link").symlink_to(folder / "other")
    (folder / "dangling").symlink_to(folder / "elsewhere")
    for name in ("other", "link", "dangling"):
        fs.close(fs.open(str(folder / name), os.O_RDWR | os.O_CREAT))
    assert owner_of(folder / "other") == (0, 0)
    assert owner_of(folder / "elsewhere") == (0, 0)


def test_a_state_of_our_own_needs_nothing(tmp_path: Path) -> None:
    assert type(file_system_for(str(tmp_path))) is OperatingSystem
    assert type(file_system_for(str(tmp_path / "none"))) is OperatingSystem


@root_only
def test_the_hint_names_the_user_the_owner_and_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER + 7)
    hint = permission_hint(str(folder / "checkpoint.json"), "event-processor", ["--config", "a b.toml", "status"])
    assert hint == (
        f"this is user #{STRANGER + 7}, but #{STRANGER} owns it; "
        f"run: sudo -u '#{STRANGER}' event-processor --config 'a b.toml' status"
    )


def test_the_hint_for_a_path_without_a_folder_is_empty() -> None:
    assert permission_hint("standard output", "event-processor", []) == ""
