"""Options that several commands share, as annotated types, and how what they name is opened."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli.numbers import whole
from stkit.cli.output import bar, note
from stkit.cli.usage import DATA, FRAME, OUTPUT, RUN
from stkit.core import header
from stkit.core.errors import ArtifactError
from stkit.recipes.training import THREADS

if TYPE_CHECKING:
    from stkit.data.folders import Skipped
    from stkit.data.images import Images
    from stkit.engine.runtime import Runtime
    from stkit.measure.subject import Checkpoint as Trained
    from stkit.training.transplant import Donor

SOURCE = "a stkit file, a folder of class folders, digits, cifar10 or cifar100"
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=f"Images: {SOURCE}.")]
Checkpoint = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="A file written by stkit train.")
]
Output = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="FILE", help="The file to write.", rich_help_panel=OUTPUT
    ),
]
OptionalOutput = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Also write a file.",
                 rich_help_panel=OUTPUT),
]  # fmt: skip
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace the output if it exists.", rich_help_panel=OUTPUT),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", help="Print only the file's path or value.", rich_help_panel=OUTPUT
    ),
]
Seed = Annotated[
    int, typer.Option(parser=whole, help="The seed of every random draw.", rich_help_panel=RUN)
]
Split = Annotated[
    str | None,
    typer.Option(metavar="train|test", help="The split of SOURCE to take.", rich_help_panel=DATA),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        envvar="STKIT_DATA", help="Where cifar10 and cifar100 are kept.", rich_help_panel=DATA
    ),
]
Device = Annotated[
    str,
    typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where to compute.", rich_help_panel=RUN),
]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|fp32|bf16", help="auto: bf16 on a GPU, fp32 on a CPU.", rich_help_panel=RUN
    ),
]
Step = Annotated[
    str,
    typer.Option(
        metavar="auto|eager|graph|compile",
        help="How a step runs on a GPU: auto replays it as a CUDA graph.",
        rich_help_panel=RUN,
    ),
]
SyncBn = Annotated[
    bool,
    typer.Option(
        "--sync-bn", help="On several ranks: BatchNorm over the global batch.", rich_help_panel=RUN
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Fail where a file in a folder would be left out.", rich_help_panel=DATA
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        parser=whole,
        help="Of a CPU; they decide the last bits.  [default: as many as PyTorch takes]",
        rich_help_panel=RUN,
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="The same bytes again, on a GPU too, which is slower.",
        rich_help_panel=RUN,
    ),
]
InitFrom = Annotated[
    Path | None,
    typer.Option(
        metavar="CHECKPOINT",
        help="Start from its weights instead of random ones.",
        rich_help_panel=FRAME,
    ),
]
InitLayers = Annotated[
    str | None,
    typer.Option(
        metavar="first:N|last:N|NAME,...",
        help="Take only these of its layers: so many before the classifier, or modules.",
        rich_help_panel=FRAME,
    ),
]
Freeze = Annotated[
    bool,
    typer.Option("--freeze", help="What is taken over does not learn.", rich_help_panel=FRAME),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and stop.", rich_help_panel=RUN)
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from FILE.part where there is one.", rich_help_panel=RUN),
]


def warn_of_training_images(images: "Images", source: str) -> None:
    """Say so when what is called test data is a training split."""
    if images.header["split"] == "train":
        note(f"note: {source} is a training split; an accuracy on it says nothing of test data")


def runtime(
    device: str,
    precision: str = "auto",
    *,
    step: str = "auto",
    sync_bn: bool = False,
    threads: int | None = None,
    deterministic: bool = False,
    begun: Path | None = None,
) -> "Runtime":
    """Where this command computes; the process is configured for it, and connected to the ranks.

    threads: of a CPU; None: those with which the work that is gone on with was begun, as the header
    of the file `begun` has them, else as many as PyTorch takes. ArtifactError where it was begun on
    a CPU and this is none.
    """
    import torch

    from stkit.engine import bfloat16
    from stkit.engine.process import configure
    from stkit.engine.runtime import pick

    before = None if begun is None else _threads(begun)
    picked = pick(
        device, precision, step=step, sync_bn=sync_bn, deterministic=deterministic,
        threads=before if threads is None else threads,
    )  # fmt: skip
    if before is not None and picked.device.type != "cpu":
        raise ArtifactError(
            f"{begun}: made on a CPU, this computes on {picked.device}, where numbers differ; "
            "pass --device cpu, or --force without --resume to start again"
        )
    usual = torch.get_num_threads()
    configure(picked)
    if before == picked.threads != usual:
        note(f"threads: {before}, as {begun} was begun with; this process would have taken {usual}")
    slow = bfloat16.slow(picked)
    if slow is not None:
        note(f"note: {slow}")
    return picked


def _threads(begun: Path) -> int | None:
    """On how many of a CPU a file was made; None: nobody knows.

    What cannot be read says nothing here: whoever goes on from it reads it again, and says why not.
    """
    with suppress(ArtifactError):
        threads = header.read(begun)["recipe"].get("threads")
        if isinstance(threads, int) and 1 <= threads <= THREADS:
            return threads
    return None


REQUIRED = inspect.Parameter.empty
"""The default of an option that has none."""


def signed(run: Callable[..., None], taken: Mapping[str, tuple[Any, Any]]) -> Callable[..., None]:
    """The function with a signature that Typer reads: name -> the annotated type, the default."""
    run.__annotations__ = {name: kind for name, (kind, _) in taken.items()}
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in taken.items()
        ]
    )
    return run


def open_checkpoint(path: Path, runtime: "Runtime") -> "Trained":
    """The checkpoint on the runtime's device; of several ranks all must read the same."""
    from stkit.training.checkpoint import load_checkpoint

    with runtime.together():
        trained = load_checkpoint(path, device=runtime.device)
    runtime.same(trained.header["digest"], f"weights in {path}")
    return trained


