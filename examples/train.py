"""Train a small residual network and drop it: how `examples/dropped` was made.

    python examples/train.py FOLDER [--seed N] [--force]

Needs PyTorch, and about a minute. A seed gives the same files every time on one machine with one
PyTorch. Elsewhere the weights may come out differently, but not the answer: NumPy draws it.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

BLOCKS = 14
WIDTH = 48  # of the input and of the stream between the blocks
HIDDEN = 96

# The data: noisy readings of bits, and a target on ten noisy levels that depends on sums of them.
# Inputs with two modes are what makes this hard enough to be fair: they are far from Gaussian.
TRAIN_ROWS = 20_000
RECORD_ROWS = 3_000  # how many of them the record ships
ON_RATES = (0.2, 0.55)  # each input has its own chance to be on, from this range
OFF, ON = -0.8, 1.0  # the two modes
OFF_NOISE, ON_NOISE = 0.12, 0.35
SMEARED, SMEARED_NOISE = 0.15, 0.6  # this share of the readings is noisier than either
LEVELS = 10
LEVEL_STEP = 0.35  # ten levels this far apart have a standard deviation near 1
LEVEL_NOISE = 0.05

# The training. What ties the two layers of a block together is the noise of many small batches:
# under it, the trace of the product of their weights grows ever more negative, until it stands out
# from that of any other two layers. More weight decay or an annealed learning rate wears it away.
EPOCHS = 20
BATCH_ROWS = 64
LEARNING_RATE = 1e-3


class Block(nn.Module):
    """`x + out(relu(inp(x)))`, the only kind of block there is."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(WIDTH, HIDDEN)
        self.out = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to a batch."""
        return x + self.out(torch.relu(self.inp(x)))


def generate(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw the inputs, of shape (rows, WIDTH), and the targets, of shape (rows, 1)."""
    shape = (TRAIN_ROWS, WIDTH)
    bits = rng.random(shape) < rng.uniform(*ON_RATES, WIDTH)
    noise = np.where(bits, ON_NOISE, OFF_NOISE)
    noise[rng.random(shape) < SMEARED] = SMEARED_NOISE
    inputs = np.where(bits, ON, OFF) + noise * rng.standard_normal(shape)

    # Absolute differences of sums: nothing that a single linear layer could learn.
    first, second, third, fourth = bits.reshape(-1, 4, WIDTH // 4).sum(axis=2).T
    level = np.minimum(abs(first - second) + abs(third - fourth), LEVELS - 1)
    targets = LEVEL_STEP * (level - (LEVELS - 1) / 2) + LEVEL_NOISE * rng.standard_normal(len(bits))
    return torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets[:, None]).float()


def train(inputs: Tensor, targets: Tensor) -> nn.Sequential:
    """Train a fresh network on all the rows."""
    network = nn.Sequential(*(Block() for _ in range(BLOCKS)), nn.Linear(WIDTH, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for rows in torch.randperm(len(inputs)).split(BATCH_ROWS):
            loss = nn.functional.mse_loss(network(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        if epoch % 5 == 0:
            print(f"epoch {epoch} of {EPOCHS}: mean squared error {total / len(inputs):.4f}")
    return network


def drop(network: nn.Sequential, folder: Path, rng: np.random.Generator) -> None:
    """Write the pieces under numbers drawn at random, and the hash of the answer."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]  # inp, out, …, last
    answer = rng.permutation(len(layers)).tolist()
    (folder / "pieces").mkdir(parents=True, exist_ok=True)
    for number, layer in zip(answer, layers, strict=True):
        torch.save(layer.state_dict(), folder / "pieces" / f"piece_{number}.pth")
    digest = hashlib.sha256(",".join(map(str, answer)).encode()).hexdigest()
    (folder / "answer.sha256").write_text(f"{digest}\n")


def record(network: nn.Sequential, inputs: Tensor, targets: Tensor, path: Path) -> None:
    """Write inputs, predictions and targets, each float32 in its shortest exact decimals."""
    with torch.no_grad():
        table = torch.cat([inputs, network(inputs), targets], dim=1).numpy()
    header = [f"measurement_{i}" for i in range(WIDTH)] + ["pred", "true"]
    lines = [",".join(cells) for cells in [header, *table.astype(str)]]
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Read the command line, train, write."""
    parser = argparse.ArgumentParser(description="Train a small residual network and drop it.")
    parser.add_argument("folder", type=Path, help="where to write the example")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: 0)")
    parser.add_argument("--force", action="store_true", help="overwrite what the folder holds")
    args = parser.parse_args()
    if args.folder.exists() and any(args.folder.iterdir()) and not args.force:
        parser.error(f"{args.folder} is not empty: choose another folder, or add --force")

    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # layers this small gain nothing from more, and sums keep their order
    inputs, targets = generate(rng)
    network = train(inputs, targets)
    drop(network, args.folder, rng)
    kept = slice(RECORD_ROWS)
    record(network, inputs[kept], targets[kept], args.folder / "record.csv")


if __name__ == "__main__":
    main()
