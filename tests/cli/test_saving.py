"""No file is lost: one run at a time writes a FILE, and what came out is kept wherever it can."""

import itertools
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import snapshot

from stkit.core import artifact, locks
from stkit.engine.step import SGD

NT = ("train", "--frame", "nt", "--model", "small", "--epochs", 1, "--batch-size", 8,
      "--device", "cpu")  # fmt: skip
EM = ("poison", "em", "--model", "small", "--max-rounds", 1, "--model-steps", 2, "--steps", 1,
      "--device", "cpu")  # fmt: skip
LONG = {"train": NT, "poison": EM}


def words(name: str, made: Path) -> tuple[object, ...]:
    """A command that takes --resume, on the clean images."""
    verb, *rest = LONG[name]
    inner = rest[:1] if name == "poison" else []
    return verb, *inner, made / "clean.safetensors", *rest[len(inner) :]


@pytest.fixture(params=LONG)
def line(request, made):
    return words(request.param, made)


@pytest.fixture
def within(monkeypatch):
    """`within(step, act)` calls act in the n-th step of SGD from now on."""

    def arm(step, act):
        count, descend = itertools.count(1), SGD.step

        def sgd_step(self, *args, **kwargs):
            if next(count) == step:
                act()
            return descend(self, *args, **kwargs)

        monkeypatch.setattr(SGD, "step", sgd_step)

    return arm


def test_killed_between_the_rename_and_the_end(cli, line, tmp_path, signalled):
    """FILE is whole and FILE.part is still there: the same command says so and exits 0."""
    out, part = tmp_path / "f", tmp_path / "f.part"
    with signalled(signal.SIGTERM, 2):
        assert cli(*line, "-o", out).code == 143
    unfinished = part.read_bytes()
    first = cli(*line, "-o", out, "--json", "--resume").json
    whole = out.read_bytes()
    part.write_bytes(unfinished)
    (tmp_path / "f.lock").write_text("process 1 on elsewhere\n")
    (tmp_path / "f.01234567.tmp").write_bytes(whole[:100])
    found = cli(*line, "-o", out, "--json", "--resume")
    computing = ("seconds", "images_per_second", "peak_memory", "device", "rounds", "best")
    assert found.json.items() >= {k: v for k, v in first.items() if k not in computing}.items()
    assert found.err == f"{out}: was finished before, by the same settings\n"
    assert cli(*line, "-o", out, "--force").code == 0
    assert snapshot(tmp_path) == {"f": whole}


def test_a_finished_file_of_other_settings(cli, line, tmp_path):
    out = tmp_path / "f"
    assert cli(*line, "-o", out).code == 0
    before = snapshot(tmp_path)
    found = cli(*line, "-o", out, "--seed", 1, "--resume")
    assert (found.code, found.err.count("\n")) == (1, 1)
    assert "exists already and was made with other settings: seed was 0, now 1; pass" in found.err
    assert "exists already; pass --force" in cli(*line, "-o", out).err
    assert snapshot(tmp_path) == before


def test_unfinished_work_of_other_settings_outlives_a_finished_file(cli, line, tmp_path, signalled):
    """FILE is there and `--resume` finds it finished: what lies beside it is not its, and stays."""
    out, part = tmp_path / "f", tmp_path / "f.part"
    assert cli(*line, "-o", out).code == 0
    with signalled(signal.SIGTERM, 2):
        assert cli(*line, "-o", out, "--seed", 1, "--force").code == 143
    for content in (part.read_bytes(), b"of any content"):
        part.write_bytes(content)
        found = cli(*line, "-o", out, "--resume")
        assert found.code == 0 and "is of other work, and was left" in found.err
        assert part.read_bytes() == content
    found = cli(*line, "-o", out, "--resume", "--force")
    assert (found.code, found.err.count("\n")) == (1, 1)
    assert found.err.endswith("pass --force without --resume to start again\n")


@pytest.mark.parametrize("remedy", ["--force", "move"])
def test_a_file_that_appears_meanwhile_stays_and_the_result_is_kept(
    cli, line, tmp_path, within, remedy
):
    out, part = tmp_path / "f", tmp_path / "f.part"
    assert cli(*line, "-o", tmp_path / "whole").code == 0
    whole = (tmp_path / "whole").read_bytes()
    within(2, lambda: out.write_text("somebody's"))
    found = cli(*line, "-o", out)
    assert (found.code, found.out) == (1, "")
    assert found.err.splitlines()[-1].startswith(f"error: {out}: appeared while this was at work")
    assert snapshot(tmp_path) == {"whole": whole, "f": b"somebody's", "f.part": whole}
    if remedy == "move":
        out.rename(tmp_path / "moved")
        remedy = "-q"
    assert cli(*line, "-o", out, "--resume", remedy).code == 0
    assert out.read_bytes() == whole and not part.exists()


