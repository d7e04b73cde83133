"""Small stand-ins for five kinds of scripts that people train with.

The clock of the one who watches is replaced: it goes on by 4 ms a step and by half a millisecond a
sample, so that how fast a size is does not depend on what else the machine does.
"""

import argparse
import sys


class Clock:
    now_s = 1000.0

    def __call__(self):
        self.now_s += 1e-6
        return self.now_s

    def pass_step(self, inputs):
        self.now_s += 0.004 + 0.0005 * len(inputs)


clock = Clock()
for finder in sys.meta_path:
    if hasattr(finder, "_line"):  # it waits for PyTorch to be imported
        finder._line.now = clock

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--kind")
parser.add_argument("-b", "--batch-size", type=int, default=32)
parser.add_argument("--lr", type=float, default=0.01)
options = parser.parse_args()
FEATURES, CLASSES = 48, 10


class Samples(Dataset):
    """Made up, as torchvision's ``FakeData``."""

    def __len__(self):
        return 20_000

    def __getitem__(self, index):
        return torch.full((FEATURES,), index / 20_000), index % CLASSES


class Wide(nn.Module):
    """Takes much memory for each sample, and little time."""

    def forward(self, inputs):
        return inputs.repeat(1, 256).relu().reshape(len(inputs), 256, -1).mean(1)


def make_network(*, has_norm=False):
    norm = [nn.BatchNorm1d(64)] if has_norm else []
    return nn.Sequential(nn.Linear(FEATURES, 64), *norm, Wide(), nn.Linear(64, CLASSES))


def mnist():
    """An evaluation and a schedule after each epoch."""
    model = make_network()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    while True:
        model.train()
        for inputs, labels in DataLoader(Samples(), options.batch_size, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.nll_loss(model(inputs).log_softmax(1), labels)
            clock.pass_step(inputs)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for inputs, _ in DataLoader(Samples(), 16):
                model(inputs)
        schedule.step()


def dcgan():
    """Two networks with an optimizer each, and two backward passes for the first."""
    critic = make_network()
    generator = nn.Linear(8, FEATURES)
    optimizers = [torch.optim.Adam(each.parameters(), 2e-4) for each in (critic, generator)]
    while True:
        for inputs, _ in DataLoader(Samples(), options.batch_size, shuffle=True):
            critic.zero_grad()
            critic(inputs).mean().backward()
            made = generator(torch.randn(len(inputs), 8))
            (-critic(made.detach()).mean()).backward()
            optimizers[0].step()
            generator.zero_grad()
            critic(made).mean().backward()
            clock.pass_step(inputs)
            optimizers[1].step()


def imagenet():
    """Batch normalization, clipped gradients, and figures printed at each step."""
    model = make_network(has_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), options.lr, momentum=0.9, weight_decay=1e-4)
    while True:
        for inputs, labels in DataLoader(Samples(), options.batch_size, shuffle=True):
            outputs = model(inputs)
            loss = nn.functional.cross_entropy(outputs, labels)
            right = (outputs.argmax(1) == labels).float().mean()
            clock.pass_step(inputs)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            print(f"loss {loss.item():.3f} accuracy {right.item():.3f}")


def timm():
    """A loader that fetches ahead, a learning rate that goes with the size, averaged weights."""

    class Ahead:
        def __init__(self, loader):
            self.loader = loader

        def __iter__(self):
            waiting = None
            for batch in self.loader:
                if waiting is not None:
                    yield waiting
                waiting = batch
            yield waiting

    model = make_network(has_norm=True)
    average = torch.optim.swa_utils.AveragedModel(model)
    rate = 0.1 * options.batch_size / 256
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, nesterov=True)
    loader = Ahead(DataLoader(Samples(), options.batch_size, shuffle=True, drop_last=True))
    while True:
        for inputs, labels in loader:
            loss = nn.functional.cross_entropy(model(inputs), labels, label_smoothing=0.1)
            clock.pass_step(inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)


def lightning():
    """The loop is a framework's, which validates first and saves what it likes."""
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = make_network()

        def training_step(self, batch, index):
            clock.pass_step(batch[0])
            return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self.log("loss", nn.functional.cross_entropy(self.network(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), options.lr)

    trainer = lightning.Trainer(accelerator="cpu", enable_progress_bar=False)
    training = DataLoader(Samples(), options.batch_size, shuffle=True)
    trainer.fit(Classifier(), training, DataLoader(Samples(), 16))


if __name__ == "__main__":
    {each.__name__: each for each in (mnist, dcgan, imagenet, timm, lightning)}[options.kind]()
