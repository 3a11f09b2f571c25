"""Grids: what a TOML means, which tasks its runs share, what is refused, what it may cost."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from timm.data import ImageNetInfo

from stkit.bench import estimate, grid
from stkit.bench.tasks import Grid, Run, Task
from stkit.core import header
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.catalogue import DATASETS
from stkit.recipes.frames import PAPER

DATA = '[data]\nsource = "digits"\n'
PLAIN = f'poisons = ["clean", "sp"]\nframes = ["nt", "st"]\n{DATA}'
KNOWN = {"train": {"epochs", "gamma", "purified"}, "poison sp": {"bound"}, "poison em": {"scope"}}


def made(text: str, known=None) -> Grid:
    return grid.parse(tomllib.loads(text), known)


def names(text: str) -> list[str]:
    return [run.name for run in made(text).runs]


def test_runs_are_the_product_of_the_axes():
    text = 'models = ["small", "resnet18"]\nseeds = [0, 7]\nrates = [0.5, 1.0]\n' + PLAIN
    found = names(text)
    assert len(found) == len(set(found)) == (1 + 2) * 2 * 2 * 2  # clean images have no rate
    assert {"clean_nt_small_s0", "sp-r0.5_st_resnet18_s7", "sp_nt_small_s7"} <= set(found)


def test_defaults():
    assert names(PLAIN) == [f"{p}_{f}_resnet18_s0" for p in ("clean", "sp") for f in ("nt", "st")]
    run = made(PLAIN).runs[-1]
    assert run.settings == {
        "data": {"name": "digits", "limit": None, "size": None},
        "poison": {"name": "sp", "method": "sp", "options": {}, "rate": 1.0, "seed": 0},
        "frame": {"name": "st", "frame": "st"}, "model": "resnet18", "seed": 0, "train": {},
    }  # fmt: skip
    assert made(PLAIN).runs[0].keep and not made("keep = false\n" + PLAIN).runs[0].keep


def test_every_task_is_there_once_and_after_what_it_needs():
    tasks = made("seeds = [0, 1]\n" + PLAIN).tasks()
    assert [task.name for task in tasks][:2] == ["clean", "test"]
    assert sum(task.verb == ("poison", "sp") for task in tasks) == 1
    assert sum(task.verb == ("train",) for task in tasks) == 8
    for place, task in enumerate(tasks):
        assert {other.file for other in task.needs} <= {t.file for t in tasks[:place]}


def test_commands():
    *_, poison, _, train = made(PLAIN + "[train]\nepochs = 3\n").tasks()
    words = poison.command(Path("w"))
    assert words[:2] == ["poison", "sp"] and words[2].startswith("w/clean-")
    assert words[3:] == ["--seed=0", "-o", f"w/{poison.file}"]
    words = train.command(Path("w"))
    assert words[:2] == ["train", f"w/{poison.file}"]
    assert words[2:6] == ["--frame=st", "--model=resnet18", "--seed=0", "--epochs=3"]
    assert words[6] == "--test"
    assert words[-4:] == ["--resume", "--threads=1", "-o", f"w/{train.file}"]


def test_options_of_a_frame_come_over_those_of_all():
    text = PLAIN + "[train]\nepochs = 3\nlr = 0.1\nsync-bn = true\nx = false\n"
    text += '[[frame]]\nname = "long"\nframe = "nt"\nepochs = 9\n'
    *_, run = made(text).runs
    assert run.settings["train"] == {"epochs": 9, "lr": 0.1, "sync-bn": True, "x": False}
    assert run.settings["frame"]["options"] == {"epochs": 9}
    assert run.task.options[3:] == ("--epochs=9", "--lr=0.1", "--sync-bn")


def test_a_poison_for_each_seed_or_one_for_all():
    def poisons(text: str) -> list[str]:
        return [s.name for s in made(text).tasks() if s.verb[0] == "poison"]

    one = "seeds = [3, 4]\n" + PLAIN
    assert poisons(one) == ["sp_s0"] and poisons("poison-seed = 5\n" + one) == ["sp_s5"]
    each = made('poison-seed = "each"\n' + one)
    poisoned = {r.name: r.settings["poison"]["seed"] for r in each.runs if "sp" in r.name}
    assert poisoned == {f"sp_{f}_resnet18_s{s}": s for f in ("nt", "st") for s in (3, 4)}
    own = '[[poison]]\nname = "em"\nseed = 9\nrates = [0.2]\n'
    assert poisons('poison-seed = "each"\n' + one + own) == ["sp_s3", "sp_s4", "em_s9"]


def test_a_poison_is_made_once_for_all_its_rates():
    tasks = made("rates = [0.123456789, 0.5, 1]\n" + PLAIN).tasks()
    (whole,) = (task for task in tasks if task.verb == ("poison", "sp"))
    fewer = [task for task in tasks if task.verb == ("rate",)]
    assert [task.name for task in fewer] == ["sp-r0.123457_s0", "sp-r0.5_s0"]
    clean = next(task for task in tasks if task.name == "clean")
    assert all(set(task.needs) == {whole, clean} for task in fewer)
    words = fewer[0].command(Path("w"))
    assert words == [
        "rate", f"w/{whole.file}", "--poison-rate=0.123456789", "--clean", f"w/{clean.file}",
        "-o", f"w/{fewer[0].file}",
    ]  # fmt: skip


def test_images_poisoned_already():
    text = PLAIN + '[[poison]]\nname = "tue"\nfile = "there/tue.safetensors"\n'
    *_, run = made(text).runs
    assert run.task.source == "there/tue.safetensors"
    assert run.settings["poison"] == {"name": "tue", "file": "tue.safetensors"}


def test_files_are_named_after_settings():
    """A changed option changes the files it bears on and no others."""
    before, after = made(PLAIN), made(PLAIN + "limit = 50\n")
    assert {s.file for s in before.tasks()} & {s.file for s in after.tasks()} == {
        next(s.file for s in before.tasks() if s.name == "test")
    }
    longer = made(PLAIN + "[train]\nepochs = 2\n")
    shared = {s.name for s in before.tasks() if s.file in {s.file for s in longer.tasks()}}
    assert shared == {"clean", "test", "sp_s0"}


def test_results_hold_no_paths(tmp_path):
    text = PLAIN.replace('"digits"', f'"{tmp_path}/faces"')
    run = made(text).runs[0]
    assert run.settings["data"]["name"] == "faces" and str(tmp_path) not in str(run.settings)
    assert made(text + 'name = "cifar10"\n').runs[0].settings["data"]["name"] == "cifar10"


def test_another_source_or_test_is_another_setting(tmp_path, made):
    """And what they hold, where they are files."""

    def of(text: str) -> Grid:
        return grid.parse(tomllib.loads(PLAIN.replace('"digits"', text)))

    def data(text: str) -> dict:
        return of(text).runs[0].settings["data"]

    plain = {"name": "c", "limit": None, "size": None}
    assert data('"a/c"') == data('"b/c"') == plain
    assert data('"a/c10"\nname = "c"') == {**plain, "source": "c10"}
    file = tmp_path / "c.safetensors"
    file.write_bytes((made / "clean.safetensors").read_bytes())
    text = f'"{file}"\ntest = "t"\n[[poison]]\nname = "f"\nfile = "{file}"'
    before = of(text)
    digest = header.read(file)["digest"][:8]
    settings = before.runs[-1].settings
    assert settings["data"] == {**plain, "source": f"c {digest}", "test": "t"}
    assert settings["poison"]["file"] == f"c.safetensors {digest}"
    file.write_bytes((made / "ops.safetensors").read_bytes())
    after = of(text)
    assert after.runs[-1].settings["poison"]["file"] != settings["poison"]["file"]
    shared = {s.file for s in before.tasks()} & {s.file for s in after.tasks()}
    assert shared == {s.file for s in before.tasks() if s.name == "test"}


def test_equal_augmentations_are_equal_settings():
    def run(augment: str) -> Run:
        return made(PLAIN + f'[train]\naugment = "{augment}"\n').runs[0]

    assert run("JPEG , CG") == run("jpeg,cg") != run("cg,jpeg")


def test_clean_images_kept_out_are_not_those_that_a_training_keeps_out() -> None:
    text = PLAIN + "limit = 500\nholdout = 100\n[train]\nholdout = 40\npurified = true\n"
    grid = made(text + '[[frame]]\nname = "more"\nframe = "nt"\nholdout = 60\npurified = false\n')
    clean, test = grid.tasks()[:2]
    assert clean.options == ("--split=train", "--limit=500", "--holdout=100")
    assert test.options == (*clean.options, "--part=held")
    first, *_, last = (run for run in grid.runs if run.name.startswith("sp_"))
    assert first.task.options[3:] == ("--holdout=40", "--purified")
    assert last.task.options[3:] == ("--holdout=60",)
    assert first.settings["data"]["holdout"] == 100 and first.settings["train"]["holdout"] == 40


def test_auto_keeps_images_out_by_itself() -> None:
    text = PLAIN.replace('"nt", "st"', '"auto"') + "[train]\npurified = true\n"
    assert made(text).runs[0].task.options[-1] == "--purified"


def test_another_source_keeps_the_name(tmp_path):
    path = tmp_path / "g.toml"
    path.write_text(PLAIN.replace("digits", "cifar10"))
    run = grid.read(path, source="copies/c10").runs[0]
    assert run.settings == grid.read(path).runs[0].settings
    assert run.task.needs[0].source == "copies/c10"


def test_a_file_holds_one_split():
    with pytest.raises(RecipeError, match="has no test"):
        made(PLAIN.replace("digits", "x.safetensors"))
    found = made(PLAIN.replace("digits", "x.safetensors") + 'test = "t.safetensors"\n')
    test = found.tasks()[1]
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
        (PLAIN + "holdout = 9\n[train]\npurified = true\n", r"'nt' has purified without holdout"),
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
        (PLAIN + '[train]\ninit-from = "nt.safetensors"\n', "'init-from' is no option of a grid"),
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
        (PLAIN + '[[frame]]\nname = "nt"\n', "two runs are called 'clean_nt_resnet18_s0'"),
        (PLAIN + "[poison]\n", "expected a list of tables"),
    ],
)  # fmt: skip
def test_bad_grids(text, message):
    with pytest.raises(RecipeError, match=message) as caught:
        made(text, KNOWN)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path):
    path = tmp_path / "g.toml"
    with pytest.raises(ArtifactError, match="no such file"):
        grid.read(path)
    for text in (b"models = [\n", b"\xff\xfe"):
        path.write_bytes(text)
        with pytest.raises(RecipeError, match="found no TOML"):
            grid.read(path)
    path.write_text("x = 1\n")
    with pytest.raises(RecipeError, match=f"^{path}: unknown key 'x'"):
        grid.read(path)


ROOT = Path(__file__).parents[2]


GRID = ROOT / "results/grids"
GRIDS = sorted([*ROOT.glob("examples/**/*.toml"), *GRID.glob("*.toml")])


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_grids_that_are_there(path, cli, photos):
    """Read with every option checked as its command would; nothing is run. A grid of images that
    only its reader has takes a folder in their place."""
    own = tomllib.loads(path.read_text()).get("data", {}).get("source", "digits") not in DATASETS
    plan = cli("bench", path, "--dry-run", "-o", "not-there", "--json",
               *(["--source", photos] if own else [])).json  # fmt: skip
    assert plan["cells"] and all(cell["seconds"] > 0 for cell in plan["cells"])
    assert not Path("not-there").exists()


@pytest.mark.parametrize(("name", "poisons", "models"), [("table1", 6, 6), ("table2", 6, 6),
                                                         ("imagenet-mini", 5, 2)])  # fmt: skip
def test_the_paper_s_tables_are_whole(name, poisons, models):
    """Every poison by every frame of the paper's by every model, once."""
    runs = [run.name.split("_")[:3] for run in grid.read(GRID / f"{name}.toml").runs]
    assert [len(set(axis)) for axis in zip(*runs, strict=True)] == [poisons, len(PAPER), models]
    assert {frame for _, frame, _ in runs} == set(PAPER)
    assert len({*map(tuple, runs)}) == len(runs) == poisons * len(PAPER) * models


