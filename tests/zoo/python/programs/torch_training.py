"""torch in the middle of a training, with another thread in its thread pools: each clone goes on to the same weights."""
# zoo: full

import os

import torch
from harness import background, family, until

torch.manual_seed(0)
left, products = torch.randn(200, 200), [0]
net = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(net.parameters())
inputs = torch.randn(256, 16)
targets = inputs.sum(1, keepdim=True)


def multiply() -> None:
    while True:
        left @ left
        products[0] += 1


def train(steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((net(inputs) - targets) ** 2).mean()
        loss.backward()
        optimizer.step()
    return round(loss.item(), 4)


before = train(20)
background(multiply)
until(lambda: products[0] > 2, "products")


def work(vmid: int) -> list[object]:
    count = products[0]
    loss = train(20)
    until(lambda: products[0] > count, "products of the inherited thread")
    return [loss, loss < before]


master, clones = family(work)
assert clones == [master] * 3 and master[1], (master, clones)
os._exit(0)  # torch aborts when a thread computes as it exits
