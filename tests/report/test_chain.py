"""The chain of commands that a header tells: each kind of file, names, and what has no command."""

import hashlib
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import made_up
import pytest

from stkit.core import header
from stkit.core.checks import as_dict
from stkit.core.errors import ArtifactError, RecipeError
from stkit.recipes.frames import FRAMES, pgd20, resolve
from stkit.recipes.poisons import METHODS
from stkit.report import commands, rerun

RUNTIME = {"precision": "fp32"}


def made(kind: str, recipe: dict[str, Any], *inputs: dict, seed: int = 0, **more: Any) -> dict:
    """A header whose digest is its own recipe's, through JSON."""
    head = header.make(kind, recipe, seed=seed, inputs=list(inputs), **more)
    about = [kind, recipe, more.get("split"), [each["digest"] for each in inputs]]
    head["digest"] = hashlib.sha256(header.dumps(about).encode()).hexdigest()
    return json.loads(header.dumps(head))


def images(source: str = "cifar10", split: str = "train", **sizes: int) -> dict:
    recipe = {"source": source, "size": None, "limit": None, **sizes}
    return made("dataset", recipe, classes=["a", "b"], split=split)


def poisoned(method: str, clean: dict, **more: Any) -> dict:
    recipe = as_dict(METHODS[method]().resolved((32, 32), 10)) | {"method": method}
    return made("dataset", recipe | {"poison_rate": 1.0} | more, clean, method=method)


def trained(name: str, *inputs: dict, done: bool = True, **more: Any) -> dict:
    phases = [
        as_dict(resolve(each, size=32, classes=10, steps_per_epoch=9))
        for each in FRAMES[name].phases
    ]
    recipe = {
        "frame": name, "phases": phases, "model": "small", "pretrained": False, "batch_size": 64,
        "holdout": 0, "mean": [0.0] * 3, "std": [1.0] * 3, **RUNTIME, **more,
    }  # fmt: skip
    return made("checkpoint", recipe, *inputs, seed=4, progress={"done": done})


def measured(checkpoint: dict, data: dict, **more: Any) -> dict:
    recipe = {"adversary": None, "batch_size": 512, **RUNTIME, **more}
    return made("eval", recipe, checkpoint, data, seed=2)


def lines(head: dict) -> list[str]:
    """The commands of a chain, or the note of a step that has none."""
    return [
        commands.line(step.command, commands.words(step.command, step.file))
        if step.command else f"# {step.file}: {step.note}" for step in rerun.chain(head)
    ]  # fmt: skip


CLEAN, TEST = images(), images(split="test")


def test_the_whole_way_from_a_source_to_an_evaluation() -> None:
    sp = poisoned("sp", CLEAN)
    nt = trained("nt", sp, TEST)
    assert lines(measured(nt, TEST, adversary=as_dict(pgd20(8 / 255)))) == [
        "stkit data cifar10 --split=train -o clean.safetensors",
        "stkit poison sp clean.safetensors --patch=8 --seed=0 -o sp.safetensors",
        "stkit data cifar10 --split=test -o test.safetensors",
        "stkit train sp.safetensors --frame=nt --epochs=60 --model=small --batch-size=64 --seed=4 "
        "--precision=fp32 --test=test.safetensors -o nt.safetensors",
        "stkit eval nt.safetensors test.safetensors --adversary=8/255 --batch-size=512 --seed=2 "
        "--precision=fp32 -o eval.safetensors",
    ]
    acm = made("acm", {"variant": "ratio", "per_class": 7}, nt, sp, seed=4)
    assert lines(acm)[-1] == (
        "stkit acm nt.safetensors sp.safetensors --variant=ratio --per-class=7 -o acm.safetensors"
    )
    shallow = made("acm", {"variant": "sum", "per_class": 7, "layer": 1}, nt, sp, seed=4)
    assert "--variant=sum --layer=1 --per-class=7" in lines(shallow)[-1]
    assert len(lines(acm)) == 5  # the poison is there once, though it is used twice


