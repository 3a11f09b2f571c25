"""The pipeline through Python: poison drawn shapes, train, measure. Two minutes on two idle cores.

    python examples/library.py

Nothing here is special to shapes: `load` also takes "cifar10", "cifar100", a folder of class
folders, or a file that stkit wrote.
"""

from stkit import SP, acm, evaluate, load, poison, train


def main(epochs: int = 6, limit: int | None = None) -> None:
    clean = load("shapes", limit=limit)
    test = load("shapes", "test", limit=limit)
    # A recipe is a frozen dataclass with the papers' numbers; name what is to be different.
    training_sets = {"clean": clean, "sp": poison(clean, SP(epsilon=8 / 255), seed=0)}
    print(f"{len(clean)} images, {epochs} epochs of a small net, one seed\n")
    print(f"{'data':<6} {'frame':<10} {'train acc.':>10} {'test acc.':>9} {'ACM ratio':>9}")
    for name, images in training_sets.items():
        for frame in ("nt", "orthogonal"):
            # Everything random is drawn from the seed. `run` has model, epochs (a record of each),
            # and save(path), which writes the checkpoint file of `stkit train`.
            run = train(images, frame, model="small", epochs=epochs, batch_size=64, seed=0)
            found = evaluate(run.model, test)
            clusters = acm(run.model, images, variant="ratio")
            print(
                f"{name:<6} {frame:<10} {run.epochs[-1].train_accuracy:>10.3f} "
                f"{found.accuracy:>9.3f} {clusters.acm:>9.3f}"
            )


if __name__ == "__main__":
    main()
