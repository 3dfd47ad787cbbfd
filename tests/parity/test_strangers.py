"""Kinds of models that other people write: how they are built, what they hold, what they write into."""

from typing import Any

import numpy as np
import pytest

from portproof import Input, Port, convert_state, verify

ROW = {"x": Input(("batch", 6))}
IMAGE = {"x": Input(("batch", 3, 8, 8))}


def _torch() -> Any:
    import torch

    return torch


def _paddle() -> Any:
    import paddle

    return paddle


def _table(framework: Any, base: type, name: str = "float32") -> Any:
    """A table outside the state dict, as rotary embeddings have it."""

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.out = framework.nn.Linear(6, 3)
            table = np.linspace(0.1, 2.0, 6).astype(name)
            if framework.__name__ == "torch":
                self.register_buffer("table", framework.tensor(table), persistent=False)
            else:
                self.register_buffer("table", framework.to_tensor(table), persistable=False)

        def forward(self, x: Any) -> Any:
            return self.out(x * self.table)

    return Net()


def test_a_buffer_outside_the_state_dict_is_the_model_s_own() -> None:
    port = Port(
        "table", lambda: _table(_paddle(), _paddle().nn.Layer), lambda: _table(_torch(), _torch().nn.Module), ROW
    )
    assert verify(port, quick=True)


def _shared(framework: Any, base: type) -> Any:
    """One module under two names, as T5's embedding."""

    class Half(base):  # type: ignore[misc]
        def __init__(self, embed: Any) -> None:
            super().__init__()
            self.embed, self.fc = embed, framework.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.fc(self.embed(x))

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            embed = framework.nn.Embedding(9, 4)
            self.encoder, self.decoder = Half(embed), Half(embed)

        def forward(self, x: Any) -> Any:
            return self.encoder(x) * self.decoder(x)

    return Net()


def test_one_module_under_two_names_is_one_module() -> None:
    inputs = {"x": Input(("batch", 5), "int64", range=(0, 8))}
    port = Port(
        "shared", lambda: _shared(_paddle(), _paddle().nn.Layer), lambda: _shared(_torch(), _torch().nn.Module), inputs
    )
    assert verify(port, quick=True)


def test_parameters_may_have_names_of_their_own() -> None:
    def paddle_model() -> Any:
        paddle = _paddle()
        return paddle.nn.Sequential(paddle.nn.Linear(6, 3, weight_attr=paddle.ParamAttr(name="head.w")))

    port = Port("named", paddle_model, lambda: _torch().nn.Sequential(_torch().nn.Linear(6, 3)), ROW)
    assert verify(port, quick=True)


def test_a_legacy_batch_norm_stands_beside_a_recurrent_layer() -> None:
    def paddle_model() -> Any:
        nn = _paddle().nn

        class Net(nn.Layer):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.bn, self.rnn = nn.BatchNorm(6), nn.LSTM(6, 4)

            def forward(self, x: Any) -> Any:
                return self.rnn(self.bn(x.transpose([0, 2, 1])).transpose([0, 2, 1]))[0]

        return Net()

    def torch_model() -> Any:
        nn = _torch().nn

        class Net(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.bn, self.rnn = nn.BatchNorm1d(6), nn.LSTM(6, 4, batch_first=True)

            def forward(self, x: Any) -> Any:
                return self.rnn(self.bn(x.transpose(1, 2)).transpose(1, 2))[0]

        return Net()

    assert verify(Port("bn_lstm", paddle_model, torch_model, {"x": Input(("batch", 5, 6))}), quick=True)


def test_a_factory_may_load_its_own_float32_weights() -> None:
    def paddle_model() -> Any:
        nn = _paddle().nn
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LSTM(8, 3))
        net.set_state_dict({name: tensor.astype("float32") for name, tensor in net.state_dict().items()})
        loaded = {name: _paddle().zeros(tensor.shape, "float32") for name, tensor in net.state_dict().items()}
        net.set_state_dict({name: _paddle().to_tensor(t.numpy().astype("float32")) for name, t in loaded.items()})
        return nn.Sequential(net[0], net[1])

    port = Port(
        "pretrained", paddle_model, lambda: _torch().nn.Sequential(_torch().nn.Linear(6, 8), _torch().nn.ReLU()), ROW
    )
    assert verify(port, quick=True)


