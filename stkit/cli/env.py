"""stkit env: versions and devices, and whether they compute what they should."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stkit.cli import options as o
from stkit.cli import output
from stkit.core import text as harmless
from stkit.core.errors import DeviceError, RecipeError

if TYPE_CHECKING:
    from stkit.checkup import Finding

PLACE = 140
AUTO = "auto"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(env)


def env(
    check: Annotated[
        bool, typer.Option("--check", help="Also compute a little and compare, for about a minute.")
    ] = False,
    device: o.Device = AUTO,
    json: o.Json = False,
) -> None:
    """Versions and devices, for bug reports.

    With --check also whether this machine computes what it should, a line each, exit code 1 if one
    is wrong: a step of each kind against a CPU's float64, and what several ranks exchange; on a GPU
    also steps replayed as CUDA graphs, in bf16, and compiled.

    \b
    Example:
      stkit env --check
      stkit env --check --device cuda:1 --json
    """
    if device != AUTO and not check:
        raise RecipeError(f"device is {device}, which is for the check; pass --check as well")
    from stkit.checkup.machine import facts

    known = facts()
    if not json:
        output.result(_shown(known), as_json=False, quiet=False)
    if not check:
        if json:
            output.result(known, as_json=True, quiet=False)
        return
    findings = []
    for finding in _findings(device):
        findings.append(finding)
        if not json:
            output.say(_line(finding))
    wrong = [finding.name for finding in findings if finding.status == "wrong"]
    if json:
        checks = [finding.to_json() for finding in findings]
        output.result({**known, "ok": not wrong, "checks": checks}, as_json=True, quiet=False)
    if wrong:
        raise DeviceError(
            f"{len(wrong)} of {len(findings)} checks are wrong, the first is {wrong[0]!r}, "
            "expected none; trust no result of this machine, and report all of the above"
        )


def _findings(device: str) -> "Iterator[Finding]":
    """What is checked on the device, as it is done."""
    from stkit.checkup import checkup
    from stkit.engine.runtime import pick

    return checkup(pick(device, "fp32"))


def _line(finding: "Finding") -> str:
    return harmless.plain(f"{finding.status:<8}{finding.name}: {finding.about}")


def _shown(known: dict[str, Any]) -> dict[str, Any]:
    """The same for people: a line for each GPU."""
    gpus = {f"gpu {number}": _gpu(gpu) for number, gpu in enumerate(known["gpus"])}
    rest = {key: value for key, value in known.items() if key not in ("gpus", "no_gpu")}
    return rest | (gpus or {"gpus": f"none: {known['no_gpu']}"})


def _gpu(gpu: dict[str, Any]) -> str:
    gib = 1 << 30
    free = gpu.get("trouble") or f"{gpu['free'] / gib:.1f} free"
    return (
        f"{gpu['name']}, compute capability {gpu['capability']}, {gpu['memory'] / gib:.1f} GiB "
        f"({free}), {'native' if gpu['bf16'] else 'no'} bf16"
    )
