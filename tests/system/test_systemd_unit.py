"""The unit and its template under a real systemd: what an operator may rely on when the process dies, hangs or may not start.

The units run as they are shipped, hardening and all. A drop-in makes the template's periods short; the lengths that are
shipped are checked on their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from support.systemd_sandbox.sandbox import INSTALL_DIRECTORY, SystemdSandbox
from support.systemd_sandbox.service import (
    SHORT_WATCHDOG,
    WATCHDOG_PERIOD_US,
    Service,
    blocks_of_the_guide,
    installed_sandbox,
    running,
    script_of_the_guide,
)

pytestmark = pytest.mark.root

RESTARTS_BEYOND_THE_DEFAULT_LIMIT = 5
"""systemd itself allows five starts within ten seconds: the first one and four more."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SystemdSandbox]:
    with installed_sandbox() as booted:
        yield booted


def test_the_service_is_active_once_it_says_that_it_is_ready(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "ready")
    assert service.property("Type") == "notify"
    assert service.property("ActiveState") == "active"


def test_the_status_tells_what_it_does(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "status", records=123)
    service.wait_until(f"systemctl show -P StatusText {service.unit} | grep -q 123")


@pytest.fixture
def fresh_machine(sandbox: SystemdSandbox) -> Iterator[SystemdSandbox]:
    """Without a folder of configurations, which other tests need again afterwards."""
    sandbox.run("mkdir -p /etc/event-processor && mv /etc/event-processor /etc/aside")
    yield sandbox
    sandbox.run("systemctl disable --now event-processor; rm -rf /etc/event-processor; mv /etc/aside /etc/event-processor")


def test_the_install_guide_works_as_it_is_typed_in_a_checkout(fresh_machine: SystemdSandbox) -> None:
    terminal = ["set -e", f"cd {INSTALL_DIRECTORY}/source"]
    # The program is in its place already, and there is no package index.
    program = [line for line in script_of_the_guide("1. The program").splitlines() if not re.search("-m venv|pip install", line)]
    # A person writes the file with an editor: its folder must be there.
    configuration = [
        text if language == "sh" else f"cat >/etc/event-processor/event-processor.toml <<'END'\n{text}END"
        for language, text in blocks_of_the_guide("3. The configuration")
    ]
    enable, *looks = script_of_the_guide("4. Start").splitlines()
    fresh_machine.write("/var/log/orders/events.jsonl", '{"id": 1, "category": "tea", "value": 1}\n')
    fresh_machine.run("\n".join([*terminal, *program, *configuration, enable]))
    state = "/var/lib/event-processor/event-processor"
    counted = f"jq -e .state.counts.accepted==1 {state}/checkpoint.json"
    fresh_machine.wait_until(counted, within_s=60, explain="journalctl -u event-processor")
    said = fresh_machine.run("\n".join([*terminal, *(line for line in program if line.startswith("cd ")), *looks]))
    assert f"{state}\n" in said  # the state of the service, not of the checkout
    assert '"accepted": 1' in said


def test_a_clean_stop_drains_and_ends_with_0(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "stop")
    service.append(11, 20)
    service.wait_for_records(20)
    sandbox.run(f"systemctl stop {service.unit}")
    assert service.property("Result") == "success"
    assert service.property("ExecMainStatus") == "0"
    assert service.property("NRestarts") == "0"
    service.assert_counted_once(20)


def test_after_a_sigkill_it_is_started_again_and_nothing_is_lost(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "killed")
    sandbox.run(f"systemctl kill --kill-whom=main --signal=KILL {service.unit}")
    service.append(11, 20)
    service.wait_for_property("NRestarts", "== 1")
    service.wait_for_records(20)
    service.assert_counted_once(20)


def test_the_watchdog_ends_a_loop_that_stands_still(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "stalled", drop_in=SHORT_WATCHDOG)
    sandbox.run(f"systemctl kill --kill-whom=main --signal=STOP {service.unit}")
    service.append(11, 20)
    service.wait_for_property("NRestarts", "== 1")
    service.wait_for_records(20)
    journal = service.journal()
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal  # where it stood
    service.assert_counted_once(20)


def test_the_watchdog_leaves_an_idle_service_alone(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "idle", drop_in=SHORT_WATCHDOG)
    fed_at_us = int(service.property("WatchdogTimestampMonotonic"))
    service.wait_for_property("WatchdogTimestampMonotonic", f"-gt {fed_at_us + 2 * WATCHDOG_PERIOD_US}")
    assert service.property("NRestarts") == "0"
    assert service.property("ActiveState") == "active"


def test_it_comes_back_by_itself_once_a_full_disk_is_freed(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "full")
    sandbox.run(f"mkdir -p {service.state} && mount -t tmpfs -o size=1m,mode=0750 full {service.state}")
    sandbox.run(f"chown event-processor: {service.state}")
    running(sandbox, service.name)
    sandbox.attempt(f"cat /dev/zero >{service.state}/ballast")  # ends when there is no space left
    service.append(11, 20)
    service.wait_for_property("NRestarts", f"-ge {RESTARTS_BEYOND_THE_DEFAULT_LIMIT}")
    assert service.journal().count("code=exited, status=74") >= RESTARTS_BEYOND_THE_DEFAULT_LIMIT
    assert service.counts()["records"] == 10
    sandbox.run(f"rm {service.state}/ballast")
    service.wait_for_records(20)
    service.wait_for_property("ActiveState", "== active")
    service.assert_counted_once(20)


