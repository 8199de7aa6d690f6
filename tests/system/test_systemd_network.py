"""The network drop-in under a real systemd, with a sink that sends to an HTTPS service: tokens, stops, reloads and the watchdog.

The service that receives is a process in the sandbox. It is found by its name, and its certificate is one of the machine's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from support.systemd_sandbox.sandbox import SystemdSandbox
from support.systemd_sandbox.service import Service, installed_sandbox, script_of_the_guide

pytestmark = pytest.mark.root

SINK = """
[services.api]
base_url = "https://api.test:8443/{name}"
timeout_s = 60
token_file = "{token_file}"
[sinks.remote]
type = "http"
service = "api"
"""
API = """
import json, signal, ssl, subprocess, sys
from pathlib import Path

sys.path.insert(0, "/opt/event-processor/source/tests")
from support.http_service import HttpService, Reply, make_certificate, server_tls

def answers(request):
    # /srv/api/NAME: what is asked of an instance, and what came from it
    folder = Path("/srv/api") / request.path.strip("/")
    is_known = request.headers.get("authorization") == "Bearer right"
    is_held = (folder / "holds").exists()
    with (folder / "received").open("a") as received:
        said = 401 if not is_known else 0 if is_held else 200
        received.write(json.dumps([said, request.json()["id"], request.headers["idempotency-key"]]) + "\\n")
    return Reply(200, is_held=is_held) if is_known else Reply(401)

certificate, key = make_certificate(Path("/srv/api"), valid_for="DNS:api.test")
digest = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", certificate], capture_output=True, text=True, check=True)
machine = Path(ssl.get_default_verify_paths().capath)
machine.mkdir(parents=True, exist_ok=True)
(machine / f"{digest.stdout.strip()}.0").symlink_to(certificate)
HttpService(answers, tls=server_tls(certificate, key), port=8443).start()
Path("/srv/api/ready").touch()
signal.pause()
"""
FOR_EVERY_INSTANCE = "event-processor@.service.d"
WATCHDOG = "[Service]\nWatchdogSec=7\n"
"""Shorter than the drain of 10 s, and long enough for a busy machine."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SystemdSandbox]:
    with installed_sandbox() as booted:
        commands = script_of_the_guide("Open the network").replace("event-processor.service.d", FOR_EVERY_INSTANCE)
        assert FOR_EVERY_INSTANCE in commands
        booted.write(f"/etc/systemd/system/{FOR_EVERY_INSTANCE}/watchdog.conf", WATCHDOG)
        booted.run(commands.replace("systemctl restart event-processor\n", ""))
        booted.write("/opt/event-processor/api.py", API)
        booted.run("mkdir /srv/api && echo '127.0.0.1 api.test' >>/etc/hosts")
        booted.run("systemd-run --quiet --unit=api /opt/event-processor/bin/python /opt/event-processor/api.py")
        booted.wait_until("[[ -e /srv/api/ready ]]", within_s=30, explain="journalctl --no-pager -u api")
        yield booted


class Sending(Service):
    """An instance with a remote sink. The service that receives wants the token "right"."""

    def configure_sink(self, token: str, *, is_credential: bool) -> None:
        self.sandbox.run(f"mkdir -p /srv/api/{self.name}")
        self.write_token(token)
        place = "${CREDENTIALS_DIRECTORY}/api-token" if is_credential else self.token_path
        self.configure(more=SINK.format(name=self.name, token_file=place))
        if is_credential:
            self.sandbox.run(f"chown root: {self.token_path} && chmod 0600 {self.token_path}")
            self.drop_in(f"LoadCredential=api-token:{self.token_path}")

    @property
    def token_path(self) -> str:
        return f"/etc/event-processor/{self.name}.token"

    def write_token(self, token: str) -> None:
        self.sandbox.write(self.token_path, f"{token}\n", mode="0640", owner="root:event-processor")

    def received(self) -> list[tuple[int, int, str]]:
        """Each request so far: the status of its answer, 0 if it was held; the record's id; its key."""
        lines = self.sandbox.run(f"cat /srv/api/{self.name}/received").splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def wait_for_answers(self, status: int, count: int) -> None:
        self.wait_until(f"[[ $(grep -c '^.{status},' /srv/api/{self.name}/received) == {count} ]]")

    def delivered(self) -> Counter[int]:
        return Counter(record for status, record, _ in self.received() if status == 200)

    def cursor(self) -> dict[str, object]:
        cursor: dict[str, object] = json.loads(self.sandbox.run(f"cat {self.state}/delivery/remote.json"))
        return cursor


