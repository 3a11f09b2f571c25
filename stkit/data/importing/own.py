"""Arrays of one's own, which say nothing of what they are: which readings the clean set leaves.

An array may be noise or images, with the colours first or last, one an image, one a class, or one
an image of a part. Whatever does not fit the shape and the values is left out; one reading is
taken, of several the user says which.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stkit.core.errors import DataError, RecipeError
from stkit.data import perturbation
from stkit.data.images import Images
from stkit.data.importing import fitting, foreign
from stkit.data.importing import noise as noises
from stkit.data.importing.numpy_files import ARRAY, INDEX, Member
from stkit.data.importing.values import LOADER, Options

Content = np.ndarray | Mapping[str, Member]
"""An array, or those of an .npz."""
TYPES = ("int8", "uint8")  # and floating point
EPS = float(np.finfo(np.float32).eps)
WORDS = {"sample": "an image", "class": "a class"}


@dataclass(frozen=True)
class Own:
    """An array and the clean images it may be for.

    values [M,3,H,W]; shape: as it lies in the file. unit: 1 where they are in [0,1], 255 for grey
    levels. low, high: the extremes. at: the clean rows of a part, int64 [M], in the array's order.
    order: of one that is no part, `rows` or `index`.
    """

    values: np.ndarray
    shape: tuple[int, ...]
    unit: int
    low: float
    high: float
    at: np.ndarray | None
    order: str

    @property
    def said(self) -> str:
        """The array in words."""
        return f"{self.values.dtype} {list(self.shape)}"

    @property
    def like_images(self) -> bool:
        """Whether its values may be those of images."""
        bound = 1 + fitting.SLACK
        signed = self.values.dtype == np.int8 or self.low < -fitting.SLACK
        return not signed and self.high / self.unit <= bound

    def rows(self, clean: Images) -> np.ndarray:
        """Of a part the clean rows, else for each clean image its row in the array."""
        rows = (
            self.at
            if self.at is not None
            else fitting.rows(len(self.values), clean, order=self.order)
        )
        assert rows is not None, "one an image"
        return rows


@dataclass(frozen=True)
class Way:
    """One way to read an array, in words, and the options that choose it."""

    layout: str
    scope: str
    words: str
    options: str = ""


def guess(content: Content, clean: Images, options: Options) -> str:
    """The layout, noise or images, that an array can only be. RecipeError where it may be more,
    or none: the readings, and what chooses among them. DataError where its frame does not fit."""
    array = _opened(content, clean, options)
    ways = _ways(array, clean, options)
    if len(ways) == 1:
        return ways[0].layout
    if not ways:
        raise _none(array, clean, options)
    apart = "; ".join(f"{way.words}: {way.options}" for way in ways)
    raise RecipeError(f"cannot tell what {array.said} is, one of {len(ways)}: {apart}")


def only(content: Content, clean: Images, options: Options, layout: str) -> Own:
    """The array, once it is seen that it may be of this layout. DataError where it may not."""
    if isinstance(content, Mapping) and ARRAY not in content:
        raise DataError("found data and targets, expected one array; pass --format npz")
    array = _opened(content, clean, options)
    if layout == "noise":
        size = max(-array.low, array.high) / array.unit
        fitting.within(size, options.epsilon, noises.CAP, "the noise")
    elif not array.like_images or not (array.at is not None or _one_each(array, clean)):
        raise _none(array, clean, options)
    return array


def _opened(content: Content, clean: Images, options: Options) -> Own:
    """The array as [M,3,H,W]: nothing is read before its shape is seen to fit."""
    held = content[ARRAY] if isinstance(content, Mapping) and ARRAY in content else content
    if isinstance(held, Mapping):
        raise DataError("found a dict of tensors, expected one array; pass --format pil")
    colours_last = last(held.shape, clean)
    if held.dtype.kind != "f" and held.dtype not in TYPES:
        raise DataError(f"the array is {held.dtype}, expected floating point, int8 or uint8")
    at = _positions(content, held.shape[0], clean, options)
    if at is None and not _counts(held.shape[0], clean):
        raise _strange_count(f"{held.dtype} {list(held.shape)}", held.shape[0], clean)
    values = held.read() if isinstance(held, Member) else held
    low, high = fitting.extremes(values, "the array")
    unit = 255 if values.dtype.kind != "f" or max(-low, high) > 1 + fitting.SLACK else 1
    values = values.transpose(0, 3, 1, 2) if colours_last else values
    return Own(values, tuple(held.shape), unit, low, high, at, options.order)


def last(shape: tuple[int, ...], clean: Images) -> bool:
    """Whether the colours stand last, [M,H,W,3], and not second. DataError where neither fits."""
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise DataError(f"the array is {list(shape)}, expected [N,3,H,W] or [N,H,W,3]")
    colours_last = shape[3] == 3 and shape[1:] != tuple(clean.pixels.shape[1:])
    fitting.frame(shape, clean, "the array", last=colours_last)
    return colours_last


def _positions(content: Content, count: int, clean: Images, options: Options) -> np.ndarray | None:
    """The clean rows of the images that a part is for, int64 [M]; None where none are given."""
    known_as = clean.index.numpy()
    if options.index is not None:
        given = foreign.positions(options.index)
        if options.order == "rows":
            known_as = np.arange(len(clean))
    elif isinstance(content, Mapping) and INDEX in content:
        if content[INDEX].shape != (count,):
            raise DataError(f"its index is {list(content[INDEX].shape)}, expected [{count}]")
        given = content[INDEX].read()
    else:
        return None
    if given.shape != (count,) or given.dtype.kind not in "iu":
        raise DataError(
            f"positions are {given.dtype} {list(given.shape)}, expected {count} whole numbers, one "
            "a row of the array"
        )
    order = np.argsort(known_as, kind="stable")
    known = known_as[order]
    place = np.searchsorted(known, given).clip(0, len(known) - 1)
    strange = given[known[place] != given]
    if len(strange):
        raise DataError(
            f"{len(strange)} of {count} positions are not of the clean set ({int(strange[0])}, "
            "...); pass places in its `index`, or in its rows with --index FILE --order rows"
        )
    if len(np.unique(given)) < count:
        raise DataError("positions stand there twice; pass one a row of the array")
    rows: np.ndarray = order[place]
    return rows


def _one_each(array: Own, clean: Images) -> bool:
    return fitting.rows(len(array.values), clean) is not None


def _counts(count: int, clean: Images) -> bool:
    return count == len(clean.classes) or fitting.rows(count, clean) is not None


def _ways(array: Own, clean: Images, options: Options) -> list[Way]:
    """The readings that fit the number of rows, the values and what was asked for."""
    count, chosen = len(array.values), array.at is not None
    one_each = chosen or _one_each(array, clean)
    scopes = [
        scope
        for scope, fits in (
            ("sample", one_each), ("class", not chosen and count == len(clean.classes)),
        )
        if fits and options.scope in (None, scope)
    ]  # fmt: skip
    cap = (options.epsilon or noises.CAP) + fitting.SLACK
    ways = []
    if max(-array.low, array.high) / array.unit <= cap:
        ways = [Way("noise", scope, f"noise, one {WORDS[scope]}") for scope in scopes]
    if "sample" in scopes and options.scope is None and _may_be_images(array, clean):
        ways.append(Way("images", "sample", "noisy images"))
    like_sp = array.unit == 1 and array.shape[3] == 3 and not chosen and "sample" in scopes
    if ways and like_sp and _patched(array):
        ways.append(Way("sp", "sample", "SP noise in an order of its own"))
    return [_told(way, ways) for way in ways]


def _told(way: Way, ways: list[Way]) -> Way:
    """With the options that tell it from the others."""
    if way.layout == "sp":
        options = "--labels FILE"
    else:
        layouts, alike = {each.layout for each in ways}, [w for w in ways if w.layout == way.layout]
        format = [f"--format {way.layout}"] if len(layouts) > 1 else []
        scope = [f"--scope {way.scope}"] if len(alike) > 1 else []
        options = " ".join(format + scope)
    return Way(way.layout, way.scope, way.words, options)


def _may_be_images(array: Own, clean: Images) -> bool:
    """Whether the values are those of images, most of them nearest to their own clean ones."""
    if not array.like_images:
        return False
    rows = array.rows(clean)
    some = np.linspace(0, len(rows) - 1, min(fitting.SAMPLE, len(rows))).astype(int)
    file, mine = (rows[some], some) if array.at is None else (some, rows[some])
    taken = pixels(array, file, "floor")
    return fitting.share_of_own(taken, clean.pixels[torch.from_numpy(mine)]) >= fitting.OWN


def _patched(array: Own) -> bool:
    """Whether the noise is of patches of one colour, as SP's, whose files have another order."""
    height, width = (side // 2 * 2 for side in array.values.shape[2:])
    some = array.values[:64, :, :height, :width]
    flat = (some[:, :, ::2] == some[:, :, 1::2]).all() and (some[..., ::2] == some[..., 1::2]).all()
    return bool(flat and some.any() and some.dtype.kind == "f")


def _none(array: Own, clean: Images, options: Options) -> DataError:
    """Why an array of a count that fits fits in no way."""
    which = f" one {WORDS[options.scope]}" if options.scope else ""
    return DataError(
        f"{array.said} from {array.low:.4g} to {array.high:.4g} is neither noise{which} (up to "
        f"{(options.epsilon or noises.CAP) * 255:.4g}/255; --epsilon admits more) nor the clean "
        "images with noise, each nearest to its own; pass the clean set it was made for"
    )


def _strange_count(said: str, count: int, clean: Images) -> RecipeError:
    return RecipeError(
        f"cannot tell what {said} is: {count} are neither one an image ({len(clean)}) nor one a "
        f"class ({len(clean.classes)}); pass --index FILE where they are for {count} of the "
        "images, or --labels FILE for SP noise or NTGA images in an order of their own"
    )


def levels(array: Own, rows: np.ndarray, rounding: str) -> np.ndarray:
    """The noise of some rows in whole grey levels, int16 [n,3,H,W]."""
    values = array.values[rows]
    if array.unit == 1:
        return perturbation.grey_levels(values, rounding)
    if values.dtype.kind == "f":
        values = _whole(values, rounding)
    whole: np.ndarray = values.astype(np.int16)
    return whole.clip(-255, 255)


def pixels(array: Own, rows: np.ndarray | slice, rounding: str) -> Tensor:
    """The images of some rows, uint8 [n,3,H,W]."""
    values = array.values[rows]
    if values.dtype.kind == "f":
        whole = array.unit == 1 and perturbation.grey_levels(values, rounding)
        values = (_whole(values, rounding) if whole is False else whole).clip(0, 255)
    return torch.from_numpy(values.astype(np.uint8))


def _whole(values: np.ndarray, rounding: str) -> np.ndarray:
    """Grey levels in floating point as whole ones; a hair below one is that one, as in
    `perturbation.grey_levels`."""
    wide = values.astype(np.float64)
    whole: np.ndarray = np.rint(wide) if rounding == "nearest" else np.floor(wide + 255 * EPS)
    return whole


def rounding_of(options: Options) -> str:
    """How floating point is rounded. RecipeError for the arithmetic of others' loaders."""
    if options.rounding == LOADER:
        raise RecipeError("rounding loader is of the authors' files; pass floor or nearest")
    return options.rounding or "floor"
