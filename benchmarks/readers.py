"""How far others' readers of noise and others' augmentations are from stkit's: no speed.

    python benchmarks/readers.py [SOURCE] [--limit 2000] [--rounds 5] [--json]

EM noise is made on the images with the small net, then read as `stkit import` reads it (floor), as
its authors' loader does (`--rounding loader`), and as a reader does that adds in float64 and
truncates. Colour jitter is torchvision's on float tensors, which stkit's is, against torchvision's
on PIL images, the same factors in the same order; so is TrivialAugment, the same draws.
"""

import argparse
import json

import numpy as np
import torch
from torchvision.transforms import ColorJitter, TrivialAugmentWide
from torchvision.transforms import functional as tv

from stkit import load
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import loaders
from stkit.engine.runtime import pick
from stkit.poisons import em
from stkit.recipes.poisons import EM

STRENGTHS = (0.4, 0.4, 0.4, 0.1)


def readings(images: Images, rounds: int) -> dict[str, float]:
    """Shares of the values of EM noise that a reader puts higher or lower than another."""
    recipe = EM(model="small", steps=20, max_rounds=rounds, stop_error=0.0, batch_size=128)
    crafting = em.Crafting(images, recipe, seed=0, runtime=pick("cpu", "fp32"))
    for _ in crafting.steps():
        pass
    noise, pixels = crafting.result().rows(slice(0, len(images))), images.pixels.numpy()
    floor = pixels + perturbation.grey_levels(noise, "floor")
    loader = pixels + loaders.em(noise, pixels, positive=False)
    wide = (pixels + noise.astype(np.float64) * 255).clip(0, 255).astype(np.int16)
    floor, loader = floor.clip(0, 255), loader.clip(0, 255)
    return {
        "loader above floor": float((loader > floor).mean()),
        "loader below floor": float((loader < floor).mean()),
        "float64 unlike floor": float((wide != floor).mean()),
        "float64 unlike loader": float((wide != loader).mean()),
    }


def jitters(images: Images) -> dict[str, float]:
    """Mean and largest difference of the two kinds of colour jitter, in grey levels."""
    torch.manual_seed(0)
    means, most = [], 0.0
    for pixels in images.pixels:
        ranges = [(1 - s, 1 + s) for s in STRENGTHS[:3]]
        order, *factors = ColorJitter.get_params(*ranges, (-STRENGTHS[3], STRENGTHS[3]))
        steps = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
        tensor, picture = pixels.float() / 255, tv.to_pil_image(pixels)
        for which in order.tolist():
            tensor = steps[which](tensor, factors[which])
            picture = steps[which](picture, factors[which])
        apart = (tensor * 255 - tv.pil_to_tensor(picture).float()).abs()
        means.append(float(apart.mean()))
        most = max(most, float(apart.max()))
    return {"jitter, mean levels": float(np.mean(means)), "jitter, most levels": most}


def policies(images: Images) -> dict[str, float]:
    """The same draws of torchvision's TrivialAugment on uint8 tensors and on PIL images."""
    policy, apart = TrivialAugmentWide(), []
    for seed, pixels in enumerate(images.pixels):
        torch.manual_seed(seed)
        tensor = policy(pixels)
        torch.manual_seed(seed)
        picture = tv.pil_to_tensor(policy(tv.to_pil_image(pixels)))
        apart.append(float((tensor.float() - picture.float()).abs().mean()))
    return {
        "trivial, mean levels": float(np.mean(apart)),
        "trivial, images unlike": float(np.mean(np.array(apart) > 0)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", default="digits")
    parser.add_argument("--limit", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    images = load(asked.source, limit=asked.limit)
    found = readings(images, asked.rounds) | jitters(images) | policies(images)
    if asked.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:22}  {value:.5f}")


if __name__ == "__main__":
    main()
