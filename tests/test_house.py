"""The house: imports run one way, start fast, and nothing speaks unasked."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import tsdiff

ROOT = Path(tsdiff.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# What a part of the house may know of the others; itself is understood.
MAY_KNOW = {
    "networks": {"random"},
    "processes": {"random"},
    "solvers": {"random"},
    "encoders": {"random"},
    "decoders": {"networks", "processes", "solvers", "random"},
    "datasets": {"_version", "random"},
    "transforms": {"datasets", "random"},
    "evaluation": {"datasets", "transforms", "random", "_version"},
    "estimators": {
        "datasets",
        "transforms",
        "encoders",
        "decoders",
        "guidance",
        "networks",
        "processes",
        "solvers",
        "random",
        "_version",
    },
    "guidance": {"datasets", "transforms", "decoders", "solvers", "random"},
    "benchmark": {"datasets", "estimators", "evaluation", "networks", "_version"},
    "random": set(),
    "_version": set(),
}
PURE = ("networks", "processes", "solvers", "encoders", "decoders", "random")
FORBIDDEN = ("gluonts.torch", "lightning", "lightning_fabric", "pickle", "cloudpickle")


def part_of(path: Path) -> str:
    """The room a module stands in: ``networks`` for ``tsdiff/networks/mlp.py``."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function, by absolute name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import, which this test can't follow"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[str(p.relative_to(ROOT)) for p in paths])


FRONT_DOORS = ("__init__", "__main__", "cli")
INNER = [path for path in MODULES if part_of(path) not in FRONT_DOORS]


@each(INNER)
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    known = MAY_KNOW[part] | {part}
    for name in imports_of(path):
        if within(name, "tsdiff") and name != "tsdiff":
            room = name.split(".")[1]
            # ``from tsdiff import solvers`` counts as well.
            assert room in known, f"{path} may not know {name}"


@each([path for path in MODULES if part_of(path) in PURE])
def test_the_mathematics_knows_torch_and_numerical_libraries_alone(path: Path) -> None:
    allowed = {"torch", "torchdiffeq", "scipy", "tsdiff", *sys.stdlib_module_names}
    strangers = {name for name in imports_of(path) if name.split(".")[0] not in allowed}
    assert not strangers


@each(MODULES)
def test_nobody_imports_rivals_or_pickle(path: Path) -> None:
    for name in imports_of(path):
        assert not any(within(name, package) for package in FORBIDDEN), name


@each(MODULES)
def test_lightning_stays_in_training(path: Path) -> None:
    uses = any(within(name, "pytorch_lightning") for name in imports_of(path))
    if uses:
        where = path.relative_to(ROOT)
        assert where.parts[0] == "estimators", where
        assert where.name in {"training.py", "lightning_module.py"}, where


@each(INNER)
def test_only_the_command_line_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            assert getattr(function, "id", None) != "print", f"{path}:{node.lineno} prints"
            # Global seeds, whoever they belong to.
            seeds = isinstance(function, ast.Attribute) and function.attr in (
                "manual_seed_all",
                "seed_everything",
            )
            assert not seeds, f"{path}:{node.lineno} seeds globally"


@each([path for path in MODULES if path.name != "_version.py"])
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), path


def test_the_room_list_is_complete() -> None:
    rooms = {part_of(path) for path in MODULES}
    assert rooms - set(FRONT_DOORS) == set(MAY_KNOW)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_that_is_only_sometimes_needed() -> None:
    loaded = run("import sys, tsdiff; print(*sys.modules)").split()
    unwanted = (
        "gluonts.torch",
        "lightning",
        "pytorch_lightning",
        "matplotlib",
        "sklearn.linear_model",
        "typer",
        "rich",
    )
    found = [name for name in loaded if any(within(name, package) for package in unwanted)]
    assert not found


def test_importing_has_no_side_effects() -> None:
    code = """
import random, warnings
import numpy as np, torch, multiprocessing, logging
def state():
    return (
        random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),
        torch.get_default_dtype(), torch.get_num_threads(),
        multiprocessing.get_start_method(allow_none=True), logging.getLogger().level,
        len(logging.getLogger().handlers),
    )
before = state()
import tsdiff, tsdiff.estimators, tsdiff.evaluation, tsdiff.datasets
print(state() == before)
"""
    assert run(code).strip() == "True"


@pytest.mark.parametrize(
    "room", ["benchmark", "cli", "datasets", "decoders", "estimators", "evaluation", "guidance"]
)
def test_every_room_can_be_entered_first(room: str) -> None:
    """No import cycle that works only when another part came before."""
    run(f"import tsdiff.{room}")


@pytest.mark.parametrize(
    "room",
    [
        "benchmark",
        "datasets",
        "decoders",
        "estimators",
        "evaluation",
        "guidance",
        "networks",
        "processes",
        "solvers",
        "transforms",
        "encoders",
    ],
)
def test_what_is_announced_is_there(room: str) -> None:
    module = __import__(f"tsdiff.{room}", fromlist=["__all__"])
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_oldest_versions_are_those_that_are_allowed():
    """``make oldest`` tests what setup.cfg promises."""
    top = ROOT.parent
    pins = dict(
        line.split("==")
        for line in (top / "oldest.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    setup = configparser.ConfigParser()
    setup.read(top / "setup.cfg")
    extras = setup["options.extras_require"]
    listed = setup["options"]["install_requires"] + "".join(
        extras[name] for name in ("parquet", "distributed", "statistical", "test")
    )
    allowed = {
        found.name: found
        for line in listed.splitlines()
        if line and "%" not in line
        for found in [Requirement(line)]
        if found.name != "scoringrules"  # of Python 3.11 on
    }
    assert allowed.keys() == pins.keys()
    for name, requirement in allowed.items():
        (oldest,) = (part.version for part in requirement.specifier if part.operator == ">=")
        length = len(Version(oldest).release)
        assert Version(pins[name]).release[:length] == Version(oldest).release, name