def open_donor(path: Path | None, runtime: "Runtime") -> "Donor | None":
    """The weights to start from, if any; of several ranks all must read the same."""
    if path is None:
        return None
    from stkit.training.transplant import donor

    with runtime.together():
        given = donor(path)
    runtime.same(given.header["digest"], f"weights in {path}")
    return given


def open_source(
    source: str,
    split: str | None,
    data_root: Path | None,
    *,
    default_split: str = "train",
    size: int | None = None,
    limit: int | None = None,
    strict: bool = False,
    skipped: "list[Skipped] | None" = None,
    runtime: "Runtime | None" = None,
) -> "Images":
    """`stkit.load` with a progress bar on a terminal; of several ranks all must read the same.

    What a folder has that is not read is said on stderr, and appended to `skipped`.
    """
    from stkit.data import pictures
    from stkit.data.load import load

    pictures.hush()
    left_out = [] if skipped is None else skipped

    def read() -> "Images":
        with bar("reading images") as progress:
            images = load(
                source, split, default_split=default_split, size=size, limit=limit,
                data_root=data_root, progress=progress, strict=strict, on_skipped=left_out.append,
            )  # fmt: skip
        for each in left_out:
            _say_skipped(each, source)
        return images

    if runtime is None or runtime.world_size == 1:
        return read()
    with runtime.together():
        images = read()
    runtime.same(images.provenance["digest"], f"images in {source}")
    return images


def _say_skipped(skipped: "Skipped", source: str) -> None:
    if skipped.count:
        note(f"note: {source}: {skipped.about}")
    if skipped.transparent:
        note(f"note: {source}: images whose transparency was dropped: {skipped.transparent:,}")


def skipped_keys(skipped: "list[Skipped]") -> dict[str, Any]:
    """What was left out of a folder, if one was read, for --json."""
    return {
        key: value
        for each in skipped
        for key, value in (
            ("skipped", {"count": each.count, "names": list(each.names)}),
            ("transparency_dropped", each.transparent),
        )
    }
