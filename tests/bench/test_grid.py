"""Grids: what a TOML means, which stages its cells share, what is refused, what it may cost."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stkit.bench import estimate, grid
from stkit.core import header
from stkit.core.errors import ArtifactError, RecipeError

DATA = '[data]\nsource = "digits"\n'
PLAIN = f'poisons = ["clean", "sp"]\nframes = ["nt", "st"]\n{DATA}'
KNOWN = {"train": {"epochs", "gamma"}, "poison sp": {"bound"}, "poison em": {"scope"}}


def made(text: str, known=None) -> grid.Grid:
    return grid.parse(tomllib.loads(text), known)


def names(text: str) -> list[str]:
    return [cell.name for cell in made(text).cells]


def test_cells_are_the_product_of_the_axes():
    text = 'models = ["small", "resnet18"]\nseeds = [0, 7]\nrates = [0.5, 1.0]\n' + PLAIN
    found = names(text)
    assert len(found) == len(set(found)) == (1 + 2) * 2 * 2 * 2  # clean images have no rate
    assert {"clean_nt_small_s0", "sp-r0.5_st_resnet18_s7", "sp_nt_small_s7"} <= set(found)


def test_defaults():
    assert names(PLAIN) == [f"{p}_{f}_resnet18_s0" for p in ("clean", "sp") for f in ("nt", "st")]
    cell = made(PLAIN).cells[-1]
    assert cell.settings == {
        "data": {"name": "digits", "limit": None, "size": None},
        "poison": {"name": "sp", "method": "sp", "options": {}, "rate": 1.0, "seed": 0},
        "frame": {"name": "st", "frame": "st"}, "model": "resnet18", "seed": 0, "train": {},
    }  # fmt: skip
    assert made(PLAIN).keep and not made("keep = false\n" + PLAIN).keep


def test_every_stage_is_there_once_and_after_what_it_needs():
    stages = made("seeds = [0, 1]\n" + PLAIN).stages()
    assert [stage.name for stage in stages][:2] == ["clean", "test"]
    assert sum(stage.verb == ("poison", "sp") for stage in stages) == 1
    assert sum(stage.verb == ("train",) for stage in stages) == 8
    for place, stage in enumerate(stages):
        assert {other.file for other in stage.needs} <= {s.file for s in stages[:place]}


def test_commands():
    *_, poison, _, train = made(PLAIN + "[train]\nepochs = 3\n").stages()
    words = poison.command(Path("w"))
    assert words[:2] == ["poison", "sp"] and words[2].startswith("w/clean-")
    assert words[3:] == ["--seed=0", "-o", f"w/{poison.file}"]
    words = train.command(Path("w"))
    assert words[:2] == ["train", f"w/{poison.file}"]
    assert words[2:6] == ["--frame=st", "--model=resnet18", "--seed=0", "--epochs=3"]
    assert words[6] == "--test" and words[-3:] == ["--resume", "-o", f"w/{train.file}"]


def test_options_of_a_frame_come_over_those_of_all():
    text = PLAIN + "[train]\nepochs = 3\nlr = 0.1\nsync-bn = true\nx = false\n"
    text += '[[frame]]\nname = "long"\nframe = "nt"\nepochs = 9\n'
    *_, cell = made(text).cells
    assert cell.settings["train"] == {"epochs": 9, "lr": 0.1, "sync-bn": True, "x": False}
    assert cell.settings["frame"]["options"] == {"epochs": 9}
    assert cell.stage.options[3:] == ("--epochs=9", "--lr=0.1", "--sync-bn")


def test_a_poison_for_each_seed_or_one_for_all():
    def poisons(text: str) -> list[str]:
        return [s.name for s in made(text).stages() if s.verb[0] == "poison"]

    one = "seeds = [3, 4]\n" + PLAIN
    assert poisons(one) == ["sp_s0"] and poisons("poison-seed = 5\n" + one) == ["sp_s5"]
    each = made('poison-seed = "each"\n' + one)
    poisoned = {c.name: c.settings["poison"]["seed"] for c in each.cells if "sp" in c.name}
    assert poisoned == {f"sp_{f}_resnet18_s{s}": s for f in ("nt", "st") for s in (3, 4)}
    own = '[[poison]]\nname = "em"\nseed = 9\nrates = [0.2]\n'
    assert poisons('poison-seed = "each"\n' + one + own) == ["sp_s3", "sp_s4", "em_s9"]


def test_a_poison_is_made_once_for_all_its_rates():
    stages = made("rates = [0.123456789, 0.5, 1]\n" + PLAIN).stages()
    (whole,) = (stage for stage in stages if stage.verb == ("poison", "sp"))
    fewer = [stage for stage in stages if stage.verb == ("rate",)]
    assert [stage.name for stage in fewer] == ["sp-r0.123457_s0", "sp-r0.5_s0"]
    clean = next(stage for stage in stages if stage.name == "clean")
    assert all(set(stage.needs) == {whole, clean} for stage in fewer)
    words = fewer[0].command(Path("w"))
    assert words == [
        "rate", f"w/{whole.file}", "--poison-rate=0.123456789", "--clean", f"w/{clean.file}",
        "-o", f"w/{fewer[0].file}",
    ]  # fmt: skip


def test_images_poisoned_already():
    text = PLAIN + '[[poison]]\nname = "tue"\nfile = "there/tue.safetensors"\n'
    *_, cell = made(text).cells
    assert cell.poison == "there/tue.safetensors"
    assert cell.settings["poison"] == {"name": "tue", "file": "tue.safetensors"}


def test_files_are_named_after_settings():
    """A changed option changes the files it bears on and no others."""
    before, after = made(PLAIN), made(PLAIN + "limit = 50\n")
    assert {s.file for s in before.stages()} & {s.file for s in after.stages()} == {
        next(s.file for s in before.stages() if s.name == "test")
    }
    longer = made(PLAIN + "[train]\nepochs = 2\n")
    shared = {s.name for s in before.stages() if s.file in {s.file for s in longer.stages()}}
    assert shared == {"clean", "test", "sp_s0"}


def test_results_hold_no_paths(tmp_path):
    text = PLAIN.replace('"digits"', f'"{tmp_path}/faces"')
    cell = made(text).cells[0]
    assert cell.settings["data"]["name"] == "faces" and str(tmp_path) not in str(cell.settings)
    assert made(text + 'name = "cifar10"\n').cells[0].settings["data"]["name"] == "cifar10"


def test_another_source_or_test_is_another_setting(tmp_path, made):
    """And what they hold, where they are files."""

    def cells(text: str) -> grid.Grid:
        return grid.parse(tomllib.loads(PLAIN.replace('"digits"', text)))

    def data(text: str) -> dict:
        return cells(text).cells[0].settings["data"]

    plain = {"name": "c", "limit": None, "size": None}
    assert data('"a/c"') == data('"b/c"') == plain
    assert data('"a/c10"\nname = "c"') == {**plain, "source": "c10"}
    file = tmp_path / "c.safetensors"
    file.write_bytes((made / "clean.safetensors").read_bytes())
    text = f'"{file}"\ntest = "t"\n[[poison]]\nname = "f"\nfile = "{file}"'
    before = cells(text)
    digest = header.read(file)["digest"][:8]
    settings = before.cells[-1].settings
    assert settings["data"] == {**plain, "source": f"c {digest}", "test": "t"}
    assert settings["poison"]["file"] == f"c.safetensors {digest}"
    file.write_bytes((made / "ops.safetensors").read_bytes())
    after = cells(text)
    assert after.cells[-1].settings["poison"]["file"] != settings["poison"]["file"]
    shared = {s.file for s in before.stages()} & {s.file for s in after.stages()}
    assert shared == {s.file for s in before.stages() if s.name == "test"}


def test_equal_augmentations_are_equal_settings():
    def cell(augment: str) -> grid.Cell:
        return made(PLAIN + f'[train]\naugment = "{augment}"\n').cells[0]

    assert cell("JPEG , CG") == cell("jpeg,cg") != cell("cg,jpeg")


def test_another_source_keeps_the_name(tmp_path):
    path = tmp_path / "g.toml"
    path.write_text(PLAIN.replace("digits", "cifar10"))
    cell = grid.read(path, source="copies/c10").cells[0]
    assert cell.settings == grid.read(path).cells[0].settings
    assert cell.stage.needs[0].source == "copies/c10"


def test_a_file_holds_one_split():
    with pytest.raises(RecipeError, match="has no test"):
        made(PLAIN.replace("digits", "x.safetensors"))
    found = made(PLAIN.replace("digits", "x.safetensors") + 'test = "t.safetensors"\n')
    test = found.stages()[1]
    assert test.command(Path())[:2] == ["data", "t.safetensors"] and test.options == ()


def test_names_of_timm_make_file_names():
    text = 'models = ["timm:vit_tiny_patch16_224"]\n' + PLAIN
    assert names(text)[0] == "clean_nt_timm-vit-tiny-patch16-224_s0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'poisons = ["spp"]\nframes = ["nt"]\n{DATA}', "did you mean 'sp'?"),
        (f'poisons = ["sp"]\nframes = ["n"]\n{DATA}', "did you mean 'nt'?"),
        (f'models = ["smal"]\n{PLAIN}', "did you mean 'small'?"),
        (f"modles = 1\n{PLAIN}", "unknown key 'modles'; did you mean 'models'?"),
        (PLAIN + "siz = 3\n", r"\[data\]: unknown key 'siz'; did you mean 'size'?"),
        (f'poisons = []\nframes = ["nt"]\n{DATA}', "poisons is an empty list"),
        (f'frames = ["nt"]\n{DATA}', "has no poison"),
        (f'poisons = ["sp"]\n{DATA}', "has no frame"),
        (f"seeds = []\n{PLAIN}", "seeds is an empty list"),
        (f"seeds = [0.5]\n{PLAIN}", "expected a list of whole numbers"),
        (f"seeds = [-1]\n{PLAIN}", "seeds is -1"),
        (f"seeds = 1\n{PLAIN}", "seeds is 1, expected a list"),
        (f"seeds = [0, 1, 0]\n{PLAIN}", "seeds has 0 2 times, expected once"),
        (f'models = ["small", "small"]\n{PLAIN}', "models has 'small' 2 times, expected once"),
        (f'poisons = ["sp", "sp"]\nframes = ["nt"]\n{DATA}', "poisons has 'sp' 2 times"),
        (f"rates = [1, 1.0]\n{PLAIN}", "rates has 1.0 2 times, expected once"),
        (f"rates = [1.5]\n{PLAIN}", "rates is 1.5, expected a number from 0 to 1"),
        (f"keep = 1\n{PLAIN}", "keep is 1, expected true or false"),
        (f"poison-seed = 1.5\n{PLAIN}", "poison-seed is 1.5"),
        ('poisons = ["sp"]\nframes = ["nt"]\n', r"\[data\] has no source"),
        (PLAIN + "limit = 0\n", r"\[data\] limit is 0"),
        (PLAIN + 'limit = "x"\n', "limit is 'x', expected a whole number"),
        (PLAIN + "limit = true\n", "limit is True, expected a whole number"),
        (PLAIN + "[train]\nseed = 1\n", "it is set by seeds"),
        (PLAIN + '[[poison]]\nname = "sp"\npoison-rate = 1\n', "it is set by rates"),
        (PLAIN + "[train]\nresume = true\n", "it is set by `stkit bench`"),
        (PLAIN + "[train]\nepoch = 1\n", "unknown option 'epoch'; did you mean 'epochs'?"),
        (PLAIN + "[train]\nepochs = [1]\n", "epochs is \\[1\\], expected a number, text or true"),
        (PLAIN + '[[frame]]\nname = "x"\nframe = "st"\ngama = 1\n', "did you mean 'gamma'?"),
        (PLAIN + '[[poison]]\nname = "x"\nmethod = "sp"\nscope = "class"\n', "unknown option"),
        (PLAIN + '[[poison]]\nname = "x"\nmethod = "emm"\n', "did you mean 'em'?"),
        (PLAIN + '[[poison]]\nname = "x y"\nmethod = "sp"\n', "expected letters"),
        (PLAIN + '[[poison]]\nname = "clean"\nmethod = "sp"\n', "clean images have no method"),
        (PLAIN + '[[poison]]\nname = "f"\nfile = "x"\nseed = 1\n', "unknown key 'seed'"),
        (PLAIN + "[[poison]]\nbound = 1\n", "has no name"),
        (PLAIN + '[[frame]]\nname = "nt"\n', "two cells are called 'clean_nt_resnet18_s0'"),
        (PLAIN + "[poison]\n", "expected a list of tables"),
    ],
)  # fmt: skip
def test_bad_grids(text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        made(text, KNOWN)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path):
    path = tmp_path / "g.toml"
    with pytest.raises(ArtifactError, match="No such file"):
        grid.read(path)
    for text in (b"models = [\n", b"\xff\xfe"):
        path.write_bytes(text)
        with pytest.raises(RecipeError, match="found no TOML"):
            grid.read(path)
    path.write_text("x = 1\n")
    with pytest.raises(RecipeError, match=f"^{path}: unknown key 'x'"):
        grid.read(path)


ROOT = Path(__file__).parents[2]


GRIDS = [*ROOT.glob("examples/**/*.toml"), *ROOT.glob("results/grids/*.toml")]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_grids_that_are_there(path, cli):
    """Read with every option checked as its command would; nothing is run."""
    plan = cli("bench", path, "--dry-run", "-o", "not-there", "--json").json
    assert plan["cells"] and all(cell["seconds"] > 0 for cell in plan["cells"])
    assert not Path("not-there").exists()


def test_planning_needs_no_torch():
    code = "import sys, stkit.bench.grid, stkit.report.page; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "stkit.bench.grid" in loaded and not {"torch", "numpy", "timm"} & set(loaded)


# Estimates


def plan(text: str, tmp_path: Path, finished=(), device: str = "cpu") -> dict:
    found = made(text)
    todo = {cell.name: cell for cell in found.cells}
    return estimate.plan(
        found.stages(), todo, finished, tmp_path, keep=found.keep, device=device, jobs=1
    )


def test_efforts(tmp_path):
    images = estimate.Data(1000, 10, 32)
    text = f'poisons = ["clean"]\nframes = ["nt", "at", "st-full"]\n{DATA}'
    nt, at, full = (estimate.effort(cell, images) for cell in made(text).cells)
    assert (nt, at, full) == (60 * 1000, 11 * nt, 2 * nt)
    most = made(text + '[train]\naugment = "ueraser-max"\n').cells  # five copies
    assert [estimate.effort(cell, images) for cell in most] == [5 * nt, 15 * nt, 10 * nt]
    lite = made(text + '[train]\naugment = "ueraser"\n').cells[0]
    assert estimate.effort(lite, images) == nt
    less = made(text + "[train]\nepochs = 2\nholdout = 100\nfine-tune-epochs = 3\n").cells
    assert [estimate.effort(cell, images) for cell in less] == [1800, 11 * 1800, 5 * 900]


def test_the_images_of_an_estimate_are_those_to_train_on(tmp_path, made):
    """Not the test images, which come first where poisons are files."""
    file = tmp_path / "p.safetensors"
    file.write_bytes((made / "ops.safetensors").read_bytes())
    tables = f'frames = ["nt"]\n{DATA}[[poison]]\nname = "p"\nfile = "{file}"\n'
    grid_of = grid.parse(tomllib.loads(tables))
    shown = estimate.plan(
        grid_of.stages(), {cell.name: cell for cell in grid_of.cells}, (), tmp_path,
        keep=True, device="cpu", jobs=1,
    )  # fmt: skip
    count = header.layout(file)[0]["images"]["shape"][0]
    (cell,) = grid_of.cells
    images = estimate.data(file, cell.settings["data"])
    assert images.count == count != 1437
    assert shown["cells"] == {cell.name: 6 + estimate.effort(cell, images) / 35}


def test_efforts_of_poisons():
    images = estimate.Data(50_000, 10, 32)

    def effort(method: str, **options) -> float:
        stage = grid.Stage("x", ("poison", method), "c")
        return estimate.poison_effort(stage, options, images)

    assert effort("sp") == effort("ops") == 0
    assert effort("em") == 10 * (20 * 50_000 + 10 * 512)
    assert effort("em", scope="class") < effort("em")
    assert effort("em", **{"max-rounds": 3}) == 3 * (20 * 50_000 + 10 * 512)
    assert effort("em", **{"max-rounds": 99}) == effort("em")
    assert effort("rem") / 128 == pytest.approx(3e6, rel=0.1)  # batches, as the README says
    assert effort("rem", fast=True) < effort("rem") / 10


def test_rule_and_measured(tmp_path):
    rule = plan('models = ["small"]\n' + PLAIN, tmp_path)
    assert rule["basis"].startswith("a rough rule: small 700")
    each = 6 + 60 * 1437 / 700
    assert rule["cells"]["sp_nt_small_s0"] == pytest.approx(each)
    assert rule["seconds"] == pytest.approx(4 * each + 3 * 6)
    cell = made('models = ["small"]\n' + PLAIN).cells[0]
    faster = plan('models = ["small"]\n' + PLAIN, tmp_path, [(cell, {"seconds": 60.0})])
    assert faster["basis"] == "finished cells"
    assert faster["cells"]["sp_nt_small_s0"] == pytest.approx(6 + 60)
    images, weights = 3 * 1437 * 3072, 4 * 309_114
    assert rule["disk_bytes"] == images + (4 + 2) * weights
    freed = plan('keep = false\nmodels = ["small"]\n' + PLAIN, tmp_path)
    assert freed["disk_bytes"] == images + 3 * weights
    assert plan(PLAIN, tmp_path, device="cuda:0")["seconds"] < rule["seconds"] / 5


def test_the_test_images_are_part_of_a_cell_s_settings():
    """So that a grid with other test images does not take results for its own."""
    cell = made(PLAIN + 'test = "deep/mine.safetensors"\n').cells[0]
    assert cell.settings["data"]["test"] == "mine"
    assert "test" not in made(PLAIN).cells[0].settings["data"]


def test_a_holdout_of_the_data_takes_the_place_of_the_test_images():
    """Both stages read the training split; one leaves out what the other takes."""
    cell = made(PLAIN + "limit = 100\nholdout = 20\n").cells[-1]
    stage = cell.stage
    poison = stage.source
    clean = poison.source
    assert clean.options == ("--split=train", "--limit=100", "--holdout=20")
    assert stage.test.options == (*clean.options, "--part=held") and stage.test.source == "digits"
    assert cell.settings["data"]["holdout"] == 20
    with pytest.raises(RecipeError, match="holdout and test"):
        made(PLAIN + 'holdout = 20\ntest = "digits"\n')
    with pytest.raises(RecipeError, match="holdout is 50, expected a number from 1 to 49"):
        made(PLAIN + "limit = 50\nholdout = 50\n")
    with pytest.raises(RecipeError, match="holdout is 0"):
        made(PLAIN + "holdout = 0\n")
