"""The codebase's own rules: levels of imports, who prints, who draws, what the CLI offers."""

import ast
import inspect
from pathlib import Path

import pytest

from stkit import frames, recipes
from stkit.cli import poison as poison_cli

ROOT = Path(__file__).parents[1] / "stkit"
LEVELS = [
    {"errors", "recipes", "parts", "frames", "job", "toml", "schedules", "header", "shape",
     "report", "results", "entries", "tables", "anchors", "curves", "thumbnails", "page",
     "stages", "grid", "estimate", "locks"},
    {"rng", "storage", "runtime", "sources", "data", "augment", "models", "pgd", "clusters",
     "acm_score", "capture", "feed", "parallel", "parting", "step", "evaluation", "artifacts",
     "checkpoints", "inspection", "exporting", "plan", "prepare", "mix", "dropout"},
    {"poisons", "training"},
    {"importing", "plots"},
    {"cli"},
]  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def level(name: str) -> int:
    return next(i for i, names in enumerate(LEVELS) if name in names)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, as dotted names, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_levels(path):
    name = unit(path)
    if name in ("__init__", "__main__"):
        return
    mine = level(name)
    for found in imports(path):
        top, _, rest = found.partition(".")
        if mine == 0:
            assert top not in ("torch", "numpy", "timm", "torchvision"), found
        if top == "stkit" and rest and rest.split(".")[0] not in ("__version__", name):
            other = rest.split(".")[0]
            assert level(other) <= mine, f"{path.name} imports the higher {other}"
            if mine == 2:
                assert level(other) < 2, "poisons and training never import each other"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_cli_prints_and_only_rng_seeds(path):
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    if unit(path) != "cli":
        assert not calls & {"print", "typer.echo", "sys.exit"}
    if unit(path) not in ("rng", "models"):
        assert not calls & {"torch.manual_seed", "np.random.seed", "random.seed"}


def test_every_recipe_field_is_an_option():
    for method, recipe in recipes.METHODS.items():
        options = inspect.signature(poison_cli.command(method, recipe)).parameters
        assert set(recipe.__dataclass_fields__) <= set(options), method
    used = {name for recipe in recipes.METHODS.values() for name in recipe.__dataclass_fields__}
    assert used == set(poison_cli.FIELDS)


def test_names_are_described():
    for name in [*recipes.METHODS, *frames.FRAMES]:
        assert recipes.ABOUT[name]


def test_soft_limits():
    """A file over 300 lines is hard to find one's way in."""
    long = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    assert {name: count for name, count in long.items() if count > 300} == {}