def _complex(framework: Any, base: type) -> Any:
    """Rotary frequencies as complex numbers, as LLaMA has them."""

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc = framework.nn.Linear(6, 6)
            turns = np.exp(1j * np.arange(3) / 2).astype("complex64")
            if framework.__name__ == "torch":
                self.register_buffer("turns", framework.tensor(turns), persistent=False)
            else:
                self.register_buffer("turns", framework.to_tensor(turns), persistable=False)

        def forward(self, x: Any) -> Any:
            pairs = self.fc(x).reshape([-1, 3, 2])
            if framework.__name__ == "torch":
                return framework.view_as_real(framework.view_as_complex(pairs.contiguous()) * self.turns)
            return framework.as_real(framework.as_complex(pairs) * self.turns)

    return Net()


def test_what_is_complex_keeps_its_imaginary_part() -> None:
    port = Port(
        "complex", lambda: _complex(_paddle(), _paddle().nn.Layer), lambda: _complex(_torch(), _torch().nn.Module), ROW
    )
    assert verify(port, quick=True)


def test_a_counter_of_a_layer_that_the_other_side_lacks_is_a_culprit_and_no_traceback() -> None:
    port = Port(
        "inorm",
        lambda: _paddle().nn.Sequential(_paddle().nn.Conv2D(3, 4, 3), _paddle().nn.InstanceNorm2D(4)),
        lambda: _torch().nn.Sequential(
            _torch().nn.Conv2d(3, 4, 3), _torch().nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        ),
        IMAGE,
    )
    report = verify(port, quick=True)
    assert report.exit_code == 1
    assert {culprit.kind for culprit in report.culprits} == {"weights"}
    assert len(report.culprits) == 3


def _skipping(framework: Any, base: type, inplace: bool, clone: bool) -> Any:
    """A ReLU that may write over what the skip reads."""

    class ReLU(base):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            if not inplace:
                return framework.nn.functional.relu(x)
            return x.relu_() if framework.__name__ == "torch" else framework.nn.functional.relu_(x)

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.relu, self.fc2 = framework.nn.Linear(6, 6), ReLU(), framework.nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            x = self.fc(x)
            return x + self.fc2(self.relu(x.clone() if clone else x))

    return Net()


@pytest.mark.parametrize("torch_writes", [True, False])
@pytest.mark.parametrize("paddle_writes", [True, False])
def test_a_write_into_an_argument_reaches_what_else_reads_it(torch_writes: bool, paddle_writes: bool) -> None:
    port = Port(
        "skip",
        lambda: _skipping(_paddle(), _paddle().nn.Layer, paddle_writes, False),
        lambda: _skipping(_torch(), _torch().nn.Module, torch_writes, False),
        ROW,
    )
    report = verify(port, quick=True)
    if torch_writes == paddle_writes:
        assert report
        return
    assert report.exit_code == 1
    (culprit,) = report.culprits
    assert (culprit.module, culprit.kind) == ("relu", "wiring")
    writes, not_so = ("torch", "Paddle") if torch_writes else ("Paddle", "torch")
    assert culprit.message.startswith(f"it writes into its input in {writes} and not in {not_so}")


def test_a_write_that_nothing_else_reads_is_no_difference() -> None:
    port = Port(
        "skip",
        lambda: _skipping(_paddle(), _paddle().nn.Layer, False, False),
        lambda: _skipping(_torch(), _torch().nn.Module, True, True),
        ROW,
    )
    assert verify(port, quick=True)


def _norm(framework: Any, base: type, low: str) -> Any:
    """LLaMA's norm: computed in another precision, whatever the input's."""

    class Norm(base):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            if framework.__name__ == "torch":
                y = x.to(getattr(framework, low))
                return (y * framework.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)
            y = x.astype(low)
            return (y * framework.rsqrt((y * y).mean(-1, keepdim=True) + 1e-6)).astype(x.dtype)

    return framework.nn.Sequential(framework.nn.Linear(6, 6), Norm())


@pytest.mark.parametrize("sides", [("float32", "float32"), ("float32", "float64"), ("float64", "float32")])
def test_a_cast_to_float32_is_lifted_in_the_oracle_and_said(sides: tuple[str, str]) -> None:
    port = Port(
        "norm",
        lambda: _norm(_paddle(), _paddle().nn.Layer, sides[1]),
        lambda: _norm(_torch(), _torch().nn.Module, sides[0]),
        ROW,
    )
    report = verify(port, quick=True)
    assert report, report.culprits
    said = [f"1 Norm in {side}" for side, low in zip(("torch", "Paddle"), sides, strict=True) if low == "float32"]
    assert f"float32 inside, float64 in the oracle: {'; '.join(said)}" in report.notes


