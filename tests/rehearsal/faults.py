"""Faults of every kind, to be planted in a copy of stkit: what the rehearsal must name."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import stkit


@dataclass(frozen=True)
class Fault:
    """A text of one of stkit's files, what takes its place, and what a case then says.

    seen: what stands in the line that is named; by default the last of the new text. named: the
    file of that line, if it is another.
    """

    case: str
    file: str
    old: str
    new: str
    note: str
    seen: str = ""
    named: str = ""

    @property
    def where(self) -> str:
        """What stands in the line that is named."""
        return self.seen or self.new.strip().splitlines()[-1].strip()


FAULTS = (
    Fault(
        "mixup", "engine/mix.py",
        "return torch.lerp(others, images, table[:, :1, None, None])",
        "return torch.lerp(others, images, table[0, 0].item())",
        "a number is read on the host (_local_scalar_dense.default)",
    ),
    Fault(
        "cutmix", "engine/mix.py",
        "steps = torch.arange(images.shape[-1], device=images.device)",
        "steps = torch.tensor([*range(images.shape[-1])], device=images.device)",
        "a tensor is made from Python numbers on the device",
    ),
    Fault(
        "cutout", "engine/augment/geometry.py",
        "return images * torch.logical_not(row[:, None, :, None] & column[:, None, None, :])",
        "inside = row[:, None, :, None] & column[:, None, None, :]\n"
        "    images[inside.expand_as(images)] = 0\n"
        "    return images",
        "a boolean mask (index_put_.default)",
        seen="images[inside.expand_as(images)] = 0",
    ),
    Fault(
        "evaluate, clean", "measure/accuracy.py",
        "counted = best.values.isfinite().long()  # -inf may stand for a class that is left out\n"
        "        self.counts",
        "counted = torch.ones(len(labels), dtype=torch.int64)\n"
        "        self.counts",
        "made on the host (ones.default)",
        seen="counted = torch.ones(len(labels), dtype=torch.int64)",
    ),
    Fault(
        "em, sample-wise", "poisons/em.py",
        "        with pgd.evaluating(self.surrogate.frozen):\n            return pgd.pgd(",
        "        self.called = getattr(self, 'called', 0) + 1\n"
        "        x = x * self.called\n"
        "        with pgd.evaluating(self.surrogate.frozen):\n            return pgd.pgd(",
        "changes from call to call",
        seen="x = x * self.called",
    ),
    Fault(
        "em, sample-wise", "engine/step.py",
        "        nn.utils.clip_grad_norm_(network.parameters(), clip)\n",
        "        nn.utils.clip_grad_norm_(network.parameters(), clip)\n"
        "        for parameter in network.parameters():\n"
        "            parameter.grad = parameter.grad.contiguous()\n",
        "by [27, 9, 3, 1] on gpu:0 as gradient or momentum",
        seen="sgd.step()",
    ),
    Fault(
        "rem, plain", "poisons/rem.py",
        "        self.surrogate.set_lr(lr)\n",
        "        self.surrogate.sgd.param_groups[0]['lr'] = lr\n",
        "the learning rate is a number of Python's",
        seen="sgd.step()",
        named="engine/step.py",
    ),
    Fault(
        "rem, plain", "poisons/rem.py",
        "        (gradient,) = torch.autograd.grad(u, leaf, gradient)\n",
        "        (gradient,) = torch.autograd.grad(u, leaf, gradient)\n"
        "        self.kept = self.surrogate.frozen(attacked).sum()\n",
        "autograd nodes of leaves outlive the body",
    ),
)  # fmt: skip


def plant(folder: Path) -> Path:
    """A copy of stkit in the folder, with all faults."""
    copy = folder / "stkit"
    shutil.copytree(Path(stkit.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for fault in FAULTS:
        path = copy / fault.file
        text = path.read_text()
        assert text.count(fault.old) == 1, f"{fault.file} has changed: it has no {fault.old!r}"
        path.write_text(text.replace(fault.old, fault.new))
    return copy


def line(fault: Fault, copy: Path) -> str:
    """The line of the copy that is to be named: `stkit/engine/mix.py:12`."""
    file = fault.named or fault.file
    lines = (copy / file).read_text().splitlines()
    (number,) = (n for n, text in enumerate(lines, 1) if text.strip() == fault.where)
    return f"{copy.name}/{file}:{number}"
