"""What a bench shows on a terminal."""

from pathlib import Path
from types import SimpleNamespace

from test_bench import toml

from stkit.bench.attempts import Attempts
from stkit.bench.estimate import Estimate
from stkit.bench.progress import look
from stkit.bench.tasks import tasks_of
from stkit.cli import grids, watching


def test_runs_done_time_left_and_tasks_at_work(tmp_path: Path) -> None:
    asked = list(grids.matching(grids.asked(toml(tmp_path), (), ())))
    there, tasks = look(asked, tmp_path, tmp_path), tasks_of(asked)
    first, second = (run.task for run in asked[:2])
    plan = Estimate({run.called: 60.0 for run in asked}, {}, 240.0, 0, "")
    left, clock = watching.Left(plan, there, tasks), iter([100.0, 100.0, 220.0, 220.0])
    pool = SimpleNamespace(
        work=tmp_path, host=SimpleNamespace(clock=lambda: next(clock)),
        places=SimpleNamespace(jobs=2), outcome=SimpleNamespace(done=set(), failed={}),
        running=[SimpleNamespace(task=first, start=90.0, said=4)],
    )  # fmt: skip
    log = Attempts(tmp_path, first).log
    log.parent.mkdir()
    log.write_text("old\nepoch 1/9  loss 2\n")
    assert watching.lines(pool, there, left.look(pool)) == [  # (4 * 60 - 10) / 2
        "0 of 4 runs done, about 115 s left", f"  {first.name}  10 s  epoch 1/9  loss 2",
    ]  # fmt: skip
    pool.running = [SimpleNamespace(task=second, start=220.0, said=0)]
    pool.outcome.done, left.took[first.file] = {first.file}, 120.0  # twice as long as was thought
    assert watching.lines(pool, there, left.look(pool)) == [
        "1 of 4 runs done, about 3 min left", f"  {second.name}  0 s",
    ]  # fmt: skip


def test_nothing_is_watched_where_nobody_sees_it(tmp_path: Path) -> None:
    asked = list(grids.matching(grids.asked(toml(tmp_path), (), ())))
    there = look(asked, tmp_path, tmp_path)
    with watching.watched(there, tasks_of(asked), lambda: 1 / 0, quiet=False) as watch:
        assert watch is None
