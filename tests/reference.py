"""Slow, literal transcriptions of what the papers and the authors' codes compute.

Loops over images, pixels and pairs, in float64, with no regard for speed: the fast versions in
`stkit/` are tested equal to these. Each function names the section or equation it follows.
"""

import math


def pgd(gradient, images, noise, epsilon, step_size, steps, ascend, low, high):
    """The loop of EM (its noise step) and REM (its inner adversary), on flat lists: the noise eta.

    gradient(list of pixels) -> list of partial derivatives. eta is taken before the last clip.
    """
    stride = step_size if ascend else -step_size
    pixels = [min(max(x + d, low), high) for x, d in zip(images, noise, strict=True)]
    noise = list(noise)
    for _ in range(steps):
        slopes = gradient(pixels)
        for k, x in enumerate(images):
            moved = pixels[k] + stride * ((slopes[k] > 0) - (slopes[k] < 0))
            noise[k] = min(max(moved - x, -epsilon), epsilon)
            pixels[k] = min(max(x + noise[k], low), high)
    return noise


def crop_flip(image, top, left, flip, pad=4):
    """Zero-pad, crop at (top, left), mirror: nested lists [C][H][W], pixel by pixel."""
    height, width = len(image[0]), len(image[0][0])
    out = [[[0.0] * width for _ in range(height)] for _ in image]
    for c, plane in enumerate(image):
        for row in range(height):
            for column in range(width):
                y, x = row + top - pad, column + left - pad
                inside = 0 <= y < height and 0 <= x < width
                shown = width - 1 - column if flip else column
                out[c][row][shown] = plane[y][x] if inside else 0.0
    return out


def jitter(image, order, brightness, contrast, saturation, hue):
    """Torchvision's four colour operations in this order: image is a list of (r, g, b) pixels.

    order: 0 brightness, 1 contrast, 2 saturation, 3 hue (a turn, in circles).
    """
    import colorsys

    def luma(pixel):
        return 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]

    def blend(pixel, target, factor):
        return tuple(min(max(factor * v + (1 - factor) * target, 0.0), 1.0) for v in pixel)

    for operation in order:
        if operation == 0:
            image = [blend(pixel, 0.0, brightness) for pixel in image]
        elif operation == 1:
            mean = sum(luma(pixel) for pixel in image) / len(image)
            image = [blend(pixel, mean, contrast) for pixel in image]
        elif operation == 2:
            image = [blend(pixel, luma(pixel), saturation) for pixel in image]
        else:
            turned = [colorsys.rgb_to_hsv(*pixel) for pixel in image]
            image = [colorsys.hsv_to_rgb((h + hue) % 1.0, s, v) for h, s, v in turned]
    return image


def acm(points, labels):
    """Eq. 3-5 of the ST paper and the two variants, of points (lists of numbers) with labels.

    Returns (L as a dict of ordered pairs of labels, sigma and R as dicts, scores).
    """
    import math

    classes = sorted(set(labels))
    sets = {i: [x for x, label in zip(points, labels, strict=True) if label == i] for i in classes}
    centre = {i: [sum(column) / len(A) for column in zip(*A, strict=True)] for i, A in sets.items()}
    sigma = {i: sum(math.dist(x, centre[i]) for x in A) / len(A) for i, A in sets.items()}
    R = {i: max(math.dist(x, centre[i]) for x in A) for i, A in sets.items()}
    L, literal, summed, ratio = {}, 0.0, 0.0, 0.0
    for i in classes:
        for j in classes:
            if i != j:
                L[i, j] = min(math.dist(x, y) for x in sets[i] for y in sets[j])
                n, m = len(sets[i]), len(sets[j])
                literal += L[i, j] / (R[i] * sigma[i] + R[j] * sigma[j] + 1e-12)
                summed += L[i, j] / (R[i] * n * sigma[i] + R[j] * m * sigma[j] + 1e-12)
                ratio += L[i, j] / (sigma[i] + sigma[j] + 1e-12)
    k = len(classes)
    scores = {"literal": literal, "sum": summed, "ratio": ratio}
    return L, sigma, R, {name: value / (k * (k - 1)) for name, value in scores.items()}


