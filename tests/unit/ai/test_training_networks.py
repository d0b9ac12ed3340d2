# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""Networks are chosen by name, fit pictures of any right size, and take weights that others trained."""

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.training.networks.classifiers import CLASSIFIERS, classifier
from dicomsvc.ai.training.networks.encoders import ENCODERS, channels_of, encoder, multiple_of
from dicomsvc.ai.training.networks.hovernet import HoverNet
from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.networks.segmenters import DECODERS, segmenter
from dicomsvc.ai.training.networks.wnet import WNet, stages


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_halves_its_maps_and_tells_their_channels(name):
    network = encoder(name, pretrained=False).eval()
    side = 2 * multiple_of(network)
    with torch.inference_mode():
        maps = network(torch.zeros(1, 3, side, side + multiple_of(network)))
    assert tuple(each.shape[1] for each in maps) == channels_of(network)
    assert [each.shape[2] for each in maps] == [side >> level for level in range(1, len(maps) + 1)]


@pytest.mark.parametrize("name", ENCODERS)
def test_further_inputs_count_for_nothing_until_they_are_trained(name):
    torch.manual_seed(0)
    network = encoder(name, more=1, pretrained=False).eval()
    image = torch.rand(1, 4, 64, 64) * 255
    other = image.clone()
    other[:, 3] = 0
    with torch.inference_mode():
        assert all(torch.equal(one, two) for one, two in zip(network(image), network(other), strict=True)) == (
            name != "plain"
        )


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenet_v2", "plain"])
def test_a_segmenter_answers_maps_as_large_as_the_picture_and_can_learn(decoder, name):
    network = segmenter(decoder, name, 3, pretrained=False)
    logits = network(torch.rand(2, 3, 64, 96) * 255)
    assert logits.shape == (2, 3, 64, 96)
    logits.square().mean().backward()
    assert all(each.grad is not None for each in network.decoder.parameters())


def test_the_decoder_uses_the_finest_map():
    network = segmenter("unet", "plain", 1, pretrained=False).eval()
    image = torch.full((1, 3, 64, 64), 127.0)
    dotted = image.clone()
    dotted[:, :, 30:34, 30:34] = 255
    with torch.inference_mode():
        changed = (network(dotted) - network(image)).abs()[0, 0]
    assert changed[26:38, 26:38].mean() > changed[:8, :8].mean()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_answers_one_number_a_class(name):
    network = classifier(name, 5, pretrained=False).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 3, 64, 64) * 255).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("resnet18", ["conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var"]),
        ("resnet34", ["layer3.5.conv2.weight", "layer4.2.bn1.bias"]),
        ("vgg16", ["features.0.weight", "features.28.bias"]),
        ("mobilenet_v2", ["features.0.0.weight", "features.1.conv.1.weight", "features.17.conv.3.running_mean"]),
    ],
)
def test_weights_are_named_as_torchvision_names_them(name, known):
    assert set(known) <= set(encoder(name, pretrained=False).state_dict())


def test_resnet18_has_as_many_parameters_as_the_paper_gives_without_its_last_layer():
    count = sum(each.numel() for each in encoder("resnet18", pretrained=False).parameters())
    assert count == 11_689_512 - 513_000


def test_hovernet_has_a_branch_for_types_only_where_there_are_types():
    image = torch.rand(1, 3, 32, 32) * 255
    with torch.inference_mode():
        assert HoverNet(0, pretrained=False).eval()(image).shape == (1, 3, 32, 32)
        assert HoverNet(4, pretrained=False).eval()(image).shape == (1, 7, 32, 32)


def test_the_second_stage_of_a_wnet_sees_the_mask_of_the_first():
    torch.manual_seed(1)
    network = WNet().eval()
    with torch.no_grad():
        network.second_encoder._conv_stem.weight[:, 3:] = 1.0
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        before = network(image)
        network.head.bias += 3
        after = network(image)
    assert not torch.allclose(before[:, 1], after[:, 1])
    first, second = stages(network)
    parts = [each for part in (*first, *second) for each in part.parameters()]
    assert len(parts) == len(list(network.parameters()))


def test_a_wnet_begins_with_the_weights_of_the_network_for_nuclei():
    nuclei, network = Lite0UNet(4).state_dict(), WNet().state_dict()
    shared = [name for name in network if name in nuclei and nuclei[name].shape == network[name].shape]
    assert {name.split(".")[0] for name in shared} == {"encoder", "decoder"}


def test_the_first_stage_of_a_wnet_answers_the_mask_it_was_given():
    torch.manual_seed(2)
    nuclei, network = Lite0UNet(4).eval(), WNet().eval()
    network.load_nuclei(nuclei.state_dict())
    image = torch.rand(1, 3, 32, 32) * 255
    with torch.inference_mode():
        assert torch.equal(network(image)[:, 0], nuclei(image)[:, 0])
    with pytest.raises(KeyError):
        network.load_nuclei({})


def test_a_first_stage_that_is_held_stays_as_it_is():
    network = WNet()
    network.hold_first()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.rand(2, 3, 32, 32) * 255).square().mean().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("second_") for name in changed)
