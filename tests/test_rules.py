"""The codebase's own rules: levels of imports, who prints, who draws, what the CLI offers."""

import ast
import inspect
from functools import cache
from pathlib import Path

import pytest

from stkit.cli import poison as poison_cli
from stkit.recipes import frames, poisons
from stkit.recipes.settings import settings

ROOT = Path(__file__).parents[1] / "stkit"
LEVELS = {
    "core": (), "recipes": ("core",), "data": ("core", "recipes"),
    "engine": ("core", "recipes", "data"), "models": ("core", "recipes", "data", "engine"),
    "measure": ("core", "recipes", "data", "engine", "models"),
    "poisons": ("core", "recipes", "data", "engine", "models", "measure"),
    "training": ("core", "recipes", "data", "engine", "models", "measure"),
    "checkup": ("core", "recipes", "data", "engine", "models", "measure", "poisons", "training"),
    "report": ("core", "recipes"), "bench": ("core", "recipes", "report"),
}  # fmt: skip
"""What each folder may import besides itself; `cli` may import all. A run writes what a report
reads, so bench stands on report. A kind of picture may also show what is measured of a model."""
WITH_TORCH = {"core/artifact.py", "core/arrays.py", "core/rng.py"}
TORCHLESS = {"core", "recipes", "report", "bench"}
LAYOUTS = {("data", "importing"), ("data", "exporting")}
FILES = sorted(ROOT.rglob("*.py"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All that a file is made of."""
    return list(ast.walk(ast.parse(path.read_text())))


def room(path: Path) -> str:
    """The folder of stkit that a file stands in."""
    return path.relative_to(ROOT).parts[0]


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, as dotted names, wherever in the file."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_runs_upwards(path):
    mine = room(path)
    if mine in ("cli", "__init__.py", "__main__.py"):
        return
    allowed = {mine, *LEVELS[mine], "__version__"}
    if path.parent.name == "plots":
        allowed |= {*LEVELS["measure"], "measure", "training"}
    for found in imports(path):
        top, _, rest = found.partition(".")
        if top == "stkit":
            assert rest.split(".")[0] in allowed, f"{mine} may not import {found}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_must_answer_at_once_imports_no_torch(path):
    name = str(path.relative_to(ROOT))
    if path.parent.name == "plots":  # a kind of picture imports what is heavy where it draws
        return
    if (room(path) in TORCHLESS and name not in WITH_TORCH) or name == "training/schedule.py":
        heavy = {found.partition(".")[0] for found in imports(path)}
        assert not heavy & {"torch", "numpy", "timm", "torchvision"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_cli_prints_and_only_rng_seeds(path):
    calls = {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}
    if room(path) != "cli":
        assert not calls & {"print", "typer.echo", "sys.exit"}
    if room(path) not in ("core", "models"):
        assert not calls & {"torch.manual_seed", "np.random.seed", "random.seed"}


NETWORK = {
    "aiohttp", "asyncio", "ftplib", "http", "httpcore", "httpx", "huggingface_hub", "requests",
    "smtplib", "ssl", "urllib", "urllib3", "xmlrpc",
}  # fmt: skip
OF_SOCKETS = {"gethostname", "getdefaulttimeout", "setdefaulttimeout"}
"""What of `socket` asks nobody."""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_asks_the_network(path):
    """But torchvision for the two CIFARs and timm for pretrained weights, each in one function."""
    found = imports(path)
    assert not {name.partition(".")[0] for name in found} & NETWORK
    assert not [name for name in found if name.startswith("socket.")]
    tree = nodes(path)
    used = {
        n.attr for n in tree if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "socket"
    }
    assert used <= OF_SOCKETS
    asked = {n.arg: ast.unparse(n.value) for n in tree if isinstance(n, ast.keyword)}
    if "download" in asked:
        assert str(path.relative_to(ROOT)) == "data/sources.py"
    assert not {"torch.hub", "hub.load", "load_state_dict_from_url"} & {
        ast.unparse(n) for n in tree if isinstance(n, ast.Attribute | ast.Name)
    }


PROCESS = {
    "torch.set_num_threads", "torch.set_num_interop_threads", "torch.set_default_dtype",
    "torch.set_default_device", "torch.set_grad_enabled", "torch.use_deterministic_algorithms",
    "torch.set_float32_matmul_precision", "torch.cuda.set_device", "dist.init_process_group",
    "arrays.keep_freed",
}  # fmt: skip
"""Calls that the whole process notices."""
SETTINGS = {"fp32_precision", "benchmark", "deterministic", "allow_tf32"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_configures_the_process(path):
    """By `configure`; a library call puts back what it sets, which tests/test_door.py checks."""
    if room(path) == "cli" or path.name in ("process.py", "clusters.py", "threads.py"):
        return
    for node in nodes(path):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in PROCESS
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            assert node.attr not in SETTINGS


def test_every_recipe_field_is_an_option():
    for method, recipe in poisons.METHODS.items():
        options = inspect.signature(poison_cli.command(method, recipe)).parameters
        assert set(settings(recipe)) <= set(options), method
        for name, about in settings(recipe).items():
            assert about.help.endswith("."), f"{method}: {name} has no help"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_poisons_name_stands_in_its_recipe_and_module_alone(path):
    """Else adding one would mean opening more files; `data` knows the layouts of its authors.

    `cuda` is torch's word for a device first: where that word stands, it chooses among devices."""
    assert not named(path, {*poisons.METHODS, *poisons.variants()} - {"cuda"})


def test_a_poison_may_be_called_as_what_others_name_inside():
    """Poisons' modules have words of their own, keys of their state files and random streams."""
    assert not [path for path in FILES if named(path, {"noise"})]
    for name in ("poisons/__init__.py", "poisons/surrogate.py", "cli/train.py", "data/images.py"):
        words = {node.value for node in ast.walk(ast.parse((ROOT / name).read_text()))
                 if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip
        assert named(ROOT / name, words) == words, "but what chooses among poisons has not"


def named(path: Path, known: set[str]) -> set[str]:
    """The poisons that a file names. A poison's own module chooses among none: it may use words
    that are another's name."""
    name = path.relative_to(ROOT)
    own = name.parts[0] == "poisons" and name.stem in poisons.METHODS
    if own or name.parts[:2] == ("recipes", "poisons") or name.parts[:2] in LAYOUTS:
        return set()
    return known & {
        node.value
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_names_are_described():
    assert all(recipe.about for recipe in poisons.METHODS.values())
    assert all(frame.about for frame in frames.FRAMES.values())


def test_soft_limits():
    """A file over 300 lines is hard to find one's way in, a function over 45 hard to follow.

    Signature and docstring of a function do not count: a command's are its options and its help.
    """
    long = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    assert {name: count for name, count in long.items() if count > 300} == {}
    bodies = {
        f"{path.relative_to(ROOT)}: {node.name}": lines(node)
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: count for name, count in bodies.items() if count > 45} == {}


def lines(function: ast.FunctionDef) -> int:
    """How many its body has."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0
