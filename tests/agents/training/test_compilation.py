"""Losses outside the registry: what a trace takes, what it refuses, and what remains of both."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.objectives import LossModule

import agents
from agents.training import compilation
from agents.training import precision as matmul_precision
from agents.training.compilation import LossAndGradients
from agents.training.precision import choose_matmul_precision
from agents.training.trace import Trace

CPU = torch.device("cpu")
Score = Callable[["Loss", Tensor], Tensor]


@pytest.fixture
def precision_kept() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


class Loss(LossModule):
    """The mean of any function of a linear layer's output."""

    network: TensorDictModule
    network_params: TensorDict
    target_network_params: TensorDict

    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score
        torch.manual_seed(0)
        network = TensorDictModule(nn.Linear(5, 3), in_keys=["observation"], out_keys=["output"])
        self.convert_to_functional(network, "network")
        self.register_buffer("coefficient", torch.tensor(2.0))

    def forward(self, tensordict: TensorDict) -> TensorDict:
        with self.network_params.to_module(self.network):
            output = self.network(tensordict.select("observation"))["output"]
        return TensorDict({"loss": torch.zeros(()), "loss_score": self.score(self, output).mean()})


def function_of(score: Score) -> LossAndGradients:
    loss = Loss(score)
    return LossAndGradients(loss, list(loss.network_params.parameters()))


def same(function: LossAndGradients, batch: TensorDict) -> None:
    """Compiled and eager agree, from the same random numbers."""
    state = torch.get_rng_state()
    expected = function.eager(batch)
    torch.set_rng_state(state)
    torch.testing.assert_close(function(batch), expected, rtol=1e-5, atol=1e-6)


