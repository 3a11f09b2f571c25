"""Who asks for bf16 of a processor that has it not is told once; nobody else is."""

import pytest

from stkit.engine import bfloat16
from stkit.engine.runtime import pick

OLD = "processor\t: 0\nflags\t\t: fpu sse2 avx2 avx512f\n"
NEW = "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16 amx_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd sve bf16\n"


@pytest.mark.parametrize(
    ("text", "precision", "told"),
    [(OLD, "bf16", True), (OLD, "fp32", False), (OLD, "auto", False), (NEW, "bf16", False),
     (ARM, "bf16", False), ("processor\t: 0\n", "bf16", False), (None, "bf16", False)],
)  # fmt: skip
def test_only_bf16_without_units_is_told(tmp_path, text, precision, told):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    assert (bfloat16.slow(pick("cpu", precision), file) is not None) == told


@pytest.mark.parametrize(("text", "lines"), [(OLD, 1), (NEW, 0)])
def test_the_command_says_it_in_one_line_and_goes_on(cli, made, tmp_path, monkeypatch, text, lines):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    monkeypatch.setattr(bfloat16, "CPUINFO", file)
    checkpoint, images = made / "nt.safetensors", made / "clean.safetensors"
    found = cli("eval", checkpoint, images, "--split", "train", "--precision", "bf16",
                "--device", "cpu", "--json")  # fmt: skip
    assert found.json["n"] == 24
    said = [line for line in found.err.splitlines() if "bf16" in line]
    assert len(said) == lines
    assert all(line.startswith("note: this processor has no") for line in said)
