"""What a CUDA graph capture forbids, seen operation by operation and named by file and line.

Operations on the host are computed. Those that touch the device are not: FakeTensorMode says of
which shape, type and strides the answer is, and refuses what CUDA refuses. A number that is read
from the device is made up.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from device import NAME
from graphs import RECORDING, Graphs, made_by, place
from operations import COPIES, COUNTED, INDEXING, SOME, VIEWS, fake, flat, kind, rows, waited
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


class Watch(TorchDispatchMode):
    """Everything that is computed under it, on a device that is not there.

    notes: what is wrong. inner, outer: operations launched inside and around recorded bodies;
    waits: around them. recorded: the file of stkit whose body it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fake, self.graphs = FakeTensorMode(), Graphs()
        self.begin()

    def begin(self) -> None:
        """Forget what was seen so far."""
        self.inside = self.quiet = False
        self.notes: list[str] = []
        self.inner = self.outer = self.waits = 0
        self.calls: list[Any] = []  # of a body: each operation's name, shapes and numbers
        self.asked, self.answer = -1, "?"  # where the call of that number is made
        self.lifted: weakref.ref[Tensor] | None = None
        self.recorded = "nothing"
        self.graphs.leaves.clear()

    def note(self, text: str, where: str | None = None) -> None:
        """What is wrong, once a line."""
        text = f"{text} at {where or place()}"
        if text not in self.notes:
            self.notes.append(text)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """All of it, and the nodes of leaves."""
        with self, self.graphs:
            yield

    @contextmanager
    def unwaited(self) -> Iterator[None]:
        """Work in which the host should not wait for the device, recorded or not."""
        self.quiet, self.outer = True, 0
        try:
            yield
        finally:
            self.quiet = False

    @contextmanager
    def body(self) -> Iterator[None]:
        """Work that is recorded, or could be."""
        self.inside, self.inner, self.calls = True, 0, []
        try:
            yield
        finally:
            self.inside = False

    def record(self, run: Callable[[], Any], restore: Callable[[], None]) -> Callable[[], Any]:
        """What a runtime records its steps by: a call that warms up, and one that is looked at.

        Nothing is restored between them, as no number is more than made up.
        """
        self.recorded = place(RECORDING).partition(":")[0]
        notes = list(self.notes)
        with self.body():
            run()
        self.notes, first = notes, self.calls  # what only the first call does may wait
        self._outlived()
        with self.body():
            result = run()
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                self.note("the result carries an autograd graph", made_by(tensor))
        if self.calls != first:
            self._compare(run)
        return lambda: result

    def _outlived(self) -> None:
        text = self.graphs.outliving()
        if text is not None:
            self.notes.append(text)

    def _compare(self, run: Callable[[], Any]) -> None:
        """Note the first operation in which a third call is not as the second was."""
        second, notes, counted = self.calls, self.notes, self.inner
        self.notes = []
        with self.body():
            run()
        third = self.calls
        if third != second:
            pairs = zip(second, third, strict=False)
            alike = next((i for i, (a, b) in enumerate(pairs) if a != b), len(second[: len(third)]))
            self.asked = alike
            with self.body():
                run()
            now = (calls[alike : alike + 1] for calls in (second, third))
            text = "changes from call to call, {} to {}".format(*now)
            self.asked, self.notes = -1, notes
            self.note(text, self.answer)
        self.notes, self.inner = notes, counted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.prim.device.default:  # asked for more often than all else
            return args[0].fake_device
        kwargs = kwargs or {}
        name = str(func).removeprefix("aten.")
        leaves = flat(args, kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        kinds = {tensor.device.type for tensor in tensors}
        asked = kwargs.get("device")
        target = None if asked is None else torch.device(asked).type
        launched = not name.startswith(VIEWS)
        self.inner += self.inside and launched
        self.outer += launched and not self.inside
        if self.inside:
            self._remember(name, leaves)
            self._look(name, tensors, kinds, target, kwargs)
        if NAME in (target, *kinds):
            self._wait(name, args, target)
        if NAME not in kinds and target != NAME:
            result = func(*args, **kwargs)
            self.lifted = weakref.ref(result) if name.startswith("lift_fresh") else self.lifted
            return result
        if name.startswith("_fused_sgd_"):  # there is no fake kernel of it
            return self._fused(args, kwargs)
        return self._made_up(func, name, args, kwargs, kinds, target)

    def _remember(self, name: str, leaves: list[Any]) -> None:
        if name.startswith(("prim", "profiler")):
            return
        if len(self.calls) == self.asked:
            self.answer = place()
        told = [tuple(each.shape) if isinstance(each, Tensor) else str(each) for each in leaves]
        self.calls.append((name, told))

    def _look(
        self, name: str, tensors: list[Tensor], kinds: set[str], target: str | None, kwargs: Any
    ) -> None:
        """Note what a capture does not stand, or what would be frozen in it."""
        if name.startswith(COPIES) and "cpu" in kinds and NAME in (target, *kinds):
            known = self.lifted is not None and any(each is self.lifted() for each in tensors)
            self.note(
                "a tensor is made from Python numbers on the device" if known
                else f"a copy from the host to the device ({name})"
            )  # fmt: skip
        elif kinds == {"cpu", NAME}:
            whole = any(each.ndim for each in tensors if each.device.type == "cpu")
            self.note(
                f"tensors of two devices ({name})" if whole
                else f"a 0-dim tensor of the host, read as a number ({name})"
            )  # fmt: skip
        elif kinds == {"cpu"} and not name.startswith(VIEWS):
            self.note(f"computed on the host ({name})")
        elif not kinds and target not in (None, NAME):
            self.note(f"made on the host ({name})")
        if kwargs.get("generator") is not None:
            self.note(f"draws from a generator of its own ({name})")

    def _wait(self, name: str, args: Any, target: str | None) -> None:
        """Note where the host waits for the device; around a body only where it should not."""
        what = waited(name, args, target)
        if what is None:
            return
        self.waits += not self.inside
        if self.inside or self.quiet:
            self.note(f"{what} ({name})")

    def _made_up(
        self, func: Any, name: str, args: Any, kwargs: Any, kinds: set[str], target: str | None
    ) -> Any:
        """An answer without arithmetic."""
        first = args[0] if args else None
        if name.startswith("_local_scalar_dense"):
            kind = (
                bool if first.dtype == torch.bool else float if first.is_floating_point() else int
            )
            return True if kind is bool else kind(0)
        if name.startswith(("equal", "allclose")):
            return False
        if name.startswith("copy_") and first.device.type == "cpu":
            return first
        if name.startswith("_to_copy") and target == "cpu":
            dtype = kwargs.get("dtype") or first.dtype
            return torch.full(first.shape, dtype == torch.bool, dtype=dtype)
        plain = kinds == {NAME} and target is None and "generator" not in kwargs
        if plain and not name.startswith(COUNTED):  # which saves a fifth of the time
            return self.fake.dispatch(func, (), args, kwargs)
        kwargs = {**kwargs, "generator": None} if "generator" in kwargs else kwargs
        with self.fake:
            if name.startswith("nonzero."):
                return torch.empty(SOME, first.ndim, dtype=torch.int64, device=first.device)
            if name.startswith("_unique2"):
                where = torch.empty(first.shape, dtype=torch.int64, device=first.device)
                return first.new_empty(SOME), where, where.new_empty(SOME)
            if name.startswith(INDEXING):
                args = (first, rows(args[1]), *args[2:])
            if kinds != {NAME}:
                args, kwargs = tree_map(fake, args), tree_map(fake, kwargs)
            return func(*args, **kwargs)

    def _fused(self, args: Any, kwargs: Any) -> None:
        """Note what the CUDA kernel of SGD does not take (FusedSgdKernel.cu, ForeachUtils.h)."""
        rate = kwargs.get("lr")
        if not isinstance(rate, Tensor):
            self.note(f"the learning rate is a number of Python's, {rate}")
        elif (rate.device.type, rate.dtype, rate.numel()) != (NAME, torch.float32, 1):
            self.note(f"the learning rate is {rate.dtype} {list(rate.shape)} on {rate.device}")
        unlike = [
            f"a parameter {kind(parameter)} with {kind(other)}"
            for parameter, *others in zip(*args[:3], strict=True)
            for other in others
            if kind(parameter) != kind(other)
        ]
        if unlike:
            more = f", and {len(unlike) - 1} more" if len(unlike) > 1 else ""
            self.note(f"fused SGD: {unlike[0]} as gradient or momentum{more}")
