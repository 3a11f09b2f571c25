"""REM, SEM: int8 noise in grey levels, [N,3,H,W]."""

from typing import TYPE_CHECKING

from stkit.core.errors import DataError
from stkit.data.importing.values import Layout, Options, Reading

if TYPE_CHECKING:
    import numpy as np

    from stkit.data.images import Images


def read(values: "np.ndarray", clean: "Images", options: Options) -> Reading:
    """Noise by class or by index, added as it is."""
    import numpy as np

    from stkit.data.importing import noise

    if values.dtype != np.int8:
        raise DataError(f"REM noise is {values.dtype}, expected int8 grey levels")
    noise.framed(values, clean, "i")
    where = noise.place(len(values), clean, options)
    noise.checked(values, options)

    def levels(rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        whole: np.ndarray = values[rows].astype(np.int16)
        return whole

    content = noise.described(values.dtype, values.shape, where.scope)
    return noise.placed(levels, where, clean, content)


LAYOUT = Layout(
    "rem", 30, "pickle", "REM or SEM noise, an int8 .pkl", "REM or SEM noise (.pkl)", read,
    options=("epsilon", "scope"),
)  # fmt: skip
