"""Who may import what: one table over the syntax trees, and fresh processes for what really gets loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("sweeps", "isoinit", "analysis")

MAY_BE_IMPORTED_BY: Final = {
    # A module of the left column may be imported only from within the modules of the right one;
    # the longest matching name counts, so `isoinit.theory` has a rule of its own.
    "sweeps": ("sweeps",),
    "isoinit": ("isoinit", "sweeps"),
    "isoinit.theory": ("isoinit", "analysis", "sweeps"),
    "analysis": ("analysis", "sweeps.closing", "sweeps.ending"),  # the end of a sweep draws and tells its map
    "analysis.schema": ("analysis", "sweeps"),
    "analysis.outcome": ("analysis", "sweeps"),
    "analysis.gp": ("analysis", "sweeps"),
    "analysis.kernels": ("analysis", "sweeps"),
    "analysis.points": ("analysis", "sweeps"),
    "analysis.region": ("analysis", "sweeps.closing", "sweeps.goal"),  # when to stop is read off the same map
    "analysis.threads": ("analysis", "sweeps"),
    "analysis.verdict": ("analysis", "sweeps"),
    "analysis.words": ("analysis", "sweeps"),
    "torch": (
        "isoinit.activations",
        "isoinit.asked",
        "isoinit.chain",
        "isoinit.curvature",
        "isoinit.held",
        "isoinit.layers",
        "isoinit.narrow",
        "isoinit.networks",
        "isoinit.parts",
        "isoinit.passes",
        "isoinit.probe",
        "isoinit.resnet",
        "isoinit.schemes",
        "isoinit.signals",
        "isoinit.spectrum",
        "sweeps",
    ),
    "numba": ("isoinit.narrow", "sweeps.kernel"),  # a compiler: to import and to start it takes a second
    "grpc": ("sweeps.ray_address",),
    "ray": ("sweeps.search", "sweeps.pack", "sweeps.tuner", "sweeps.hooks", "sweeps.writer", "sweeps.cluster"),
    "optuna": ("sweeps.space", "sweeps.samplers", "sweeps.boundary", "sweeps.search", "sweeps.trials"),
    "mlflow": (
        "sweeps.mlflow_runs",
        "sweeps.mlflow_store",
        "sweeps.tracking",
        "sweeps.parentrun",
        "sweeps.trialruns",
        "sweeps.bulk",
        "sweeps.export",
    ),
    "matplotlib": ("analysis.draw",),
    "sklearn": (),  # seconds; its digits are read from its file
    "pooch": ("sweeps.sources",),
    "pydantic": ("sweeps",),
    "yaml": ("analysis.store", "sweeps"),
    "pyarrow": ("analysis", "sweeps"),
}


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """`line: who imports what`, for each import of `module`, lazy ones too, that the table forbids."""
    found = []
    for line, target in _imports(module, ast.parse(source), is_package):
        rule = max((name for name in MAY_BE_IMPORTED_BY if _within(target, name)), key=len, default=None)
        if rule and not any(_within(module, owner) for owner in MAY_BE_IMPORTED_BY[rule]):
            found.append(f"{line}: {module} imports {target}")
    return found


def _within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def _imports(module: str, tree: ast.AST, is_package: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level + is_package or None] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            constants = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            yield from ((node.lineno, name) for name in constants if isinstance(name, str))


def _modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def test_no_module_imports_what_it_may_not() -> None:
    modules = dict(_modules())
    assert {"analysis.outcome", "sweeps.spec", "isoinit.theory"} <= modules.keys()
    assert [
        v
        for module, path in modules.items()
        for v in violations(module, path.read_text(), is_package=path.name == "__init__.py")
    ] == []


def beyond(package: str, names: set[str]) -> set[str]:
    """Those of our modules, or of their contents, that are not within the package."""
    return {name for name in names if name.partition(".")[0] in PACKAGES and not _within(name, package)}


def test_the_boundary_sampler_can_be_published_with_its_model_alone() -> None:
    """It imports nothing of `sweeps` but itself; the model that it needs, nothing of ours but parts of the model."""
    sources = [(m, ast.parse(p.read_text()), p.name == "__init__.py") for m, p in _modules()]
    model = {"analysis.gp", "analysis.kernels", "analysis.points", "analysis.posterior", "analysis.threads"}
    own = {target for source in sources if _within(source[0], "sweeps.boundary") for _, target in _imports(*source)}
    needed = {target for source in sources if source[0] in model for _, target in _imports(*source)}
    assert {"sweeps.boundary.sampler.BoundarySampler", "analysis.gp.LogisticGP"} <= own
    for name in beyond("sweeps.boundary", own) | beyond("sweeps.boundary", needed):
        assert any(_within(name, part) for part in model), name
    assert beyond("sweeps.boundary", {"sweeps.space.Space", "sweeps.boundary.memory"}) == {"sweeps.space.Space"}


def undeclared(roots: set[str]) -> set[str]:
    """Those of the top-level modules that come with none of the distributions that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    providers = packages_distributions()
    return {root for root in roots if declared.isdisjoint(map(canonicalize_name, providers.get(root, [])))}


