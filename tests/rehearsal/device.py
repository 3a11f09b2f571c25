"""A device `gpu` that is not there: autograd and autocast treat it as they treat CUDA's.

What it changes, it changes for the whole process and for good: so a process of its own.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

NAME = "gpu"
LACKING = 3
"""The exit code where this torch lacks what the rehearsal needs."""
NEEDED = (
    "utils.backend_registration._setup_privateuseone_for_python_backend",
    "utils.backend_registration._DummyBackendModule",
    "_C._set_only_lift_cpu_tensors",
    "_C._ExcludeDispatchKeyGuard",
    "_C.DispatchKeySet",
)
"""What is used of torch's private parts."""
LOWER = (
    "_convolution", "addmm", "addmv", "addr", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d",
    "conv_transpose2d.input", "linalg_vecdot", "linear", "matmul", "mm", "mv", "prelu",
    "scaled_dot_product_attention",
)  # fmt: skip
FLOAT32 = (
    "acos", "asin", "binary_cross_entropy_with_logits", "cdist", "cosh", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy_loss", "cumprod", "cumsum", "dist", "erfinv", "exp",
    "expm1", "group_norm", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "layer_norm",
    "log", "log10", "log1p", "log2", "log_softmax.int", "mse_loss", "nll_loss", "nll_loss_nd",
    "norm.Scalar", "norm.ScalarOpt_dim", "pdist", "poisson_nll_loss", "pow.Scalar",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "prod", "prod.dim_int", "reciprocal", "renorm",
    "rsqrt", "sinh", "smooth_l1_loss", "soft_margin_loss", "softmax.int", "softplus", "sum",
    "sum.dim_IntList", "tan", "triplet_margin_loss",
)  # fmt: skip
"""What CUDA's autocast computes in bf16, and what in float32 (ATen/autocast_mode.h)."""
_libraries: list[torch.library.Library] = []  # rules hold as long as these live


class Generator(torch.Generator):
    """A generator of the host's that says it is the device's, where there is none to make.

    In the place of `torch.Generator`: a device's own needs hooks that cannot be written in Python.
    The device's draws are made up, so nothing is drawn from it.
    """

    def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
        there = torch.device(device)
        made = super().__new__(cls, "cpu" if there.type == NAME else there)
        made.there = there
        return made

    @property
    def device(self) -> torch.device:
        return self.there


def missing() -> str | None:
    """What this torch lacks, the first of it, for people."""
    for name in NEEDED:
        try:
            __import__("torch." + name.rpartition(".")[0])
            attrgetter(name)(torch)
        except (AttributeError, ImportError):
            return f"torch {torch.__version__} has no torch.{name}"
    return None


def make() -> torch.device:
    """The device, from now on. RuntimeError where this torch cannot make one up."""
    lacking = missing()
    if lacking is not None:
        raise RuntimeError(lacking)
    from torch.utils import backend_registration

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16, torch.float16]

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    torch.autograd.set_multithreading_enabled(False)  # backward here: the device has no thread
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` copies where modes see it
    torch.Generator = Generator
    _autocast()
    return torch.device(NAME, 0)


def _autocast() -> None:
    """The rules of autocast for the device."""
    rest = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel)
    casts = torch.library.Library("aten", "IMPL", "AutocastPrivateUse1")
    for name in LOWER:
        casts.impl(name, _casting(name, torch.bfloat16, (torch.float32,)))
    for name in FLOAT32:
        casts.impl(name, _casting(name, torch.float32, (torch.bfloat16, torch.float16)))
    _libraries.extend((rest, casts))


def _casting(name: str, dtype: torch.dtype, takes: tuple[torch.dtype, ...]) -> Callable[..., Any]:
    """The operation on tensors cast to `dtype`, those of the types that are cast."""
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
    autocast = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.dtype in takes else value

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(autocast):
            return operation(*tree_map(cast, args), **tree_map(cast, kwargs))

    return kernel
