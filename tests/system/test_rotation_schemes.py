"""Each row of the table in docs/rotation.md: the scheme's files are found, found with a key, or refused with these words.

logrotate and Python's handlers are the real ones. The others are known by the names that they give. Whatever the scheme, the oldest
file is touched last: times decide nothing.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import logging.handlers
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from support.file_source import LogFolder, Reader

LOG: Final = "app.jsonl"
PAGE: Final = Path(__file__).parents[2] / "docs" / "rotation.md"
DAYS: Final = (datetime(2026, 11, 28, tzinfo=UTC), datetime(2026, 11, 29, tzinfo=UTC))

Rotate = Callable[[LogFolder, int], None]


@dataclass(frozen=True)
class Scheme:
    """How the log is rotated the first (0) and the second (1) time; the source's keys; words of the refusal, if it is refused."""

    rotate: Rotate
    keys: dict[str, str] = field(default_factory=dict)
    refused: str = ""


def _found(command: str) -> str | None:
    """logrotate is in a folder that is not on every user's path."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def logrotate(*directives: str, earlier: Callable[[str], str] | None = None) -> Rotate:
    """The real logrotate. `earlier` gives the name of a day before, which the first file gets: both are rotated today."""

    def rotate(folder: LogFolder, turn: int) -> None:
        commands = [words.split()[1] for words in directives if words.startswith("compresscmd")]
        missing = [command for command in ("logrotate", *commands) if _found(command) is None]
        if missing:
            assert os.environ.get("CI") != "true", f"with CI=true {missing} must be there"
            pytest.skip(f"not installed: {missing}")
        lines = "\n".join(("rotate 9", "nocreate", *directives))
        conf = folder.root.parent / "logrotate.conf"
        conf.write_text(f"{folder.path(LOG)} {{\n{lines}\n}}\n")
        conf.chmod(0o600)
        before = set(os.listdir(folder.root))
        subprocess.run(
            [_found("logrotate") or "", "-f", "-s", str(folder.root.parent / "state"), str(conf)], check=True, capture_output=True
        )
        if earlier and turn == 0:
            [name] = set(os.listdir(folder.root)) - before
            os.rename(folder.path(name), folder.path(earlier(name)))

    return rotate


def renamed(*names: str, compress: Callable[[bytes], bytes] | None = None) -> Rotate:
    """The file gets the name of its turn."""

    def rotate(folder: LogFolder, turn: int) -> None:
        path = Path(folder.path(names[turn]))
        path.parent.mkdir(exist_ok=True, parents=True)
        content = Path(folder.path(LOG)).read_bytes()
        os.rename(folder.path(LOG), path)
        if compress:
            path.write_bytes(compress(content))

    return rotate


def counted_down(first: int = 1, *, form: str = LOG + ".{}", compress_from: int = 99) -> Rotate:
    """The lowest number is the newest file. From a number on they are compressed."""

    def rotate(folder: LogFolder, turn: int) -> None:
        if turn:
            os.rename(folder.path(form.format(first)), folder.path(form.format(first + 1)))
            if first + 1 >= compress_from:
                folder.compress(form.format(first + 1))
        os.rename(folder.path(LOG), folder.path(form.format(first)))

    return rotate


def handled(make: Callable[[str], logging.handlers.BaseRotatingHandler]) -> Rotate:
    """A handler of Python's logging, which rotates as it does."""

    def rotate(folder: LogFolder, turn: int) -> None:
        handler = make(folder.path(LOG))
        if isinstance(handler, logging.handlers.TimedRotatingFileHandler):
            # The name is that of the period before this time.
            handler.rolloverAt = int((DAYS[turn] + timedelta(days=7)).timestamp())
        handler.doRollover()  # type: ignore[attr-defined]
        handler.close()

    return rotate


def timed(when: str) -> Callable[[str], logging.handlers.BaseRotatingHandler]:
    return lambda path: logging.handlers.TimedRotatingFileHandler(path, when=when, backupCount=9, delay=True, utc=True)


def zipped_by_name(path: str) -> logging.handlers.BaseRotatingHandler:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=1, backupCount=9, delay=True)
    handler.namer = lambda name: name + ".gz"

    def rotator(source: str, target: str) -> None:
        Path(target).write_bytes(gzip.compress(Path(source).read_bytes()))
        os.unlink(source)

    handler.rotator = rotator
    return handler


