"""The pipeline through Python: poison digits, train two frames, measure. Under a minute on a CPU.

    python examples/library.py

Nothing here is special to digits: `load` also takes "cifar10", "cifar100", a folder of class
folders, or a file that stkit wrote.
"""

from stkit import OPS, SP, acm, evaluate, load, poison, train


def main(epochs: int = 6, limit: int | None = None) -> None:
    clean = load("digits", limit=limit)
    test = load("digits", "test")
    # A recipe is a frozen dataclass with the papers' numbers; name what is to be different.
    training_sets = {
        "clean": clean,
        "sp": poison(clean, SP(epsilon=8 / 255), seed=0),
        "ops": poison(clean, OPS(pixels=1), seed=0),
    }
    print(f"{len(clean)} images, {epochs} epochs of a small net: a smoke run, not a result\n")
    print(f"{'data':<6} {'frame':<6} {'train acc.':>10} {'test acc.':>9} {'ACM ratio':>9}  stages")
    for name, images in training_sets.items():
        for frame in ("nt", "st"):
            # Everything random is drawn from the seed. `run` has model, epochs (a record of each),
            # and save(path), which writes the checkpoint file of `stkit train`.
            run = train(images, frame, model="small", epochs=epochs, seed=0)
            found = evaluate(run.model, test)
            clusters = acm(run.model, images, variant="ratio")
            checks = [check for epoch in run.epochs for check in epoch.checks]
            rolled_back = sum(check.verdict.value == "roll back" for check in checks)
            print(
                f"{name:<6} {frame:<6} {run.epochs[-1].train_accuracy:>10.3f} "
                f"{found.accuracy:>9.3f} {clusters.acm:>9.3f}  {rolled_back}"
            )


if __name__ == "__main__":
    main()
