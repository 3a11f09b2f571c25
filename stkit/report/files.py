"""The JSON files of results: what `stkit bench` writes for a training, and for a poison.

That of a training holds what `stkit train --json` printed, the settings in the grid, the records of
the checkpoint, versions, device, and the provenance of the images and of the weights: all that a
report needs, so the checkpoint may go. It has no paths and no time stamps.
"""

from pathlib import Path
from typing import Any

from stkit.core import atomic, files, header, kinds, schema
from stkit.core.errors import ArtifactError
from stkit.report import result

FORMAT = 1
RUN = "cell"
"""The kind of file that holds one training of a grid."""


def _images() -> dict[str, Any]:
    """The shape of the header of images, which holds its parents'."""
    return {"digest": str, "recipe": kinds.READ, "inputs": [_images]}


CHECK = {"step": schema.COUNT, "verdict": str, "acm?": {str: float}, "tau?": schema.COUNT,
         **kinds.WASHED}  # fmt: skip
RECORD = {"epoch": schema.COUNT, "phase": schema.COUNT, "lr?": schema.NUMBER,
          "loss?": schema.NUMBER, "accuracy?": schema.SHARE,
          "train_accuracy?": schema.SHARE, **kinds.WASHED, "checks?": [CHECK],
          "recorded?": kinds.RECORDED}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    RUN: {
        "settings": {
            "data": {"name": str}, "poison": {"name": str, "rate?": schema.SHARE},
            "frame": {"name": str}, "model": str, "seed": int,
        },
        "digest": str, "recipe": kinds.TRAINED, "inputs": [_images, schema.SOME],
        "versions": {str: str}, "name": str, "epochs": schema.COUNT, "history": [RECORD],
        "chosen?": kinds.CHOSEN, **{f"{key}?": shape for key, shape in result.MEASURED.items()},
    },
    "poison": {
        "name": str, "method?": str, "n?": schema.COUNT, "linf?": float, "l2_mean?": float,
        "l0_max?": float, "seconds?": float, "seed?": int,
    },
}  # fmt: skip
"""What a report relies on, by kind of file; see `core.schema`."""
PRINTED = {key: shape for kind in (RUN, "poison") for key, shape in SHAPES[kind].items()
           if key.endswith("?")}  # fmt: skip
"""The same of what a process printed, whichever it was."""


def run(
    name: str, settings: dict[str, Any], head: dict[str, Any], printed: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """The result of a finished training.

    head: the checkpoint's header. printed: what `stkit train --json` said, empty if that was lost.
    """
    said = {key: value for key, value in printed.items() if key != "output"}
    return {
        **said, **result.summary(head), **more, "format": FORMAT, "kind": RUN, "name": name,
        "settings": settings, "seed": head["seed"], "history": history(head["records"]),
        "recipe": head["recipe"], "digest": head["digest"], "inputs": head["inputs"],
        "versions": head["versions"], **({"chosen": head["chosen"]} if "chosen" in head else {}),
    }  # fmt: skip


def poison(name: str, head: dict[str, Any], printed: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The result of a poison that a grid made."""
    said = {key: value for key, value in printed.items() if key != "output"}
    kept = ("recipe", "seed", "digest", "inputs", "statistics", "versions")
    return {
        **said, **more, "format": FORMAT, "kind": "poison", "name": name,
        **{key: head[key] for key in kept},
    }  # fmt: skip


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A checkpoint's records without what is a function of the rest: the layers' rates."""
    return [
        {
            **record,
            **(
                {"checks": [{k: v for k, v in check.items() if k != "lr_scales"}
                            for check in record["checks"]]}
                if "checks" in record else {}
            ),
        }
        for record in records
    ]  # fmt: skip


def write(path: Path, value: dict[str, Any]) -> None:
    """Write a result as JSON, whole or not at all."""
    atomic.write_text(path, header.dumps(value) + "\n")


def read(path: Path) -> dict[str, Any]:
    """A JSON result. ArtifactError when it is missing, damaged, or was not written by a bench."""
    text = files.content(path)
    try:
        value = files.parse_json(text.decode())
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged, it is no JSON ({error}); make it again") from None
    if not isinstance(value, dict) or value.get("kind") not in tuple(SHAPES):
        raise ArtifactError(
            f"{path}: found other JSON, expected what `stkit bench` wrote; "
            "pass a checkpoint, or the folder of a bench"
        )
    if value.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: found format {value.get('format')!r}, expected {FORMAT}; "
            "use the stkit that wrote it"
        )
    try:
        return check(value)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


def check(value: dict[str, Any]) -> dict[str, Any]:
    """A result of a known kind with numbers for nan and inf; ArtifactError where it is damaged."""
    names = ("name", "frame", "model", "settings", "recipe", "inputs", "versions")
    value = {k: v if k in names else header.numbers(v) for k, v in value.items()}
    schema.check(value, SHAPES[value["kind"]])
    return value