def test_every_import_is_a_declared_dependency() -> None:
    """What another dependency happens to bring along may be gone with its next release."""
    sources = ((module, ast.parse(path.read_text()), path.name == "__init__.py") for module, path in _modules())
    targets = {target for source in sources for _, target in _imports(*source)}
    roots = {target.partition(".")[0] for target in targets} - sys.stdlib_module_names - set(PACKAGES) - {""}
    assert {"torch", "numpy", "pydantic", "yaml"} <= roots
    assert undeclared(roots) == set()
    assert undeclared({"torch", "pytest", "no_such_module"}) == {"pytest", "no_such_module"}


def test_a_folder_that_holds_a_clone_does_not_hide_the_package(tmp_path: Path) -> None:
    (tmp_path / "isoinit").symlink_to(ROOT)
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = [sys.executable, "-c", "from isoinit import MLP"]
    done = subprocess.run(program, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\ninstalled before pyproject.toml was changed? pip install -e . again"


def test_every_folder_of_modules_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == [module for module, path in sorted(_modules()) if path.name == "__init__.py"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("analysis.region", "from sweeps.spec import Point"),
        ("analysis.region", "from isoinit import probe"),
        ("analysis.region", "import isoinit.schemes as s"),
        ("analysis.maps", "def draw():\n    import matplotlib.pyplot"),
        ("analysis.maps", "import importlib\nimportlib.import_module('torch')"),
        ("isoinit.theory.jacobian", "import torch.nn"),
        ("isoinit.theory.jacobian", "from ..networks import MLP\nfrom torch import nn"),
        ("isoinit.probe", "from analysis.schema import PROBES"),
        ("sweeps.train", "import ray"),
        ("sweeps.ledger", "from . import spec\nfrom mlflow.tracking import MlflowClient"),
        ("sweeps.plan", "import optuna"),
        ("sweeps.export", "from analysis.region import RegionModel"),
    ],
)
def test_the_table_rejects(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


def test_relative_imports_are_resolved() -> None:
    def targets(module: str, source: str, is_package: bool = False) -> list[str]:
        return [target for _, target in _imports(module, ast.parse(source), is_package)]

    assert targets("isoinit.theory.jacobian", "from .gaussian import x") == ["isoinit.theory.gaussian.x"]
    assert targets("isoinit.theory.jacobian", "from .. import probe") == ["isoinit.probe"]
    assert targets("isoinit.theory", "from .gaussian import x", is_package=True) == ["isoinit.theory.gaussian.x"]
    assert targets("isoinit.theory", "from ..probe import x", is_package=True) == ["isoinit.probe.x"]


HEAVY: Final = {"torch", "ray", "optuna", "mlflow"}
ALL_OF_THEORY = [m for m, _ in _modules() if _within(m, "isoinit.theory")]
DRAWING: Final = ("analysis.draw", "analysis.report")  # they and no others may load matplotlib
ALL_OF_ANALYSIS = [
    m
    for m, _ in _modules()
    if _within(m, "analysis") and m != "analysis.__main__" and not any(_within(m, d) for d in DRAWING)
]


def loaded(*modules: str) -> set[str]:
    """Top-level modules in memory after importing `modules` in a fresh process."""
    program = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (["isoinit"], HEAVY | {"sweeps", "analysis", "matplotlib", "scipy"}),
        (ALL_OF_THEORY, HEAVY | {"sweeps", "analysis", "matplotlib", "pyarrow"}),
        (["analysis", "isoinit.theory"], HEAVY | {"sweeps", "matplotlib"}),
        (ALL_OF_ANALYSIS, HEAVY | {"sweeps", "matplotlib"}),
        (["sweeps.spec", "sweeps.reading"], HEAVY | {"matplotlib", "scipy", "sklearn", "pyarrow"}),
        (["sweeps.writer"], HEAVY - {"ray"} | {"matplotlib", "sklearn", "pandas"}),  # a process of every sweep
        (["sweeps.pack"], {"optuna", "mlflow", "matplotlib", "sklearn"}),  # every worker
    ],
    ids=["isoinit", "theory", "analysis-and-theory", "all-of-analysis", "spec", "writer", "worker"],
)
def test_light_imports_stay_light(modules: list[str], forbidden: set[str]) -> None:
    assert loaded(*modules) & forbidden == set()


def test_heavy_imports_would_be_seen() -> None:
    assert loaded("analysis", "isoinit.theory", *HEAVY) >= HEAVY