def test_a_cast_to_float16_is_not_lifted() -> None:
    port = Port(
        "norm",
        lambda: _norm(_paddle(), _paddle().nn.Layer, "float32"),
        lambda: _norm(_torch(), _torch().nn.Module, "float16"),
        ROW,
    )
    report = verify(port, quick=True)
    assert report.exit_code == 1
    assert report.culprits[0].module == "1"


def test_outputs_that_the_port_does_not_name_are_left_out() -> None:
    def model(framework: Any, base: type) -> Any:
        class Net(base):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.fc = framework.nn.Linear(6, 3)

            def forward(self, x: Any) -> Any:
                y = self.fc(x)
                return {"out": y, "cache": [y * 2]} if framework.__name__ == "torch" else {"out": y}

        return Net()

    port = Port("more", lambda: model(_paddle(), _paddle().nn.Layer), lambda: model(_torch(), _torch().nn.Module), ROW)
    assert verify(port, quick=True)


@pytest.mark.parametrize("held", ["embed.weight", "head.weight"])
def test_a_file_may_hold_a_tied_tensor_under_one_of_its_names(held: str) -> None:
    def torch_model() -> Any:
        nn = _torch().nn

        class Net(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
                self.head.weight = self.embed.weight

            def forward(self, x: Any) -> Any:
                return self.head(self.embed(x))

        return Net()

    def paddle_model() -> Any:
        paddle = _paddle()

        class Net(paddle.nn.Layer):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.embed = paddle.nn.Embedding(9, 4)

            def forward(self, x: Any) -> Any:
                return paddle.matmul(self.embed(x), self.embed.weight, transpose_y=True)

        return Net()

    port = Port("tied", paddle_model, torch_model, {"x": Input(("batch", 5), "int64", range=(0, 8))})
    weight = np.arange(36, dtype=np.float32).reshape(9, 4)
    there = convert_state(port, {held: weight}, to="paddle")
    assert {name: array.tobytes() for name, array in there.items()} == {"embed.weight": weight.tobytes()}
    assert set(convert_state(port, there, to="torch")) == {"embed.weight", "head.weight"}


def test_an_error_of_the_engine_s_own_is_no_word_about_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from portproof.replay import _force

    # Compiled as if it stood in the engine's own file.
    found: dict[str, Any] = {}
    exec(compile("def matched(own, recorded): return own[99]", _force.__file__, "exec"), found)
    monkeypatch.setattr(_force, "matched", found["matched"])
    port = Port("own", lambda: _paddle().nn.Linear(6, 3), lambda: _torch().nn.Linear(6, 3), ROW)
    with pytest.raises(RuntimeError, match=r"(?s)replay/_force.py.*IndexError"):
        verify(port, quick=True)


def _clipped(framework: Any, torch: bool) -> type:
    """A training whose gradients are clipped by their global norm: before the step in torch, in it in Paddle."""

    class Training:
        def __init__(self, model: Any, by: str = "all") -> None:
            self.model = model
            if torch:
                self.optimizer = framework.optim.SGD(model.parameters(), 0.1)
                return
            clip = {"all": framework.nn.ClipGradByGlobalNorm, "each": framework.nn.ClipGradByNorm}[by](0.05)
            self.optimizer = framework.optimizer.SGD(0.1, parameters=model.parameters(), grad_clip=clip)

        def step(self, x: Any, y: Any) -> dict[str, Any]:
            loss = framework.nn.functional.cross_entropy(self.model(x), y)
            if torch:
                self.optimizer.zero_grad()
            loss.backward()
            if torch:  # Paddle's own rule: clip / max(norm, clip), where torch adds 1e-6 to the norm
                gradients = [parameter.grad for parameter in self.model.parameters()]
                norm = framework.sqrt(sum((gradient * gradient).sum() for gradient in gradients))
                for gradient in gradients:
                    gradient.mul_(0.05 / framework.clamp(norm, min=0.05))
            self.optimizer.step()
            if not torch:
                self.optimizer.clear_grad()
            return {"loss": loss}

    return Training


@pytest.mark.parametrize(("by", "verdict"), [("all", "equivalent"), ("each", "unavailable")])
def test_gradients_are_compared_as_the_optimiser_is_given_them(by: str, verdict: str) -> None:
    """Clipping each by itself has no float64 kernel in Paddle: that is no divergence."""
    port = Port(
        "clip", lambda: _paddle().nn.Linear(6, 3), lambda: _torch().nn.Linear(6, 3), ROW,
        training={"torch": _only(_clipped(_torch(), True)), "paddle": _clipped(_paddle(), False)},
    )  # fmt: skip
    report = verify(port, quick=True, steps=3, training={"by": by})
    assert report.verdict == verdict
    assert report.culprits == ()
    if by == "each":
        assert any("no float64 kernel of 'clip_by_norm'" in (hop.reason or "") for hop in report.hops)


def _only(training: type) -> Any:
    return lambda model, by: training(model)


def _raising(framework: Any, base: type, name: str, *, mask: bool) -> Any:
    """A block that is given one tensor more on one side, and in it a part that takes none at all there."""

    class Inner(base):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            if mask:
                raise ValueError("it was written for an older framework")
            return x * x

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()
            setattr(self, name, framework.nn.Linear(6, 6))

        def forward(self, x: Any, mask: Any = None) -> Any:
            return self.inner(getattr(self, name)(x))

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def forward(self, x: Any) -> Any:
            return self.block(x, x > 0) if mask else self.block(x)

    return Net()


@pytest.mark.parametrize("name", ["fc", "linear"])
def test_a_part_that_raises_whatever_it_is_given_is_the_first_culprit(name: str) -> None:
    port = Port(
        "raising", lambda: _raising(_paddle(), _paddle().nn.Layer, name, mask=True),
        lambda: _raising(_torch(), _torch().nn.Module, "fc", mask=False), ROW,
    )  # fmt: skip
    report = verify(port, quick=True)
    assert (report.verdict, report.culprits[0].module, report.culprits[0].kind) == (
        "divergent",
        "block.inner",
        "raises",
    )
    assert "written for an older framework" in report.culprits[0].message


def _cut_short(framework: Any, base: type, how: str) -> Any:
    """A whole that stops between its two halves, or leaves the second out."""

    class Half(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.act = framework.nn.Sequential(framework.nn.Tanh(), framework.nn.Linear(6, 6))

        def forward(self, x: Any) -> Any:
            return self.act(x)

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = Half(), Half()

        def forward(self, x: Any) -> Any:
            x = self.encoder(x)
            if how == "raises":
                raise AttributeError("no last_hidden_state")
            return x if how == "leaves out" else self.decoder(x)

    return Net()


@pytest.mark.parametrize("how", ["raises", "leaves out"])
def test_parts_of_what_is_never_reached_are_not_at_fault(how: str) -> None:
    port = Port(
        "cut", lambda: _cut_short(_paddle(), _paddle().nn.Layer, how),
        lambda: _cut_short(_torch(), _torch().nn.Module, ""), ROW,
    )  # fmt: skip
    report = verify(port, quick=True)
    assert (report.verdict, {culprit.module for culprit in report.culprits}) == ("divergent", {""})


def _maps(framework: Any, base: type, eps: float, *, torch: bool) -> Any:
    """A backbone whose maps come last first on one side, in blocks that are told a size as a number or as a tensor."""
    linear = framework.nn.Linear

    class Block(base):  # type: ignore[misc]
        def __init__(self, width: int) -> None:
            super().__init__()
            self.fc = linear(width, 2 * width)
            self.norm = framework.nn.LayerNorm(2 * width, eps)

        def forward(self, x: Any, size: Any) -> Any:
            return self.norm(self.fc(x))

    class Backbone(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Block(6), Block(12)

        def forward(self, x: Any) -> Any:
            a = self.first(x, x.shape[1] if torch else framework.shape(x)[1])
            b = self.second(a, a.shape[1] if torch else framework.shape(a)[1])
            return {"last": b, "all": [a, b]} if torch else [a, b]

    class Net(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.one, self.two = Backbone(), linear(12, 3), linear(24, 3)

        def forward(self, x: Any) -> Any:
            found = self.backbone(x)
            a, b = found["all"] if torch else found
            return self.one(a) * self.two(b)

    return Net()


def test_a_wrong_eps_in_a_backbone_is_all_that_is_named_however_it_hands_on_its_maps() -> None:
    port = Port(
        "maps", lambda: _maps(_paddle(), _paddle().nn.Layer, 1e-6, torch=False),
        lambda: _maps(_torch(), _torch().nn.Module, 1e-5, torch=True), ROW,
    )  # fmt: skip
    report = verify(port, quick=True, lines=False)
    assert {culprit.module for culprit in report.culprits} == {"backbone.first.norm", "backbone.second.norm"}


@pytest.mark.parametrize(("floors", "verdict"), [(0.5, "inconclusive"), (1e9, "divergent")])
def test_a_map_that_cannot_be_told_to_its_end_is_no_fault_where_both_sides_put_out_the_same(
    monkeypatch: pytest.MonkeyPatch, floors: float, verdict: str
) -> None:
    from portproof import WeightMap
    from portproof.convert._account import Account
    from portproof.maps._find import FoundMap, Undecided
    from portproof.parity import _mapped

    left = Undecided({}, "no map says it: torch has 'fc.weight'")
    found = FoundMap("undecided", WeightMap(), Account((), (), ()), 2, {"out": floors}, (0.0, ""), undecided=(left,))
    monkeypatch.setattr(_mapped, "find_map", lambda *_, **__: found)
    port = Port("renamed", lambda: _paddle().nn.Sequential(("a", _paddle().nn.Linear(6, 3))),
                lambda: _torch().nn.Sequential(_torch().nn.Linear(6, 3)), ROW)  # fmt: skip
    report = verify(port, quick=True)
    assert report.verdict == verdict
    assert bool(report.culprits) == (verdict == "divergent")
    if verdict == "inconclusive":
        assert "no map says it: torch has 'fc.weight'" in str(report.hops[0].reason)


@pytest.mark.parametrize("named", [True, False])
def test_what_a_model_keeps_of_its_weights_until_it_is_trained_is_made_anew(named: bool) -> None:
    def torch_model() -> Any:
        torch = _torch()

        class Biased(torch.nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.fc, self.table = torch.nn.Linear(6, 3), torch.nn.Parameter(torch.rand(2))
                self.kept: Any = None

            def train(self, mode: bool = True) -> Any:
                self.kept = None if mode else self.kept
                return super().train(mode)

            def forward(self, x: Any) -> Any:
                if self.training or self.kept is None:
                    self.kept = self.table[torch.tensor([0, 1, 0])]
                return self.fc(x) + self.kept

        return Biased()

    def paddle_model() -> Any:
        paddle = _paddle()

        class Biased(paddle.nn.Layer):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.fc = paddle.nn.Linear(6, 3)
                setattr(self, "table" if named else "biases", self.create_parameter([2]))

            def forward(self, x: Any) -> Any:
                table = self.table if named else self.biases
                return self.fc(x) + paddle.gather(table, paddle.to_tensor([0, 1, 0]))

        return Biased()

    report = verify(Port("kept", paddle_model, torch_model, ROW), quick=True)
    assert report.verdict == "equivalent", report
    assert any("map found" in note for note in report.notes) != named


def test_a_rule_for_a_module_s_parts_pairs_no_modules_that_hold_other_tensors() -> None:
    """MobileViT: torch's block holds the norm that Paddle's holds one level deeper, and eps is the only difference."""
    from portproof import WeightMap

    def torch_model() -> Any:
        nn = _torch().nn

        class Block(nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.before, self.transformer = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 6), nn.GELU())
                self.norm, self.after = nn.LayerNorm(6, eps=1e-3), nn.Linear(6, 6)

            def forward(self, x: Any) -> Any:
                rows = self.before(x).reshape(x.shape[0] * 4, 3, 6)
                return self.after(self.norm(self.transformer(rows)).reshape(x.shape[0], 12, 6))

        return nn.Sequential(Block())

    def paddle_model() -> Any:
        nn = _paddle().nn

        class Deeper(nn.Layer):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.layers, self.norm = nn.LayerList([nn.Linear(6, 6), nn.GELU()]), nn.LayerNorm(6)

            def forward(self, x: Any) -> Any:
                for layer in self.layers:
                    x = layer(x)
                return self.norm(x)

        class Block(nn.Layer):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.before, self.transformer, self.after = nn.Linear(6, 6), Deeper(), nn.Linear(6, 6)

            def forward(self, x: Any) -> Any:
                return self.after(self.transformer(self.before(x).reshape([-1, 4, 3, 6])).reshape([-1, 12, 6]))

        return nn.Sequential(Block())

    rules = {
        "0.before": "0.before",
        "0.after": "0.after",
        "0.transformer": "0.transformer.layers",
        "0": "0.transformer",
    }
    port = Port("deeper", paddle_model, torch_model, {"x": Input(("batch", 12, 6))}, weights=WeightMap(rename=rules))
    report = verify(port, quick=True)
    assert [(culprit.module, culprit.kind) for culprit in report.culprits] == [("0.norm", "computes")]
    assert "eps is 0.001 in torch and 1e-05 in Paddle" in report.culprits[0].message


def _mixed(*, extra: bool, other: bool) -> Port:
    """Four layers under other names on each side; Paddle norms between them, or joins them otherwise."""

    def torch_model() -> Any:
        nn = _torch().nn
        return nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(6, 6), nn.Tanh())), nn.Linear(6, 3))

    def paddle_model() -> Any:
        nn = _paddle().nn

        class Mixed(nn.Layer):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.a, self.b, self.c, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
                self.norm = nn.LayerNorm(6) if extra else None

            def forward(self, x: Any) -> Any:
                tanh = nn.functional.tanh
                if other:
                    return self.head(tanh(self.a(x)) + tanh(self.b(x)) * tanh(self.c(x)))
                x = tanh(self.c(tanh(self.b(tanh(self.a(x))))))
                return self.head(self.norm(x) if self.norm else x)

        return Mixed()

    return Port("mixed", paddle_model, torch_model, ROW)


def test_tensors_without_a_partner_are_named_and_not_all_whose_names_differ() -> None:
    report = verify(_mixed(extra=True, other=False), quick=True)
    assert report.verdict == "divergent"
    assert {(culprit.side, culprit.module, culprit.kind) for culprit in report.culprits} == {
        ("paddle", "norm", "weights")
    }
    assert "acts on the outputs, and torch has no tensor for it" in report.culprits[0].message
    assert verify(_mixed(extra=False, other=False), quick=True)


def test_where_functions_differ_too_much_for_a_certain_map_the_likely_one_is_judged_under() -> None:
    report = verify(_mixed(extra=False, other=True), quick=True)
    assert report.verdict == "divergent"
    assert not any(culprit.kind == "weights" for culprit in report.culprits), report.culprits
    assert any("paired as is likely" in note for note in report.notes), report.notes


def test_a_bias_that_every_block_lacks_is_one_cause() -> None:
    from portproof.render._words import causes

    def torch_model() -> Any:
        nn = _torch().nn
        blocks = [nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)) for _ in range(4)]
        return nn.Sequential(*blocks)

    def paddle_model() -> Any:
        nn = _paddle().nn
        parts = [(("a", nn.Linear(6, 6)), ("t", nn.Tanh()), ("b", nn.Linear(6, 6, bias_attr=False))) for _ in range(4)]
        return nn.Sequential(*(nn.Sequential(*part) for part in parts))

    report = verify(Port("lacking", paddle_model, torch_model, ROW), quick=True)
    assert {culprit.module for culprit in report.culprits} == {"0.2", "1.2", "2.2", "3.2"}, report.culprits
    (cause,) = causes(report, report.culprits)
    assert cause.title == "4 \u00d7 {n}.{n} [torch]"


