"""The architecture, read from the code: imports go down only and have no effect, tests mirror it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import streamer

PACKAGE = Path(streamer.__file__).parent
ROOT = Path(__file__).parent.parent

LAYERS = [
    # What everything is said with.
    {
        "",
        "errors",
        "events",
        "timebase",
        "labels",
        "config",
        "keys",
        "settings",
        "resources",
        "logs",
        "service",
    },
    # Sound in, speech or not, networks.
    {"audio", "vad", "nn"},
    # What computes them.
    {"backends"},
    # Networks' numbers into words and sounds.
    {"asr", "tagging"},
    # One pass; and where checkpoints come from.
    {"engine", "encoders", "passes", "scheduler", "hub"},
    # Threads, and what is published.
    {"ear", "track", "bus", "history", "stream", "fitting", "pipeline"},
    # How well all that does.
    {"evaluation"},
    # Ways out, and training.
    {"server", "training", "captions", "hub"},
    # The composition root, and the commands on top of it.
    {"app"},
    {"cli", "__main__"},
]
"""Modules and packages directly in `streamer`, lowest layer first; modules (not packages) of one layer may
import each other."""

EXCEPTIONS = {"audio.redact": 0}
"""Modules of a lower layer than their package: they import nothing and lie where their subject is."""

FORBIDDEN = [("engine", "scheduler"), ("training", "server"), ("server", "training")]
"""Sideways imports that are not allowed either, whatever the layer."""

SYSTEM_TESTS = "system"
"""tests/system/ is for what belongs to no single module: several parts, real servers, real time."""

CROSS_CUTTING = {"test_layers", "test_readme", "test_wheel", "test_setup", "test_rtsp", "test_dashboard"}

HEAVY = {
    "torch",
    "av",
    "transformers",
    "whisper",
    "sounddevice",
    "scipy",
    "onnxruntime",
    "openvino",
    "numba",
    "silero_vad",
}


@dataclass(frozen=True)
class Import:
    """`importer` (a module below streamer, dotted) imports `name` at `line`."""

    importer: str
    name: str
    line: int
    lazy: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    """Every module below streamer by its dotted name ('' for streamer itself)."""
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "_data" not in path.parts}


def imports(importer: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text("utf-8"), str(path))
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, id(node) in lazy)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                known = full.removeprefix("streamer.") in sources()
                yield Import(importer, full if known else node.module, node.lineno, id(node) in lazy)


def all_imports() -> list[Import]:
    return [one for name, path in sources().items() for one in imports(name, path)]


def internal() -> list[tuple[Import, str]]:
    """Imports of streamer's own modules, with the module's name below streamer."""
    return [
        (one, one.name.removeprefix("streamer").removeprefix("."))
        for one in all_imports()
        if one.name.split(".")[0] == "streamer"
    ]


def layer(module: str) -> int:
    if module in EXCEPTIONS:
        return EXCEPTIONS[module]
    top = module.partition(".")[0]
    for number, names in enumerate(LAYERS):
        if top in names:
            return number
    raise AssertionError(f"streamer.{top} is in no layer: give it one in LAYERS")


def complaint(one: Import, target: str) -> str | None:
    """Why an import is not allowed, None if it is."""
    mine, other = one.importer.partition(".")[0], target.partition(".")[0]
    if mine == other:
        return None
    where = f"streamer.{one.importer or '__init__'}:{one.line} imports streamer.{target}"
    if (mine, other) in FORBIDDEN:
        return f"{where}: forbidden"
    above, below = layer(one.importer), layer(target)
    if below > above:
        return f"{where}: upwards, from layer {above} to {below}"
    packages = [name for name in (mine, other) if (PACKAGE / name).is_dir() and name]
    if below == above and above > 0 and packages:
        return f"{where}: sideways, within layer {above}"
    return None


def test_imports_go_down_only() -> None:
    found = [text for one, target in internal() if (text := complaint(one, target))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("server.app", "bus", True),
        ("bus", "server.app", False),
        ("audio.url", "vad.webrtc", False),
        ("audio.url", "audio.ring", True),
        ("pipeline", "bus", True),
        ("engine", "scheduler", False),
        ("training.fit", "server.app", False),
        ("logs", "audio.redact", True),
        ("logs", "audio.ring", False),
    ],
)
def test_the_rule_itself(importer: str, target: str, allowed: bool) -> None:
    assert (complaint(Import(importer, f"streamer.{target}", 1, False), target) is None) is allowed


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one, target in internal():
        if not one.lazy and target != one.importer:
            graph.setdefault(one.importer, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' <- '.join(error.args[1])}")


def test_modules_stay_small() -> None:
    long = {
        name: count for name, path in sources().items() if (count := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"longer than 400 lines: {long}"


# ---------------------------------------------------------------- other packages


DISTRIBUTIONS = {
    "webrtcvad": "webrtcvad-wheels",
    "prometheus_client": "prometheus-client",
    "whisper": "openai-whisper",
}
DISTRIBUTIONS |= {"silero_vad": "silero-vad", "huggingface_hub": "huggingface-hub"}
DISTRIBUTIONS |= {"pydantic_core": "pydantic"}


def declared() -> tuple[set[str], set[str]]:
    """Names of the core dependencies, and of those and every extra's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=!~; ]", one)[0].lower() for one in requirements}

    core = names(project["dependencies"])
    extras = [names(wanted) for extra, wanted in project["optional-dependencies"].items() if extra != "test"]
    return core, core.union(*extras)


