"""The adversarial loss of the demo generators: whom it trains, and what it tells apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from export.demo_models.discriminator import Discriminator, adversarial_losses


def discs(count: int, seed: int) -> Tensor:
    """Return pictures of discs with sharp contours at random places, in -1..1, [N, 3, 64, 64]."""
    generator = torch.Generator().manual_seed(seed)
    centre = 20 + 24 * torch.rand(count, 2, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside = (y - centre[:, :1]) ** 2 + (x - centre[:, 1:]) ** 2 < 12**2
    return inside.float().expand(-1, 3, -1, -1) * 2 - 1


def blurred(pictures: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(pictures, (3, 3, 3, 3), mode="replicate"), 7, 1)


def test_each_adversarial_loss_trains_its_own_network_only() -> None:
    torch.manual_seed(0)
    discriminator, made = Discriminator(), torch.randn(3, 3, 32, 32, requires_grad=True)
    generators, discriminators = adversarial_losses(discriminator, made, torch.randn(3, 3, 32, 32))
    generators.backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    assert made.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    made.grad = None
    discriminators.backward()  # type: ignore[no-untyped-call]
    assert made.grad is None
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_a_discriminator_learns_that_renderings_have_no_blurred_contours() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator()
    optimiser = torch.optim.Adam(discriminator.parameters(), 0.01)
    for seed in range(30):
        _, loss = adversarial_losses(discriminator, blurred(discs(4, seed)), discs(4, seed))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    sharp = discs(4, 1000)
    with torch.no_grad():
        for_sharp, for_blurred = (discriminator(x)[-1].amax((1, 2, 3)) for x in (sharp, blurred(sharp)))
        assert (for_sharp > for_blurred).all()
        as_rendered, as_blurred = (adversarial_losses(discriminator, x, sharp)[0] for x in (sharp, blurred(sharp)))
    assert as_rendered < as_blurred


def test_a_discriminator_gives_a_number_for_each_patch() -> None:
    *levels, out = Discriminator()(torch.zeros(2, 3, 256, 256))
    assert [level.shape[-1] for level in levels] == [128, 64, 32, 32]
    assert out.shape == (2, 1, 32, 32)
    x = torch.zeros(1, 3, 256, 256, requires_grad=True)
    Discriminator()(x)[-1][0, 0, 16, 16].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    assert rows.max() - rows.min() + 1 == 47
