"""The lines of stkit that are executed, and the autograd graphs that they leave behind."""

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import stkit

HOME = Path(stkit.__file__).parent
OWN = str(HOME)
RECORDING = tuple(str(HOME / "engine" / name) for name in ("graphs.py", "memory.py"))


def place(beyond: tuple[str, ...] = ()) -> str:
    """The line of stkit that is being executed: `stkit/engine/step.py:12`.

    beyond: files that are passed over.
    """
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OWN) and file not in beyond:
            return at(file, frame.f_lineno)
        frame = frame.f_back
    return "?"


def at(file: str, line: int) -> str:
    """A line of one of stkit's files, for people."""
    return f"{Path(file).relative_to(HOME.parent)}:{line}"


class Graphs(TorchFunctionMode):
    """Marks the autograd nodes of leaves, to see later whether one has outlived its body.

    In a capture such a node still belongs to the stream of an earlier call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.leaves: list[weakref.ref[Any]] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.grad_fn is not None:
                self._mark(tensor.grad_fn)
        return result

    def _mark(self, root: torch.autograd.graph.Node) -> None:
        """Give what is new under a node a token that lives as long, and the line it is made in."""
        todo, where = [root], place()
        while todo:
            node = todo.pop()
            if "made" in node.metadata:
                continue
            node.metadata["made"] = where
            if node.name().endswith("AccumulateGrad"):
                node.metadata["token"] = token = type("Token", (), {})()
                self.leaves.append(weakref.ref(token))
            todo += [above for above, _ in node.next_functions if above is not None]

    def outliving(self) -> str | None:
        """What is wrong, if a node still lives; all are forgotten."""
        count, living = len(self.leaves), sum(ref() is not None for ref in self.leaves)
        if not living:
            self.leaves.clear()
            return None
        gc.collect()
        held = any(ref() is not None for ref in self.leaves)
        self.leaves.clear()
        text = f"{living} of {count} autograd nodes of leaves outlive the body, "
        if not held:
            return text + "in reference cycles"
        return text + f"held by a tensor made at {made_by(kept())}"


def kept() -> Tensor | None:
    """A tensor whose graph is alive, the last of its graph."""
    tensors = [each for each in gc.get_objects() if isinstance(each, Tensor)]
    held = {each.grad_fn: each for each in tensors if each.grad_fn is not None}
    inner, todo = set(), list(held)
    while todo:
        above = {node for node, _ in todo.pop().next_functions if node is not None} - inner
        inner |= above
        todo += above
    return next((each for node, each in held.items() if node not in inner), None)


def made_by(tensor: Tensor | None) -> str:
    """The line in which a tensor with a graph was made."""
    node = None if tensor is None else tensor.grad_fn
    return "?" if node is None else node.metadata.get("made", "?")
