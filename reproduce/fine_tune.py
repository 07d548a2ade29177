"""Test errors of a network fine-tuned from an exported stack, and of the same from random weights.

python reproduce/fine_tune.py STACK.safetensors TRAINING_IMAGES TEST_IMAGES
    [--labels FILE] [--test-labels FILE] [--epochs 15] [--lr 0.001] [--batch-size 100]
    [--dropout 0.3] [--weight-decay 0] [--seeds 3] [--threads N]

The network has the encoder's layers with sigmoids between them, and a last layer to the classes, of
which the weights are random unless the stack has label units. Both networks of a seed see the same
batches; they learn by Adam, whose rate falls in a line to 0. Prints a line for each seed, and the
means. Needs the extra `fine-tune`.
"""

from __future__ import annotations

import argparse

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rbmcli.io.sources import open_source

Tensors = dict[str, Tensor]
Labelled = tuple[Tensor, Tensor]


def network(tensors: Tensors, classes: int, dropout: float) -> nn.Sequential:
    """Linear layers like those of the encoder, and one to the classes; PyTorch's random weights."""
    layers: list[nn.Module] = []
    width = 0
    for level in range(sum(name.startswith("encoder.") for name in tensors) // 2):
        width, inputs = tensors[f"encoder.{level}.weight"].shape
        layers += [nn.Linear(inputs, width), nn.Sigmoid(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def load(model: nn.Sequential, tensors: Tensors) -> None:
    """Give the layers the stack's weights, and the last one those of the label units, if any."""
    linear = [module for module in model if isinstance(module, nn.Linear)]
    names = [f"encoder.{level}" for level in range(len(linear) - 1)]
    if "classifier.weight" in tensors:
        names.append("classifier")
    for name, module in zip(names, linear, strict=False):
        module.load_state_dict({part: tensors[f"{name}.{part}"] for part in ("weight", "bias")})


def error(model: nn.Module, data: Labelled) -> float:
    """How many images are taken for another class, in percent."""
    images, labels = data
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([model(rows).argmax(1) for rows in images.split(1000)])
    return 100 * float((guesses != labels).float().mean())


def train(model: nn.Module, data: Labelled, options: argparse.Namespace, seed: int) -> None:
    """Minimise the cross-entropy."""
    images, labels = data
    model.train()
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    steps = options.epochs * -(-len(images) // options.batch_size)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(images), generator=shuffle).split(options.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
            decay.step()


def read(source: str, labels: str | None, limit: int | None) -> Labelled:
    """Images as floats, and their labels."""
    data = open_source(source, labels=labels, limit=limit)
    if data.labels is None:
        raise SystemExit(f"{source}: has no labels; name a file of them")
    return torch.tensor(data.images) / data.scale, torch.tensor(data.labels)


def main() -> None:
    """Train both networks for each seed, print their errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack")
    parser.add_argument("training")
    parser.add_argument("test")
    parser.add_argument("--labels")
    parser.add_argument("--test-labels")
    parser.add_argument("--limit", type=int, help="Use so many training images only.")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--dropout", type=float, default=0.3, help="Of hidden units.")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tensors = load_file(options.stack)
    training = read(options.training, options.labels, options.limit)
    test = read(options.test, options.test_labels, None)
    classes = int(training[1].max()) + 1
    errors = []
    print("seed  pre-trained  random  difference")
    for seed in range(options.seeds):
        found = []
        for pretrained in (True, False):
            torch.manual_seed(seed)
            model = network(tensors, classes, options.dropout)
            if pretrained:
                load(model, tensors)
            train(model, training, options, seed)
            found.append(error(model, test))
        errors.append(found)
        print(
            f"{seed:4}  {found[0]:10.2f}%  {found[1]:5.2f}%  {found[1] - found[0]:9.2f}%",
            flush=True,
        )
    first, second = (sum(column) / len(column) for column in zip(*errors, strict=True))
    print(f"mean  {first:10.2f}%  {second:5.2f}%  {second - first:9.2f}%")


if __name__ == "__main__":
    main()