@pytest.mark.parametrize("pool", ["mean", "sum", "flat", "adaptive"])
def test_a_sum_that_is_added_term_by_term_is_honest(pool: str) -> None:
    """Paddle's kernels err by as many roundings as a map has points, torch's by their logarithm, in float64 as well."""

    def pooled(framework: Any, x: Any) -> Any:
        if pool == "mean":
            return x.mean((2, 3)) if framework.__name__ == "torch" else x.mean([2, 3])
        if pool == "sum":
            return framework.sum(x, (2, 3)) / 300.0 if framework.__name__ == "torch" else x.sum([2, 3]) / 300.0
        if pool == "flat":
            return x.flatten(2).mean(-1)
        return framework.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)

    def model(framework: Any, base: type, conv: Any) -> Any:
        class Net(base):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.fc = conv(3, 8, 3), framework.nn.Linear(8, 4)

            def forward(self, x: Any) -> Any:
                return self.fc(pooled(framework, framework.nn.functional.relu(self.conv(x))))

        return Net()

    port = Port(
        "pooled", lambda: model(_paddle(), _paddle().nn.Layer, _paddle().nn.Conv2D),
        lambda: model(_torch(), _torch().nn.Module, _torch().nn.Conv2d), {"x": Input(("batch", 3, 98, 98))},
    )  # fmt: skip
    report = verify(port, quick=True)
    assert report.verdict == "equivalent", report
    assert all(hop.worst is not None and hop.worst.ratio is not None and hop.worst.ratio < 16 for hop in report.hops)