RANDOM: dict[str, Score] = {
    "bernoulli_": lambda loss, x: x * torch.empty_like(x).bernoulli_(0.5),
    "normal_": lambda loss, x: x * torch.empty(x.shape).normal_(1.0, 2.0),
    "uniform_": lambda loss, x: x * torch.zeros(x.shape).uniform_(-1.0, 3.0),
    "rand": lambda loss, x: x * torch.rand(x.shape[0], 1),
    "randn": lambda loss, x: x * torch.randn(x.shape),
    "rand_like": lambda loss, x: x * torch.rand_like(x),
    "randn_like": lambda loss, x: x * torch.randn_like(x),
    "randint": lambda loss, x: x * torch.randint(2, 9, x.shape),
    "randperm": lambda loss, x: x * x[torch.randperm(len(x))].detach(),
    "nn.Dropout": lambda loss, x: nn.functional.dropout(x, 0.5),
    "distribution": lambda loss, x: torch.distributions.Normal(x, 1.0).rsample() ** 2,
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_those_of_the_eager_loss(name, batch) -> None:
    function = function_of(RANDOM[name])
    function.compile(batch, "trace")
    torch.manual_seed(1)
    for _ in range(3):
        same(function, batch)
    first, second = function(batch), function(batch)
    assert not torch.equal(first[0]["loss_score"], second[0]["loss_score"])


REFUSED: dict[str, tuple[Score, str]] = {
    "item": (lambda loss, x: x * x.mean().item(), "item|value"),
    "branch": (lambda loss, x: x if x.mean() > 0 else -x, "item|value"),
    "mask": (lambda loss, x: x[x > 0], "depends on values"),
    "nonzero": (lambda loss, x: x.flatten()[torch.nonzero(x.flatten() > 0)], "depends on values"),
    "random rows": (lambda loss, x: x.square() * torch.bernoulli(x.sigmoid()), "depend on values"),
    "random part": (lambda loss, x: torch.cat([x, x[:1].detach().clone().normal_()]), "depend on values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_loss_that_is_no_function_of_tensors_stays_eager(name, batch) -> None:
    score, reason = REFUSED[name]
    function = function_of(score)
    with pytest.raises(agents.ConfigError, match=f"compile=trace cannot be had.*({reason})") as caught:
        function.compile(batch, "trace")
    assert "\n" not in str(caught.value)
    result = function.compile(batch, "auto")
    assert result.mode == "off" and result.problem and "\n" not in str(result)
    torch.manual_seed(1)
    same(function, batch)


def test_a_python_number_is_a_constant_and_a_buffer_is_not(batch) -> None:
    function = function_of(lambda loss, x: x * loss.coefficient)
    function.compile(batch, "trace")
    before, _ = function(batch)
    function.loss_module.coefficient.fill_(20.0)
    torch.testing.assert_close(function(batch)[0]["loss_score"], 10 * before["loss_score"])


def test_a_buffer_that_the_loss_changes_goes_on_changing(batch) -> None:
    function = function_of(lambda loss, x: x * loss.coefficient.mul_(2.0).clone())
    function.compile(batch, "trace")
    assert function.loss_module.coefficient == 2.0
    function(batch)
    assert function.loss_module.coefficient == 4.0
    function(batch)
    assert function.loss_module.coefficient == 8.0


@pytest.mark.parametrize("alias", ["data", "detach"])
def test_parameters_read_through_an_alias_are_followed(alias, batch) -> None:
    function = function_of(lambda loss, x: x + loss.cached)
    parameter = function.parameters[1]
    function.loss_module.cached = parameter.data if alias == "data" else parameter.detach()
    function.compile(batch, "trace")
    parameter.data = parameter.data + 1.0  # what an alias does not see
    before, _ = function(batch)
    parameter.data = parameter.data + 1.0
    torch.testing.assert_close(function(batch)[0]["loss_score"], before["loss_score"] + 2.0)


def test_a_parameter_that_no_loss_uses_has_no_gradient(batch) -> None:
    function = function_of(lambda loss, x: x)
    unused = nn.Parameter(torch.zeros(3))
    function = LossAndGradients(function.loss_module, [unused, *function.parameters])
    function.compile(batch, "trace")
    _, (nothing, *gradients) = function(batch)
    assert nothing is None and all(gradient is not None for gradient in gradients)


def writes_as_torchrls_do() -> LossAndGradients:
    function = function_of(lambda loss, x: x)
    forward = function.loss_module.forward

    def like_torchrls(tensordict: TensorDict) -> TensorDict:
        losses = forward(tensordict)
        for target in (tensordict, tensordict["next"]):
            target.set("td_error", tensordict["next", "reward"] + 1.0)
        return losses.update({"error": tensordict["td_error"], "share": tensordict["next", "terminated"]})

    function.loss_module.forward = like_torchrls
    return function


@pytest.mark.parametrize("mode", ["off", "trace", pytest.param("inductor", marks=pytest.mark.slow)])
def test_what_a_loss_writes_stays_its_own_and_what_has_a_shape_is_averaged(mode, batch) -> None:
    function = writes_as_torchrls_do()
    function.compile(batch, mode)
    keys = set(batch.keys(True, True))
    losses, _ = function(batch)
    assert set(batch.keys(True, True)) == keys
    torch.testing.assert_close(losses["error"], batch["next", "reward"].mean() + 1.0)
    torch.testing.assert_close(losses["share"], batch["next", "terminated"].float().mean())


@pytest.mark.slow
def test_machine_code_is_made_once(batch) -> None:
    writes_as_torchrls_do().compile(batch, "inductor")
    before = Counter(torch._dynamo.utils.counters["aot_autograd"])
    writes_as_torchrls_do().compile(batch, "inductor")
    lookups = Counter(torch._dynamo.utils.counters["aot_autograd"]) - before
    assert (lookups["autograd_cache_hit"], lookups["autograd_cache_miss"]) == (1, 0)


def test_other_shapes_and_the_other_mode_take_the_eager_way(batch) -> None:
    function = function_of(lambda loss, x: x * (2.0 if loss.training else 1.0))
    function.compile(batch, "trace")
    torch.testing.assert_close(function(batch[:7]), function.eager(batch[:7]))
    function.loss_module.eval()
    torch.testing.assert_close(function(batch), function.eager(batch))
    assert function(batch)[0]["loss_score"] != function_of(lambda loss, x: x * 2.0)(batch)[0]["loss_score"]


def test_a_compiler_that_is_missing_costs_a_line_and_nothing_else(batch, monkeypatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler\nwith many more lines")

    monkeypatch.setattr(torch._inductor, "standalone_compile", missing)
    function = function_of(lambda loss, x: x**2)
    result = function.compile(batch)
    assert result.mode in ("off", "trace") and result.problem.count("no working C++ compiler") == 1
    assert "\n" not in str(result)
    same(function, batch)
    with pytest.raises(agents.ConfigError, match="inductor cannot be had here: .*no working C"):
        function.compile(batch, "inductor")


def test_a_ctrl_c_that_torch_has_made_an_error_of_is_one(batch, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except BaseException as error:
            raise RuntimeError("the compiler failed") from error

    monkeypatch.setattr(Trace, "compile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        function_of(lambda loss, output: output).compile(batch)


def test_wrong_results_of_a_compiler_are_noticed(batch, monkeypatch) -> None:
    monkeypatch.setattr(
        Trace, "compile", lambda self, batch: lambda batch: ({"loss_score": torch.zeros(())}, [None] * 2)
    )
    result = function_of(lambda loss, x: x**2).compile(batch)
    assert result.mode != "inductor"
    assert "differ" in result.problem or "other parameters" in result.problem


def test_results_that_are_a_little_wrong_are_noticed_too(batch, monkeypatch) -> None:
    function = function_of(lambda loss, x: x**2)

    def almost(trace: Trace, batch: TensorDict):
        losses, gradients = trace(batch)
        return losses, [None if gradient is None else 1.01 * gradient for gradient in gradients]

    monkeypatch.setattr(Trace, "compile", lambda trace, batch: functools.partial(almost, trace))
    with pytest.raises(agents.ConfigError, match="its results differ from the eager ones"):
        function.compile(batch, "inductor")


def test_auto_takes_the_fastest(batch, monkeypatch) -> None:
    monkeypatch.setattr(Trace, "compile", lambda self, batch: self)
    monkeypatch.setattr(compilation, "_milliseconds", lambda functions, batch: dict(zip(functions, (3.0, 1.0, 2.0))))
    result = function_of(lambda loss, x: x**2).compile(batch)
    assert (result.mode, str(result)) == ("trace", "compile=trace (off 3.0 ms, trace 1.0 ms, inductor 2.0 ms)")


@pytest.mark.parametrize("times", [(3.0, 1.0, 1.1), (3.0, 1.1, 1.0), (0.95, 1.0, 1.1)])
def test_auto_leaves_no_close_choice_to_the_clock(times, batch, monkeypatch) -> None:
    monkeypatch.setattr(Trace, "compile", lambda self, batch: self)
    monkeypatch.setattr(compilation, "_milliseconds", lambda functions, batch: dict(zip(functions, times)))
    assert function_of(lambda loss, x: x**2).compile(batch).mode == "inductor"


def test_auto_leaves_none_to_the_clock_of_those_that_are_left(batch, monkeypatch) -> None:
    monkeypatch.setattr(Trace, "compile", lambda self, batch: self)
    for others in ((1.00, 0.99), (0.99, 1.00)):
        times = (*others, 1.5)
        monkeypatch.setattr(
            compilation, "_milliseconds", lambda functions, batch, times=times: dict(zip(functions, times))
        )
        assert function_of(lambda loss, x: x**2).compile(batch).mode == "trace"


def test_an_unknown_mode_is_refused(batch) -> None:
    with pytest.raises(agents.ConfigError, match="'fast'.*auto, off, trace, inductor"):
        function_of(lambda loss, x: x).compile(batch, "fast")


@pytest.mark.parametrize("mode", ["off", "trace"])
def test_bfloat16_rounds_the_products_and_not_the_parameters(batch, mode) -> None:
    function = function_of(lambda loss, x: x.square())
    (exact, exact_gradients), _ = function(batch), function.compile(batch, mode, dtype=torch.bfloat16)
    losses, gradients = function(batch)
    error = (losses["loss_score"] - exact["loss_score"]).abs() / exact["loss_score"]
    assert 0.0 < error < 2**-6
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    torch.testing.assert_close(gradients, exact_gradients, rtol=0.05, atol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in function.parameters)


@pytest.mark.parametrize(
    ("high", "medium", "chosen"),
    [
        ((1e-5, 1.0), (1e-5, 0.5), "medium"),
        ((1e-5, 0.5), (1e-2, 0.1), "high"),  # medium rounds
        ((1e-5, 0.8), (1.5e-5, 0.9), "highest"),  # little is gained, which may be the clock's doing
        ((1e-5, 0.5), (1e-5, 0.45), "high"),  # nor is there a choice by the clock between these two
        ((1e-2, 0.1), (1e-2, 0.1), "highest"),
    ],
)
def test_matmul_precision_is_the_fastest_that_is_exact(high, medium, chosen, monkeypatch, precision_kept) -> None:
    measured = {"highest": (1e-5, 1.0), "high": high, "medium": medium}
    monkeypatch.setattr(matmul_precision, "_measure_products", lambda device: measured)
    assert choose_matmul_precision("auto", CPU) == chosen == torch.get_float32_matmul_precision()


def test_the_chosen_matmul_precision_is_exact_here(precision_kept) -> None:
    choose_matmul_precision("auto", CPU)
    x = torch.randn(300, 300)
    assert ((x @ x).double() - x.double() @ x.double()).abs().max() < 1e-3


def test_a_matmul_precision_that_is_named_is_set(precision_kept) -> None:
    for precision in ("medium", "highest"):
        assert choose_matmul_precision(precision, CPU) == precision == torch.get_float32_matmul_precision()
    with pytest.raises(agents.ConfigError, match="'low'.*auto, highest, high, medium"):
        choose_matmul_precision("low", CPU)


class Attention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=dropout, batch_first=True)
        self.embedding = nn.Linear(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(x[..., None])
        return self.attention(tokens, tokens, tokens, need_weights=False)[0].sum(-1)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_attention_is_traced(dropout, batch) -> None:
    attention = Attention(dropout)
    function = function_of(lambda loss, x: attention(x))
    function.compile(batch, "trace")
    same(function, batch)


@pytest.mark.parametrize("name", ["item", "mask", "random rows"])
def test_what_cannot_be_traced_is_named_with_its_file_and_line(name, batch) -> None:
    with pytest.raises(agents.ConfigError, match=r"\(\w+: .*, at .*test_compilation.py:\d+\)"):
        function_of(REFUSED[name][0]).compile(batch, "trace")
