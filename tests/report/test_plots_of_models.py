"""The numbers behind pictures of what models make of images, and what is said of files that do not
fit one picture."""

import pytest
import torch

from stkit import load
from stkit.core import artifact
from stkit.core.errors import DataError, RecipeError
from stkit.measure.acm import acm
from stkit.measure.activations import channel_means, depths
from stkit.measure.embedding import drawn, embed
from stkit.report import names, plots
from stkit.report.plots import activations, compared, runs, tsne
from stkit.report.plots.asked import Asked
from stkit.training.checkpoint import load_checkpoint

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure


def copied(
    made, path, *, model="small", seed=0, epoch=1, trained_on="clean", bump=0.0, classes=None
):
    """The checkpoint of `made` under another header, and with other weights."""
    head, tensors = artifact.read(made / "nt.safetensors", "checkpoint")
    head |= {"model": model, "seed": seed, "records": [{**head["records"][0], "epoch": epoch}]}
    head["classes"] = classes or head["classes"]
    head["inputs"] = [load(made / f"{trained_on}.safetensors").provenance]
    tensors["conv1.weight"] = tensors["conv1.weight"] + bump
    artifact.write(path, tensors, head)
    return path


@pytest.fixture
def four(made, tmp_path):
    """Two epochs of a training on clean images, one of these of one on poisoned, and its last."""
    return [
        copied(made, tmp_path / "clean.epoch-1.safetensors", bump=0.1),
        copied(made, tmp_path / "clean.safetensors", epoch=2),
        copied(made, tmp_path / "ops.epoch-2.safetensors", epoch=2, trained_on="ops", bump=0.2),
        copied(made, tmp_path / "ops.safetensors", epoch=3, trained_on="ops"),
    ]


def test_tsne_is_of_what_each_training_saw_a_row_each_a_column_an_epoch(made, four):
    figure, notes = Figure(), []
    sources = {name: made / f"{name}.safetensors" for name in ("clean", "ops")}
    asked = Asked(source=",".join(map(str, sources.values())), per_class=4, layer="layer2")
    rows = tsne.draw(figure, four[::-1], asked, on_note=notes.append)

    assert [row["file"] for row in rows[::12]] == [path.name for path in four[::-1]]
    last = [row for row in rows if row["file"] == "ops.safetensors"]
    trained = load_checkpoint(four[3])
    images = drawn(load(sources["ops"]), trained, per_class=4)
    points = embed(trained, images, layer="layer2").points
    for row, index, label, (x, y) in zip(
        last, images.index.tolist(), images.labels.tolist(), points.tolist(), strict=True
    ):
        assert row == {
            "file": "ops.safetensors", "model": "small", "frame": "nt", "poison": "ops", "seed": 0,
            "epoch": 3, "layer": "layer2", "index": index, "label": label, "x": x, "y": y,
        }  # fmt: skip
    titles = [
        (axes.get_title(), axes.get_ylabel() if axes.axison else None) for axes in figure.axes
    ]
    assert titles == [
        ("epoch 1", None), ("epoch 2", "nt on ops"), ("epoch 3", ""),
        ("", "nt on clean"), ("", ""), ("", None),
    ]  # fmt: skip
    limits = {axes.get_xlim() + axes.get_ylim() for axes in figure.axes if axes.axison}
    ((left, right, low, high),) = limits
    assert left == low == -right == -high and right >= max(abs(row["x"]) for row in rows)
    measured = acm(trained, load(sources["ops"]), layer="layer2", per_class=4).acm
    assert f"ACM {measured:.2g}" in {text.get_text() for a in figure.axes for text in a.texts}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ant", "bee", "cow"]
    assert notes == [
        "note: of nt on ops there is no file of epoch 1; `stkit train --keep 1` writes one",
        "note: of nt on clean there is no file of epoch 3; `stkit train --keep 3` writes one",
    ]


def test_tsne_shows_as_many_classes_as_can_be_told_apart(made, monkeypatch):
    monkeypatch.setattr(tsne, "CLASSES", 2)
    notes = []
    asked = Asked(source=str(made / "clean.safetensors"), per_class=4)
    rows = tsne.draw(Figure(), [made / "nt.safetensors"], asked, on_note=notes.append)
    assert {row["label"] for row in rows} == {0, 1} and rows[0]["layer"] == "penultimate"
    assert notes == ["note: shows the first 2 of 3 classes"]


def test_tsne_of_sources_none_of_which_it_was_trained_on(made, four, tmp_path):
    ops, other = load(made / "ops.safetensors"), tmp_path / "other.safetensors"
    ops.rows(torch.arange(12)).save(other)
    asked = Asked(source=f"{made / 'ops.safetensors'},{other}", per_class=2)
    with pytest.raises(DataError, match=r"clean\.safetensors: was trained on none of the 2 source"):
        tsne.draw(Figure(), four[1:2], asked, on_note=print)