def test_other_packages_are_declared_and_optional_ones_are_lazy() -> None:
    core, anything = declared()
    found = []
    for one in all_imports():
        top = one.name.split(".")[0]
        if top == "streamer" or top in sys.stdlib_module_names:
            continue
        distribution = DISTRIBUTIONS.get(top, top)
        if distribution not in anything:
            found.append(f"streamer.{one.importer}:{one.line}: {top} is in no extra of pyproject.toml")
        elif distribution not in core and not one.lazy and not one.importer.startswith("training"):
            found.append(
                f"streamer.{one.importer}:{one.line}: {top} is optional, import it inside a function"
            )
    assert not found, "\n".join(found)


# ---------------------------------------------------------------- what importing does


def in_a_fresh_python(code: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_the_command_line_starts_without_heavy_packages() -> None:
    code = (
        f"import sys, json, streamer.cli\nprint(json.dumps(dict(heavy=sorted({HEAVY!r} & set(sys.modules)))))"
    )
    assert in_a_fresh_python(code) == {"heavy": []}


def test_importing_has_no_effect() -> None:
    names = [f"streamer.{name}" for name in sources() if name and not name.endswith("__main__")]
    code = f"""
import importlib, json, logging, os, random, sys, threading
import torch
before = (torch.get_num_threads(), dict(os.environ), os.getcwd(), threading.excepthook, sys.excepthook)
for name in {names!r}:
    importlib.import_module(name)
after = (torch.get_num_threads(), dict(os.environ), os.getcwd(), threading.excepthook, sys.excepthook)
print(json.dumps(dict(
    unchanged=before == after,
    threads=[thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
    handlers=[repr(handler) for handler in logging.getLogger().handlers],
)))
"""
    assert in_a_fresh_python(code) == {"unchanged": True, "threads": [], "handlers": []}


# ---------------------------------------------------------------- the tests themselves


def test_tests_mirror_the_package() -> None:
    modules = {name.replace(".", "/") for name in sources()}
    stray = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        relative = path.relative_to(ROOT / "tests")
        if relative.parts[0] == SYSTEM_TESTS or path.stem in CROSS_CUTTING:
            continue
        folder, name = relative.parent.as_posix(), path.stem.removeprefix("test_")
        mirrored = name if folder == "." else f"{folder}/{name}"
        # test_ring_overflow.py is about ring.py too, and tests/server/test_server.py about the package.
        candidates = {mirrored} | {mirrored[: match.start()] for match in re.finditer("_", mirrored)}
        if not candidates & modules and name != Path(folder).name:
            stray.append(f"tests/{relative}: no module streamer/{mirrored}.py")
    assert not stray, "\n".join(
        [*stray, f"(tests of several parts together belong in tests/{SYSTEM_TESTS}/)"]
    )


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]
