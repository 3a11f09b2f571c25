"""Accuracy on the held-out images, as published and as purifiers wash them.

They are washed once. Nothing of the training changes by it: not the weights, not a random stream.
"""

from collections.abc import Sequence

import torch
from torch import nn

from stkit.core.errors import RecipeError
from stkit.data.images import Images
from stkit.data.prepare import prepare
from stkit.engine.feed import Feed
from stkit.engine.runtime import Runtime
from stkit.measure.accuracy import Evaluator, accuracy
from stkit.recipes import purifiers
from stkit.recipes.purifiers import PURIFIERS
from stkit.training.schedule import Held


class Purified:
    """Measures a model on the held-out images, washed by each of `wash`, as often as asked.

    held: as published. prepared: how the training prepares its images; which purifiers judge
    follows from it. DataError: images too small for one of them. RecipeError: none is left to
    judge.
    """

    def __init__(
        self,
        model: nn.Module,
        held: Images,
        *,
        prepared: Sequence[str],
        runtime: Runtime,
        wash: Sequence[str] = PURIFIERS,
    ) -> None:
        self.evaluator = Evaluator(model, held, runtime=runtime)
        washed = {each: prepare(held, purifiers.names(each)).pixels for each in wash}
        self.feeds = {k: Feed(pixels, held.labels, runtime) for k, pixels in washed.items()}
        self.idle = [k for k, pixels in washed.items() if torch.equal(pixels, held.pixels)]
        self.alike = {
            each: [other for other in wash if torch.equal(washed[other], washed[each])]
            for each in wash
        }
        reasons = {each: self._why_not(each, prepared) for each in wash}
        self.left_out = {each: why for each, why in reasons.items() if why is not None}
        """Purifiers that do not judge -> why not, for people."""
        self.judges = tuple(each for each in wash if each not in self.left_out)
        if not self.judges:
            raise RecipeError(
                f"found no purifier to judge by ({_listed(self.left_out)}), expected one or more; "
                "leave out what judges by them (--purified, --indicator purified, auto)"
            )

    def _why_not(self, purifier: str, prepared: Sequence[str]) -> str | None:
        """Why it does not judge, if so."""
        if purifier in self.idle:
            return "changes no held-out image"
        alike = self.alike[purifier]
        if any(purifiers.same(each, prepared) for each in alike):
            return "is how the training prepares its images"
        return None if alike[0] == purifier else f"does to these images what {alike[0]} does"

    def __call__(self) -> Held:
        """The accuracies of the model as it is, the same on all ranks; of those that do not judge
        too."""
        count = self.evaluator.count
        unwashed = accuracy(self.evaluator.confusion(), count)
        washed = {k: accuracy(self.evaluator.confusion(f), count) for k, f in self.feeds.items()}
        held = Held(holdout_accuracy=unwashed, purified_accuracy=washed)
        share = purifiers.retained_share(unwashed, washed, self.judges)
        if share is not None:
            held["retained_share"] = share
        return held


def _listed(left_out: dict[str, str]) -> str:
    return "; ".join(f"{purifier} {why}" for purifier, why in left_out.items())