def test_imagenet_mini_is_the_first_100_classes():
    listed = [line.split(" ", 1) for line in (GRID / "imagenet-mini.txt").read_text().splitlines()]
    known = ImageNetInfo()
    ids, names = known.label_names(), known.label_descriptions()
    assert [own for own, _ in listed] == sorted(ids)[:100]
    assert [name for _, name in listed] == [name.split(",")[0] for name in names[:100]]


def test_planning_needs_no_torch():
    code = "import sys, stkit.bench.grid, stkit.report.page; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    ).stdout.split()
    assert "stkit.bench.grid" in loaded and not {"torch", "numpy", "timm"} & set(loaded)


# Estimates


def plan(text: str, tmp_path: Path, finished=(), device: str = "cpu") -> estimate.Estimate:
    found = made(text)
    return estimate.plan(found.tasks(), found.runs, finished, tmp_path, device=device, jobs=1)


def test_efforts(tmp_path):
    images = estimate.Data(1000, 10, 32)
    text = f'poisons = ["clean"]\nframes = ["nt", "at", "st-full"]\n{DATA}'
    nt, at, full = (estimate.effort(run, images) for run in made(text).runs)
    assert (nt, at, full) == (60 * 1000, 11 * nt, 2 * nt)
    most = made(text + '[train]\naugment = "ueraser-max"\n').runs  # five copies
    assert [estimate.effort(run, images) for run in most] == [5 * nt, 15 * nt, 10 * nt]
    lite = made(text + '[train]\naugment = "ueraser"\n').runs[0]
    assert estimate.effort(lite, images) == nt
    less = made(text + "[train]\nepochs = 2\nholdout = 100\nfine-tune-epochs = 3\n").runs
    assert [estimate.effort(run, images) for run in less] == [1800, 11 * 1800, 5 * 900]


