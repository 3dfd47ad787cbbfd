"""The zoo: models that others wrote, and kinds of ports beyond classifiers. The heavy ones are slow tests."""

from typing import Any

import pytest

from portproof.judge._report import HOLDS

QUICK = ("lenet", "squeezenet1_1", "mobilenet_v1", "mobilenet_v3_small", "shufflenet_v2_x1_0", "fcos_head")
#: Asked for more in the fast suite: for their gradients, and U-Net for its exports.
LEARNING = ("bert", "decoder", "diffusion_block")
AGAIN = (*LEARNING, "crnn", "unet")
HEAVY = (
    "resnet50", "resnext50_32x4d", "wide_resnet50_2", "vgg16", "alexnet", "mobilenet_v2", "mobilenet_v3_large",
    "densenet121", "inception_v3",
)  # fmt: skip
#: Where the models of one name in paddle.vision and torchvision part, and what is said of it.
NAMESAKES = {
    "ALEXNET": ("classifier.0", "mode is upscale_in_train in torch and downscale_in_infer in Paddle"),
    "INCEPTION_V3": ("Conv2d_1a_3x3.bn", "eps is 0.001 in torch and 1e-05 in Paddle"),
    "SQUEEZENET": ("features.0", "padding is 0 in torch and 1 in Paddle"),
}


@pytest.mark.portproof(*QUICK, quick=True)
def test_both_sides_are_one_function(portproof: Any) -> None:
    portproof.holds()


@pytest.mark.slow
@pytest.mark.portproof(*AGAIN, quick=True)
def test_both_sides_are_one_function_without_more_being_asked(portproof: Any) -> None:
    portproof.holds()


@pytest.mark.portproof(*LEARNING, quick=True, gradients=True)
def test_both_sides_learn_alike(portproof: Any) -> None:
    portproof.holds()


@pytest.mark.slow
@pytest.mark.portproof("crnn", quick=True, gradients=True)
def test_a_long_recurrence_learns_alike(portproof: Any) -> None:
    portproof.holds()


@pytest.mark.slow
@pytest.mark.portproof(*HEAVY, quick=True)
def test_both_sides_of_a_large_model_are_one_function(portproof: Any) -> None:
    portproof.holds()


@pytest.mark.portproof("convert.zoo:SQUEEZENET_NAMESAKE", quick=True)
def test_two_models_of_one_name_are_told_apart(portproof: Any, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id.partition(":")[2].removesuffix("_NAMESAKE")
    module, words = NAMESAKES[name]
    assert portproof.report.exit_code == 1
    assert portproof.report.culprits[0].module == module
    assert words in portproof.report.culprits[0].message


@pytest.mark.slow
@pytest.mark.portproof("convert.zoo:ALEXNET_NAMESAKE", "convert.zoo:INCEPTION_V3_NAMESAKE", quick=True)
def test_two_large_models_of_one_name_are_told_apart(portproof: Any, request: pytest.FixtureRequest) -> None:
    test_two_models_of_one_name_are_told_apart(portproof, request)


@pytest.mark.portproof("unet")
@pytest.mark.slow
def test_a_slope_that_an_exporter_loses_is_named_as_the_export_s_fault(portproof: Any) -> None:
    verdicts = {hop.target: hop.verdict for hop in portproof.report.hops}
    assert verdicts["torch export, interpreted"] in HOLDS
    assert verdicts["Paddle float64"] in HOLDS
    assert verdicts["Paddle export, interpreted"] == "divergent"
    assert {culprit.kind for culprit in portproof.report.culprits} == {"export"}


def test_a_decoder_keeps_its_cache_in_bfloat16() -> None:
    from portproof import find_port, verify

    found = verify(find_port("decoder"), quick=True, precisions=("bfloat16",))
    judged = {hop.target: hop for hop in found.hops if hop.precision == "bfloat16"}
    assert judged["torch eager bfloat16"].verdict in HOLDS
    # Paddle has no bfloat16 matmul on the CPU; where it has one, it has to hold.
    assert judged["Paddle dygraph bfloat16"].verdict in (*HOLDS, "unavailable")


@pytest.mark.parametrize("name", ["bert", "decoder", "diffusion_block", "unet", "fcos_head", "googlenet", "resnet18"])
def test_what_a_torch_side_makes_itself_lies_where_its_inputs_are(name: str) -> None:
    """On a GPU a tensor that a forward makes on the CPU raises; the device without memory raises alike, anywhere."""
    import torch

    from portproof import find_port
    from portproof.ports._locate import resolve_factory

    port = find_port(name).port
    model = resolve_factory(port, "torch")(**port.kwargs).eval().to("meta")
    inputs = {
        key: torch.zeros(declared.concrete(2), dtype=getattr(torch, declared.dtype), device="meta")
        for key, declared in port.inputs.items()
    }
    call = {"dictionary": lambda: model(inputs), "keyword": lambda: model(**inputs)}
    with torch.no_grad():
        call.get(port.call, lambda: model(*inputs.values()))()
