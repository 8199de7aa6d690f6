"""The programs of Apache Kafka for tests, fetched once per user by Maven and kept in the user's cache folder.

Owns: `KafkaPrograms`: the jars, an empty formatted node, and an archive of loaded classes that lets a broker start in two seconds.
Always: everything is made in a folder of its own and then renamed, under a lock, so that two test workers do not disturb each other and a
run that dies half way leaves nothing that looks whole. The cache's name contains the versions and everything that it was made from.
Never: runs a broker for tests (`kafka_broker.py` does).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Self

from support.http_service import make_certificate
from support.processes import wait_until

__all__ = ["JAVA_OPTIONS", "KafkaPrograms", "why_no_kafka", "write_settings"]

MADE_OF: Final = Path(__file__).parent / "kafka"
PORTS: Final = ("port", "behind_port", "proxy_port", "sasl_port", "tls_port", "controller_port")
PROPERTIES: Final = MADE_OF / "server.properties"
JAVA_OPTIONS: Final = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
CLUSTER_ID: Final = "event-processor-testsA"
"""22 characters, as Kafka wants them."""


def why_no_kafka() -> str:
    """Why no broker can run here; "" if one can."""
    missing = [
        f"{program} ({package})"
        for program, package in (("java", "default-jre-headless"), ("mvn", "maven"))
        if not shutil.which(program)
    ]
    return f"Apache Kafka cannot run: apt install {', '.join(missing)}" if missing else ""


@dataclass(frozen=True, slots=True)
class KafkaPrograms:
    """What a broker is started from. `formatted`: the folder to copy as a new node's data."""

    class_path: str
    formatted: Path
    archive: Path

    @classmethod
    @cache
    def of_this_machine(cls) -> Self:
        """The programs in the cache. Makes what is missing: the first time takes a minute, and needs the network."""
        folder = _cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            jars = _made(folder / "jars", _fetch_jars)
            formatted = _made(folder / "formatted", lambda target: _format(jars, target))
            archive = _made(folder / "classes.jsa", lambda target: _archive(jars, formatted, target))
        return cls(_class_path(jars), formatted, archive)


def _cache_folder() -> Path:
    """Another version of Kafka, of Java or of the settings is another folder."""
    java = subprocess.run(["java", "-version"], capture_output=True, check=True).stderr
    made_of = b"".join(each.read_bytes() for each in sorted(MADE_OF.iterdir())) + java + Path(__file__).read_bytes()
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "event-processor-tests" / f"kafka-{hashlib.sha256(made_of).hexdigest()[:12]}"


def _made(path: Path, make: Callable[[Path], None]) -> Path:
    """The path, made if it does not exist. `make` gets another path, of which only a whole one is renamed."""
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix="making-", dir=path.parent) as folder:
            make(Path(folder, path.name))
            Path(folder, path.name).rename(path)
    return path


def _class_path(jars: Path) -> str:
    # In one order: the archive of classes is only for the class path that it was made with.
    return ":".join(str(each) for each in sorted(jars.glob("*.jar")))


def _fetch_jars(target: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(MADE_OF / "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    _run([*command, f"-DoutputDirectory={target}"], target.parent)


def _format(jars: Path, target: Path) -> None:
    write_settings(target.parent, {})
    java = ["java", *JAVA_OPTIONS, "-cp", _class_path(jars), "kafka.tools.StorageTool", "format"]
    _run([*java, "-t", CLUSTER_ID, "-c", "server.properties"], target.parent)
    (target.parent / "data").rename(target)


def _archive(jars: Path, formatted: Path, target: Path) -> None:
    """Runs a broker until its port is open. The classes that it has loaded are written when it ends."""
    shutil.copytree(formatted, target.parent / "data")
    port = write_settings(target.parent, {})["port"]
    java = [
        "java",
        *JAVA_OPTIONS,
        f"-XX:ArchiveClassesAtExit={target}",
        "-cp",
        _class_path(jars),
        "kafka.Kafka",
        "server.properties",
    ]
    with open(target.parent / "log", "wb") as log:
        broker = subprocess.Popen(["setpriv", "--pdeathsig=KILL", *java], stdout=log, stderr=log, cwd=target.parent)
    try:
        wait_until(lambda: _is_open(port) or broker.poll() is not None, "Kafka opens its port")
        broker.send_signal(signal.SIGTERM)
        broker.wait(60)
    finally:
        broker.kill()
        broker.wait()
    assert target.exists(), (target.parent / "log").read_text(errors="replace")[-2000:]


def write_settings(folder: Path, added: Mapping[str, str]) -> dict[str, int]:
    """Writes `server.properties` and a certificate for a node in `folder`. Returns its ports by name, all free and different.

    `added`: more settings, as in server.properties.
    """
    (folder / "certificate").mkdir()
    certificate, key = make_certificate(folder / "certificate", "kafka")
    (folder / "keystore.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
    with ExitStack() as open_until_all_are_chosen:
        probes = [open_until_all_are_chosen.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        ports = {name: probe.getsockname()[1] for name, probe in zip(PORTS, probes, strict=True)}
    text = PROPERTIES.read_text().replace("{folder}", str(folder))
    for name, port in ports.items():
        text = text.replace(f"{{{name}}}", str(port))
    (folder / "server.properties").write_text(text + "".join(f"{name}={value}\n" for name, value in added.items()))
    return ports


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _run(command: list[str], folder: Path) -> None:
    ended = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr).decode(errors="replace")[-2000:]
