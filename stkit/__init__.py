"""stkit: unlearnable examples from end to end. The functions below are imported on first use."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "load": "stkit.data.load",
    "poison": "stkit.poisons",
    "train": "stkit.training.run",
    "acm": "stkit.measure.acm",
    "evaluate": "stkit.measure.accuracy",
}
__all__ = ["__version__", "acm", "evaluate", "load", "poison", "train"]

if TYPE_CHECKING:
    from stkit.data.load import load
    from stkit.measure.accuracy import evaluate
    from stkit.measure.acm import acm
    from stkit.poisons import poison
    from stkit.training.run import train


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'stkit' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
