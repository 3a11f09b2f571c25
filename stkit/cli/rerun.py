"""stkit rerun: the commands that made a file, and whether they make it again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.core import header
from stkit.core import text as harmless
from stkit.core.errors import ArtifactError, Interrupted, RecipeError
from stkit.report import commands, rerun
from stkit.report.commands import FOLDER
from stkit.report.rerun import Step

PLACE = 25
Host = Callable[[int, list[str]], int]
"""Runs `stkit` with these words, by so many ranks: (ranks, words) -> exit code."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("rerun")(again)


def again(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by stkit.")],
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Run them in this folder, a new one or an empty one: what is there is kept.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="With --run: exit 1 unless the files are the same.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the images lie, if they were a folder; one for all, or one for each.",
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Passed on, for cifar10 and cifar100.")
    ] = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Print the commands that made FILE, or run them.

    They come from its header alone, the oldest first. Headers hold no paths: files are named by
    kind, and a folder of images is FOLDER. Run the commands in an empty folder, not beside FILE: no
    file is replaced.

    \b
    Example:
      stkit rerun st.safetensors
      stkit rerun st.safetensors --run again/ --check
    """
    if check and run is None:
        raise RecipeError("--check is given without --run, the folder to make the files in")
    head = header.read(path)
    try:
        steps = rerun.chain(head)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    if source:
        steps = rerun.sourced(steps, source)
    if run is None:
        _show(steps, data_root, as_json=json, quiet=quiet)
        return
    files = _Files(steps, run, data_root, context.obj or _process, quiet)
    files.make()
    files.show(head, check=check, as_json=json)
    if check and files.different:
        raise typer.Exit(1)


def _show(steps: tuple[Step, ...], data_root: Path | None, *, as_json: bool, quiet: bool) -> None:
    """The commands; on stderr what they do not say."""
    lines = {
        step.file: commands.line(step.command, _words(step, Path(), data_root))
        for step in steps
        if step.command
    }
    if as_json:
        files = [_about(step) | {"command": lines.get(step.file)} for step in steps]
        shown = {"commands": list(lines.values()), "files": files}
        output.result(shown, as_json=True, quiet=False)
        return
    output.say("\n".join(lines.values()))
    if not quiet:
        for step in steps:
            if step.note:
                output.note(f"note: {step.file}: {step.note}")
        here = [step.file for step in steps if Path(step.file).exists()]
        if here:
            output.note(
                f"note: {', '.join(here)}: here already; run the commands in an empty folder, or "
                "pass --run with a new one"
            )
        if rerun.folders(steps):
            output.note(f"note: {FOLDER} is a folder of images; pass where it lies: --source")


def _words(step: Step, folder: Path, data_root: Path | None, *, resume: bool = False) -> list[str]:
    assert step.command is not None
    return commands.words(step.command, step.file, folder, data_root=data_root, resume=resume)


def _about(step: Step) -> dict[str, Any]:
    return {
        "file": step.file, "kind": step.kind, "digest": step.digest, "note": step.note or None,
    }  # fmt: skip


@dataclass
class _Files:
    """The files of a chain in a folder."""

    steps: tuple[Step, ...]
    folder: Path
    data_root: Path | None
    host: Host
    quiet: bool

    def make(self) -> None:
        """Run the commands of the files that are not there. ArtifactError where one cannot be made,
        or another is in its place: before anything is run."""
        self.kept = [step for step in self.steps if (self.folder / step.file).exists()]
        for step in self.kept:
            self._same(step)
        todo = [step for step in self.steps if step not in self.kept]
        if rerun.folders(todo):
            raise RecipeError(f"{FOLDER} stands for a folder of images; pass it: --source FOLDER")
        read = {file for step in todo if step.command for file in step.command.files}
        for step in todo:
            if step.command is None and (Path(step.file) in read or step is self.steps[-1]):
                raise ArtifactError(
                    f"{self.folder / step.file}: {step.note}; put the file there, or see the "
                    "other commands without --run"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.made = [step for step in todo if step.command is not None]
        for step in self.made:
            self._run(step)
        there = [step for step in self.steps if (self.folder / step.file).exists()]
        self.headers = {step.file: header.read(self.folder / step.file) for step in there}

    def _same(self, step: Step) -> None:
        """ArtifactError unless the file that is there is the one that was recorded."""
        from stkit.core import artifact

        path = self.folder / step.file
        kind = "dataset" if step.kind == "state" else step.kind
        head, _ = artifact.read(path, kind, verify=True)
        if step.digest not in (None, head["digest"]):
            raise ArtifactError(
                f"{path}: there is another file, of digest {head['digest'][:16]}, expected "
                f"{str(step.digest)[:16]}; pass an empty folder, or a new one"
            )

    def _run(self, step: Step) -> None:
        assert step.command is not None
        words = _words(step, self.folder, self.data_root, resume=True)
        line = commands.line(step.command, words)
        output.note(f"$ {line}")
        code = self.host(step.command.ranks, [*words, *(["-q"] if self.quiet else [])])
        if code:
            raise ArtifactError(
                f"{self.folder / step.file}: its command ended with exit code {code}, expected 0; "
                "see what it said"
            )
        if not (self.folder / step.file).exists():  # an epoch on the way to what is there already
            raise ArtifactError(
                f"{self.folder / step.file}: its command did not make it, as "
                f"{self.folder / (step.command.out or step.file)} is there; move that away"
            )

    @property
    def different(self) -> list[Step]:
        """The steps whose files are not those that were recorded."""
        return [
            step for step in self.steps
            if step.file in self.headers
            and step.digest not in (None, self.headers[step.file]["digest"])
        ]  # fmt: skip

    def show(self, head: header.Header, *, check: bool, as_json: bool) -> None:
        """What became of each file; where they differ, also versions that do."""
        different, last = self.different, self.steps[-1].file
        states = {step.file: self._state(step, check=check) for step in self.steps}
        now = self.headers[last]["versions"]
        apart = {
            name: [head["versions"].get(name), now.get(name)]
            for name in sorted(head["versions"].keys() | now.keys())
            if head["versions"].get(name) != now.get(name)
        }
        if as_json:
            files = [_about(step) | {"state": states[step.file]} for step in self.steps]
            shown = {"output": str(self.folder / last), "files": files, "versions": apart}
            output.result(shown, as_json=True, quiet=False)
            return
        if self.quiet:
            output.say(harmless.plain(str(self.folder / last)))
            return
        wide = max(map(len, states.values()))
        for file, state in states.items():
            output.say(f"{state:<{wide}}  {commands.quoted(str(self.folder / file))}")
        if not self.made:
            output.note("note: all were there, nothing was run; pass an empty folder to make them")
        if different and not check:
            count = f"{len(different)} of {len(self.headers)} files differ"
            output.note(f"note: {count} from those that were recorded; --check says which")
        elif different:
            said = [
                f"{name} {was or 'none'}, now {is_ or 'none'}" for name, (was, is_) in apart.items()
            ]
            why = "; ".join(said) or "none: another machine, device or folder, or a false header"
            output.note(f"versions that differ: {why}")

    def _state(self, step: Step, *, check: bool) -> str:
        if step.file not in self.headers:
            return "missing"
        if check and step.digest is not None:
            return "different" if step in self.different else "same"
        return "kept" if step in self.kept else "made"


def _process(ranks: int, words: list[str]) -> int:
    """Run stkit as a process of its own, which saves what it has when this one is stopped."""
    torchrun = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    of_ranks = ("RANK", "WORLD_SIZE")  # this command's, if it has any
    environment = {key: value for key, value in os.environ.items() if key not in of_ranks}
    caught: list[int] = []
    processes: list[subprocess.Popen[bytes]] = []

    def stop(number: int, _: object) -> None:
        caught.append(number)
        for process in processes:
            process.terminate()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        process = subprocess.Popen(
            [sys.executable, *torchrun, "-m", "stkit", *words], stdin=subprocess.DEVNULL,
            stdout=sys.stderr, env=environment, process_group=0,
        )  # fmt: skip
        processes.append(process)
        if caught:
            process.terminate()
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise Interrupted("interrupted; the same command goes on", caught[0])
    return code
