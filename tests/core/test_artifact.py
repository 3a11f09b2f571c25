"""Files: whole or not at all, equal bytes, a digest that stands for the tensors."""

import json

import pytest
import torch
from safetensors import safe_open

from stkit.core import artifact, header
from stkit.core.errors import ArtifactError

HEAD = header.make("dataset", {"a": 1}, seed=3, inputs=[], classes=["x"])
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
    artifact.write(tmp_path / "f", {}, {**HEAD, "records": [{"acm": float("nan")}]})
    assert header.read(tmp_path / "f")["records"] == [{"acm": "nan"}]


def test_parents_are_kept_with_their_parents_and_nothing_else():
    child = header.make("checkpoint", {}, seed=0, inputs=[{**HEAD, "digest": "d"}])
    assert child["inputs"] == [
        {"kind": "dataset", "recipe": {"a": 1}, "seed": 3, "digest": "d", "inputs": []}
    ]


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
