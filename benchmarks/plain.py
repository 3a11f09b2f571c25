"""Plain loops as the authors of this field write them: what stkit's speed is measured against.

Training: torchvision's transforms on PIL images one by one in a DataLoader's workers, float32 in
the channels-first layout, torch.optim.SGD over all parameters, `.item()` after every step. Images
of 32 pixels lie in memory as torchvision's CIFAR-10 keeps them; larger ones are JPEG or PNG files
that ImageFolder decodes. `at` is REM's train.py: PGD with clipping at both ends in every step.
There is no code of the ST authors: `st` here is `nt`, without any check.

Kinder than the real ones: no clipping of gradients, no second pass for logging, and the workers'
start at each epoch is not counted.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset
from torchvision import datasets, transforms

from stkit import models
from stkit.data.images import Images
from stkit.measure import acm
from stkit.measure.clusters import Clusters
from stkit.recipes.carried import CG
from stkit.recipes.frames import FRAMES, Adversary

WARM = 5  # steps before anything counts
PREFETCH = 2  # batches a worker prepares ahead, DataLoader's default


class InMemory(Dataset):
    """uint8 [N,H,W,3] as PIL images, one at a time, as torchvision's CIFAR10."""

    def __init__(self, images: Images, transform: Callable) -> None:
        self.data = images.pixels.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets, self.transform = images.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def transform(task: str, size: int) -> transforms.Compose:
    """What the authors do to one PIL image."""
    steps: list[Callable] = []
    if task in FRAMES:
        crop = transforms.RandomCrop(size, padding=4)
        steps = [crop if size <= 64 else transforms.RandomResizedCrop(size)]
        steps.append(transforms.RandomHorizontalFlip())
        if FRAMES[task].train.augment == CG:
            jitter = transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)
            steps += [transforms.RandomApply([jitter], p=0.8), transforms.RandomGrayscale(p=0.2)]
    return transforms.Compose([*steps, transforms.ToTensor()])


@contextlib.contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Whether float32 products and convolutions on a GPU may be rounded to TF32."""
    kernels = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [kernel.fp32_precision for kernel in kernels]
    for kernel in kernels:
        kernel.fp32_precision = "tf32" if on else "ieee"
    try:
        yield
    finally:
        for kernel, precision in zip(kernels, before, strict=True):
            kernel.fp32_precision = precision


class Side:
    """One task on one set: `unit()` does one batch and returns how many images it had.

    case: task, model, batch_size, device, workers, tf32, and the folder of files, or None.
    """

    def __init__(self, case: dict[str, Any], images: Images) -> None:
        torch.backends.cudnn.benchmark = True
        self.task, self.device, self.workers = case["task"], case["device"], case["workers"]
        self.batch_size, self.tf32 = case["batch_size"], case["tf32"]
        self.classes = len(images.classes)
        chosen = transform(self.task, images.size)
        self.data: Dataset = InMemory(images, chosen)
        if case["folder"] is not None:
            self.data = datasets.ImageFolder(case["folder"], chosen)
        if self.task == "acm":
            rows = acm.draw(images.labels, classes=self.classes, seed=0)
            self.data = Subset(self.data, rows.tolist())
        self.model = models.create(case["model"], classes=self.classes, size=images.size)
        self.model.to(self.device)
        self.sgd = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4
        )  # fmt: skip
        self.found: Iterator | None = None

    def open(self) -> None:
        """Start the workers; `acm` starts its own for each check."""
        if self.task == "acm":
            return
        sampler = RandomSampler(self.data, replacement=True, num_samples=1 << 30)  # type: ignore[arg-type]
        self.found = iter(
            DataLoader(
                self.data, self.batch_size, sampler=sampler, num_workers=self.workers,
                pin_memory=self.device.startswith("cuda"), drop_last=True,
            )
        )  # fmt: skip

    def close(self) -> None:
        """End them, so that they prepare nothing in another's turn."""
        self.found = None

    def wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def warm(self, seconds: float = 60) -> None:
        """Until what lay ready is used up, and batches are used as they are made."""
        end = time.perf_counter() + seconds
        for _ in range(1 if self.task == "acm" else WARM + 2 * PREFETCH * self.workers):
            self.unit()
            if time.perf_counter() > end:
                break

    def turn(self, seconds: float) -> dict[str, float]:
        """Images a second; `.item()` waits for the device."""
        self.warm(3 * seconds)
        count, start = 0, time.perf_counter()
        while (taken := time.perf_counter() - start) < seconds or not count:
            count += self.unit()
        return {"rate": count / taken}

    def unit(self) -> int:
        """One batch."""
        with tf32(self.tf32):
            return self._unit()

    def _unit(self) -> int:
        if self.task == "acm":
            return self._acm()
        assert self.found is not None
        images, labels = next(self.found)
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        if self.task == "eval":
            self._evaluate(images, labels)
        else:
            adversary = FRAMES[self.task].train.adversary
            if adversary is not None:
                images = self._attack(images, labels, adversary)
            self._learn(images, labels)
        return len(labels)

    def _learn(self, images: Tensor, labels: Tensor) -> None:
        self.model.train()
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        self.meters = loss.item(), (logits.argmax(1) == labels).sum().item()

    def _attack(self, images: Tensor, labels: Tensor, adversary: Adversary) -> Tensor:
        self.model.eval()
        epsilon = adversary.epsilon
        moved = (images + torch.empty_like(images).uniform_(-epsilon, epsilon)).clamp(0, 1)
        for _ in range(adversary.steps):
            moved.requires_grad_()
            loss = F.cross_entropy(self.model(moved), labels)
            (gradient,) = torch.autograd.grad(loss, moved)
            moved = moved.detach() + adversary.step_size * gradient.sign()
            moved = torch.min(torch.max(moved, images - epsilon), images + epsilon).clamp(0, 1)
        return moved.detach()

    @torch.no_grad()
    def _evaluate(self, images: Tensor, labels: Tensor) -> None:
        self.model.eval()
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        self.meters = loss.item(), (logits.argmax(1) == labels).sum().item()

    @torch.no_grad()
    def _acm(self) -> int:
        """Features of D^s, then Eq. 3-5 pair by pair of classes."""
        self.model.eval()
        found = [
            (models.features(self.model, images.to(self.device)), labels)
            for images, labels in DataLoader(self.data, 100, num_workers=self.workers)
        ]
        features, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        self.meters = acm.score(pairs(features, labels, self.classes)), 0
        return len(labels)


def pairs(features: Tensor, labels: Tensor, classes: int) -> Clusters:
    """Eq. 3-5 read aloud: a loop over the pairs of classes, in the features' own precision."""
    sets = [features[labels.to(features.device) == i] for i in range(classes)]
    spread = [(A - A.mean(0)).norm(dim=1) for A in sets]
    L = torch.zeros(classes, classes)
    for i in range(classes):
        for j in range(classes):
            if i != j:
                L[i, j] = torch.cdist(sets[i], sets[j]).min()
    return Clusters(
        L.double(),
        torch.stack([s.mean() for s in spread]).double().cpu(),
        torch.stack([s.max() for s in spread]).double().cpu(),
        labels.bincount(minlength=classes),
    )


def files(images: Images, folder: str, suffix: str) -> float:
    """The images as one file each in class folders, as ImageFolder reads them; mean kilobytes."""
    total = 0
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        path = Path(folder, f"{int(label):04}", f"{number:06}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        how = {"quality": 90} if suffix == "jpg" else {}
        Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(path, **how)
        total += path.stat().st_size
    return total / len(images) / 1000