def repointed(folder: LogFolder, turn: int) -> None:
    """The path is a link, and each period has a file of its own."""
    target = f"app-{DAYS[turn]:%Y-%m-%d}.jsonl"
    if not os.path.islink(folder.path(LOG)):
        os.rename(folder.path(LOG), folder.path("app-2026-11-27.jsonl"))
    else:
        os.unlink(folder.path(LOG))
    Path(folder.path(target)).touch()
    os.symlink(target, folder.path(LOG))


def yesterday(name: str) -> str:
    day = datetime.now(UTC)
    for form in ("%Y%m%d", "%Y-%m-%d"):
        # logrotate uses local time, which may already be another day.
        for days in (0, 1, -1):
            shown = f"{day + timedelta(days=days):{form}}"
            if shown in name:
                return name.replace(shown, "20260101" if form == "%Y%m%d" else "2026-01-01")
    raise AssertionError(name)


def an_hour_ago(name: str) -> str:
    return f"{LOG}-1764432000"


SCHEMES: Final[dict[str, Scheme]] = {
    "logrotate": Scheme(logrotate()),
    "logrotate, `compress`": Scheme(logrotate("compress")),
    "logrotate, `compress`, `delaycompress`": Scheme(logrotate("compress", "delaycompress")),
    "logrotate, `compresscmd xz`": Scheme(logrotate("compress", "compresscmd /usr/bin/xz", "compressext .xz")),
    "logrotate, `compresscmd bzip2`": Scheme(logrotate("compress", "compresscmd /usr/bin/bzip2", "compressext .bz2")),
    "logrotate, `compresscmd zstd`": Scheme(logrotate("compress", "compresscmd /usr/bin/zstd", "compressext .zst")),
    "logrotate, `copytruncate`": Scheme(logrotate("copytruncate")),
    "logrotate, `start 0`": Scheme(logrotate("start 0")),
    "logrotate, `dateext`": Scheme(logrotate("dateext", earlier=yesterday)),
    "logrotate, `dateext`, `compress`": Scheme(logrotate("dateext", "compress", earlier=yesterday)),
    "logrotate, `dateformat -%Y%m%d%H`": Scheme(logrotate("dateext", "dateformat -%Y%m%d%H", earlier=yesterday)),
    "logrotate, `dateformat -%s`": Scheme(logrotate("dateext", "dateformat -%s", earlier=an_hour_ago)),
    "logrotate, `dateformat .%Y-%m-%d`": Scheme(logrotate("dateext", "dateformat .%Y-%m-%d", earlier=yesterday)),
    "logrotate, `extension .jsonl`": Scheme(logrotate("extension .jsonl")),
    "logrotate, `extension .jsonl`, `dateext`": Scheme(logrotate("extension .jsonl", "dateext", earlier=yesterday)),
    "logrotate, `olddir old`": Scheme(logrotate("olddir old", "createolddir 0700"), {"rotated": f"old/{LOG}.*"}),
    "Python, `RotatingFileHandler`": Scheme(
        handled(lambda path: logging.handlers.RotatingFileHandler(path, maxBytes=1, backupCount=9, delay=True))
    ),
    "Python, `RotatingFileHandler` with a `namer` and a `rotator` for gzip": Scheme(handled(zipped_by_name)),
    "Python, `TimedRotatingFileHandler`, `midnight` or days": Scheme(handled(timed("midnight"))),
    "Python, `TimedRotatingFileHandler`, hours": Scheme(handled(timed("H"))),
    "Python, `TimedRotatingFileHandler`, minutes": Scheme(handled(timed("M"))),
    "Python, `TimedRotatingFileHandler`, seconds": Scheme(handled(timed("S"))),
    "Python, `TimedRotatingFileHandler`, weekdays": Scheme(handled(timed("W0"))),
    "log4j 1, `DailyRollingFileAppender`": Scheme(renamed(f"{LOG}.2026-11-28", f"{LOG}.2026-11-29")),
    "log4j 2, `app.jsonl.%i`, `fileIndex=max`": Scheme(renamed(f"{LOG}.1", f"{LOG}.2")),
    "log4j 2, `app.jsonl.%i`, `fileIndex=min`": Scheme(counted_down()),
    "log4j 2, `app-%d{yyyy-MM-dd}-%i.jsonl.gz`": Scheme(
        renamed("app-2026-11-28-9.jsonl.gz", "app-2026-11-28-10.jsonl.gz", compress=gzip.compress)
    ),
    "log4j 2, `app-%d{MM-dd-yyyy}-%i.jsonl.bz2`": Scheme(
        renamed("app-12-31-2026-1.jsonl.bz2", "app-01-01-2027-1.jsonl.bz2", compress=bz2.compress)
    ),
    "log4j 2, `app-%d{yyyy-MM-dd-HH}.jsonl.xz`": Scheme(
        renamed("app-2026-11-28-23.jsonl.xz", "app-2026-11-29-00.jsonl.xz", compress=lzma.compress)
    ),
    "log4j 2, `app-%i.jsonl`": Scheme(renamed("app-1.jsonl", "app-2.jsonl"), {"rotated": "app-*.jsonl"}),
    "log4j 2, `%d{yyyy-MM}/app-%d{MM-dd-yyyy}-%i.jsonl.gz`": Scheme(
        renamed("2026-12/app-12-31-2026-1.jsonl.gz", "2027-01/app-01-01-2027-1.jsonl.gz", compress=gzip.compress),
        {"rotated": "*/app-*.jsonl.gz"},
    ),
    "log4j 2, `app-%d{yyyy-MM-dd}.jsonl.zip`": Scheme(
        renamed("app-2026-11-28.jsonl.zip", "app-2026-11-29.jsonl.zip", compress=lambda _: b"PK\x03\x04" + bytes(40)),
        refused="compressed with zip, which is not read",
    ),
    "logback, `app.%d{yyyy-MM-dd}.%i.jsonl`": Scheme(renamed("app.2026-11-28.0.jsonl", "app.2026-11-28.1.jsonl")),
    "nginx, `mv` and `kill -USR1`": Scheme(counted_down(0)),
    "nginx, `mv` to a dated name": Scheme(renamed("app_20261128.jsonl", "app_20261129.jsonl")),
    "Docker, `json-file`, `max-file`": Scheme(counted_down()),
    "Docker, `json-file`, `compress`": Scheme(counted_down(compress_from=2)),
    "Kubernetes, kubelet": Scheme(renamed(f"{LOG}.20261128-120000", f"{LOG}.20261129-120000")),
    "a symbolic link that is repointed": Scheme(repointed),
    "any of these with lz4 or 7z": Scheme(
        renamed(f"{LOG}-20261128.lz4", f"{LOG}-20261129.lz4", compress=lambda _: b"\x04\x22\x4d\x18" + bytes(40)),
        refused="compressed with lz4, which is not read",
    ),
}