def with_held_requests(sandbox: SystemdSandbox, *names: str) -> list[Sending]:
    """Instances with three delivered records, and three whose requests the service holds. What is sent from now on is answered."""
    services = [Sending(sandbox, name) for name in names]
    for service in services:
        service.configure_sink("right", is_credential=True)
        service.append(1, 3)
    sandbox.run(f"systemctl start {' '.join(service.unit for service in services)}")
    for service in services:
        service.wait_for_answers(200, 3)
        sandbox.run(f"touch /srv/api/{service.name}/holds")
        service.append(4, 6)
        service.wait_for_answers(0, 3)
        sandbox.run(f"rm /srv/api/{service.name}/holds")
    return services


def test_a_stop_and_a_reload_within_slow_requests_are_bounded_and_lose_nothing(sandbox: SystemdSandbox) -> None:
    """The service holds its answers for longer than the drain, and that is longer than the watchdog's period."""
    stopped, reloaded = with_held_requests(sandbox, "stopped", "reloaded")
    process_id = reloaded.property("MainPID")
    sandbox.run(f"systemctl stop {stopped.unit} & systemctl reload {reloaded.unit} && wait $!")
    assert (stopped.property("Result"), stopped.property("ExecMainStatus"), stopped.property("NRestarts")) == (
        "success",
        "0",
        "0",
    )
    assert stopped.cursor()["sequence"] == 3
    assert reloaded.property("MainPID") == process_id, reloaded.journal()
    stopped.start()
    for service in stopped, reloaded:
        service.wait_for_answers(200, 6)
        assert service.delivered() == Counter(range(1, 7))
        keys = {(record, key) for _, record, key in service.received()}
        assert len(keys) == 6  # a record that is sent again has the same key
    stopped.assert_counted_once(6)


@pytest.mark.parametrize(("word", "is_credential"), [("reload", False), ("restart", True)])
def test_a_refused_token_is_said_until_it_is_repaired(sandbox: SystemdSandbox, word: str, is_credential: bool) -> None:
    service = Sending(sandbox, f"token-{word}")
    service.configure_sink("wrong", is_credential=is_credential)
    service.append(1, 5)
    service.start()
    service.wait_for_status(69, "the service refuses the token of")
    assert "right" not in service.journal()
    service.write_token("right")
    sandbox.run(f"systemctl {word} {service.unit}")
    service.wait_for_answers(200, 5)
    service.wait_for_status(0)
    assert service.delivered() == Counter(range(1, 6))


def test_systemd_takes_the_drop_in_without_a_word(sandbox: SystemdSandbox) -> None:
    answer = sandbox.attempt("systemd-analyze verify event-processor@orders.service")
    assert (answer.exit_code, answer.output, answer.errors) == (0, "", "")


def test_an_instance_with_the_drop_in_answers_over_http(sandbox: SystemdSandbox) -> None:
    service = Sending(sandbox, "page")
    service.configure(more='[http]\nlisten = "127.0.0.1:8321"\n')
    service.append(1, 3)
    commands = script_of_the_guide("Answer over HTTP").replace("event-processor.service.d", f"{service.unit}.d")
    assert f"{service.unit}.d" in commands
    sandbox.run(commands.replace("systemctl restart event-processor\n", ""))
    sandbox.run(f"systemctl start {service.unit}")
    asking = "import json, urllib.request as r; print(json.load(r.urlopen('http://127.0.0.1:8321/v1/state'))['committed']['counts']['records'])"
    service.wait_for_records(3)
    # A unit of its own asks: commands of the sandbox have another network.
    answer = f'systemd-run --quiet --pipe --wait /opt/event-processor/bin/python -c "{asking}"'
    service.wait_until(f"[[ $({answer}) == 3 ]]")