def test_a_state_that_cannot_be_read_ends_it_for_good(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "broken")
    sandbox.run(f"systemctl stop {service.unit} && cd {service.state} && for f in checkpoint*.json; do echo '{{' >$f; done")
    sandbox.attempt(f"systemctl start {service.unit}")
    assert_given_up(service, exit_code=65)


def test_a_faulty_configuration_ends_it_for_good(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "faulty")
    service.configure(more="[unknown]\nkey = 1\n")
    sandbox.attempt(f"systemctl start {service.unit}")
    assert_given_up(service, exit_code=78)
    assert "unknown" in service.journal()


def test_a_wrong_call_ends_it_for_good(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "misused")
    service.configure()
    service.drop_in("ExecStart=\nExecStart=/opt/event-processor/bin/event-processor run --bogus")
    sandbox.attempt(f"systemctl start {service.unit}")
    assert_given_up(service, exit_code=64)


def assert_given_up(service: Service, *, exit_code: int) -> None:
    """It failed with `exit_code`, and systemd has no intention to start it again (that would be `activating`)."""
    service.wait_for_property("ActiveState", "== failed")
    assert service.property("ExecMainStatus") == str(exit_code)
    assert service.property("NRestarts") == "0"


def test_a_reload_keeps_the_process(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "reloaded")
    process_id = service.property("MainPID")
    sandbox.run(f"systemctl reload {service.unit}")
    service.append(11, 20)
    service.wait_for_records(20)
    assert service.property("MainPID") == process_id
    assert service.property("WatchdogUSec") == "30s"  # the unit's again
    service.assert_counted_once(20)


def test_a_log_that_only_a_group_may_read_is_read_with_the_drop_in(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "group")
    service.configure()
    service.append(1, 10)
    sandbox.run(f"chown root:adm {service.log} && chmod 0640 {service.log}")
    service.drop_in("SupplementaryGroups=adm")
    service.start()
    service.wait_for_records(10)


def test_a_sink_elsewhere_is_written_with_the_drop_in(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "sink")
    service.configure(more='[sinks.ordered]\ntype = "file"\ninput = "events"\npath = "/srv/ordered/events.jsonl"\n')
    service.append(1, 10)
    sandbox.run("install -d -o event-processor -g event-processor -m 0750 /srv/ordered")
    service.drop_in("ReadWritePaths=/srv/ordered")
    service.start()
    service.wait_until("[[ $(wc -l </srv/ordered/events.jsonl) == 10 ]]")
    assert sandbox.run("cat /srv/ordered/events.jsonl") == sandbox.run(f"cat {service.log}")


def test_the_state_belongs_to_the_service_and_to_its_group_alone(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "owner")
    found = sandbox.run(f"cd {service.state} && find . -printf '%u:%g %m\\n' | sort -u").splitlines()
    assert found == ["event-processor:event-processor 640", "event-processor:event-processor 750"]


def test_status_says_a_log_that_it_may_not_read_until_it_may(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "forbidden")
    service.configure()
    service.append(1, 10)
    sandbox.run(f"chmod 0600 {service.log}")
    service.start()
    service.wait_for_status(69, f"not keeping up: source events: {service.log}: cannot be read: Permission denied")
    service.wait_until(f"systemctl show -P StatusText {service.unit} | grep -q 'Permission denied'")
    document = json.loads(service.command("status --json").output)
    assert (document["alive"], document["keeping_up"]) == (True, False)
    assert [each["kind"] for each in document["conditions"]] == ["file_unreadable"]
    assert "conditions=1" in service.command("top --count 1").output
    sandbox.run(f"chmod 0644 {service.log}")
    service.wait_for_status(0)
    service.wait_for_records(10)


def test_status_says_a_rotated_file_that_it_may_not_read_until_it_may(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "rotated")
    sandbox.run(f"systemctl stop {service.unit}")
    service.append(11, 20)
    sandbox.run(f"mv {service.log} {service.log}.2")
    service.append(21, 30)
    sandbox.run(f"mv {service.log} {service.log}.1 && chmod 0600 {service.log}.1")
    service.append(31, 40)
    service.start()
    service.wait_for_status(69, f"{service.log}.1: cannot be read: Permission denied")
    sandbox.run(f"chmod 0644 {service.log}.1")
    service.wait_for_records(40)
    service.wait_for_status(0)


def test_status_says_a_folder_that_it_may_not_list_until_it_may(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "folder")
    sandbox.run(f"chmod 0711 $(dirname {service.log})")  # the log can be opened, but its rotated files cannot be found
    service.wait_for_status(69, "/srv/folder: cannot be read: Permission denied")
    sandbox.run(f"chmod 0755 $(dirname {service.log})")
    service.wait_for_status(0)