def test_activations_are_of_the_same_images_for_all(made, four, cli, tmp_path):
    test = tmp_path / "test.safetensors"
    images = load(made / "ops.safetensors")
    images.save(test)
    figure = Figure()
    asked = Asked(source=str(test), per_class=3)
    rows = activations.draw(figure, four[:3], asked, on_note=print)
    model = load_checkpoint(four[2]).model
    expected = dict(zip(
        ("layer1", "layer2", "layer3", "penultimate"),
        channel_means(model, drawn(images, per_class=3).pixels, depths(model, 16)), strict=True,
    ))  # fmt: skip
    for layer, means in expected.items():
        found = [r for r in rows if r["file"] == "ops.epoch-2.safetensors" and r["layer"] == layer]
        assert [row["channel"] for row in found] == list(range(len(means)))
        assert [row["mean"] for row in found] == means.tolist()
    assert {r["distance"] for r in rows if r["file"] == "clean.epoch-1.safetensors"} == {0.0}
    assert all(r["distance"] > 0 for r in rows if r["file"] == "ops.epoch-2.safetensors")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{name}: {len(means)} channels" for name, means in expected.items()]
    said = [text.get_text().partition(",")[0] for text in figure.axes[0].texts]
    assert said == ["nt on clean", "nt on clean", "nt on ops"]
    for line in figure.axes[3].lines:
        assert list(line.get_ydata()) == sorted(line.get_ydata(), reverse=True)

    command = ["plot", "activations", *four[:2], "--source", test, "--layer", "2,layer1"]
    result = cli(*command, "-o", tmp_path / "a.svg", "--data", "-")
    lines = result.out.splitlines()
    assert lines[0] == (
        "file,model,frame,poison,seed,epoch,layer,channel,mean,distance,correlation"
    )
    assert len(lines) == 1 + 2 * (16 + 16), result.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "resnet18", "bump": 1.0}, "expected one model in a picture"),
        ({"classes": ["0", "1", "2"], "bump": 1.0}, r"3 classes \(0, 1, 2\), .*\(ant, bee, cow\)"),
        ({"bump": 1.0}, "are both epoch 1 of one training; leave one out"),
    ],
)
def test_files_that_do_not_fit_one_picture(made, tmp_path, change, said):
    other = copied(made, tmp_path / "other.safetensors", **change)
    asked = Asked(source=str(made / "clean.safetensors"))
    with pytest.raises(DataError, match=said):
        tsne.draw(Figure(), [made / "nt.safetensors", other], asked, on_note=print)


def test_a_picture_by_tsne_is_of_one_layer(made):
    asked = Asked(source=str(made / "clean.safetensors"), layer="1,2")
    with pytest.raises(RecipeError, match="tsne draws one"):
        tsne.draw(Figure(), [made / "nt.safetensors"], asked, on_note=print)


def test_trainings_are_named_by_what_tells_them_apart(made, tmp_path):
    files = [
        made / "nt.safetensors",
        copied(made, tmp_path / "seed.safetensors", seed=1),
        copied(made, tmp_path / "ops.safetensors", trained_on="ops"),
    ]
    found = compared.read([*files, files[0]])
    assert list(compared.titles(found).values()) == [
        "nt on clean, seed 0", "nt on clean, seed 1", "nt on ops",
    ]  # fmt: skip


def test_files_of_one_name_are_told_apart_by_their_folders(made, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    paths = [
        copied(made, tmp_path / "a" / "nt.safetensors", bump=0.1),
        copied(made, tmp_path / "b" / "nt.safetensors", trained_on="ops"),
    ]
    assert [each.row()["file"] for each in compared.read(paths)] == [
        "a/nt.safetensors", "b/nt.safetensors",
    ]  # fmt: skip
    assert names.files([*paths, paths[0]])[2] == "a/nt.safetensors"
    assert names.files(paths[:1]) == ["nt.safetensors"]


def test_a_last_epoch_that_was_kept_is_not_drawn_twice(made, tmp_path):
    kept = copied(made, tmp_path / "nt.epoch-1.safetensors")
    assert [each.path for each in compared.read([kept, made / "nt.safetensors"])] == [kept]


def test_two_epochs_that_were_rolled_back_to_the_same_weights_are_both_drawn(made, tmp_path):
    paths = [
        copied(made, tmp_path / f"st.epoch-{epoch}.safetensors", epoch=epoch) for epoch in (1, 2)
    ]
    assert [each.epoch for each in compared.read(paths)] == [1, 2]


def test_files_that_are_no_finished_training_are_left_out_and_said(made, tmp_path):
    head, tensors = artifact.read(made / "nt.safetensors", "checkpoint")
    part, images, notes = tmp_path / "st.safetensors.part", made / "clean.safetensors", []
    head["progress"] |= {
        "done": False, "tau": 0, "since": 0, "loss": 0.0, "hits": 0.0, "checks": [],
        "draws": "augment/NAME",
    }  # fmt: skip
    artifact.write(part, tensors, head)
    found = runs.finished([made / "nt.safetensors", images, part], on_note=notes.append)
    assert [each.file for each in found] == [str(made / "nt.safetensors")]
    assert notes == [
        f"note: left out {images}: found a dataset, expected a training",
        f"note: left out {part}: unfinished",
    ]


def test_kinds_say_what_they_take():
    for name in ("tsne", "activations"):
        assert {"source", "layer"} <= set(plots.kind(name).TAKES)
