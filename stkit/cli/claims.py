"""One FILE, one run: holding the place of what is written, and what lies there already."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stkit.cli import output
from stkit.core.errors import ArtifactError

if TYPE_CHECKING:
    from stkit.engine.runtime import Runtime


def part_of(out: Path) -> Path:
    """Where the unfinished work for `out` lies."""
    return out.parent / f"{out.name}.part"


@contextmanager
def held(
    out: Path,
    *,
    force: bool,
    resume: bool | None = None,
    folder: bool = False,
    runtime: "Runtime | None" = None,
) -> Iterator[None]:
    """Hold `out`, a file or a `folder` to be, so that no other run writes it, to the end of the
    block.

    resume: of work that may be unfinished, whether it is gone on with; then `out` may be there, see
    `finished`. runtime: of a command that all ranks compute, of which the first holds it for all.
    ArtifactError at once when `out`, or unfinished work for it, is in the way, and when another run
    holds it, which is named.
    """
    from stkit.core import locks

    def busy(holder: str) -> str:
        return (
            f"{out}: {holder} is at work on it; expected one run at a time; "
            "wait until it ends, or pass another -o"
        )

    with ExitStack() as stack:
        with runtime.together() if runtime else nullcontext():
            if output.rank() == 0:
                clear(out, force=force, resume=resume, folder=folder)
                try:
                    stack.enter_context(locks.held(_lock_of(out), busy, needed=False))
                except OSError as error:
                    raise ArtifactError(
                        f"{out}: cannot be written ({error.strerror}); pass another -o"
                    ) from None
                _look(out, force, resume, folder)  # the run that held it may just have ended
        yield


def clear(out: Path, *, force: bool, resume: bool | None = None, folder: bool = False) -> None:
    """Remove what dead runs left at `out`; ArtifactError when it, or unfinished work for it, is in
    the way, see `held`."""
    from stkit.core import atomic, locks

    for each in (out, part_of(out)):
        atomic.remove_dead(each)
    try:
        _look(out, force, resume, folder)
    except ArtifactError:
        locks.remove_dead(_lock_of(out))
        raise


def _lock_of(out: Path) -> Path:
    return out.parent / f"{out.name}.lock"


def _look(out: Path, force: bool, resume: bool | None, folder: bool) -> None:
    from stkit.core import atomic

    if folder:
        atomic.unused(out)
    else:
        atomic.free(out, force=force or bool(resume))
    part = part_of(out)
    if resume is False and not force and part.exists():
        raise ArtifactError(
            f"{part}: unfinished work is there; pass --resume to go on with it, "
            "or --force to throw it away"
        )


def finished(
    out: Path, kind: str, expected: dict[str, Any], runtime: "Runtime", *, force: bool
) -> dict[str, Any] | None:
    """The header of the finished result of this work, from an earlier run; None: there is none.

    That run was killed at its very end, so that `out` is there, whole; or it found `out` taken, so
    that its result lies in `out`.part, and is given its place now. expected: recipe, seed and
    inputs of the result. ArtifactError where `out` is there and of other settings.
    """
    head = None
    with runtime.together():
        if runtime.first:
            head = _finished(out, kind, expected, force=force)
    shared: dict[str, Any] | None = runtime.shared(head)
    if shared is not None:
        output.note(f"{out}: was finished before, by the same settings")
    return shared


def _finished(
    out: Path, kind: str, expected: dict[str, Any], *, force: bool
) -> dict[str, Any] | None:
    """The same, for rank 0."""
    from stkit.core import artifact, atomic, header

    part = part_of(out)
    if out.exists() and not force:
        head, _ = artifact.read(out, kind, verify=True)
        other = header.differences(head, expected)
        if not _whole(head):
            other.append("it is no finished work")
        if other:
            raise ArtifactError(
                f"{out}: exists already and was made with other settings: {'; '.join(other)}; "
                "pass --force to replace it or another -o"
            )
        _let_go(part, expected)
        return head
    if not part.exists():
        return None
    with told(part):
        head = header.read(part)
    if head["kind"] != kind or not _whole(head) or header.differences(head, expected):
        return None
    with told(part):
        artifact.read(part, verify=True)
    atomic.place(part, out, replace=force)
    return head


def _let_go(part: Path, expected: dict[str, Any]) -> None:
    """Remove what the finished work has left unfinished; what is of another work stays."""
    from stkit.core import header

    if not part.exists():
        return
    with suppress(ArtifactError):
        # an unfinished poison says nothing of its rate
        kept = {k: v for k, v in header.read(part).items() if k in ("recipe", "seed", "inputs")}
        rate = expected["recipe"].get("poison_rate")
        with_rate = kept | {"recipe": {"poison_rate": rate} | kept["recipe"]}
        if not header.differences(kept if rate is None else with_rate, expected):
            part.unlink()
            return
    output.note(f"note: {part} is of other work, and was left as it is")


@contextmanager
def told(part: Path) -> Iterator[None]:
    """What is wrong with unfinished work is said with the way out."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(f"{error}; pass --force without --resume to start again") from None


def begun(out: Path, *, resume: bool, force: bool) -> Path | None:
    """The file that says how the work for `out` was begun, if it is to be gone on with."""
    if not resume:
        return None
    return out if out.exists() and not force else part_of(out)


def _whole(head: dict[str, Any]) -> bool:
    """Whether a file is a result, rather than unfinished work, or an epoch on the way."""
    return bool(head.get("progress", {}).get("done", True)) and "kept" not in head
