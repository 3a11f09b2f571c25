"""What a report says of runs that a folder does not have."""

from made_up import cell, images, write

from stkit.report import files

HOLES = "3 of the 6 runs of 3 sets x 2 frames are here, without clean st, sp 0.5 st, sp nt"


def test_a_folder_without_holes_says_nothing(cli, tmp_path):
    write(tmp_path, cell(0.9), cell(0.8, frame="st"), cell(0.2, poison="sp"),
          cell(0.4, poison="sp", frame="st"))  # fmt: skip
    for words in ((), ("--layout", 1), ("--epochs",)):
        found = cli("report", tmp_path, *words)
        assert "here, without" not in found.out and found.err == ""


def test_the_holes_of_a_grid_are_told_everywhere(cli, tmp_path):
    folder = tmp_path / "grid<b>"
    folder.mkdir()
    write(folder, cell(0.9), cell(0.4, poison="sp", frame="st"), cell(0.5, poison="sp", rate=0.5))
    for words in ((), ("--layout", 1), ("--layout", 7)):
        found = cli("report", folder, *words)
        assert found.code == 0 and found.out.endswith(f"\n\ngrid<b>: {HOLES}.\n")
    assert f"\n\ngrid&#60;b&#62;: {HOLES}.\n" in cli("report", folder, "--format", "markdown").out
    for words in (("--json",), ("--layout", 1, "--format", "latex"), ("--epochs",)):
        found = cli("report", folder, *words)
        assert found.err == f"note: grid<b>: {HOLES}.\n" and HOLES not in found.out
    page = tmp_path / "report.html"
    cli("report", folder, "--format", "html", "-o", page)
    assert f'<p class="note">grid&lt;b&gt;: {HOLES}.</p>' in page.read_text()
    assert "without" not in cli("report", *folder.glob("*.json")).out  # chosen one by one


def test_seeds_and_models_are_crossed_and_few_are_listed(cli, tmp_path):
    write(tmp_path, cell(0.9, seed=1), *(cell(0.8, model=m) for m in ("vgg16-bn", "small")))
    lost = "resnet18 seed 0, small seed 1, vgg16-bn seed 1"
    assert f"3 of the 6 runs of 3 models x 2 seeds are here, without {lost}." in _told(
        cli, tmp_path
    )
    write(tmp_path, cell(0.7, frame="st", seed=2))
    assert "4 of the 18 runs of 2 frames x 3 models x 3 seeds" in _told(cli, tmp_path)
    assert " and 10 more." in _told(cli, tmp_path)


def test_what_was_made_or_begun(cli, tmp_path):
    """A poison that nothing was trained on, unless a lower rate of it was; files of a bench."""
    write(tmp_path, cell(0.5, poison="sp", rate=0.5))
    for name in ("sp", "ops"):
        head = images(name) | {"statistics": {}, "versions": {}}
        files.write(tmp_path / f"{name}_s0.json", files.poison(f"{name}_s0", head, {}))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "run.safetensors.part").touch()
    said = _told(cli, tmp_path)
    assert "made, and not trained on: ops_s0; 1 file is begun (.part)." in said


def _told(cli, folder) -> str:
    return cli("report", folder).out.rpartition("\n\n")[2]
