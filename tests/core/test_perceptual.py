"""Feature networks: VGG19 beside torchvision's with equal random weights, what they learn (nothing), and distances."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2i.core.losses.perceptual import FeatureDistance, ScriptedFeaturesSettings, VGGFeatures, VGGFeaturesSettings
from i2i.core.losses.reconstruction import mean_absolute_error, mean_squared_error, total_variation
from tests.core.reference_vgg19 import reference_features, reference_vgg19

# Indices in torchvision's vgg19().features.
INDICES = {
    "conv1_1": 0, "relu1_1": 1, "conv1_2": 2, "relu2_2": 8, "conv3_4": 16, "relu3_4": 17, "conv4_4": 25, "relu5_1": 29,
    "conv5_4": 34, "relu5_4": 35,
}  # fmt: skip


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    return reference_vgg19(5)


def pictures(*, seed: int = 0, side: int = 32, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    "layers",
    [[*INDICES], ["relu5_4"], ["conv5_4"], ["relu2_2", "conv1_1"], ["conv3_4", "relu3_4"]],
    ids=lambda layers: "+".join(layers[:2]),
)
def test_features_equal_those_of_torchvision(reference: nn.Module, layers: list[str]) -> None:
    network = VGGFeaturesSettings(layers=dict.fromkeys(layers, 1.0)).build()
    wanted = {name: tensor for name, tensor in reference.state_dict().items() if name in network.state_dict()}
    network.load_state_dict(wanted)
    expected = reference_features(reference, pictures())
    found = network(pictures())
    assert len(found) == len(layers)
    for name, maps in zip(layers, found, strict=True):
        theirs = expected[INDICES[name]]
        torch.testing.assert_close(maps, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()), msg=name)
        assert bool((maps < 0).any()) == name.startswith("conv"), name


@pytest.mark.parametrize(("layer", "count"), [("conv1_1", 2), ("relu1_1", 2), ("conv2_2", 8), ("relu5_4", 32)])
def test_nothing_is_built_beyond_the_last_layer(layer: str, count: int) -> None:
    state = VGGFeaturesSettings(layers={layer: 1.0}).build().state_dict()
    assert len(state) == count
    assert set(list(state)[:2]) == {"features.0.weight", "features.0.bias"}


def test_gradients_reach_the_pictures_and_no_weight() -> None:
    network = VGGFeaturesSettings(layers={"conv2_2": 1.0, "relu3_1": 0.5}).build()
    images = pictures(side=16).requires_grad_()
    settings = VGGFeaturesSettings(layers={"conv2_2": 1.0, "relu3_1": 0.5})
    loss = settings.loss(network(images), network(pictures(side=16, seed=1)))
    loss.backward()
    assert images.grad is not None and float(images.grad.abs().sum()) > 0
    assert all(not weight.requires_grad and weight.grad is None for weight in network.parameters())


def test_the_real_picture_is_a_target_and_gets_no_gradient() -> None:
    settings = VGGFeaturesSettings(layers={"conv1_2": 1.0}, distance="l1")
    network = settings.build()
    real = pictures(side=16).requires_grad_()
    loss = settings.loss(network(pictures(side=16, seed=1).requires_grad_()), network(real))
    loss.backward()
    assert real.grad is None


def test_training_mode_does_not_reach_it() -> None:
    owner = nn.ModuleList([VGGFeaturesSettings(layers={"conv1_1": 1.0}).build()]).train()
    assert owner.training and not owner[0].training
    (network,) = owner
    assert isinstance(network, VGGFeatures) and not network.features[0].training


def test_distances_by_hand() -> None:
    fake = (torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0]]))
    real = (torch.tensor([[0.0, 1.0]]), torch.tensor([[-2.0]]))
    layers = {"conv1_1": 1.0, "relu1_1": 0.1}
    expected: dict[FeatureDistance, tuple[float, float]] = {"l1": (1.5 + 0.1 * 4, 0.5), "mse": (2.5 + 0.1 * 16, 0.25)}
    for distance, (plain, scaled) in expected.items():
        settings = VGGFeaturesSettings(layers=layers, distance=distance)
        assert float(settings.loss(fake, real)) == pytest.approx(plain)
        half = VGGFeaturesSettings(layers=layers, distance=distance, feature_scale=0.5)
        assert float(half.loss(fake, real)) == pytest.approx(plain * scaled)
        assert float(settings.loss(real, real)) == 0.0
        with pytest.raises(ValueError, match="argument 2"):
            settings.loss(fake, real[:1])


def test_under_autocast_features_are_narrow_and_the_loss_is_not() -> None:
    settings = VGGFeaturesSettings(layers={"relu1_2": 1.0})
    network = settings.build()
    with torch.autocast("cpu", torch.bfloat16):
        fake, real = network(pictures(side=16)), network(pictures(side=16, seed=1))
        loss = settings.loss(fake, real)
    assert fake[0].dtype == torch.bfloat16 and loss.dtype == torch.float32


def test_shortest_side() -> None:
    assert VGGFeaturesSettings(layers={"conv5_4": 1.0, "conv1_1": 1.0}).minimum_pixels == 16
    assert VGGFeaturesSettings(layers={"relu1_2": 1.0}).minimum_pixels == 1
    network = VGGFeaturesSettings().build()
    assert network(pictures(side=16, count=1))[0].shape == (1, 512, 1, 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layers": {}}, "layers has none"),
        ({"layers": {"pool5": 1.0}}, "layers has 'pool5'; needs names from conv1_1"),
        ({"layers": {"relu6_1": 1.0}}, "layers has 'relu6_1'"),
        ({"layers": {"relu5_4": -1.0}}, r"layers.relu5_4 is -1; needs a number above 0"),
        ({"feature_scale": -1.0}, "feature_scale is -1"),
    ],
)
def test_impossible_vgg_settings(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VGGFeaturesSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sha256": "abc"}, "sha256 is 'abc'; needs the 64"),
        ({"output_weights": ()}, "output_weights is empty"),
        ({"output_weights": (1.0, 0.0)}, "output_weights is 0"),
        ({"deviation": (1.0, 0.0, 1.0)}, "deviation is 0"),
    ],
)
def test_impossible_scripted_settings(wrong: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"path": "x.pt", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=message):
        ScriptedFeaturesSettings(**(right | wrong))


class TwoMaps(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images[:, :1] * 3


def test_a_scripted_network_sees_prepared_pictures() -> None:
    settings = ScriptedFeaturesSettings(
        path="x.pt", sha256="0" * 64, output_weights=(1.0, 2.0), mean=(0.5, 0.5, 0.5), deviation=(0.25, 0.5, 1.0)
    )
    network = settings.build()
    with pytest.raises(AssertionError, match="file was not read"):
        network(pictures())
    network.script = TwoMaps()
    first, second = network(torch.ones(1, 3, 2, 2))
    assert first[0, :, 0, 0].tolist() == [2.0, 1.0, 0.5] and second.shape == (1, 1, 2, 2)
    assert float(settings.loss(network(torch.ones(1, 3, 2, 2)), network(-torch.ones(1, 3, 2, 2)))) == pytest.approx(
        (4 + 2 + 1) / 3 + 2 * 12
    )
    wrong = ScriptedFeaturesSettings(path="x.pt", sha256="0" * 64).build()
    wrong.script = TwoMaps()
    with pytest.raises(ValueError, match=r"x\.pt: returns 2 feature maps; output_weights has 1"):
        wrong(pictures())


# --- what pictures are compared by directly --------------------------------------------------------------------------


def test_squared_error_is_a_float32_mean_also_of_narrow_pictures() -> None:
    prediction = torch.tensor([300.0, -1.0]).half().requires_grad_()
    result = mean_squared_error(prediction, torch.tensor([0.0, 1.0]).half())
    assert result.dtype == torch.float32 and result.item() == (300**2 + 4) / 2
    assert mean_squared_error(torch.zeros(2).double(), torch.ones(2).double()).dtype == torch.float64


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0, 3.0], [4.0, 4.0, 4.0]]]])
    # Down: 4, 3, 1; across: 1, 2, 0, 0.
    assert float(total_variation(image)) == pytest.approx(8 / 3 + 3 / 4)
    assert float(total_variation(torch.full((2, 3, 4, 4), 0.7))) == 0.0
    assert total_variation(image.bfloat16()).dtype == torch.float32
    values = torch.rand(1, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(total_variation, values)
    with pytest.raises(AssertionError, match="no neighbours"):
        total_variation(torch.zeros(1, 1, 1, 5))


def test_distances_of_equal_pictures_are_zero() -> None:
    images = pictures()
    assert float(mean_absolute_error(images, images)) == float(mean_squared_error(images, images)) == 0.0


def test_a_weight_of_zero_leaves_a_layer_out() -> None:
    settings = VGGFeaturesSettings(layers={"relu5_4": 0.0, "conv1_2": 1.0})
    assert settings.used_layers == {"conv1_2": 1.0}
    assert settings.minimum_pixels == 1
    assert len(settings.build()(torch.zeros(1, 3, 8, 8))) == 1
    with pytest.raises(ValueError, match="layers has none with a weight"):
        VGGFeaturesSettings(layers={"relu5_4": 0.0})
