"""Choices by class against plain loops."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from stkit.core.rng import stream
from stkit.data.sampling import assign, balanced, place_by_class, rank_in_class, stratified

CASES = [(0, 1), (1, 3), (40, 4), (300, 7)]


def labels_of(count: int, classes: int) -> Tensor:
    return 2 * torch.randint(classes, (count,), generator=stream(0, "labels"))


@pytest.mark.parametrize(("count", "classes"), CASES)
def test_rank_and_place(count: int, classes: int) -> None:
    labels = labels_of(count, classes)
    seen: Counter[int] = Counter()
    ranks = []
    for label in labels.tolist():
        ranks.append(seen[label])
        seen[label] += 1
    assert rank_in_class(labels).tolist() == ranks
    by_class = sorted(range(count), key=lambda row: (int(labels[row]), row))
    assert [by_class[place] for place in place_by_class(labels)] == list(range(count))


@pytest.mark.parametrize(("count", "classes"), CASES)
def test_balanced_takes_turns_over_the_classes(count: int, classes: int) -> None:
    labels = labels_of(count, classes)
    rows = defaultdict(list)
    for row, label in enumerate(labels.tolist()):
        rows[label].append(row)
    turns = [
        rows[label][turn] for turn in range(count) for label in sorted(rows)
        if turn < len(rows[label])
    ]  # fmt: skip
    for wanted in (1, 9, count, count + 5):
        assert balanced(labels, wanted).tolist() == sorted(turns[:wanted])


@pytest.mark.parametrize(("count", "classes"), CASES)
def test_the_jth_of_a_class_gets_the_jth_point_of_it(count: int, classes: int) -> None:
    labels = labels_of(count, classes)
    order = torch.randperm(2 * count, generator=stream(0, "points"))
    blobs = torch.cat([labels, labels])[order]
    queues = {label: (blobs == label).nonzero().flatten().tolist() for label in labels.tolist()}
    wanted = [queues[label].pop(0) for label in labels.tolist()]
    assert assign(labels.numpy(), blobs.numpy().astype(np.int32)).tolist() == wanted


@pytest.mark.parametrize("sizes", [(37, 11, 90, 4, 2), (500, 100, 20, 3), (53, 29, 12, 5)])
def test_stratified_has_the_counts_of_scikit_learn(sizes: tuple[int, ...]) -> None:
    """But where remainders are equal, which none is here: there it draws."""
    from sklearn.model_selection import train_test_split

    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=stream(0, "labels"))]
    for share in (0.2, 0.3, 0.7):
        theirs, _ = train_test_split(
            labels.numpy(), train_size=share, test_size=1 - share, stratify=labels.numpy()
        )
        want = torch.bincount(torch.from_numpy(theirs), minlength=len(sizes)).clamp(min=1)
        rows = stratified(labels, int(share * len(labels)))
        assert torch.equal(labels[rows].bincount(), want)
        assert torch.equal(rows, rows.sort().values)


def test_stratified_is_balanced_where_classes_are_equal() -> None:
    labels = torch.arange(10).repeat(12)[torch.randperm(120, generator=stream(0, "labels"))]
    for count in (10, 24, 96, 120):
        assert torch.equal(stratified(labels, count), balanced(labels, count))
    assert labels[stratified(labels, 3)].unique().tolist() == list(range(10))