def rows() -> dict[str, str]:
    """The table: what the last column says, by the first."""
    section = PAGE.read_text(encoding="utf-8").partition("## Schemes")[2].partition("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0].strip(): row[-1].strip() for row in cells if row[0].strip() not in ("scheme", "---")}


def test_the_table_has_a_row_for_each_scheme_and_a_scheme_for_each_row() -> None:
    assert rows().keys() == SCHEMES.keys()


@pytest.mark.parametrize("name", SCHEMES)
def test_a_row_of_the_table_is_true(tmp_path: Path, name: str) -> None:
    scheme, said = SCHEMES[name], rows()[name]
    (tmp_path / "logs").mkdir(mode=0o755)
    folder = LogFolder(tmp_path / "logs")
    keys: dict[str, Any] = {key: folder.path(value) for key, value in scheme.keys.items()}
    reader = Reader(folder, LOG, **keys)
    folder.append(LOG, b"1\n")
    assert reader.read() == [b"1"]
    reader.stop()
    folder.append(LOG, b"2\n")
    for turn, record in ((0, b"3\n"), (1, b"4\n")):
        scheme.rotate(folder, turn)
        folder.append(LOG, record)
    touch_oldest(folder)
    got = reader.read_all()
    if scheme.refused:
        assert scheme.refused in said
        assert got == [b"4"]
        assert scheme.refused in str(reader.telemetry.facts("file_unreadable")[0]["reason"])
        assert "file_lost" in reader.telemetry.names()
        return
    assert got == [b"2", b"3", b"4"]
    assert "file_lost" not in reader.telemetry.names()
    expected = "".join(f'`{key} = "{value}"`' for key, value in scheme.keys.items()) or "by default"
    assert said.endswith(expected), f"the table says: {said}"


def touch_oldest(folder: LogFolder) -> None:
    """The file that holds the first records gets the latest time."""
    for path in sorted(folder.root.rglob("*")):
        if path.is_file() and path.name != LOG:
            folder.touch(str(path.relative_to(folder.root)))
            return