def test_status_says_a_source_that_is_missing_until_it_is_there(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "absent")
    service.configure()
    sandbox.run(f"mkdir -p $(dirname {service.log})")
    service.start()
    service.wait_for_status(69, f"not keeping up: source events: {service.log}: no such file")
    service.append(1, 10)
    service.wait_for_status(0)


def test_status_says_what_is_lost_until_the_running_service_acknowledges_it(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "lossy")
    sandbox.run(f"systemctl stop {service.unit}")
    service.append(11, 20)
    sandbox.run(f"mv {service.log} {service.log}.gone")
    service.append(21, 30)
    sandbox.run(f"mv {service.log}.gone /srv/lossy/elsewhere")
    service.start()
    service.wait_for_status(69, "not keeping up: lost: source events: ")
    assert "1 (event-processor lost)" in service.command("inspect").output
    assert service.command("lost --acknowledge").exit_code == 0
    service.wait_for_status(0)


def test_status_says_a_refused_reload_and_systemctl_fails_with_it_until_it_is_undone(sandbox: SystemdSandbox) -> None:
    service = running(sandbox, "refused")
    process_id = service.property("MainPID")
    service.configure(more='[event]\nvalue = "amount"\n')
    assert sandbox.attempt(f"systemctl reload {service.unit}").exit_code != 0
    assert "event.value" in service.journal()
    service.wait_for_property("ActiveState", "== active")
    service.configure()
    service.wait_for_status(69, "not keeping up: a reload was refused: ")
    assert sandbox.attempt(f"systemctl reload {service.unit}").exit_code == 0
    service.wait_for_status(0)
    assert service.property("MainPID") == process_id, service.journal()


def test_a_deleted_sink_ends_it_and_status_says_why(sandbox: SystemdSandbox) -> None:
    service = Service(sandbox, "unlinked")
    service.configure(more='[sinks.ordered]\ntype = "file"\ninput = "events"\npath = "/srv/unlinked-out/events.jsonl"\n')
    service.append(1, 10)
    sandbox.run("install -d -o event-processor -g event-processor -m 0750 /srv/unlinked-out")
    service.drop_in("ReadWritePaths=/srv/unlinked-out")
    service.start()
    service.wait_until("[[ $(wc -l </srv/unlinked-out/events.jsonl) == 10 ]]")
    sandbox.run("rm /srv/unlinked-out/events.jsonl")
    service.wait_until(f"journalctl -o cat -u {service.unit} | grep -q 'status=74'")
    assert "it was removed while this process appends to it" in service.journal()
    service.wait_for_property("ActiveState", "== failed")  # the next start ends with 65: committed bytes are gone
    service.wait_for_status(69, "/srv/unlinked-out/events.jsonl")


RECOVERY = """
import os, select, signal, sys, time
from event_processor.service.systemd import ServiceNotifier

class Clock:
    def wall_ns(self): return time.time_ns()
    def monotonic_s(self): return time.monotonic()
    def wait(self, wakeup, timeout_s): wakeup.wait(timeout_s)

notifier = ServiceNotifier.from_environment(os.environ, process_id=os.getpid(), clock=Clock())
recovered = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
while not select.select([recovered], [], [], 0.1)[0]:
    if sys.argv[2] == "extended":
        notifier.extend(3)
notifier.ready("recovered")
signal.pause()
"""


@pytest.mark.parametrize("extended", [True, False])
def test_a_long_recovery_lives_if_and_only_if_it_says_that_it_moves_on(sandbox: SystemdSandbox, extended: bool) -> None:
    word = "extended" if extended else "silent"
    service = Service(sandbox, f"recovery-{word}")
    sandbox.write("/opt/event-processor/recovery.py", RECOVERY)
    # The recovery ends when something is written here.
    end = f"/srv/recovery-{word}"
    sandbox.run(f"mkfifo {end}")
    program = f"/opt/event-processor/bin/python /opt/event-processor/recovery.py {end} {word}"
    service.drop_in(f"ExecStart=\nExecStart={program}\nTimeoutStartSec=3\nRestart=no")
    sandbox.run(f"systemctl start --no-block {service.unit}")
    if extended:
        began_us = f"$(systemctl show -P InactiveExitTimestampMonotonic {service.unit})"
        now_us = "$(sed 's/[. ].*//' /proc/uptime)000000"
        service.wait_until(f"(({began_us} > 0 && {now_us} - {began_us} > 4000000))")
        assert service.property("ActiveState") == "activating"
        sandbox.run(f"echo >{end}")
    service.wait_for_property("ActiveState", "== active" if extended else "== failed")
    assert service.property("Result") == ("success" if extended else "timeout")
    assert service.property("StatusText") == ("recovered" if extended else "")


@pytest.mark.parametrize("unit", ["event-processor.service", "event-processor@orders.service"])
def test_systemd_takes_the_unit_without_a_word(sandbox: SystemdSandbox, unit: str) -> None:
    answer = sandbox.attempt(f"systemd-analyze verify {unit}")  # its exit code is 0 even for a key it does not know
    assert (answer.exit_code, answer.output, answer.errors) == (0, "", "")