def test_parts_of_sets_and_names_that_collide() -> None:
    some = images("digits", limit=40, size=16)
    held = made("dataset", {"source": "file", "holdout": 9, "part": "held"}, some, seed=5)
    rest = made("dataset", {"source": "file", "holdout": 9, "part": "rest"}, some, seed=5)
    small = made("dataset", {"source": "file", "size": 8, "limit": 20}, rest)
    other = images("digits", limit=30)
    last = measured(trained("nt", small, held), other)
    assert lines(last)[:4] == [
        "stkit data digits --split=train --size=16 --limit=40 -o clean.safetensors",
        "stkit data clean.safetensors --holdout=9 --part=rest --seed=5 -o rest.safetensors",
        "stkit data rest.safetensors --size=8 --limit=20 -o rest-20-8px.safetensors",
        "stkit data clean.safetensors --holdout=9 --part=held --seed=5 -o held.safetensors",
    ]
    files = [step.file for step in rerun.chain(last)]
    assert files == [
        f"{name}.safetensors"
        for name in ("clean", "rest", "rest-20-8px", "held", "nt", "clean-2", "eval")
    ]


def test_where_an_old_header_does_not_say_the_split_it_is_the_usual_one() -> None:
    bare = [{k: v for k, v in each.items() if k != "split"} for each in (CLEAN, TEST)]
    bare[1]["digest"] = "test"
    said = lines(measured(trained("nt", *bare), bare[1]))
    assert [line.split()[3] for line in said[:2]] == ["--split=train", "--split=test"]
    test = header.make("eval", {}, seed=0, inputs=[CLEAN, TEST])["inputs"]
    assert [each["split"] for each in test] == ["train", "test"]


def test_ranks_and_threads() -> None:
    head = trained("st", CLEAN, ranks=2, sync_bn=True, threads=3)
    line = lines(head)[-1]
    assert line.startswith("torchrun --nproc-per-node=2 -m stkit train clean.safetensors")
    assert "--device=cpu --threads=3 --sync-bn" in line


def test_a_folder_is_named_when_it_is_known() -> None:
    folder = trained("nt", images("folder", size=32), images("folder", "test", size=32))
    steps = rerun.chain(folder)
    assert lines(folder)[0] == "stkit data FOLDER --split=train --size=32 -o clean.safetensors"
    assert rerun.folders(steps) == 2
    for given, seen in (
        (["a b"], ["a b", "a b"]), (["-x", "digits"], ["./-x", "./digits"]),
    ):  # fmt: skip
        placed = rerun.sourced(steps, given)
        read = [step.command and commands.words(step.command, step.file)[1] for step in placed[:2]]
        assert read == seen
    with pytest.raises(RecipeError, match="found 3 of --source, expected 1 or 2"):
        rerun.sourced(steps, ["a", "b", "c"])
    with pytest.raises(RecipeError, match="expected none"):
        rerun.sourced(rerun.chain(CLEAN), ["a"])


def test_a_folder_for_the_files_and_a_place_of_data_sets() -> None:
    steps = rerun.chain(trained("nt", CLEAN, TEST))
    assert all(step.command for step in steps)
    told = [
        commands.words(step.command, step.file, Path("-d"), data_root=Path("r"), resume=True)
        for step in steps
        if step.command
    ]
    assert told[0][-3:] == ["--data-root=r", "-o", "./-d/clean.safetensors"]
    assert told[2][1] == "./-d/clean.safetensors" and told[2][-4] == "--resume"
    assert "--data-root=r" not in told[2]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (made("dataset", {"method": "em", "imported": "em", "content": "float32 [3]"}, CLEAN),
         "it was imported from float32"),
        (images("mine"), "'mine', are tensors in Python"),
        (poisoned("em", CLEAN, model="Net"), "its surrogate, 'Net', is a module in Python"),
        (trained("nt", CLEAN, model="own:Net"), "its model, 'own:Net', is a module in Python"),
        (trained("nt", CLEAN, augment="mine.noise"), "a function in Python, 'mine.noise'"),
        (trained("nt", CLEAN, frame="mine"), "unknown frame 'mine'"),
        (trained("nt", CLEAN, phases=[{}]), "damaged"), (trained("nt", CLEAN, phases=3), "damaged"),
        (trained("nt", CLEAN, mean=None), "damaged"), (trained("nt"), "damaged"),
        (trained("nt", CLEAN, batch_size=0), "batch-size"),
        (measured(trained("nt", CLEAN), CLEAN, adversary=as_dict(pgd20(0.1)) | {"steps": 3}),
         "not PGD-20"),
        (made("acm", {"variant": "sum", "per_class": 2, "layer": "1"}, trained("nt", CLEAN), CLEAN,
              seed=4), "its layer, '1', has a name"),
        (made("acm", {"variant": "sum", "per_class": 2}, trained("nt", CLEAN), CLEAN, seed=5),
         "another draw"),
        (made("eval", {"adversary": None}, made("model", {"model": "Net"}), CLEAN), "in Python"),
        (made("other", {}), "it is a other"),
    ],
)  # fmt: skip
def test_what_no_command_makes_says_why(head: dict, why: str) -> None:
    last = rerun.chain(head)[-1]
    assert last.command is None
    assert "no command makes it" in last.note and why in last.note


