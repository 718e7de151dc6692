"""What the trainer of oracles costs beyond a bare PyTorch loop over the same network and batches.

    python benchmarks/trainer_overhead.py [--recipe NAME] [--epochs N] [--repeats N]

Both run in one thread, in turns, so that whatever else the machine does hits both; the least time
of each counts. The trainer writes checkpoints and reports its progress, as it does in use.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from unshuffle.blocks.torch_module import ResidualNetwork
from unshuffle.oracle.data import Examples
from unshuffle.oracle.recipe import Recipe, find_recipe
from unshuffle.oracle.training import train
from unshuffle.views.progress import show_work


def bare_loop(recipe: Recipe, examples: Examples) -> float:
    """Seconds of the loop that one would write by hand."""
    net, plan = recipe.network, recipe.training
    module = ResidualNetwork(net.width, net.hidden, net.blocks, net.outputs, net.activation)
    optimiser = torch.optim.Adam(module.parameters(), lr=plan.learning_rate, fused=True)
    inputs, targets = torch.from_numpy(examples.inputs), torch.from_numpy(examples.targets)
    started = perf_counter()
    for _ in range(plan.epochs):
        for rows in torch.randperm(len(inputs)).split(plan.batch_rows):
            loss = torch.nn.functional.mse_loss(module(inputs[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return perf_counter() - started


def trainer(recipe: Recipe, folder: Path) -> float:
    """Seconds of the trainer, checkpoints and progress included."""
    with show_work(quiet=False, unit="epoch", total=recipe.training.epochs) as report:
        oracle = train(
            recipe,
            checkpoint=folder / f"{perf_counter()}.safetensors",
            on_epoch=lambda epoch: report(epoch.number, f"loss {epoch.loss:.4g}"),
        )
    return oracle.seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the trainer's overhead.")
    parser.add_argument("--recipe", default="adam", help="one that trains with Adam (%(default)s)")
    parser.add_argument("--epochs", type=int, default=2, help="in each turn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="turns of each (%(default)s)")
    args = parser.parse_args()
    recipe = find_recipe(args.recipe)
    recipe = replace(recipe, training=replace(recipe.training, epochs=args.epochs))
    if recipe.training.optimiser != "adam" or recipe.data.loss != "squared":
        parser.error(f"the bare loop is Adam's on squared errors, which {recipe.name} is not")
    net = recipe.network
    examples = recipe.data.draw(net.width, net.outputs, np.random.default_rng(recipe.seed))
    torch.set_num_threads(1)
    bare, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            bare.append(bare_loop(recipe, examples))
            ours.append(trainer(recipe, Path(folder)))
    steps = args.epochs * -(-len(examples.inputs) // recipe.training.batch_rows)
    for name, seconds in (("bare loop", bare), ("trainer", ours)):
        each = ", ".join(f"{s:.2f}" for s in seconds)
        print(
            f"{name:>9}: {1e3 * min(seconds) / steps:.2f} ms a step; seconds of each turn: {each}"
        )
    print(f" overhead: {100 * (min(ours) / min(bare) - 1):.1f} %")


if __name__ == "__main__":
    main()
