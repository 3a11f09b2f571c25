"""Faults of every kind, to be planted in a copy of stkit: what the rehearsal must name."""

import ast
import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import stkit


@dataclass(frozen=True)
class Fault:
    """Lines that a function of one of stkit's files begins with, and what a case then says.

    seen: what stands in the line that is named, of this file; by default the last of the lines.
    """

    case: str
    file: str
    function: str
    lines: str
    note: str
    seen: tuple[str, str] | None = None


UPDATE = "engine/step.py", "sgd.step()"
FAULTS = (
    Fault(
        "mixup", "engine/mix.py", "_mixup",
        "table[0, 0].item()",
        "a number is read on the host (_local_scalar_dense.default)",
    ),
    Fault(
        "cutmix", "engine/mix.py", "_cutmix",
        "torch.tensor([0.5], device=images.device)",
        "a tensor is made from Python numbers on the device",
    ),
    Fault(
        "cutout", "engine/augment/geometry.py", "cutout",
        "images = images.clone()\n"
        "images[images < 0] = 0",
        "a boolean mask (index_put_.default)",
    ),
    Fault(
        "evaluate, clean", "measure/accuracy.py", "_body",
        "labels = labels + torch.zeros(len(labels), dtype=torch.int64)",
        "tensors of two devices (add.Tensor)",
    ),
    Fault(
        "em, sample-wise", "poisons/em.py", "_stepped",
        "self.called = getattr(self, 'called', 0) + 1\n"
        "x = x * self.called",
        "changes from call to call",
    ),
    Fault(
        "em, sample-wise", "engine/step.py", "descend",
        "def spoil(parameter):\n"
        "    parameter.grad = parameter.grad.contiguous()\n"
        "for parameter in network.parameters() if clip is not None else ():\n"
        "    parameter.register_post_accumulate_grad_hook(spoil)",
        "[27, 9, 3, 1] on gpu:0 as gradient or momentum",
        seen=UPDATE,
    ),
    Fault(
        "rem, plain", "poisons/rem.py", "_learn",
        "self.surrogate.sgd.param_groups[0]['lr'] = 0.1",
        "the learning rate is a number of Python's",
        seen=UPDATE,
    ),
    Fault(
        "rem, plain", "poisons/rem.py", "_stepped",
        "self.kept = self.surrogate.frozen(x).sum()",
        "autograd nodes of leaves outlive the body, held by a tensor",
    ),
)  # fmt: skip


def plant(folder: Path) -> Path:
    """A copy of stkit in the folder, with all faults."""
    copy = folder / "stkit"
    shutil.copytree(Path(stkit.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for fault in FAULTS:
        path = copy / fault.file
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        first = _first(text, fault.function)
        lines.insert(first.lineno - 1, indent(fault.lines + "\n", " " * first.col_offset))
        path.write_text("".join(lines))
    return copy


def _first(text: str, function: str) -> ast.stmt:
    """The first statement of a function after its docstring."""
    (found,) = (
        node for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == function
    )  # fmt: skip
    return found.body[1 if ast.get_docstring(found) else 0]


def line(fault: Fault, copy: Path) -> str:
    """The line of the copy that is to be named: `stkit/engine/mix.py:12`."""
    file, seen = fault.seen or (fault.file, fault.lines.splitlines()[-1])
    lines = (copy / file).read_text().splitlines()
    (number,) = (n for n, text in enumerate(lines, 1) if text.strip() == seen)
    return f"{copy.name}/{file}:{number}"