def test_unfinished_work_is_gone_on_with() -> None:
    training = rerun.chain(trained("st", CLEAN, done=False))[-1]
    assert training.command and training.command.options["resume"] is True
    assert training.digest is None and "st.safetensors.part" in training.note
    recipe = poisoned("em", CLEAN, model="small")["recipe"] | RUNTIME
    state = made("state", {k: v for k, v in recipe.items() if k != "poison_rate"}, CLEAN)
    assert lines(state)[-1].endswith("--precision=fp32 --resume -o em.safetensors")
    assert "--poison-rate" in rerun.chain(state)[-1].note


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "timm:x; touch y"}, {"model": "timm:$(touch y)"}, {"model": "timm:'\"` -o z"},
        {"model": "timm:--force"}, {"frame": "nt+cg\n--force"}, {"frame": "--help"},
    ],
)  # fmt: skip
def test_no_text_of_a_header_is_more_than_a_value(changes: dict[str, str]) -> None:
    head = trained("nt", CLEAN) | {}
    head["recipe"] |= changes
    if not all(text.isprintable() for text in changes.values()):
        with pytest.raises(ArtifactError, match="can be printed"):
            rerun.chain(head)
        return
    last = rerun.chain(head)[-1]
    assert not set(last.file) & set("/\\ $;`'\"") and not last.file.startswith(("-", "."))
    if last.command is None:
        return
    words = commands.words(last.command, last.file)
    line = commands.line(last.command, words)
    assert shlex.split(line) == ["stkit", *words]
    assert f"--model={changes['model']}" in words
    assert {word.partition("=")[0] for word in words if word.startswith("--")} == {
        "--frame", "--epochs", "--model", "--batch-size", "--seed", "--precision", "--mean",
        "--std",
    }  # fmt: skip


def test_a_damaged_header_is_refused() -> None:
    deep = CLEAN
    for _ in range(5000):
        deep = {**CLEAN, "inputs": [deep]}
    wide = {**CLEAN, "inputs": [CLEAN] * 2000}
    for head in ({}, {**CLEAN, "inputs": 3}, {**CLEAN, "recipe": []}, deep, wide):
        with pytest.raises(ArtifactError, match="damaged"):
            rerun.chain(head)


def test_results_of_a_bench_have_such_inputs_too() -> None:
    head = made_up.images("sp")
    assert rerun.chain(head)[0].file == "clean.safetensors"


@pytest.mark.parametrize(
    "name", ["a b", "it's", "\x1b]0;x\x07", "a\nb'\\", "\udcff", "caf\xe9\u202e"]
)
def test_a_line_is_one_line_that_a_shell_reads_as_it_is_meant(name: str) -> None:
    (step,) = rerun.chain(CLEAN)
    assert step.command
    line = commands.line(step.command, ["-o", name])
    assert line.isprintable()
    args = ["bash", "-c", f"printf '%s|' {line}"]
    said = subprocess.run(args, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}).stdout
    assert os.fsdecode(said) == f"stkit|-o|{name}|"
