"""What `train --log-dir` writes for TensorBoard, by its own reader where it is installed."""

import signal
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import snapshot

from stkit.cli import events
from stkit.core import header
from stkit.training.schedule import Check, Epoch, Verdict

RECORD = Epoch(
    epoch=3, phase=1, lr=0.1, loss=0.5, train_accuracy=0.75, holdout_accuracy=0.5,
    purified_accuracy={"grey": 0.25}, rolled_back=True,
    checks=(Check(9, {"literal": 1.0, "sum": 2.0}, 1, Verdict.ROLL_BACK, (1.0, 0.5)),),
)  # fmt: skip


class Kept:
    """A writer that remembers what it was given."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}
        self.done: list[str] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert self.scalars.setdefault((tag, step), value) is value

    def flush(self) -> None:
        self.done.append("flush")

    def close(self) -> None:
        self.done.append("close")


def test_the_numbers_of_an_epoch(tmp_path):
    writer = Kept()

    def opened(folder: Path, first: int) -> Kept:
        assert (folder, first) == (tmp_path, 3)
        return writer

    with events.logged(tmp_path, past=2, open=opened) as log:
        log(RECORD)
    assert writer.scalars == {
        (tag, 3): value
        for tag, value in {
            "train/loss": 0.5, "train/accuracy": 0.75, "train/learning rate": 0.1,
            "holdout/accuracy": 0.5, "holdout/accuracy, grey": 0.25, "ACM/literal": 1.0,
            "ACM/sum": 2.0, "stage/tau": 1, "stage/rolled back": 1,
        }.items()
    }  # fmt: skip
    assert writer.done == ["flush", "close"]
    with events.logged(None, past=0, open=lambda *_: pytest.fail("opened")) as log:
        log(RECORD)


def test_what_cannot_be_logged_is_said_before_any_work(cli, made, tmp_path, monkeypatch):
    line = ("train", "none.safetensors", "--frame", "nt", "-o", tmp_path / "x", "--log-dir")
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    absent = cli(*line, tmp_path / "log")
    assert absent.code == 2 and "needs the package tensorboard, which is not inst" in absent.err
    monkeypatch.setattr(events, "find_spec", lambda name: name)
    (tmp_path / "file").write_text("")
    (tmp_path / "events.out.tfevents.1").write_text("")
    for folder, message in (("file", "which is no folder"), (".", "has the events of another run")):
        refused = cli(*line, tmp_path / folder)
        assert refused.code == 2 and message in refused.err and refused.err.count("\n") == 1


def logged(folder: Path) -> dict[str, list[int]]:
    """The steps of every tag, as TensorBoard shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        read = EventAccumulator(str(folder)).Reload()
    tags = read.Tags()["scalars"]
    return {tag: [event.step for event in read.Scalars(tag)] for tag in tags}


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")
def test_no_event_is_there_twice(cli, made, tmp_path, signalled):
    """After a run that was stopped, one that was killed after it had logged, and one that ended."""
    line = ("train", made / "clean.safetensors", "--frame", "st", "--epochs", 3, "--model", "small")
    line = (*line, "--batch-size", 12, "--device", "cpu", "--log-dir", tmp_path / "log", "-q", "-o")
    with signalled(signal.SIGTERM, 3):
        assert cli(*line, tmp_path / "st").code == 143
    saved = (tmp_path / "st.part").read_bytes()
    with signalled(signal.SIGTERM, 2):
        assert cli(*line, tmp_path / "st", "--resume").code == 143
    (tmp_path / "st.part").write_bytes(saved)
    assert cli(*line, tmp_path / "st", "--resume").code == 0
    before = snapshot(tmp_path / "log")
    assert cli(*line, tmp_path / "st", "--resume").code == 0 and before == snapshot(
        tmp_path / "log"
    )
    shown = logged(tmp_path / "log")
    assert {"train/loss", "train/accuracy", "ACM/literal", "stage/tau"} <= shown.keys()
    assert all(steps == [1, 2, 3] for steps in shown.values()), shown
    assert "log" not in str(header.read(tmp_path / "st")["recipe"])
