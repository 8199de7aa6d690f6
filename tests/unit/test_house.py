"""The house: each room on its floor, each floor importing only from below, and the rules of the house by name."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2]
PACKAGE = "event_processor"
FLOORS = {
    "model": 1,
    "kernels": 1,
    "configuration": 2,
    "columns": 2,
    "storage": 2,
    "records": 3,
    "deduplication": 3,
    "aggregation": 3,
    "engine": 4,
    "connectors": 4,
    "assembly": 5,
    "operations": 6,
    "service": 7,
    "cli": 8,
}
"""Every room is a folder, and this is its floor. A file imports from floors below its own, or from its own room, and that is all."""
ROOT_FILES = {"__init__.py", "__init__.pyi", "__main__.py", "py.typed"}
CORE_DEPENDENCIES = {
    "annotated_types",
    "msgspec",
    "numpy",
    "orjson",
    "pydantic",
    "pydantic_core",
    "rich",
    "typer",
    "watchdog",
    "xxhash",
}
EXTRAS = {
    "confluent_kafka": "connectors.kafka",
    "httptools": "service.web",
    "httpx2": "connectors.http",
    "prometheus_client": "service.web",
    "obstore": "connectors.s3",
    "psycopg": "connectors.sql",
    "pyarrow": "records",
    "starlette": "service.web",
    "uvicorn": "service.web",
    "zstandard": "records",
}
"""An extra's package, and the folder that alone may import it."""
BANNED_CALLS = {
    "open": ("storage.FileSystem", {"configuration", "cli"}),
    "print": ("cli.output", set()),
    "time.time": ("model.Clock", set()),
    "time.sleep": ("model.Clock.wait", set()),
    "datetime.now": ("model.Clock", set()),
    "os.fsync": ("storage.FileSystem", {"storage"}),
    "os.rename": ("storage.FileSystem", {"storage"}),
    "os.replace": ("engine.CheckpointStore", {"storage"}),
    "os.unlink": ("storage.remove_files", {"storage"}),
    "os.remove": ("storage.remove_files", {"storage"}),
    "eval": ("nothing", set()),
    "exec": ("nothing", set()),
}
"""A call, what to use instead, and the rooms that may."""
WAITS = "support/processes.py"
"""The file of the tests that alone may sleep: between two looks at a condition."""
VIRTUAL_TIME = {"simulation", "support"}
"""The folders of the tests in which a loop may have a virtual time."""
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 430