def staged_training(model, batch, layers, *, epochs, steps, lr, beta, gamma, acm):
    """Algorithm 1 of the ST paper as it is written, one ACM check an epoch, SGD by hand.

    batch(step) -> images, labels; layers: lists of parameter names; acm(model) -> number.
    Returns the vector H after every epoch.
    """
    import copy
    import math

    import torch
    import torch.nn.functional as F

    count, tau, h = len(layers), 0, [1.0] * len(layers)
    parameters = dict(model.named_parameters())
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    theta_tmp = copy.deepcopy((model.state_dict(), velocity))
    h_tmp, seen = h, []
    for e in range(1, epochs + 1):
        eta_hat = lr / 2 * (1 + math.cos(math.pi * (e - 1) / epochs))
        eta = [alpha * eta_hat for alpha in h]
        for s in range((e - 1) * steps, e * steps):
            images, labels = batch(s)
            model.train()
            model.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            with torch.no_grad():
                for group, rate in zip(layers, eta, strict=True):
                    for name in group:
                        gradient = parameters[name].grad + 1e-4 * parameters[name]
                        velocity[name] = 0.9 * velocity[name] + gradient
                        parameters[name] -= rate * velocity[name]
        if acm(model) > gamma and tau < round(1 / beta) - 1:
            tau = tau + 1
            model.load_state_dict(theta_tmp[0])
            velocity = copy.deepcopy(theta_tmp[1])
            h = [1 - 1 / (1 + math.exp(i / (beta * tau) - count)) for i in range(1, count + 1)]
        else:
            h = [1.0] * count if tau == 0 else h_tmp
            theta_tmp = copy.deepcopy((model.state_dict(), velocity))
        h_tmp = h
        seen.append(h)
    return seen


