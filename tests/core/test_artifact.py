"""Files: whole or not at all, equal bytes, a digest that stands for the tensors."""

import json
import os
import signal

import pytest
import torch
from conftest import snapshot
from safetensors import safe_open

from stkit.core import artifact, header
from stkit.core.errors import ArtifactError, Taken

HEAD = header.make("dataset", {"a": 1}, seed=3, inputs=[], classes=["x"], split="train")
TENSORS = {
    "b": torch.arange(6).view(2, 3),
    "a": torch.tensor([1.5, float("nan")]),
    "empty": torch.zeros(0, 4, dtype=torch.uint8),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "scalar": torch.tensor(7),
    "flag": torch.tensor([True, False]),
    "strided": torch.arange(12.0).view(3, 4).t(),
}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "f.safetensors"
    written = artifact.write(path, TENSORS, HEAD)
    head, found = artifact.read(path, "dataset")
    assert head == written and head["digest"] == artifact.digest(TENSORS)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        assert torch.equal(found[name].nan_to_num(-1), value.nan_to_num(-1))
    assert [p.name for p in path.parent.iterdir()] == ["f.safetensors"]


def test_one_metadata_key_sorted_and_compact(tmp_path):
    artifact.write(tmp_path / "f", TENSORS, HEAD)
    with safe_open(tmp_path / "f", "pt") as file:
        meta = file.metadata()
    assert list(meta) == ["stkit"]
    again = json.dumps(json.loads(meta["stkit"]), sort_keys=True, separators=(",", ":"))
    assert again == meta["stkit"]


def test_equal_tensors_equal_bytes_whatever_their_order(tmp_path):
    artifact.write(tmp_path / "f", TENSORS, HEAD)
    artifact.write(tmp_path / "g", dict(reversed(TENSORS.items())), HEAD)
    assert (tmp_path / "f").read_bytes() == (tmp_path / "g").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"b": torch.arange(6).view(3, 2)},
        {"b": torch.arange(6, dtype=torch.int32).view(2, 3)},
        {"c": torch.arange(6)},
        {"a": torch.tensor([1.5, 2.0])},
    ],
)
def test_digest_sees_names_types_shapes_and_values(change):
    assert artifact.digest(TENSORS | change) != artifact.digest(TENSORS)


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    artifact.write(path, TENSORS, HEAD)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtifactError, match=r"No space left on device.*free some space"):
        artifact.write(path, {"other": torch.ones(3)}, HEAD)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_non_finite_numbers_in_a_header_become_text(tmp_path):
    artifact.write(tmp_path / "f", {}, {**HEAD, "more": [{"acm": float("nan")}]})
    assert header.read(tmp_path / "f")["more"] == [{"acm": "nan"}]


def test_parents_are_kept_with_their_parents_and_split_and_nothing_else():
    child = header.make("checkpoint", {}, seed=0, inputs=[{**HEAD, "digest": "d"}])
    kept = {"kind": "dataset", "recipe": {"a": 1}, "seed": 3, "digest": "d", "inputs": []}
    assert child["inputs"] == [kept | {"split": "train"}]


@pytest.mark.parametrize("cut", [4, 60, -1])
def test_truncated_files_are_found(tmp_path, cut):
    artifact.write(tmp_path / "f", TENSORS, HEAD)
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:cut])
    with pytest.raises(ArtifactError, match=r"truncated|not readable"):
        artifact.read(tmp_path / "f")


def test_kind_and_format_are_checked(tmp_path):
    artifact.write(tmp_path / "f", TENSORS, HEAD)
    with pytest.raises(ArtifactError, match="found a dataset file, expected a checkpoint file"):
        artifact.read(tmp_path / "f", "checkpoint")
    artifact.write(tmp_path / "g", TENSORS, {**HEAD, "format": 2})
    with pytest.raises(ArtifactError, match="file format 2, expected 1"):
        artifact.read(tmp_path / "g")


def flipped(path, at):
    """The file with one bit turned over, and put back at the end."""
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)


def test_one_flipped_bit_is_found_wherever_it_is(tmp_path):
    """In a tensor by the digest, in the header by the seal, or because it is no header any more."""
    path = tmp_path / "f"
    artifact.write(path, TENSORS, HEAD)
    size = path.stat().st_size
    for at in [*range(8, size, 7), size - 1]:
        flipped(path, at)
        with pytest.raises(ArtifactError, match=f"^{path}: "):
            artifact.read(path)
        flipped(path, at)
    assert artifact.read(path)[0]["seed"] == 3


def test_a_large_file_is_mapped_and_verified_only_on_demand(tmp_path, monkeypatch):
    path = tmp_path / "f"
    artifact.write(path, TENSORS, HEAD)
    flipped(path, path.stat().st_size - 1)
    monkeypatch.setattr(artifact, "LARGE", 10)
    assert artifact.read(path)[1].keys() == TENSORS.keys()
    with pytest.raises(ArtifactError, match=f"^{path}: damaged, its tensors are not those"):
        artifact.read(path, verify=True)


def test_a_file_may_be_cut_while_its_tensors_are_in_use(tmp_path):
    """They are a copy: a mapped page that is gone would end the process by SIGBUS."""
    path = tmp_path / "f"
    artifact.write(path, {"a": torch.ones(1 << 16)}, HEAD)
    _, tensors = artifact.read(path)
    os.truncate(path, 0)
    assert float(tensors["a"].sum()) == 1 << 16


def test_a_signal_while_a_file_is_read_comes_after_it(tmp_path, monkeypatch):
    """Inside the safetensors package it would end in an error of the package's."""
    path = tmp_path / "f"
    artifact.write(path, TENSORS, HEAD)
    opened, seen = artifact.safe_open, []

    def interrupted(*words):
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == []
        return opened(*words)

    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        monkeypatch.setattr(artifact, "safe_open", interrupted)
        artifact.read(path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_a_file_that_appeared_is_not_replaced(tmp_path):
    path = tmp_path / "f"
    path.write_text("somebody's")
    with pytest.raises(Taken, match="appeared while this was at work"):
        artifact.write(path, TENSORS, HEAD, replace=False)
    assert snapshot(tmp_path) == {"f": b"somebody's"}
