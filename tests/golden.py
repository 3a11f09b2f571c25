"""What the command line writes and says, as digests and text that a refactoring must not change.

    python tests/golden.py        # make tests/golden/ anew, on purpose: name it in CHANGELOG.md

Trainings and poisons: the digest of the tensors and of the header (without versions) of what
`stkit` writes on a CPU, in float32, on one thread. They belong to a processor, a version of torch
and one of NumPy, which stand beside them. Help: every `--help`, 100 columns wide. Reports: those
of `results/confirm-small` in every format.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = Path(__file__).parent / "golden"
SMALL = "--model small --device cpu --precision fp32 --epochs 2 --batch-size 32 --test TEST"
FRAMES = {
    "nt": "", "nt-cg": "", "at": "", "st-cg": "--gamma 10 --check-every 1", "ueraser-max": "",
    "st-full": "--gamma 0.001 --fine-tune-epochs 2", "autoaugment": "", "cutmix": "", "cutout": "",
}  # fmt: skip
SURROGATE = "--model small --device cpu --precision fp32 --batch-size 32"
POISONS = {
    "em-sample": f"em {SURROGATE} --steps 2 --max-rounds 2 --model-steps 4 --stop-error 0",
    "em-class": f"em {SURROGATE} --scope class --max-rounds 2 --model-steps 4 --stop-error 0",
    "rem": f"rem {SURROGATE} --steps 2 --eot 2 --adversary-steps 2 --model-steps 4",
    "sp": "sp --poison-rate 0.5",
    "ops": "ops",
}
FORMATS = ("table", "markdown", "csv", "json", "html")


def machine() -> dict[str, str]:
    """What the last bits depend on."""
    import torch

    return {
        "machine": platform.machine(), "torch": version("torch").partition("+")[0],
        "numpy": version("numpy"), "kernels": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def commands() -> list[list[str]]:
    """Every command whose help there is, the program itself first."""
    import typer

    from stkit.cli import app

    found: list[list[str]] = [[]]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found.append([name])
        found += [[name, inner] for inner in getattr(command, "commands", {})]
    return found


def said(*args: str) -> str:
    """What a command prints."""
    from stkit.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(list(args)) == 0, args
    return out.getvalue()


def usage(words: list[str]) -> str:
    """The help of one command, in a program that is called stkit whoever asks."""
    import typer

    from stkit.cli import app

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        typer.main.get_command(app).main([*words, "--help"], "stkit", standalone_mode=False)
    return out.getvalue()


def helps() -> str:
    """All helps, one after the other."""
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = "100"
    try:
        return "\n".join(f"$ stkit {' '.join(words)}\n{usage(words)}" for words in commands())
    finally:
        del os.environ["COLUMNS"], os.environ["TERMINAL_WIDTH"]


def report(form: str) -> str:
    """The report of a folder of results, as text; run from the root of the repository."""
    words = ["report", "results/confirm-small", "--format", form]
    if form != "html":
        return said(*words)
    with tempfile.TemporaryDirectory() as folder:
        said(*words, "-o", f"{folder}/page.html")
        return Path(folder, "page.html").read_text(encoding="utf-8")


def written(folder: Path) -> dict[str, dict[str, str]]:
    """Name -> digests of the tensors and of the header of what each command writes."""
    from stkit.cli import main

    made = {
        "clean": f"data digits --limit 120 -o {folder}/clean",
        "test": f"data digits --split test --limit 40 -o {folder}/test",
        **{name: f"poison {words} {folder}/clean -o {folder}/{name}"
           for name, words in POISONS.items()},
        **{name: f"train {folder}/clean --frame {name} {SMALL} {more} -o {folder}/{name}"
           for name, more in FRAMES.items()},
    }  # fmt: skip
    found = {}
    for name, line in made.items():
        words = [f"{folder}/test" if word == "TEST" else word for word in line.split()]
        assert main([*words, "-q"]) == 0, line
        found[name] = digests(folder / name)
    return found


def digests(path: Path) -> dict[str, str]:
    """The recorded digest of the tensors, and one of the header without versions and what covers
    them, the seal."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(json.loads(file.read(length))["__metadata__"]["stkit"])
    text = json.dumps({**head, "versions": {}, "seal": ""}, sort_keys=True)
    return {"tensors": head["digest"], "header": hashlib.sha256(text.encode()).hexdigest()}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    os.chdir(ROOT)
    HOME.mkdir(exist_ok=True)
    (HOME / "help.txt").write_text(helps())
    for form in FORMATS[:3]:
        (HOME / f"report.{form}").write_text(report(form))
    hashes = {form: hashlib.sha256(report(form).encode()).hexdigest() for form in FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        found = {"machine": machine(), "files": written(Path(folder)), "reports": hashes,
                 "typer": version("typer")}  # fmt: skip
    (HOME / "golden.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
