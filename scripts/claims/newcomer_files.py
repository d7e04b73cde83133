"""Twenty target files as people have them, for ``scripts.claims.newcomer``.

Each is a text as someone wrote it for their own training, or as a tutorial has it, with a model
that trains in milliseconds. Nothing in them was written for autobatch but where it cannot be
trained otherwise, such as the step of a GAN.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NewcomerFile:
    """A file, and what must come of it.

    Attributes:
        code: The file.
        assumes: What the report must say that it assumed; of an answer.
        hint: What the hint of the error must name; empty if an answer is expected.
        needs: A package that it imports, beside PyTorch.
    """

    code: str
    assumes: tuple[str, ...] = ()
    hint: str = ""
    needs: str = ""


_HEAD = """
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
"""
_TABLE = """
data = TensorDataset(torch.randn(512, 20), torch.randint(0, 4, (512,)))
"""
_NET = """
class Net(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.hidden = nn.Linear(20, width)
        self.out = nn.Linear(width, 4)

    def forward(self, x):
        return self.out(F.relu(self.hidden(x)))
"""

_RESIDUAL = (
    _HEAD
    + """
class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.norm(self.conv(x)))

class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))

class Images(Dataset):
    def __len__(self):
        return 50_000

    def __getitem__(self, index):
        return torch.full((3, 16, 16), index / 50_000), index % 10

train_loader = DataLoader(Images(), batch_size=128, shuffle=True)
model = ResNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
"""
)
_BERT = """
import random
from tokenizers import Tokenizer, models
from torch.utils.data import DataLoader
from transformers import (
    BertConfig, BertForSequenceClassification, DataCollatorWithPadding, PreTrainedTokenizerFast,
)

words = Tokenizer(models.WordLevel({"[PAD]": 0, "word": 1}, unk_token="word"))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]")
config = BertConfig(vocab_size=2, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                    intermediate_size=32, max_position_embeddings=64)
model = BertForSequenceClassification(config)
rng = random.Random(0)
samples = []
for index in range(200):
    ids = [1] * rng.randint(4, 60)
    samples.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": index % 2})
train_dataloader = DataLoader(samples, batch_size=8, shuffle=True,
                              collate_fn=DataCollatorWithPadding(tokenizer))
"""
_FROZEN = (
    _HEAD
    + _TABLE
    + """
class LowRank(nn.Module):
    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))

base = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
net = nn.Sequential(LowRank(base[0]), nn.ReLU(), LowRank(base[2]))
optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3)
dataset = data
"""
)
_GAN = (
    _HEAD
    + """
netG = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 20))
netD = nn.Sequential(nn.Linear(20, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
dataloader = DataLoader(TensorDataset(torch.randn(512, 20)), batch_size=64, shuffle=True)
model = netG

def training_step(netG, batch):
    real, = batch
    ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
    fake = netG(torch.randn(len(real), 16))
    netD.zero_grad()
    errD = criterion(netD(real), ones) + criterion(netD(fake.detach()), zeros)
    errD.backward()
    optimizerD.step()
    netG.zero_grad()
    errG = criterion(netD(fake), ones)
    errG.backward()
    optimizerG.step()
"""
)
_CHECKPOINTED = (
    _HEAD
    + _TABLE
    + """
from torch.utils.checkpoint import checkpoint

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(20, 20) for _ in range(4))
        self.out = nn.Linear(20, 4)

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False)
        return self.out(x)

model = Deep()
train_ds = data
optimizer = torch.optim.AdamW
"""
)
_ITERABLE = (
    _HEAD
    + _NET
    + """
class Stream(IterableDataset):
    def __iter__(self):
        for index in range(600):
            yield torch.randn(20), index % 4

model = Net()
dataset = Stream()
optimizer = lambda parameters: torch.optim.AdamW(parameters)
"""
)
_SEQUENCES = (
    _HEAD
    + """
class Texts(Dataset):
    def __len__(self):
        return 200

    def __getitem__(self, index):
        return torch.randint(1, 50, (4 + 7 * index % 60,)), index % 2

def collate_fn(samples):
    texts, labels = zip(*samples)
    return nn.utils.rnn.pad_sequence(texts, batch_first=True), torch.tensor(labels)

class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.fc = nn.Linear(16, 2)

    def forward(self, x):
        return self.fc(self.lstm(self.embedding(x))[0][:, -1])