def test_the_images_of_an_estimate_are_those_to_train_on(tmp_path, made):
    """Not the test images, which come first where poisons are files."""
    file = tmp_path / "p.safetensors"
    file.write_bytes((made / "ops.safetensors").read_bytes())
    tables = f'frames = ["nt"]\n{DATA}[[poison]]\nname = "p"\nfile = "{file}"\n'
    grid_of = grid.parse(tomllib.loads(tables))
    shown = estimate.plan(grid_of.tasks(), grid_of.runs, (), tmp_path, device="cpu", jobs=1)
    count = header.layout(file)[0]["images"]["shape"][0]
    (run,) = grid_of.runs
    images = estimate.data(file, run.settings["data"])
    assert images.count == count != 1437
    assert shown.runs == {run.name: 0.5 + estimate.effort(run, images) / 30}


def test_efforts_of_poisons():
    images = estimate.Data(50_000, 10, 32)

    def effort(method: str, **options) -> float:
        return estimate.poison_effort(Task("x", ("poison", method), "c"), options, images)

    assert effort("sp") == effort("ops") == 0
    assert effort("em") == 10 * (20 * 50_000 + 10 * 512)
    assert effort("em", scope="class") < effort("em")
    assert effort("em", **{"max-rounds": 3}) == 3 * (20 * 50_000 + 10 * 512)
    assert effort("em", **{"max-rounds": 99}) == effort("em")
    assert effort("rem") / 128 == pytest.approx(3e6, rel=0.1)  # batches, as the README says
    assert effort("rem", fast=True) < effort("rem") / 10


