# ruff: noqa: E402 - torch is an extra; without it nothing of this can be imported
"""The mean of weights before and after further training."""

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dicomsvc.ai.training.networks.lite0_unet import Lite0UNet
from dicomsvc.ai.training.nuclei.blending import blend
from dicomsvc.ai.training.weights import read_weights
from dicomsvc.errors import BadRequest


def filled(network, value):
    with torch.no_grad():
        for each in network.parameters():
            each.fill_(value)
    return network


def test_weights_become_the_mean_and_a_correction_that_was_not_there_counts_less():
    network, before = filled(Lite0UNet(4, detail=4), 1.0), filled(Lite0UNet(3), 3.0)
    blend(network, before.state_dict(), 0.25)
    assert torch.all(network.encoder._conv_stem.weight == 1.5)
    assert torch.all(network.head.weight[:12] == 1.5), "maps that both have"
    assert torch.all(network.head.weight[12:] == 1.0), "a map that was not there"
    assert torch.all(network.detail.out.weight == 0.75)
    assert torch.all(network.detail.look.weight == 1.0)


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    file = tmp_path / "best.pt"
    with pytest.raises(BadRequest, match="does not exist"):
        read_weights(file)
    file.write_bytes(b"no weights")
    with pytest.raises(BadRequest, match="no file of weights"):
        read_weights(file)
