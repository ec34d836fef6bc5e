import pytest
import quantization_reference as reference
import torch
from quantization_models import CONFIGS, classifier, tokens, train
from torch import nn
from transformers import AutoModelForMaskedLM

from pruneofa.architectures.linears import embedding_tables
from pruneofa.errors import CheckpointError, ConfigurationError
from pruneofa.quantization.calibration import calibrate
from pruneofa.quantization.config import QuantizationConfig
from pruneofa.quantization.embedding import QATEmbedding
from pruneofa.quantization.qat import convert, prepare_from_state, prepare_qat, quantized_embeddings
from pruneofa.quantization.weights import integer_weight

KINDS = ["per_row", "per_tensor"]


def config_of(kind: str, **settings: object) -> QuantizationConfig:
    return QuantizationConfig.model_validate({"embeddings": kind, **settings})


def answer(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(tokens(99)).logits


@pytest.mark.parametrize("family", CONFIGS)
def test_the_tables_of_every_family_are_found(family: str) -> None:
    endings = sorted(name.rpartition(".")[2] for name in embedding_tables(classifier(family)))
    segments = [] if family in ("distilbert", "mpnet") else ["token_type_embeddings"]
    assert endings == ["position_embeddings", *segments, "word_embeddings"]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_looked_up_rows_are_those_of_the_rounded_table(kind: str, bits: int) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(30, 8, padding_idx=0)
    grid = config_of(kind, embedding_bits=bits).embedding_grid()
    layer = QATEmbedding.adopt(table, grid)
    ids = torch.tensor([[1, 5, 5], [0, 29, 7]])
    scale = layer.weight_quantizer.scale_of(layer.weight)
    levels = integer_weight(layer.weight, scale, grid)
    expected = reference.lookup(levels.numpy().astype(int), scale.numpy(), ids.numpy())
    assert torch.equal(layer(ids), torch.from_numpy(expected))
    layer.weight_quantizer.fix_scale(scale)
    assert torch.equal(layer(ids), torch.from_numpy(expected))
    assert layer(ids[:, :1])[1].eq(0).all()  # the padding row is zero and has scale 1
    layer(ids).sum().backward()
    assert layer.weight.grad[5].eq(2).all() and layer.weight.grad[0].eq(0).all() and layer.weight.grad[9].eq(0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CONFIGS)
def test_trained_converted_and_restored(family: str, kind: str) -> None:
    model = prepare_qat(classifier(family), config_of(kind))
    plain = {name: type(module) for name, module in classifier(family).named_modules()}
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-3), range(2))
    before = answer(model)
    tables = set(quantized_embeddings(model))
    state = convert(model)
    assert set(state.embeddings) == tables == set(embedding_tables(model))
    assert {name: type(module) for name, module in model.named_modules()} == plain
    for name, table in embedding_tables(model).items():
        scale = state.embeddings[name].weight_scale
        assert scale.shape == (table.num_embeddings if kind == "per_row" else 1,)
        levels = integer_weight(table.weight, scale, state.config.embedding_grid())
        assert torch.equal(levels.float() * scale[:, None], table.weight)
    prepare_from_state(model, state)
    assert torch.equal(answer(model), before)


def test_ignored_tables_stay_in_float() -> None:
    config = config_of("per_row", ignore=("*.position_embeddings", "classifier"))
    model = prepare_qat(classifier("bert"), config)
    assert set(quantized_embeddings(model)) == {
        "bert.embeddings.word_embeddings",
        "bert.embeddings.token_type_embeddings",
    }


def test_least_squares_scales_are_fixed_when_prepared() -> None:
    model = prepare_qat(classifier("bert"), config_of("per_row", weight_scale="mse", embedding_bits=4))
    scales = {name: table.weight_quantizer.scale.clone() for name, table in quantized_embeddings(model).items()}
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-2), range(2))
    state = convert(model)
    assert all(torch.equal(state.embeddings[name].weight_scale, scale) for name, scale in scales.items())


def test_a_tied_table_is_refused() -> None:
    model = AutoModelForMaskedLM.from_config(CONFIGS["bert"])
    with pytest.raises(ConfigurationError, match=r"'bert.embeddings.word_embeddings' shares its weight with 'cls"):
        prepare_qat(model, config_of("per_row", ignore=("cls.predictions.decoder",)))


def test_a_table_with_its_own_forward_is_refused() -> None:
    class Doubling(nn.Embedding):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    model = classifier("bert")
    model.bert.embeddings.word_embeddings = Doubling(40, 16)
    with pytest.raises(ConfigurationError, match="is a Doubling with a forward of its own"):
        prepare_qat(model, config_of("per_row"))


def test_a_model_without_tables_is_a_clear_error() -> None:
    model = classifier("bert")
    model.bert.embeddings = nn.Identity()
    with pytest.raises(ConfigurationError, match=r"BertModel has no module `embeddings` with nn\.Embedding tables"):
        prepare_qat(model, config_of("per_row"))


def test_tables_of_another_model_are_refused() -> None:
    model = prepare_qat(classifier("bert"), config_of("per_row"))
    calibrate(model, [{"input_ids": tokens(0)}])
    state = convert(model)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[3, 3] += 1e-4
    with pytest.raises(CheckpointError, match=r"word_embeddings.weight \(torch.float32\) isn't on the integer grid"):
        prepare_from_state(model, state)
