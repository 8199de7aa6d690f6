"""The unit files as they are shipped, without a systemd that runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from event_processor.assembly.delivery import DRAIN_S
from event_processor.engine.delivery.thread import LOOK_S, STOP_S
from support.documents import ROOT

EXPOSURE_TENTHS_MAX = 12
NAMES = ["event-processor.service", "event-processor@.service"]
NETWORK = "event-processor.network.conf"
HTTP = "event-processor.http.conf"


def unit_text(name: str) -> str:
    return (resources.files("event_processor.service") / "units" / name).read_text(encoding="utf-8")


def settings(name: str) -> list[str]:
    """The unit's lines that say something, in order."""
    return [line for line in unit_text(name).splitlines() if line and not line.startswith(("#", "["))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "setting",
    [
        "Type=notify",
        "User=event-processor",
        "WatchdogSec=30",
        "Restart=on-failure",
        "RestartSec=5",
        "StartLimitIntervalSec=0",
        "RestartPreventExitStatus=64 65 78",
        "StateDirectoryMode=0750",
        "UMask=0027",
        "KillMode=mixed",
    ],
)
def test_a_unit_says_what_the_operations_page_promises(name: str, setting: str) -> None:
    assert setting in settings(name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_before_the_service(name: str) -> None:
    # systemd starts a unit again whose ExecStartPre= failed, whatever the exit code: 78 would turn in circles.
    assert not [line for line in settings(name) if line.startswith("ExecStartPre")]


def test_start_limits_stand_where_systemd_reads_them() -> None:
    for name in NAMES:
        head, _ = unit_text(name).split("[Service]")
        assert "StartLimitIntervalSec=0" in head


def test_the_template_differs_by_the_name_of_its_instance_alone() -> None:
    named = "event-processor.toml", "event-processor/event-processor", "append-only logs"
    instance = "%i.toml", "event-processor/%i", "append-only logs (%i)"
    expected = unit_text("event-processor.service")
    for name, replacement in zip(named, instance, strict=True):
        assert expected.count(name) == (2 if name.endswith(".toml") else 1)  # it starts and reloads with the same file
        expected = expected.replace(name, replacement)
    assert unit_text("event-processor@.service") == expected


def exposure(unit: Path) -> subprocess.CompletedProcess[str]:
    """systemd's own rating of a unit file, without loading it; fails above `EXPOSURE_TENTHS_MAX`."""
    if shutil.which("systemd-analyze") is None and os.environ.get("CI") != "true":
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE_TENTHS_MAX}", unit],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_is_hardened(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    unit.write_text(unit_text(name), encoding="utf-8")
    rated = exposure(unit)
    assert rated.returncode == 0, rated.stdout + rated.stderr


def opened(folder: Path, name: str, *, choices: bool = False) -> Path:
    """A unit file with the network drop-in beside it; with its commented choices, if `choices`."""
    text = unit_text(NETWORK)
    if choices:
        text = re.sub(r"(?m)^#(?=[A-Z][A-Za-z]+=)", "", text)
    drop_in = folder / f"{name}.d" / "network.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(text, encoding="utf-8")
    unit = folder / name
    unit.write_text(unit_text(name), encoding="utf-8")
    return unit


@pytest.mark.parametrize("choices", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_unit_with_the_network_is_hardened(name: str, choices: bool, tmp_path: Path) -> None:
    rated = exposure(opened(tmp_path, name, choices=choices))
    assert rated.returncode == 0, rated.stdout + rated.stderr
    assert ("does not define an IP address allow list" in rated.stdout) != choices
    assert re.search(r"✗ PrivateNetwork=", rated.stdout)


def test_the_network_drop_in_opens_the_network_and_nothing_else() -> None:
    assert settings(NETWORK) == [
        "After=network.target nss-lookup.target",
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "SocketBindDeny=any",
        "IPAddressDeny=",
    ]


def test_the_http_drop_in_opens_its_port_to_this_machine_and_nothing_else() -> None:
    port = tomllib.loads((ROOT / "event-processor.toml").read_text(encoding="utf-8"))["http"]["listen"].rpartition(":")[2]
    assert settings(HTTP) == [
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "SocketBindDeny=any",
        f"SocketBindAllow=tcp:{port}",
        "IPAddressAllow=localhost",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_that_answers_over_http_is_hardened(name: str, tmp_path: Path) -> None:
    rated = exposure(served(tmp_path, name))
    assert rated.returncode == 0, rated.stdout + rated.stderr
    assert "does not define an IP address allow list" not in rated.stdout


def served(folder: Path, name: str) -> Path:
    """A unit file with the HTTP drop-in beside it."""
    drop_in = folder / f"{name}.d" / "http.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(unit_text(HTTP), encoding="utf-8")
    unit = folder / name
    unit.write_text(unit_text(name), encoding="utf-8")
    return unit


def test_a_stop_of_slow_requests_fits_into_the_times_of_the_unit() -> None:
    for name in NAMES:
        times = dict(line.split("=", 1) for line in settings(name))
        # Half of the time is left for the last batch and its commit. Two looks fit into half a period of the watchdog.
        assert int(times["TimeoutStopSec"]) / 2 >= DRAIN_S
        assert int(times["TimeoutStopSec"]) > DRAIN_S + STOP_S
        assert int(times["WatchdogSec"]) / 2 > 2 * LOOK_S


def rating(unit: Path) -> str:
    found = re.search(r"exposure level for \S+: ([0-9.]+)", exposure(unit).stdout)
    assert found
    return found[1]


def test_the_install_guide_gives_the_ratings_that_systemd_gives(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "install.md").read_text(encoding="utf-8")
    unit = tmp_path / "event-processor.service"
    unit.write_text(unit_text(unit.name), encoding="utf-8")
    assert f"rates its exposure at {rating(unit)}," in guide
    assert f"rates the exposure at {rating(opened(tmp_path, unit.name))}." in " ".join(guide.split())


def test_an_open_unit_would_not_pass_as_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "open.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert exposure(unit).returncode != 0


def test_the_user_that_the_units_run_as_is_made() -> None:
    made = [line.split()[:2] for line in unit_text("event-processor.sysusers.conf").splitlines() if not line.startswith("#")]
    assert made == [["u", "event-processor"]]
