"""What progressive staged training decides, as plain numbers: no torch (ST paper, Alg. 1, Eq. 6-7).

The loop measures ACM and obeys; here it is only said which learning rate a layer gets and whether
a check is accepted. `tau` is the whole state: the vector H of Algorithm 1 is a function of it.
"""

import math

KEEP, ROLL_BACK, STOP = "keep", "roll back", "stop"


def cosine(lr: float, epoch: int, epochs: int) -> float:
    """The learning rate of `epoch` 1..epochs, set once an epoch: lr/2 (1 + cos(pi (e-1)/E))."""
    return lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def last_stage(beta: float) -> int:
    """The largest tau: 1/beta - 1 as an integer (Alg. 1 compares with a float, unsafe for 1/3)."""
    return round(1 / beta) - 1


def lr_scales(tau: int, layers: int, beta: float) -> tuple[float, ...]:
    """Eq. 7: the factor alpha_i of each layer i = 1..layers, counted from the input.

    alpha_i = sigmoid(i / (beta tau) - layers); tau = 0 is all ones (Algorithm 1, the limit).
    """
    if tau == 0:
        return (1.0,) * layers
    return tuple(_sigmoid(i / (beta * tau) - layers) for i in range(1, layers + 1))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def judge(tau: int, acm: float, gamma: float, beta: float, *, stop: bool = False) -> str:
    """KEEP, or ROLL_BACK when ACM > gamma, or is NaN or inf, and a stage is left (Alg. 1).

    stop: instead of a roll-back, and whatever the stage, STOP: the run ends with what was kept.
    """
    if math.isfinite(acm) and acm <= gamma:
        return KEEP
    if stop:
        return STOP
    return KEEP if tau >= last_stage(beta) else ROLL_BACK