model = Classifier()
train_loader = DataLoader(Texts(), batch_size=16, shuffle=True, collate_fn=collate_fn)
val_loader = DataLoader(Texts(), batch_size=16, collate_fn=collate_fn)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
"""
)
_DICTIONARIES = (
    _HEAD
    + """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20, 4)

    def forward(self, features, labels=None):
        logits = self.fc(features)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}

dataset = [{"features": torch.randn(20), "labels": i % 4} for i in range(300)]
model = Model()
"""
)
_AUTOENCODER = (
    _HEAD
    + """
encoder = nn.Sequential(nn.Linear(20, 8), nn.ReLU())
decoder = nn.Linear(8, 20)
autoencoder = nn.Sequential(encoder, decoder)
loss_fn = nn.MSELoss()
train_dl = DataLoader(TensorDataset(torch.randn(512, 20)), batch_size=32)
optim = torch.optim.Adam(autoencoder.parameters(), lr=1e-3)
"""
)
_CONTRASTIVE = (
    _HEAD
    + """
model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16))
dataset = [torch.randn(20) for _ in range(512)]

def training_step(model, batch):
    first = F.normalize(model(batch + 0.1 * torch.randn_like(batch)), dim=1)
    second = F.normalize(model(batch + 0.1 * torch.randn_like(batch)), dim=1)
    return F.cross_entropy(first @ second.T / 0.1, torch.arange(len(batch)))
"""
)
_GRAPHS = (
    _HEAD
    + """
class Graphs(Dataset):
    def __len__(self):
        return 200

    def __getitem__(self, index):
        return torch.randn(5 + index % 20, 8), index % 3

def collate_fn(graphs):
    nodes, labels = zip(*graphs)
    owner = torch.repeat_interleave(torch.arange(len(nodes)), torch.tensor([len(n) for n in nodes]))
    return torch.cat(nodes), owner, torch.tensor(labels)

class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, nodes, owner):
        pooled = torch.zeros(int(owner[-1]) + 1, 16)
        return self.out(pooled.index_add(0, owner, self.embed(nodes)))

model = Pool()
train_set = Graphs()
"""
)
_ENVIRONMENTS = (
    _HEAD
    + """
model = policy = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 2))

def batch(batch_size):
    return torch.randn(batch_size, 6), torch.randint(0, 2, (batch_size,)), torch.randn(batch_size)

def training_step(policy, rollout):
    states, actions, advantages = rollout
    return -(F.log_softmax(policy(states), 1)[torch.arange(len(actions)), actions]
             * advantages).mean()
"""
)
_SCRIPT = (
    _HEAD
    + "import argparse\n"
    + _NET
    + """
def train(args):
    net = Net()
    loader = DataLoader(TensorDataset(torch.randn(512, 20), torch.randint(0, 4, (512,))),
                        batch_size=args.batch_size)
    opt = torch.optim.SGD(net.parameters(), lr=args.lr)
    for x, y in loader:
        opt.zero_grad()
        F.cross_entropy(net(x), y).backward()
        opt.step()

if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=64)
    train(parser.parse_args())
"""
)
_FLAT = (
    _HEAD
    + _NET
    + _TABLE
    + """
trainloader = DataLoader(data, batch_size=32, shuffle=True)
testloader = DataLoader(data, batch_size=64)
net = Net()
criterion = nn.CrossEntropyLoss()
opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
for epoch in range(1000):
    for inputs, labels in trainloader:
        opt.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        opt.step()
    scheduler.step()
    print(f"epoch {epoch}: {loss.item():.3f}")
torch.save(net.state_dict(), "net.pt")
"""
)
_COMPILED = (
    _HEAD
    + _NET
    + _TABLE
    + """
net = Net()
model = torch.compile(net, backend="aot_eager")
train_loader = DataLoader(data, batch_size=32)
"""
)
_HALF = (
    _HEAD
    + _TABLE
    + """
model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 4)).bfloat16()
dataset = data
"""
)
_DETECTION = (
    _HEAD
    + """
class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 8, 3)
        self.boxes = nn.Linear(8, 4)
        self.classes = nn.Linear(8, 5)

    def forward(self, images, targets=None):
        features = self.backbone(torch.stack(list(images))).mean((2, 3))
        if not self.training:
            return [{"boxes": box} for box in self.boxes(features)]
        boxes = torch.stack([target["boxes"][0] for target in targets])
        labels = torch.stack([target["labels"][0] for target in targets])
        return {"loss_box_reg": F.l1_loss(self.boxes(features), boxes),
                "loss_classifier": F.cross_entropy(self.classes(features), labels)}