def sp_noise(labels, classes, epsilon, seed, samples, size=32, patch=8):
    """SP's noise as the authors' cifar_train.py makes it: float32 [N,size,size,3].

    Their operations in their order, on a NumPy that keeps float32 times a scalar in float32.
    """
    import numpy as np
    from sklearn.datasets import make_classification

    before = np.random.get_state()
    np.random.seed(seed)
    cells, features = -(-size // patch), int((size / patch) ** 2 * 3)
    points, blobs = make_classification(
        n_samples=samples, n_features=features, n_classes=classes, n_informative=features,
        n_redundant=0, n_repeated=0, class_sep=10.0, flip_y=0.0, n_clusters_per_class=1,
    )  # fmt: skip
    np.random.set_state(before)
    points = points.reshape([samples, cells, cells, 3]).astype(np.float32)
    points = np.repeat(np.repeat(points, patch, 2), patch, 1)[:, :size, :size, :]
    flat = points.reshape([samples, -1])
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    radius = np.sqrt(epsilon**2 * (size * size * 3))
    points = flat.reshape(points.shape) * np.float32(radius)
    noise = np.zeros((len(labels), size, size, 3), np.float32)
    for label in range(classes):
        members = labels == label
        noise[members] = points[blobs == label][: members.sum()]
    return noise


def sp_images(images, noise, dtype):
    """uint8 images with noise in [0,1] units, as the authors add it (they: dtype float64)."""
    import numpy as np

    shifted = (images.astype(dtype) / 255 + noise) * 255
    return np.clip(shifted, 0, 255).astype(np.uint8)


def em_loader(pixel, noise, positive):
    """The grey level that EM's loader (section 1.2) makes of one: noise a NumPy scalar in [0,1]."""
    import numpy as np

    scaled = noise * type(noise)(255)
    scaled = min(max(scaled, type(noise)(0 if positive else -255)), type(noise)(255))
    total = np.float32(pixel) + np.float32(scaled)
    return int(min(max(total, np.float32(0)), np.float32(255)))


def sp_loader(pixel, noise):
    """The grey level that SP's loader (section 4.1) makes of one, in Python's float64."""
    return int(min(max((pixel / 255 + float(noise)) * 255, 0.0), 255.0))


def ops_loader(pixel, noise):
    """The grey level that OPS's loader (section 5.1) makes of one, in Python's float64."""
    return int(min(max(pixel / 255 + float(noise), 0.0), 1.0) * 255)


def picture_loader(value):
    """The grey level that NTGA's loader and torchvision make of a NumPy scalar in [0,1]."""
    return int(value * type(value)(255))


def ops_search(images, labels, classes, objective, pixels, score):
    """OPS's search, uint8 [N,H,W,3]: for each class the list of (row, column, colour code).

    score(values, objective) is one candidate's, of |xi - x| [n,3]: `ops_float` or `ops_exact`.
    Ties go to the first in scan order, a pixel is taken once a class.
    """
    import numpy as np

    height, width = images.shape[1:3]
    points, picks = set(), []
    for label in range(classes):
        members = images[labels == label].astype(int)
        scored = []
        for row in range(height if len(members) else 0):
            for column in range(width):
                for code in range(8):
                    xi = np.array([code // 4, code // 2 % 2, code % 2]) * 255
                    values = np.abs(xi - members[:, row, column, :])
                    pair = (row, column, code)
                    scored.append((0 if pair in points else score(values, objective), pair))
        chosen = {}
        for _, pair in sorted(scored, key=lambda item: -item[0]):
            chosen.setdefault(pair[:2], pair)
        picks.append(list(chosen.values())[:pixels])
        points.update(picks[-1])
    return picks


def ops_float(values, objective):
    """The authors' score in floating point; `paper`: Eq. 2 of the OPS paper."""
    import numpy as np

    values = values / 255
    if objective == "code":
        return np.mean(values) / np.std(values)
    return np.mean(values.sum(1)) / np.var(values.sum(1))


def ops_exact(values, objective):
    """A fraction that is larger exactly where the score is: 0/0 is 0, x/0 is infinity."""
    from fractions import Fraction

    flat = values.ravel().tolist() if objective == "code" else values.sum(1).tolist()
    total = sum(flat)
    spread = len(flat) * sum(v * v for v in flat) - total * total
    power = total * total if objective == "code" else total
    return Fraction(power, spread) if spread else float("inf") if power else 0


def em(model, images, labels, *, per_class, epsilon, step_size, steps, model_steps, batch_size,
       rounds, weight_decay, order, fifth):  # fmt: skip
    """EM as poison-makers run it (sections 1.1 and 2.1): image by image, SGD by hand.

    images float64 [N,3,H,W] in [0,1]. order(epoch): the rows of the surrogate's loader; fifth(r):
    the rows of the noise's loader in round r. Returns the noise and the error of every round.
    """
    import torch
    import torch.nn.functional as F

    classes = int(labels.max()) + 1
    noise = torch.zeros(classes if per_class else len(images), *images.shape[1:]).to(images)
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    def batches(rows):
        found = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        return [b for b in found if len(b) == batch_size or len(found) == 1] if per_class else found

    def noisy(rows):
        which = [int(labels[i]) if per_class else int(i) for i in rows]
        return torch.stack([images[i] + noise[w] for i, w in zip(rows, which, strict=True)])

    epoch, loader, errors = 0, iter(batches(order(0))), []
    for r in range(rounds):
        for _ in range(model_steps):
            try:
                rows = next(loader)
            except StopIteration:
                epoch += 1
                loader = iter(batches(order(epoch)))
                rows = next(loader)
            model.train()
            model.zero_grad()
            F.cross_entropy(model(noisy(rows)), labels[rows]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            with torch.no_grad():
                for name, p in model.named_parameters():
                    velocity[name] = 0.9 * velocity[name] + p.grad + weight_decay * p
                    p -= 0.1 * velocity[name]
        model.eval()
        for rows in batches(fifth(r)):
            eta = {}
            for i in rows.tolist():
                x, y = images[i], labels[i]
                p = (x + noise[int(y) if per_class else i]).clamp(0, 1)
                for _ in range(steps):
                    p = p.detach().requires_grad_()
                    F.cross_entropy(model(p[None]), y[None]).backward()
                    moved = p.detach() - step_size * p.grad.sign()
                    eta[i] = (moved - x).clamp(-epsilon, epsilon)
                    p = (x + eta[i]).clamp(0, 1)
            if not per_class:
                for i, value in eta.items():
                    noise[i] = value
                continue
            for c in range(classes):
                mine = [value for i, value in eta.items() if int(labels[i]) == c]
                if mine:
                    noise[c] = torch.stack(mine).mean(0).clamp(-epsilon, epsilon)
        with torch.no_grad():
            rows = fifth(r)
            found = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
            wrong = [(model(noisy(b)).argmax(1) != labels[b]).double().mean() for b in found]
        errors.append(float(sum(wrong) / len(wrong)))
    return noise, errors


def rem(model, images, labels, *, batches, final, steps, eot, ru, au, ra, ka, aa, draws, rate):
    """REM as section 3.1 writes it: pixels in 0..255, image by image, draw by draw, SGD by hand.

    images float64 [N,3,H,W] of whole grey levels. batches: rows of each surrogate step; final: rows
    of each batch of the last pass. model takes z = pixels/255 - 0.5. draws(what, clock, number)
    gives `start` (the defender's), or for a step of it (T, adversary's start) for each of the eot
    draws and images, T being (top, left, flip); for the model step the same for one draw.
    """
    import torch
    import torch.nn.functional as F

    kept = torch.zeros(images.shape, dtype=torch.int8)
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    def clamp(levels):  # no gradient at the bounds, where PyTorch's own has one up to 2.9
        inside = (levels > 0) & (levels < 255)
        return torch.where(inside, levels, levels.detach().clamp(0, 255))

    def transform(image, top, left, flip):
        padded = F.pad(image, (4, 4, 4, 4))
        cut = padded[:, top : top + image.shape[1], left : left + image.shape[2]]
        return cut.flip(2) if flip else cut

    def adv(u, label, start):
        model.eval()
        a = (u + start).clamp(-0.5, 0.5)
        for _ in range(ka):
            a = a.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(model(a[None]), label[None]), a)
            a = (a + aa * g.sign()).detach()
            a = torch.max(torch.min(a, u + ra), u - ra).clamp(-0.5, 0.5)
        return a.detach()

    def defend(rows, what, clock):
        made = []
        for b, i in enumerate(rows.tolist()):
            d = draws(what, clock, None)[b]
            for number in range(steps):
                total = torch.zeros_like(d)
                for j in range(eot):
                    place, start = draws(what, clock, number)[j][b]
                    leaf = d.detach().requires_grad_()
                    u = transform(clamp(images[i] + 255 * leaf), *place) / 255 - 0.5
                    a = adv(u.detach(), labels[i], start).requires_grad_()
                    loss = F.cross_entropy(model(a[None]), labels[i][None])
                    (g,) = torch.autograd.grad(loss, a)
                    total += torch.autograd.grad(u, leaf, g)[0]
                d = (d - au * total.sign()).clamp(-ru, ru)
            made.append((255 * d).round().to(torch.int8))
        return torch.stack(made)

    for clock, rows in enumerate(batches):
        kept[rows] = defend(rows, "noise", clock)
        attacked = []
        for b, i in enumerate(rows.tolist()):
            place, start = draws("model", clock, None)[b]
            u = transform(images[i] + kept[i], *place) / 255 - 0.5
            attacked.append(adv(u.clamp(-0.5, 0.5), labels[i], start))
        model.train()
        model.zero_grad()
        F.cross_entropy(model(torch.stack(attacked)), labels[rows]).backward()
        with torch.no_grad():
            for name, p in model.named_parameters():
                velocity[name] = 0.9 * velocity[name] + p.grad + 5e-4 * p
                p -= rate(clock) * velocity[name]
    for clock, rows in enumerate(final):
        kept[rows] = defend(rows, "final noise", clock)
    return kept


def coin(image, down, right):
    """Nested list [C][H][W], each pixel read `down` and `right` px [H][W] beside itself, point by
    point: bilinear, borders wrapped around (SciPy's `grid-wrap`; COIN's code has its `wrap`)."""
    height, width = len(down), len(down[0])
    out = [[[0.0] * width for _ in range(height)] for _ in image]
    for c, channel in enumerate(image):
        for y in range(height):
            for x in range(width):
                v, w = y + down[y][x], x + right[y][x]
                top, left = math.floor(v), math.floor(w)
                for i, a in ((top, top + 1 - v), (top + 1, v - top)):
                    for j, b in ((left, left + 1 - w), (left + 1, w - left)):
                        out[c][y][x] += a * b * channel[i % height][j % width]
    return out


def plasma(seed, roughness, noise):
    """A fractal map by diamond-square, with the scaling of kornia's: nested list, point by point.

    seed: 3x3 numbers, of which the corners count; noise: one square list a doubling, [2n-1][2n-1].
    """
    corners = [seed[0][0], seed[0][2], seed[2][0], seed[2][2]]
    middle = sum(corners) / 4
    first, second, third, fourth = corners
    grid = [
        [first, first + second + middle, second],
        [first + third + middle, middle, second + fourth + middle],
        [third, third + fourth + middle, fourth],
    ]
    grid = [[value / 3 for value in row] for row in grid]
    scale = 1.0
    for fresh in noise:
        scale *= roughness
        side = len(fresh)
        out = [[0.0] * side for _ in fresh]
        for y in range(0, side, 2):
            for x in range(0, side, 2):
                out[y][x] = grid[y // 2][x // 2]
        for y in range(1, side, 2):
            for x in range(1, side, 2):
                around = sum(out[y + i][x + j] for i in (-1, 1) for j in (-1, 1))
                out[y][x] = (1 - scale) * around / 4 + scale * fresh[y][x]
        whole = [list(row) for row in out]
        for y in range(side):
            for x in range(1 - y % 2, side, 2):
                total = 0.0
                for v, w in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    # mirrored at the border, and a border point counts 4/3
                    v, w = (abs(q) if q < side else 2 * side - 2 - q for q in (v, w))
                    total += whole[v][w]
                edge = y in (0, side - 1) or x in (0, side - 1)
                out[y][x] = (1 - scale) * total / 4 * (4 / 3 if edge else 1) + scale * fresh[y][x]
        grid = out
    return grid


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def orthogonal(images, labels, classes, weight, epochs, batch, rate):
    """Orthogonal projection (Sandoval-Segura et al. 2023): images are flat lists in [0,1]."""
    weight = linear_model(images, labels, classes, weight, epochs, batch, rate)
    return projected(images, orthonormal(weight))


def orthogonal_rounds(images, labels, classes, starts, epochs, batch, rate):
    """The images left after a round from each of these starts, and all the directions taken off.

    Each round fits its linear model on what the round before left.
    """
    basis = []
    for weight in starts:
        weight = linear_model(images, labels, classes, weight, epochs, batch, rate)
        fresh = orthonormal(weight, basis)
        images = projected(images, fresh)
        basis += fresh
    return images, basis


def swapped(images, basis, giver):
    """Each image with the components of its giver, x - QQ'x + QQ'x_other, one after another."""
    out = []
    for image, other in zip(images, giver, strict=True):
        for unit in basis:
            change = dot(images[other], unit) - dot(images[len(out)], unit)
            image = [a + change * b for a, b in zip(image, unit, strict=True)]
        out.append(image)
    return out


def linear_model(images, labels, classes, weight, epochs, batch, rate):
    """A linear model trained from `weight` by plain SGD, the rate a tenth after half and after
    three quarters of the epochs."""
    from math import exp

    weight = [list(row) for row in weight]
    for epoch in range(epochs):
        lr = rate * (1 if epoch < epochs * 0.5 else 0.1 if epoch < epochs * 0.75 else 0.01)
        for start in range(0, len(images), batch):
            chosen = range(start, min(start + batch, len(images)))
            slopes = [[0.0] * len(row) for row in weight]
            for i in chosen:
                logits = [dot(row, images[i]) for row in weight]
                top = max(logits)
                total = sum(exp(z - top) for z in logits)
                for c in range(classes):
                    error = exp(logits[c] - top) / total - (c == labels[i])
                    for j, x in enumerate(images[i]):
                        slopes[c][j] += error * x / len(chosen)
            for row, slope in zip(weight, slopes, strict=True):
                for j, s in enumerate(slope):
                    row[j] -= lr * s
    return weight


def orthonormal(vectors, before=()):
    """The vectors made orthogonal one after another, to unit vectors `before` them too."""
    from math import sqrt

    basis = []
    for row in vectors:
        for unit in (*before, *basis):
            share = dot(row, unit)
            row = [a - share * b for a, b in zip(row, unit, strict=True)]
        length = sqrt(dot(row, row))
        basis.append([a / length for a in row])
    return basis


def projected(images, basis):
    """Images without their components along orthonormal vectors, subtracted one after another."""
    out = []
    for image in images:
        for unit in basis:
            share = dot(image, unit)
            image = [a - share * b for a, b in zip(image, unit, strict=True)]
        out.append(image)
    return out


def ridge(rows, labels, asked, classes):
    """W = (B'B + 0.01 n I)^-1 B'Y with a column of 1 and labels as +-1, solved by elimination.

    rows, asked: lists of numbers. Returns the scores b W of each asked row, a list of lists.
    """
    rows, asked = ([[*row, 1.0] for row in each] for each in (rows, asked))
    size = len(rows[0])
    system = [
        [sum(row[i] * row[j] for row in rows) + 0.01 * len(rows) * (i == j) for j in range(size)]
        + [
            sum(row[i] * (1 if label == c else -1) for row, label in zip(rows, labels, strict=True))
            for c in range(classes)
        ]
        for i in range(size)
    ]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(system[k][i]))
        system[i], system[pivot] = system[pivot], system[i]
        system[i] = [value / system[i][i] for value in system[i]]
        for k in range(size):
            if k != i:
                factor = system[k][i]
                system[k] = [a - factor * b for a, b in zip(system[k], system[i], strict=True)]
    return [
        [sum(b * system[i][size + c] for i, b in enumerate(row)) for c in range(classes)]
        for row in asked
    ]


def ar_noise(coefficients, start, crop=4):
    """AR's recursion as the authors' `generate`, not scaled: start is [channels][H][W], of which
    all but two rows and two columns are overwritten; coefficients are [channels][3][3]."""
    signal = [[list(row) for row in plane] for plane in start]
    for plane, b in zip(signal, coefficients, strict=True):
        for i in range(len(plane) - 2):
            for j in range(len(plane[0]) - 2):
                window = [plane[i + r][j + c] * b[r][c] for r in range(3) for c in range(3)]
                plane[i + 2][j + 2] = sum(window)
    return [[row[crop:] for row in plane[crop:]] for plane in signal]


def ar_response(coefficients, noise):
    """What noise [channels][H][W] answers the filter of a process: the authors' `response`."""
    norm = sum(v * v for plane in noise for row in plane for v in row) ** 0.5
    total = 0.0
    for i in range(len(noise[0]) - 2):
        for j in range(len(noise[0][0]) - 2):
            answer = 0.0
            for plane, b in zip(noise, coefficients, strict=True):
                for r in range(3):
                    for c in range(3):
                        weight = -1.0 if (r, c) == (2, 2) else b[r][c]
                        answer += weight * plane[i + r][j + c] / norm
            total += max(answer, 0.0)
    return total


def cuda_filters(classes, side, blur, seed):
    """CUDA's filters in the order in which the authors' code draws: float64 [K][side][side]."""
    import numpy as np

    before = np.random.get_state()
    np.random.seed(seed)
    found = []
    for _ in range(classes):
        three = np.random.uniform(0, blur, (3, 1, side, side))
        first = three[0][0]
        row = np.random.randint(side)
        column = np.random.randint(side)
        first[row][column] = 1
        found.append(first.tolist())
    np.random.set_state(before)
    return found


def cuda_image(image, weights):
    """An image [3][H][W] of levels, convolved, zeros around it, over its largest value, times 255:
    not rounded yet."""
    side, height, width = len(weights), len(image[0]), len(image[0][0])
    out = [[[0.0] * width for _ in range(height)] for _ in image]
    for c, plane in enumerate(image):
        for i in range(height):
            for j in range(width):
                for r in range(side):
                    for s in range(side):
                        y, x = i + r - side // 2, j + s - side // 2
                        if 0 <= y < height and 0 <= x < width:
                            out[c][i][j] += weights[r][s] * plane[y][x] / 255
    peak = max(v for plane in out for row in plane for v in row)
    return [[[v / peak * 255 for v in row] for row in plane] for plane in out]


def ssim(a, b, window=11, sigma=1.5):
    """Wang et al. 2004, eq. 13, of two grey images in [0,1], nested lists [H][W]: the mean over all
    places of the Gaussian window, with the weighted moments of eq. 14 to 16."""
    height, width = len(a), len(a[0])
    middle = (window - 1) / 2
    weight = [
        [math.exp(-((i - middle) ** 2 + (j - middle) ** 2) / (2 * sigma**2)) for j in range(window)]
        for i in range(window)
    ]
    total = sum(map(sum, weight))
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for top in range(height - window + 1):
        for left in range(width - window + 1):
            seen = [
                (weight[i][j] / total, a[top + i][left + j], b[top + i][left + j])
                for i in range(window)
                for j in range(window)
            ]
            x, y = sum(w * p for w, p, _ in seen), sum(w * q for w, _, q in seen)
            xx = sum(w * (p - x) ** 2 for w, p, _ in seen)
            yy = sum(w * (q - y) ** 2 for w, _, q in seen)
            xy = sum(w * (p - x) * (q - y) for w, p, q in seen)
            above = (2 * x * y + c1) * (2 * xy + c2)
            values.append(above / ((x * x + y * y + c1) * (xx + yy + c2)))
    return sum(values) / len(values)
