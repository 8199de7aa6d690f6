"""The house: each room on its floor, each floor importing only from below, and the rules of the house by name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = "event_processor"
FLOORS = {
    "": 0,
    "errors": 0,
    "event": 1,
    "contracts": 1.5,
    "arrivals": 2.5,
    "attention": 6,
    "clock": 2,
    "config": 2,
    "aggregate_options": 1.75,
    "rejections": 1.25,
    "released": 1.25,
    "section": 1.5,
    "durable": 2,
    "file_system": 1.9,
    "transform_options": 1.75,
    "held_file": 2.5,
    "id_columns": 2.5,
    "id_order": 2,
    "memory": 2,
    "native": 1.75,
    "numbered_texts": 2,
    "schema": 2,
    "telemetry": 2,
    "timestamps": 2,
    "wording": 2,
    "aggregation": 3,
    "configuration_files": 3,
    "dead_letters": 3,
    "deduplication": 3,
    "formats": 3,
    "journal": 3,
    "ordering": 3,
    "transforms": 3,
    "state": 4,
    "checkpoint": 5,
    "held_events": 5,
    "pipeline": 5,
    "adapters.files": 6,
    "workers": 6,
    "commit": 6.5,
    "processor": 7,
    "assembly": 8,
    "operations": 9,
    "library": 10,
    "service": 10,
    "cli": 11,
    "__main__": 12,
}
"""Every room and its floor. A half floor is a room that its own floor leans on."""
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
EXTRAS = {"pyarrow": "formats", "zstandard": "adapters.files"}
BANNED_CALLS = {
    "open": ("durable.FileSystem", {"configuration_files", "cli"}),
    "print": ("cli.output", set()),
    "time.time": ("contracts.Clock", set()),
    "time.sleep": ("contracts.Clock.wait", set()),
    "datetime.now": ("contracts.Clock", set()),
    "os.fsync": ("durable.FileSystem", {"file_system"}),
    "os.rename": ("durable.FileSystem", {"file_system"}),
    "os.replace": ("checkpoint.CheckpointStore", {"file_system"}),
    "os.unlink": ("durable.remove_files", {"file_system"}),
    "os.remove": ("durable.remove_files", {"file_system"}),
    "eval": ("nothing", set()),
    "exec": ("nothing", set()),
}
"""A call, what to use instead, and the rooms that may."""
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 430


def files() -> list[Path]:
    return sorted((SOURCE / PACKAGE).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    inside = module.removeprefix(PACKAGE).removeprefix(".")
    parts = inside.split(".")
    return ".".join(parts[:2]) if parts[0] == "adapters" and len(parts) > 1 else parts[0]


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


def test_every_room_has_a_floor_and_imports_only_from_floors_below() -> None:
    faults = []
    for path in files():
        room = room_of(module_of(path))
        if room == "adapters":
            continue
        assert room in FLOORS, f"{path}: the room {room!r} has no floor: decide where it lives"
        for line, imported in imports_of(path):
            other = room_of(imported)
            if imported.split(".")[0] != PACKAGE or other == room:
                continue
            if FLOORS[other] >= FLOORS[room]:
                faults.append(f"{path}:{line}: {room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})")
    assert not faults, "\n".join(faults)


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
        room = room_of(module_of(path))
        for line, imported in imports_of(path):
            top = imported.split(".")[0]
            if top in CORE_DEPENDENCIES or top == PACKAGE or top in sys.stdlib_module_names or EXTRAS.get(top) == room:
                continue
            faults.append(f"{path}:{line}: {top} is not a core dependency, nor an extra of {room or 'the package'}")
    assert not faults, "\n".join(faults)


def test_adapters_are_imported_by_the_assembly_alone() -> None:
    faults = [
        f"{path}:{line}: {imported} is imported outside assembly.py"
        for path in files()
        for line, imported in imports_of(path)
        if room_of(imported).startswith("adapters.") and room_of(module_of(path)) not in {"assembly", room_of(imported)}
    ]
    assert not faults, "\n".join(faults)


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