def test_rule_and_measured(tmp_path):
    rule = plan('models = ["small"]\n' + PLAIN, tmp_path)
    assert rule.basis.startswith("a rough rule: small 1,800")
    each = 0.5 + 60 * 1437 / 1800
    assert rule.runs["sp_nt_small_s0"] == pytest.approx(each)
    assert rule.seconds == pytest.approx(2 + 4 * each + 3 * 0.5)
    run = made('models = ["small"]\n' + PLAIN).runs[0]
    faster = plan('models = ["small"]\n' + PLAIN, tmp_path, [(run, 60.0)])
    assert faster.basis == "finished runs"
    assert faster.runs["sp_nt_small_s0"] == pytest.approx(0.5 + 60)
    images, weights = 3 * 1437 * 3072, 4 * 309_114
    assert rule.disk_bytes == images + (4 + 2) * weights
    freed = plan('keep = false\nmodels = ["small"]\n' + PLAIN, tmp_path)
    assert freed.disk_bytes == images + 3 * weights
    assert plan(PLAIN, tmp_path, device="cuda:0").seconds < rule.seconds / 4


def test_rem_takes_about_what_its_rate_on_a_gpu_gives(tmp_path):
    """1.6 hours: 3.8e8 passes at 67,553 a second (docs/performance.md)."""
    text = f'poisons = ["rem"]\nframes = ["nt"]\n{DATA.replace("digits", "cifar10")}'
    hours = plan(text, tmp_path, device="cuda").images["rem_s0"] / 3600
    assert hours == pytest.approx(3.8e8 / 67_553 / 3600, rel=0.15)


def test_the_test_images_are_part_of_a_run_s_settings():
    """So that a grid with other test images does not take results for its own."""
    run = made(PLAIN + 'test = "deep/mine.safetensors"\n').runs[0]
    assert run.settings["data"]["test"] == "mine"
    assert "test" not in made(PLAIN).runs[0].settings["data"]


def test_a_holdout_of_the_data_takes_the_place_of_the_test_images():
    """Both tasks read the training split; one leaves out what the other takes."""
    run = made(PLAIN + "limit = 100\nholdout = 20\n").runs[-1]
    poison, test = run.task.source, run.task.test
    clean = poison.source
    assert clean.options == ("--split=train", "--limit=100", "--holdout=20")
    assert test.options == (*clean.options, "--part=held") and test.source == "digits"
    assert run.settings["data"]["holdout"] == 20
    with pytest.raises(RecipeError, match="holdout and test"):
        made(PLAIN + 'holdout = 20\ntest = "digits"\n')
    with pytest.raises(RecipeError, match="holdout is 50, expected a number from 1 to 49"):
        made(PLAIN + "limit = 50\nholdout = 50\n")
    with pytest.raises(RecipeError, match="holdout is 0"):
        made(PLAIN + "holdout = 0\n")