class Scenes(Dataset):
    def __len__(self):
        return 200

    def __getitem__(self, index):
        return torch.randn(3, 16, 16), {"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2])}

model = Detector()
data_loader = DataLoader(Scenes(), batch_size=2, shuffle=True, collate_fn=lambda b: tuple(zip(*b)))
data_loader_test = DataLoader(Scenes(), batch_size=1, collate_fn=lambda b: tuple(zip(*b)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.005)
"""
)
_TRANSFER = (
    _HEAD
    + _TABLE
    + """
dataloaders = {phase: DataLoader(data, batch_size=4, shuffle=True) for phase in ["train", "val"]}
model_ft = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 4))
criterion = nn.CrossEntropyLoss()
optimizer_ft = torch.optim.SGD(model_ft.parameters(), lr=0.001, momentum=0.9)
exp_lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer_ft, max_lr=0.1, total_steps=100)
"""
)
_VARIATIONAL = (
    _HEAD
    + _TABLE
    + """
class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(20, 16), nn.Linear(16, 4), nn.Linear(16, 4)
        self.fc4 = nn.Linear(4, 20)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.fc4(z), mu, logvar

def loss_function(recon_x, x, mu, logvar):
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return F.mse_loss(recon_x, x, reduction="sum") + KLD

model = VAE()
train_loader = DataLoader(data, batch_size=128, shuffle=True)
test_loader = DataLoader(data, batch_size=128)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
"""
)
_TENSORS = (
    _HEAD
    + """
X = torch.randn(512, 20)
y = X.sum(1, keepdim=True)
model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 1))
loss_fn = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(5):
    loss = loss_fn(model(X), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
)

NEWCOMER_FILES = {
    "resnet": NewcomerFile(code=_RESIDUAL, assumes=("cross-entropy as the loss",)),
    "bert": NewcomerFile(
        code=_BERT,
        assumes=("train_dataloader is the train_loader", "AdamW as the optimizer"),
        needs="transformers",
    ),
    "low_rank": NewcomerFile(code=_FROZEN, assumes=("net is the model",)),
    "gan": NewcomerFile(code=_GAN, assumes=("dataloader is the train_loader",)),
    "checkpointed": NewcomerFile(
        code=_CHECKPOINTED,
        assumes=("train_ds is the dataset", "0.001 as the learning rate, the default of AdamW"),
    ),
    "iterable": NewcomerFile(code=_ITERABLE, assumes=("32 as the batch size trained with now",)),
    "sequences": NewcomerFile(code=_SEQUENCES, assumes=("criterion is the loss",)),
    "dictionaries": NewcomerFile(code=_DICTIONARIES, assumes=("AdamW as the optimizer",)),
    "autoencoder": NewcomerFile(
        code=_AUTOENCODER,
        assumes=("autoencoder is the model", "the input as the target of the loss"),
    ),
    "contrastive": NewcomerFile(code=_CONTRASTIVE, assumes=("AdamW as the optimizer",)),
    "graphs": NewcomerFile(code=_GRAPHS, assumes=("train_set is the dataset",)),
    "environments": NewcomerFile(
        code=_ENVIRONMENTS, assumes=("32 as the batch size trained with now",)
    ),
    "script": NewcomerFile(
        code=_SCRIPT, hint="autobatch probe -- python script.py --batch-size {batch_size}"
    ),
    "flat": NewcomerFile(
        code=_FLAT,
        assumes=(
            "trainloader is the train_loader, by its name, beside testloader",
            "and was stopped there; put the training under if __name__ == '__main__':",
        ),
    ),
    "compiled": NewcomerFile(code=_COMPILED, assumes=("cross-entropy as the loss",)),
    "half": NewcomerFile(code=_HALF, hint="use --precision bf16"),
    "detection": NewcomerFile(
        code=_DETECTION,
        assumes=(
            "data_loader is the train_loader, by its name, beside data_loader_test",
            "the sum of loss_box_reg, loss_classifier as the loss",
        ),
    ),
    "transfer": NewcomerFile(
        code=_TRANSFER,
        assumes=(
            "dataloaders['train'] is the train_loader, by its name, beside dataloaders['val']",
            "0.1 as the learning rate, the one that exp_lr_scheduler",
        ),
    ),
    "variational": NewcomerFile(
        code=_VARIATIONAL,
        assumes=("loss_function is the loss", "the input as the target of the loss"),
    ),
    "tensors": NewcomerFile(
        code=_TENSORS, hint="add the line: dataset = torch.utils.data.TensorDataset(X, y)"
    ),
}
