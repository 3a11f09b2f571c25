"""What stkit records on a GPU, rehearsed on a device that is not there; see rehearsal/run.py."""

import re

import pytest
from processes import ROOT, Ended, run
from rehearsal import device, faults

from stkit.recipes.frames import FRAMES

SCRIPT = ROOT / "tests" / "rehearsal" / "run.py"
LACKING = device.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=f"no rehearsal: {LACKING}")


def rehearsed(*options: str, **how) -> Ended:
    """In a process of its own, as the device is there for good."""
    ended = run(SCRIPT, *options, **how)
    if ended.code == device.LACKING:
        pytest.skip(f"no rehearsal: {ended.out}")
    return ended


def test_nothing_would_end_a_capture():
    ended = rehearsed("--counts")
    assert ended.code == 0, ended.out + ended.err
    for frame in FRAMES:
        assert re.search(rf"^step, .*\b{frame}\b", ended.out, re.M), f"no step of {frame}"
    recorded = set(re.findall(r"recorded by (\S+\.py)", ended.out))
    sources = [path for path in (ROOT / "stkit").rglob("*.py") if path.name != "graphs.py"]
    assert recorded == {str(p.relative_to(ROOT)) for p in sources if "Captured(" in p.read_text()}


def test_every_fault_is_named(tmp_path):
    copy = faults.plant(tmp_path)
    only = [word for fault in faults.FAULTS for word in ("--only", fault.case)]
    ended = rehearsed(*only, env={"PYTHONPATH": str(tmp_path)})
    assert ended.code == 1, ended.err
    said = dict(re.findall(r"^(?:step, )?(.*?): (.*)$", ended.out, re.M))
    for fault in faults.FAULTS:
        notes = [n for n in said[fault.case].split("; ") if n.endswith(faults.line(fault, copy))]
        assert any(fault.note in note for note in notes), (fault, said[fault.case])