def files() -> list[Path]:
    return sorted((SOURCE / PACKAGE).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The folder below the package; each technology among the connectors is a room of its own."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["connectors"] else "".join(parts[:1])


def floor_of(room: str) -> int:
    return FLOORS[room.split(".", maxsplit=1)[0]]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every import, those inside functions and under TYPE_CHECKING included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides the room, name it in full"
            assert node.module is not None
            for alias in node.names:
                inner = SOURCE / Path(*node.module.split("."), alias.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield node.lineno, f"{node.module}.{alias.name}" if is_module else node.module


def test_the_root_holds_the_rooms_and_nothing_else() -> None:
    found = {path.name for path in (SOURCE / PACKAGE).iterdir() if path.name != "__pycache__"}
    assert found == ROOT_FILES | FLOORS.keys()


def test_every_file_imports_only_from_floors_below_or_from_its_own_room() -> None:
    faults = []
    for path in files():
        room = room_of(module_of(path))
        if path.parent == SOURCE / PACKAGE:
            continue
        for line, imported in imports_of(path):
            other = room_of(imported)
            if imported.split(".")[0] != PACKAGE or other in ("", room):
                continue
            if floor_of(other) >= floor_of(room):
                faults.append(f"{path}:{line}: {room} (floor {floor_of(room)}) imports {other} (floor {floor_of(other)})")
    assert not faults, "\n".join(faults)


def test_the_root_imports_a_room_only_when_it_is_asked() -> None:
    tree = ast.parse((SOURCE / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and str(node.module).startswith(PACKAGE)]


def test_no_name_that_a_room_loads_late_is_also_one_of_its_files() -> None:
    # After an import of the file, its module would be found under the name.
    for room in (SOURCE / PACKAGE).glob("*/__init__.py"):
        homes = re.search(r"_HOMES\b.*?\n}", room.read_text(), re.DOTALL)
        names = set(re.findall(r'^    "(\w+)":', homes[0], re.MULTILINE)) if homes else set()
        assert not names & {path.stem for path in room.parent.iterdir()}, room


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module_of(path): {name for _, name in imports_of(path) if name.startswith(PACKAGE)} for path in files()}

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        for imported in graph.get(module, ()):
            if imported not in done:
                walk(imported, (*trail, module))
        done.add(module)

    done: set[str] = set()
    for module in graph:
        walk(module, ())


def test_dependencies_are_the_chosen_few_and_extras_stay_in_their_adapter() -> None:
    faults = []
    for path in files():
        module = module_of(path)
        room = room_of(module)
        for line, imported in imports_of(path):
            top = imported.split(".")[0]
            if top in CORE_DEPENDENCIES or top == PACKAGE or top in sys.stdlib_module_names:
                continue
            if top in EXTRAS and f"{module}.".startswith(f"{PACKAGE}.{EXTRAS[top]}."):
                continue
            faults.append(f"{path}:{line}: {top} is not a core dependency, nor an extra of {room or 'the package'}")
    assert not faults, "\n".join(faults)


def test_connectors_are_imported_by_the_assembly_alone() -> None:
    faults = [
        f"{path}:{line}: {imported} is imported outside of assembly/"
        for path in files()
        for line, imported in imports_of(path)
        if room_of(imported).startswith("connectors.") and room_of(module_of(path)) not in {"assembly", room_of(imported)}
    ]
    assert not faults, "\n".join(faults)


def test_the_sources_stand_within_their_room() -> None:
    """A room's `__init__` says what it owns; packages of other names would escape the table of floors."""
    silent = [
        folder
        for folder in (SOURCE / PACKAGE).rglob("*")
        if folder.is_dir() and list(folder.glob("*.py")) and not (folder / "__init__.py").exists()
    ]
    assert not silent


def test_banned_calls_name_what_to_use_instead() -> None:
    faults = []
    for path in files():
        room = room_of(module_of(path))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                instead, rooms = BANNED_CALLS.get(called, ("", {room}))
                if room not in rooms:
                    faults.append(f"{path}:{node.lineno}: {called} is banned, use {instead}")
    assert not faults, "\n".join(faults)


def test_tests_wait_for_conditions_in_one_place() -> None:
    """Also in the programs that they write. In the simulations and their supports, a loop with a virtual time sleeps."""
    tests = SOURCE / "tests"
    sleep = r"\btime\.sleep\b|\bfrom time import .*\bsleep\b"
    faults = [
        f"{path}:{number}: use wait_until or until of {WAITS}"
        for path in sorted(tests.rglob("*.py"))
        if path not in {tests / WAITS, Path(__file__)}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(sleep if path.parent.name in VIRTUAL_TIME else rf"{sleep}|\basyncio\.sleep\((?!0\))", line)
    ]
    assert not faults, "\n".join(faults)


def test_functions_and_files_keep_a_size_that_can_be_read() -> None:
    faults = []
    for path in files():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > FILE_LINES_MAX:
            faults.append(f"{path}: {text.count(chr(10))} lines, {FILE_LINES_MAX} at the most")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    faults.append(f"{path}:{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES_MAX} at the most")
    assert not faults, "\n".join(faults)


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path)
        for path in files()
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_every_file_that_a_docstring_names_is_there() -> None:
    names = {path.name for path in (SOURCE / PACKAGE).rglob("*")}
    missing = [
        f"{path}: {named}"
        for path in (SOURCE / PACKAGE).rglob("*.*")
        if path.suffix in {".py", ".c", ".h"}
        for named in re.findall(r"`(?:[a-z_0-9]+/)*([a-z_0-9]+\.(?:py|c|h))`", path.read_text(encoding="utf-8"))
        if named not in names
    ]
    assert not missing, "\n".join(missing)
