"""The compose file and the Dockerfiles of the example of transactions, compared with what exists. No Docker is needed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from event_processor.cli import COMMANDS
from support.container_files import Stage, compose_file, dockerfile
from support.documents import ROOT, SESSION_S_MAX

EXAMPLE = ROOT / "examples" / "003-transactions"
COMPOSE = compose_file(EXAMPLE / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = {"Dockerfile": ROOT, "ml_api/Dockerfile": EXAMPLE}
"""Each with the folder of its context."""
PORTS = {
    "ml-api": {"8000": "8000"},
    "postgres": {"5432": "5432"},
    "adminer": {"8080": "8080"},
    "kafka-ui": {"8081": "8080"},
    "airflow": {"8082": "8080"},
    "kafka": {"9092": "9092"},
}
"""Of each service, the ports of the host, and those inside."""


def stages() -> list[tuple[Path, Stage]]:
    return [(context, stage) for name, context in DOCKERFILES.items() for stage in dockerfile(EXAMPLE / name)]


def copied(stage: Stage, context: Path) -> dict[str, str]:
    """The files that a stage gets from the context: path in the image -> path in the repository."""
    found = {}
    folder = "/"
    for each in stage.instructions:
        if each.word == "WORKDIR":
            folder = each.rest
        if each.word != "COPY" or "from" in each.flags:
            continue
        *sources, target = each.words()
        for source in sources:
            for path in sorted(context.glob(source)):
                is_into = target.endswith("/") and path.is_file()
                files = [path] if path.is_file() else [below for below in path.rglob("*") if below.is_file()]
                for file in files:
                    name = file.name if is_into else str(file.relative_to(path))
                    at = Path(folder, target, name) if name != "." else Path(folder, target)
                    found[str(at)] = str(file.relative_to(ROOT))
    return found


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_that_is_copied_exists(name: str) -> None:
    built = []
    for stage in dockerfile(EXAMPLE / name):
        for each in stage.all("COPY"):
            *sources, _ = each.words()
            if "from" in each.flags:
                assert each.flags["from"] in built
                continue
            for source in sources:
                assert list(DOCKERFILES[name].glob(source)), source
        built.append(stage.name)


def test_the_package_can_be_built_from_what_is_copied() -> None:
    build = next(stage for _, stage in stages() if stage.name == "build")
    files = set(copied(build, ROOT).values())
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert {"pyproject.toml", "setup.py", project["readme"], "event_processor/__init__.py"} <= files
    assert any(path.endswith(".c") for path in files)


def test_every_extra_that_is_installed_is_one_of_the_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = set(tomllib.load(file)["project"]["optional-dependencies"])
    said = set()
    for _, stage in stages():
        for each in stage.all("RUN"):
            for names in re.findall(r"(?:event-processor|'\.)\[([\w,]+)\]", each.rest):
                said |= set(names.split(","))
    assert said == {"http", "kafka", "postgres"}
    assert said <= extras


def test_the_versions_of_python_are_those_that_the_package_supports() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert project["requires-python"] == ">=3.11"
    bases = {stage.base for _, stage in stages()}
    assert bases == {"python:3.12-slim", "apache/airflow:3.3.2-python3.12"}
    pinned = (ROOT / "requirements" / "airflow.in").read_text(encoding="utf-8")
    assert pinned == "apache-airflow==3.3.2\n", "the tests run the DAG on the version of the image"


@pytest.mark.parametrize("name", SERVICES)
def test_every_build_names_a_dockerfile_and_a_stage(name: str) -> None:
    build = SERVICES[name].get("build")
    if build is None:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", SERVICES[name]["image"]), "an image has a version"
        return
    context = (EXAMPLE / build["context"]).resolve()
    path = context / build["dockerfile"]
    relative = str(path.resolve().relative_to(EXAMPLE))
    assert DOCKERFILES[relative] == context
    if "target" in build:
        assert build["target"] in [stage.name for stage in dockerfile(path)]


def test_the_ports_are_those_of_the_document_and_open_on_this_machine_only() -> None:
    found: dict[str, dict[str, str]] = {}
    for name, each in SERVICES.items():
        for port in each.get("ports", []):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1"
            found.setdefault(name, {})[outside] = inside
    assert found == PORTS


def test_the_pages_on_how_to_run_it_name_every_port_that_a_browser_or_a_client_uses() -> None:
    text = (EXAMPLE / "HOWTO.md").read_text(encoding="utf-8")
    missing = [port for ports in PORTS.values() for port in ports if f":{port}" not in text]
    assert missing == []


def test_the_broker_listens_where_it_is_asked() -> None:
    environment = SERVICES["kafka"]["environment"]
    listeners = dict(each.split("://:") for each in environment["KAFKA_LISTENERS"].split(","))
    advertised = dict(each.split("://") for each in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert listeners == {"OUTSIDE": "9092", "CONTROLLER": "9093", "INSIDE": "29092"}
    assert advertised == {"OUTSIDE": "localhost:9092", "INSIDE": "kafka:29092"}
    protocols = dict(each.split(":") for each in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert protocols.keys() == listeners.keys()
    assert SERVICES["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == advertised["INSIDE"]
    readers = [name for name, each in SERVICES.items() if "KAFKA_BROKERS" in each.get("environment", {})]
    assert readers == ["producer", "streaming"]
    assert {SERVICES[name]["environment"]["KAFKA_BROKERS"] for name in readers} == {advertised["INSIDE"]}
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"] == f"1@kafka:{listeners['CONTROLLER']}"
    folders = [volume.split(":")[1] for volume in SERVICES["kafka"]["volumes"]]
    assert environment["KAFKA_LOG_DIRS"] in folders, "what the broker keeps is on the volume"


def test_each_user_of_the_database_has_its_address_and_its_password() -> None:
    own = SERVICES["postgres"]["environment"]
    address = f"postgresql://{own['POSTGRES_USER']}:{own['POSTGRES_PASSWORD']}@postgres:5432/{own['POSTGRES_DB']}"
    users = [name for name, each in SERVICES.items() if "DATABASE_URL" in each.get("environment", {})]
    assert users == ["airflow", "batch", "streaming"]
    assert {SERVICES[name]["environment"]["DATABASE_URL"] for name in users} == {address}
    with (EXAMPLE / "postgres.toml").open("rb") as file:
        configured = tomllib.load(file)
    assert {sink["url_env"] for sink in configured["sinks"].values()} == {"DATABASE_URL"}
    health = SERVICES["postgres"]["healthcheck"]["test"]
    assert health == ["CMD", "pg_isready", "-U", own["POSTGRES_USER"], "-d", own["POSTGRES_DB"]]
    assert SERVICES["adminer"]["environment"]["ADMINER_DEFAULT_SERVER"] == "postgres"


def test_what_waits_for_a_service_names_one_that_tells_its_health() -> None:
    for each in SERVICES.values():
        for name, condition in each.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[name]


def test_every_volume_is_declared_or_a_folder_of_the_example() -> None:
    for name, each in SERVICES.items():
        for volume in each.get("volumes", []):
            outside, inside = volume.split(":")
            assert inside.startswith("/")
            if outside.startswith("./"):
                assert outside == "./data", "made by generate.py"
            else:
                assert outside in COMPOSE["volumes"], name
    assert set(COMPOSE["volumes"]) == {
        volume.split(":")[0] for each in SERVICES.values() for volume in each.get("volumes", [])
    } - {"./data"}


def test_the_commands_name_files_that_the_images_have_and_options_that_they_know() -> None:
    by_name = {stage.name: (stage, context) for context, stage in stages()}
    (program, context) = by_name["program"]
    files = copied(program, context)
    commands = [SERVICES[name]["command"] for name in ("batch", "producer", "streaming")]
    commands += [program.all("CMD")[0].words(), SERVICES["streaming"]["healthcheck"]["test"][1:]]
    for python, script, *options in commands:
        assert python == "python"
        assert files[f"/app/{script}"] == f"examples/003-transactions/{script}"
        said = helped(script)
        assert {word for word in options if word.startswith("--")} <= said
    api = next(stage for context, stage in stages() if context == EXAMPLE)
    python, flag, module, *options = api.all("CMD")[0].words()
    assert (python, flag, module) == ("python", "-m", "ml_api")
    assert "/app/ml_api/__main__.py" in copied(api, EXAMPLE)
    said = helped("-m", "ml_api")
    assert {word for word in options if word.startswith("--")} <= said
    port = options[options.index("--port") + 1]
    assert [each.rest for each in api.all("EXPOSE")] == [port] == list(PORTS["ml-api"].values())
    assert f"http://127.0.0.1:{port}/health" in SERVICES["ml-api"]["healthcheck"]["test"][-1]
    assert SERVICES["batch"]["command"][-1] == f"http://ml-api:{port}"
    assert {SERVICES[name]["environment"]["ML_API_URL"] for name in ("airflow", "streaming")} == {f"http://ml-api:{port}"}


def helped(*arguments: str) -> set[str]:
    """The options that a program of the example knows."""
    command = [sys.executable, *arguments, "--help"]
    said = subprocess.run(command, cwd=EXAMPLE, check=True, capture_output=True, text=True, timeout=SESSION_S_MAX).stdout
    return set(re.findall(r"--[\w-]+", said))


@pytest.mark.parametrize("name", ["program", "airflow"])
def test_an_image_has_what_the_batch_run_reads_and_may_write_where_it_writes(name: str) -> None:
    (stage,) = [stage for _, stage in stages() if stage.name == name]
    files = copied(stage, ROOT)
    needed = ["event-processor.toml", "batch.toml", "postgres.toml", "transactions.py", "views.py", "check.py", "sql/views.sql"]
    needed += ["airflow/dags/transactions_batch.py"] if name == "airflow" else ["batch.py", "ml_service.py"]
    for path in needed:
        assert files[f"/app/{path}"] == f"examples/003-transactions/{path}"
    run = " ".join(each.rest for each in stage.all("RUN"))
    user = stage.all("USER")[-1].rest
    assert user == {"program": "transactions", "airflow": "airflow"}[name]
    made = re.search(rf"mkdir ([\w -]+) && chown {user} ([\w -]+)", run)
    assert made is not None
    assert made[1] == made[2]
    with (EXAMPLE / "postgres.toml").open("rb") as file:
        state = tomllib.load(file)["state"]["dir"]
    assert {state, "data", "work"} <= set(made[1].split())
    service = SERVICES["batch" if name == "program" else name]
    assert f"state:/app/{state}" in service["volumes"]


def test_the_image_has_what_the_live_pipeline_reads_and_may_write_where_it_writes() -> None:
    (stage,) = [stage for _, stage in stages() if stage.name == "program"]
    files = copied(stage, ROOT)
    for path in ("live.toml", "streaming.py", "stream.py", "topic.py", "background.py", "generate.py"):
        assert files[f"/app/{path}"] == f"examples/003-transactions/{path}"
    state = re.search(r"(/app/state-live-postgres)$", SERVICES["streaming"]["volumes"][-1])
    assert state is not None
    made = re.search(r"mkdir ([\w -]+)", " ".join(each.rest for each in stage.all("RUN")))
    assert made is not None
    assert Path(state[1]).name in made[1].split()
    with (EXAMPLE / "live.toml").open("rb") as file:
        live = tomllib.load(file)
    assert f"{live['state']['dir']}-postgres" == Path(state[1]).name, "streaming.py adds the name of the database"


def test_the_live_pipeline_changes_rows_as_the_batch_does() -> None:
    found = []
    for name in ("batch", "live"):
        with (EXAMPLE / f"{name}.toml").open("rb") as file:
            found.append(tomllib.load(file)["transforms"])
    said = [table.pop("set") for tables in found for table in tables]
    assert found[0] == found[1]
    assert [each.keys() for each in said] == [{"processing_type", "run_id", "model_version"}] * 2
    assert [each["processing_type"] for each in said] == ["batch", "streaming"]


def test_both_images_that_write_the_state_do_it_as_the_same_user() -> None:
    (program,) = [stage for _, stage in stages() if stage.name == "program"]
    # Airflow's image runs as 50000, in the group 0.
    assert [each.rest for each in program.all("RUN") if "useradd" in each.rest] == [
        "useradd --uid 50000 --gid 0 --create-home transactions"
    ]


def test_airflow_is_told_what_the_dag_asks_for() -> None:
    text = (EXAMPLE / "airflow" / "dags" / "transactions_batch.py").read_text(encoding="utf-8")
    (stage,) = [stage for _, stage in stages() if stage.name == "airflow"]
    told = {*stage.environment(), *SERVICES["airflow"]["environment"]}
    asked = set(re.findall(r'environ\.get\("(\w+)"', text))
    assert asked == {"TRANSACTIONS_FOLDER", "TRANSACTIONS_PYTHON", "TRANSACTIONS_DATABASE", "TRANSACTIONS_RETRIES", "ML_API_URL"}
    assert asked - told == {"TRANSACTIONS_FOLDER", "TRANSACTIONS_RETRIES"}, "by default the folder around the DAG's, and 3"
    assert stage.environment()["AIRFLOW__CORE__DAGS_FOLDER"] == "/app/airflow/dags"
    venv = stage.environment()["TRANSACTIONS_PYTHON"].removesuffix("/bin/python")
    assert any(f"python -m venv {venv} " in each.rest for each in stage.all("RUN"))
    commands = set(re.findall(r"\{PROGRAM\} (\w+)", text))
    assert commands <= {entry.name for entry in COMMANDS}


def test_the_targets_of_the_makefile_are_there_and_name_services_that_exist() -> None:
    text = (EXAMPLE / "Makefile").read_text(encoding="utf-8")
    for target in ("all", "infra", "batch", "streaming", "status", "logs", "down", "clean"):
        assert re.search(rf"^{target}:", text, re.MULTILINE)
    assert re.findall(r"\$\(COMPOSE\) run [-\w ]*--rm (\w+)", text) == ["batch", "producer"]
    assert re.findall(r"\$\(COMPOSE\) exec -T (\w+)", text) == ["streaming"]
    profiles = {name: each["profiles"] for name, each in SERVICES.items() if "profiles" in each}
    assert profiles == {"batch": ["batch"], "producer": ["streaming"], "streaming": ["streaming"]}, (
        "they do not start with the servers"
    )
    assert re.findall(r"--profile (\w+)", text) == ["batch", "streaming"]