def test_a_run_that_another_one_is_at(cli, made, photos, tmp_path):
    """At once, by every command that writes a file, in one line that says who."""
    out = tmp_path / "f.png"
    clean, nt = made / "clean.safetensors", made / "nt.safetensors"
    writers = [
        words("train", made), words("poison", made), ("data", clean), ("poison", "sp", clean),
        ("acm", nt, clean), ("eval", nt, clean), ("report", nt), ("plot", "curves", nt),
        ("export", clean, "--format", "folder"), ("export", clean, "--format", "npz"),
        ("rate", made / "ops.safetensors", "--clean", clean, "--poison-rate", 0.5),
        ("import", photos, "--clean", clean),
    ]  # fmt: skip
    who = f"error: {out}: process {os.getpid()} on "
    with locks.held(tmp_path / "f.png.lock", str):
        for each in writers:
            found = cli(*each, "-o", out)
            assert (found.code, found.out) == (1, ""), each
            assert found.err.splitlines()[-1].startswith(who), found.err
            assert [path.name for path in tmp_path.iterdir()] == ["f.png.lock"]


@pytest.mark.parametrize("name", ["/dev/null", "link", "pipe", "folder"])
def test_only_regular_files_are_replaced(cli, made, tmp_path, name):
    (tmp_path / "link").symlink_to("victim")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = sorted(os.listdir(tmp_path))
    about = os.lstat(tmp_path / name)
    found = cli("data", made / "clean.safetensors", "-o", tmp_path / name, "--force")
    assert (found.code, found.err.count("\n")) == (1, 1) and "pass" in found.err
    assert os.lstat(tmp_path / name).st_ino == about.st_ino
    assert sorted(os.listdir(tmp_path)) == before


def test_damaged_unfinished_work(cli, line, tmp_path, within):
    """One flipped bit anywhere, or tensors that are another run's: a line, and the file stays."""
    out, part = tmp_path / "f", tmp_path / "f.part"
    within(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*line, "-o", out).code == 143
    whole = part.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in (20, whole.index(b"progress") + 30, start + 1, len(whole) - 1):
        part.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = cli(*line, "-o", out, "--resume")
        assert (found.code, found.out) == (1, ""), at
        assert found.err.startswith(f"error: {part}: ") and found.err.count("\n") == 1, found.err
    part.write_bytes(whole)
    assert cli(*line, "-o", out, "--resume").code == 0


def test_unfinished_work_that_no_run_has_written(cli, line, tmp_path, within):
    """Whole by its digest, and yet a tensor is missing, or of another shape: forged."""
    out, part = tmp_path / "f", tmp_path / "f.part"
    within(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert cli(*line, "-o", out).code == 143
    head, tensors = artifact.read(part)
    large = max(tensors, key=lambda name: tensors[name].numel())
    forged = [{}, {k: v for k, v in tensors.items() if k != large}]
    forged.append({**tensors, large: tensors[large].flatten()[:5]})
    for each in forged:
        artifact.write(part, each, head)
        found = cli(*line, "-o", out, "--resume")
        assert (found.code, found.out, out.exists()) == (1, "", False)
        assert found.err.startswith(f"error: {part}: ") and found.err.count("\n") == 1, found.err


def test_a_run_killed_at_its_very_end_leaves_nothing_behind_the_next(cli, made, tmp_path):
    """FILE has its name, its temporary and the lock are there still: the next run tidies up."""
    out = tmp_path / "o"
    line = ("poison", "ops", made / "clean.safetensors", "-o", out)
    assert cli(*line).code == 0
    for name in ("o.0123abcd.tmp", "o.part.0123abcd.tmp"):
        (tmp_path / name).hardlink_to(out)
    (tmp_path / "o.lock").write_text("process 1 on nowhere\n")
    assert cli(*line).code == 1
    assert list(snapshot(tmp_path)) == ["o"]


def test_a_full_disk_leaves_no_lock(made, tmp_path, monkeypatch):
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"), locks.held(tmp_path / "o.lock", str):
        pass
    assert not snapshot(tmp_path)


def test_a_signal_that_a_c_extension_loses_is_sent_again(cli, made, tmp_path):
    """As in a finalizer, of which Python only says that an exception was ignored."""

    class Last:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            sum(range(10))  # the handler runs here, and what it raises is lost

    def wait(*_: object, **__: object) -> None:
        del held[:]
        time.sleep(20)

    held = [Last()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stkit.data.images.Images.save", wait)
        found = cli("data", made / "clean.safetensors", "-o", tmp_path / "f")
    assert (found.code, found.err) == (143, "error: interrupted; there was nothing to save yet\n")
    assert list(tmp_path.iterdir()) == []
