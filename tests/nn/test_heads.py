"""Every tag head against a small implementation of its own, item by item, from the paper's description."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamer.errors import ModelError
from streamer.nn.heads import HEADS, Head, make_head

LAYERS, STATE, CLASSES = 3, 32, 7
WIDTHS = (None, 16)
TOLERANCE = 1e-4


def random_head(kind: str, width: int | None, seed: int = 0) -> Head:
    """Weights large enough that attention looks somewhere and every parameter matters."""
    head = make_head(kind, LAYERS, STATE, CLASSES, width).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            scale = 1.5 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            if name.endswith(("_ln.weight", "layer.0.weight", "layer_weight")):
                parameter.add_(1)
    return head


def features(batch: int, tokens: int, seed: int = 1) -> Tensor:
    return torch.randn(batch, LAYERS, tokens, STATE, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- the reference: one vector at a time


Weights = dict[str, Tensor]


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    centred = x - x.sum() / len(x)
    return centred / (centred.square().sum() / len(x) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: Weights, name: str) -> Tensor:
    out = w[f"{name}.weight"] @ x
    return out + w[f"{name}.bias"] if f"{name}.bias" in w else out


def attention(xs: list[Tensor], w: Weights, name: str, heads: int) -> list[Tensor]:
    size = len(xs[0]) // heads
    queries, keys, values = (
        [linear(x, w, f"{name}.{part}") for x in xs] for part in ("query", "key", "value")
    )
    out = []
    for query in queries:
        pieces = []
        for head in range(heads):
            here = slice(head * size, (head + 1) * size)
            scores = [math.exp(float(query[here] @ key[here]) / math.sqrt(size)) for key in keys]
            total = sum(scores)
            pieces.append(mean([len(xs) * s / total * v[here] for s, v in zip(scores, values, strict=True)]))
        out.append(linear(torch.cat(pieces), w, f"{name}.out"))
    return out


def gelu(x: Tensor) -> Tensor:
    return torch.tensor([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], dtype=x.dtype)


def block(xs: list[Tensor], w: Weights, name: str, heads: int) -> list[Tensor]:
    heard = attention([norm(x, w, f"{name}.attn_ln") for x in xs], w, f"{name}.attn", heads)
    xs = [x + h for x, h in zip(xs, heard, strict=True)]
    inner = [gelu(linear(norm(x, w, f"{name}.mlp_ln"), w, f"{name}.mlp.0")) for x in xs]
    return [x + linear(i, w, f"{name}.mlp.2") for x, i in zip(xs, inner, strict=True)]


def mean(xs: list[Tensor]) -> Tensor:
    return torch.stack(xs).sum(0) / len(xs)


def average(layers: list[list[Tensor]], w: Weights) -> list[Tensor]:
    weights = w["layer_weight"].tolist()
    return [
        sum((weight * x for weight, x in zip(weights, token, strict=True)), torch.zeros(())) / sum(weights)
        for token in zip(*layers, strict=True)
    ]


def reference(head: Head, item: Tensor) -> Tensor:
    """Logits (classes,) of one item (L, T, D), in double precision."""
    w = {name: tensor.double() for name, tensor in head.state_dict().items()}
    layers = [list(layer) for layer in item.double()]

    def down(x: Tensor) -> Tensor:
        return linear(norm(x, w, "down_layer.0"), w, "down_layer.1") if "down_layer.1.weight" in w else x

    if head.kind == "last-mlp":
        summary = down(mean(layers[-1]))
    elif head.kind == "wa-mlp":
        summary = down(mean(average(layers, w)))
    elif head.kind == "wa-tr":
        summary = mean(block([down(x) for x in average(layers, w)], w, "time_tr", 1))
    else:
        over_time = [mean(block([down(x) for x in layer], w, "time_tr", 1)) for layer in layers]
        summary = mean(block(over_time, w, "layer_tr", 8))
    return linear(norm(summary, w, "mlp_layer.0"), w, "mlp_layer.1")


# ---------------------------------------------------------------- equivalence


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("tokens", [1, 11, 22])  # 0.4, 4.4 and 8.8 s
def test_every_head_is_the_papers(kind: str, width: int | None, tokens: int) -> None:
    head, layers = random_head(kind, width), features(2, tokens)
    with torch.inference_mode():
        found = head(layers)
        wanted = torch.stack([reference(head, item) for item in layers])
    assert wanted.std() > 0.1
    assert (found - wanted).abs().max() <= TOLERANCE


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([*HEADS]), st.sampled_from(WIDTHS), st.integers(1, 6), st.integers(1, 75))
def test_a_batch_is_its_items(kind: str, width: int | None, batch: int, tokens: int) -> None:
    head, layers = random_head(kind, width), features(batch, tokens)
    with torch.inference_mode():
        together = head(layers)
        alone = torch.cat([head(layers[i : i + 1]) for i in range(batch)])
    assert together.shape == (batch, CLASSES)
    assert (together - alone).abs().max() <= TOLERANCE


@pytest.mark.parametrize("kind", HEADS)
def test_every_parameter_learns(kind: str) -> None:
    head = random_head(kind, 16).train()
    head(features(2, 5)).square().sum().backward()
    silent = [name for name, parameter in head.named_parameters() if not parameter.grad.abs().max() > 0]  # type: ignore[union-attr]
    assert silent == []


@pytest.mark.parametrize("kind", ["wa-mlp", "wa-tr"])
def test_layer_weights_start_equal_and_only_their_proportions_count(kind: str) -> None:
    head, layers = random_head(kind, None), features(1, 4)
    weight = head.get_parameter("layer_weight")
    assert torch.equal(
        make_head(kind, LAYERS, STATE, CLASSES).get_parameter("layer_weight"),
        torch.full((LAYERS,), 1 / LAYERS),
    )
    with torch.inference_mode():
        before = head(layers)
        weight.mul_(3)
        assert torch.allclose(head(layers), before, atol=1e-5)
        weight[0] = 0
        assert not torch.allclose(head(layers), before, atol=1e-3)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("n_layer", "n_state", "width", "millions"),
    [
        (4, 384, None, 3.752),
        (6, 512, None, 6.575),
        (12, 768, None, 14.581),
        (24, 1024, None, 25.733),
        (32, 1280, None, 40.030),
    ],
)
def test_tl_tr_has_the_published_size(n_layer: int, n_state: int, width: int | None, millions: float) -> None:
    with torch.device("meta"):
        head = make_head("tl-tr", n_layer, n_state, 527, width)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 3) == millions


@pytest.mark.parametrize(("n_layer", "n_state"), [(12, 768), (24, 1024), (32, 1280)])
def test_tl_tr_512_has_the_published_size(n_layer: int, n_state: int) -> None:
    with torch.device("meta"):
        head = make_head("tl-tr", n_layer, n_state, 527, 512)
    assert 6.9 <= sum(p.numel() for p in head.parameters()) / 1e6 <= 7.25


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_says_what_it_is(kind: str) -> None:
    head = make_head(kind, LAYERS, STATE, CLASSES, 16)
    assert (head.kind, head.n_layer, head.n_state, head.n_class, head.width, head.inner) == (
        kind, LAYERS, STATE, CLASSES, 16, 16
    )  # fmt: skip
    assert make_head(kind, LAYERS, STATE, CLASSES).inner == STATE


@pytest.mark.parametrize("shape", [(2, LAYERS + 1, 4, STATE), (2, LAYERS, 4, STATE + 1), (LAYERS, 4, STATE)])
def test_other_layers_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="reads"):
        make_head("last-mlp", LAYERS, STATE, CLASSES)(torch.zeros(shape))


def test_what_cannot_be_made_is_said() -> None:
    with pytest.raises(ModelError, match=r"last-mlp, wa-mlp, wa-tr, tl-tr.*Did you mean 'tl-tr'"):
        make_head("tl_tr", LAYERS, STATE, CLASSES)
    with pytest.raises(ModelError, match="multiple of 8"):
        make_head("tl-tr", LAYERS, STATE, CLASSES, 20)
    with pytest.raises(ModelError, match="width 0"):
        make_head("wa-tr", LAYERS, STATE, CLASSES, 0)
