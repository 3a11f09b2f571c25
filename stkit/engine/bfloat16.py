"""Whether a CPU computes in bf16 as fast as its user may expect."""

from pathlib import Path

from stkit.engine.runtime import Runtime

CPUINFO = Path("/proc/cpuinfo")
UNITS = frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "svebf16"})
"""Linux's names for instructions that multiply or convert bf16, on x86 and on ARM."""


def slow(runtime: Runtime, cpuinfo: Path | None = None) -> str | None:
    """What to say where the runtime computes in bf16 on a CPU without instructions for it.

    None: it has some, computes otherwise, or nobody knows. cpuinfo: what Linux says of the CPU.
    """
    if runtime.device.type != "cpu" or runtime.precision != "bf16":
        return None
    try:
        lines = (cpuinfo or CPUINFO).read_text().splitlines()
    except OSError:
        return None
    said = [line.partition(":") for line in lines]
    known = [value.split() for key, _, value in said if key.strip() in ("flags", "Features")]
    if not known or UNITS & set(known[0]):
        return None
    return (
        "this processor has no instructions for bf16, which is several times slower than fp32 on "
        "it; leave --precision out"
    )
