"""The engine against the quantized PyTorch model, and the float one."""

import numpy as np
import pytest
from engine_models import Recipe, token_ids, write_model

torch = pytest.importorskip("torch", reason="parity needs torch and transformers: pip install 'pruneofa[train]'")
transformers = pytest.importorskip("transformers")

from pruneofa.engine.engine import Engine  # noqa: E402
from pruneofa.engine.native import kernel_names  # noqa: E402
from pruneofa.models.loading import load_any  # noqa: E402

LENGTHS = (1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 127, 128, 129, 200, 512)
AUTO = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "Model": "AutoModel",
}

ROUNDING = 2e-6
"""Share of a tensor's largest value by which float32 sums in another order differ from PyTorch's, or more."""

FLOAT_BOUND = 2e-5
"""Largest difference of a float model's hidden states, whose size is about 1."""


def reference(folder, recipe):
    auto = getattr(transformers, AUTO[recipe.head])
    model = load_any(auto, str(folder)) if recipe.int8 else auto.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@torch.no_grad()
def reference_outputs(model, recipe, ids, mask=None, types=None):
    inputs = {"input_ids": torch.as_tensor(ids)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"]) if mask is None else torch.as_tensor(mask)
    if types is not None and recipe.family in ("bert", "electra"):
        inputs["token_type_ids"] = torch.as_tensor(types)
    found = model(**inputs, output_hidden_states=True)
    hidden = found.hidden_states[-1].numpy()
    if recipe.head == "Model":
        return hidden, None
    if recipe.head == "ForQuestionAnswering":
        return hidden, torch.stack([found.start_logits, found.end_logits], dim=-1).numpy()
    return hidden, found.logits.numpy()


def noise_of(model, recipe, ids, mask, types):
    """How far rounding alone moves the reference: the largest and the mean difference over some runs.

    A value that rounding carries over a tie moves what follows by a step of a grid, and through attention every other
    token a little. How far that goes depends on the weights, so it is measured: each run adds noise of the size of
    rounding before every quantization.
    """
    from pruneofa.quantization.activations import ActivationQuantizer

    expected = reference_outputs(model, recipe, ids, mask, types)
    differences = []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)

        def disturb(module, inputs, generator=generator):
            values = inputs[0]
            noise = torch.rand(values.shape, generator=generator) * 2 - 1
            return (values + noise * values.abs().max() * ROUNDING,)

        quantizers = [module for module in model.modules() if isinstance(module, ActivationQuantizer)]
        handles = [module.register_forward_pre_hook(disturb) for module in quantizers]
        found = reference_outputs(model, recipe, ids, mask, types)
        for handle in handles:
            handle.remove()
        pairs = [(one, other) for one, other in zip(found, expected, strict=True) if one is not None]
        differences.append([(np.abs(one - other).max(), np.abs(one - other).mean()) for one, other in pairs])
    return expected, np.max(differences, axis=0)


def assert_close(found, expected, bound, what):
    """`bound`: largest and mean difference that noise made; a few times that is allowed."""
    difference = np.abs(found.astype(np.float64) - expected)
    worst = np.unravel_index(difference.argmax(), difference.shape)
    text = f"{what}: at {worst} {found[worst]} is not {expected[worst]}, mean difference {difference.mean()}"
    assert difference.max() <= 3 * bound[0] + FLOAT_BOUND, f"{text}; noise makes {bound[0]}"
    assert difference.mean() <= 3 * bound[1] + FLOAT_BOUND, f"{text}; noise makes {bound[1]} in the mean"


RECIPES = [
    *(Recipe(family=family, int8=int8) for family in ("bert", "distilbert", "mpnet") for int8 in (False, True)),
    *(Recipe(family=family, attention_products=True) for family in ("bert", "distilbert", "mpnet")),
    *(Recipe(sparsity=sparsity, attention_products=True) for sparsity in (0.0, 0.5, 0.9, 0.99, 1.0)),
    Recipe(per_channel=False),
    Recipe(per_channel=False, attention_products=True),
    Recipe(outputs=()),
    Recipe(outputs=("q", "ffn_in")),
    Recipe(outputs=("q", "k", "v", "attention_output", "ffn_in", "ffn_out", "pooler")),
    Recipe(float_modules=("layer.0.", "pooler")),
    Recipe(float_modules=("query", "output.dense")),
    Recipe(float_modules=("intermediate", "classifier")),
    Recipe(int8_tables=True),
    Recipe(hidden=36, heads=6, intermediate=50),
    Recipe(hidden=64, heads=1, intermediate=1100, layers=1, attention_products=True),
    Recipe(activation="relu"),
    Recipe(activation="gelu_new"),
    Recipe(head="ForQuestionAnswering", labels=2),
    Recipe(head="ForTokenClassification", family="distilbert"),
    Recipe(head="ForQuestionAnswering", labels=2, family="mpnet", int8=False),
    Recipe(head="Model"),
    Recipe(head="Model", family="mpnet", int8=False),
    *(
        Recipe(family=family, head=head, int8=int8, labels=2)
        for family in ("roberta", "xlm-roberta", "camembert", "electra")
        for head in AUTO
        for int8 in (False, True)
    ),
    Recipe(family="electra", attention_products=True, int8_tables=True, embedding=130),
    Recipe(family="electra", sparsity=0.0, int8=False, hidden=36, heads=6, intermediate=50, layers=1, embedding=36),
    Recipe(family="electra", attention_products=True, embedding=48),
    Recipe(family="roberta", attention_products=True, int8_tables=True, padding=9),
    Recipe(family="roberta", sparsity=0.0, int8=False, hidden=36, heads=6, intermediate=50, layers=1, padding=0),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Recipe -> (folder, reference model), made when first asked for."""
    root, models = tmp_path_factory.mktemp("models"), {}

    def make(recipe):
        if recipe not in models:
            folder = write_model(root / str(len(models)), recipe)
            models[recipe] = folder, reference(folder, recipe)
        return models[recipe]

    return make


_EXPECTED = {}


def compare(engine, model, recipe, ids, mask=None, types=None, what=""):
    key = (recipe, what)
    if key not in _EXPECTED:
        _EXPECTED[key] = noise_of(model, recipe, ids, mask, types)
    (hidden, logits), bounds = _EXPECTED[key]
    output = engine.run(ids, mask, types, hidden_states=True)
    visible = np.ones(ids.shape, dtype=bool) if mask is None else np.asarray(mask) == 1
    assert_close(output.hidden_states[visible], hidden[visible], bounds[0], f"hidden states {what}")
    assert not output.hidden_states[~visible].any()
    if logits is None:
        assert output.logits is None
    elif logits.ndim == 3:
        assert_close(output.logits[visible], logits[visible], bounds[1], f"logits {what}")
        assert not output.logits[~visible].any()
    else:
        assert_close(output.logits, logits, bounds[1], f"logits {what}")


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_every_kind_of_model_computes_what_pytorch_does(made, recipe):
    folder, model = made(recipe)
    # bfloat16 rounds more; it has a test of its own.
    engine = Engine.load(folder, threads=1, kernel="avx512_vnni" if "avx512_vnni" in kernel_names() else None)
    types = np.random.default_rng(1).integers(0, 1 if recipe.counts_from_padding else 2, (3, 40))
    mask = np.ones((3, 40), dtype=np.int64)
    mask[1, 25:] = 0
    mask[2, 7:11] = 0
    compare(engine, model, recipe, token_ids(0, 3, 40), mask, types, "with a mask")
    compare(engine, model, recipe, token_ids(1, 1, 70), what="of 70 tokens")


@pytest.mark.parametrize("kernel", kernel_names())
@pytest.mark.parametrize(
    "recipe", [Recipe(attention_products=True), Recipe(), *map(Recipe, ("mpnet", "roberta", "electra"))], ids=str
)
def test_any_length_computes_what_pytorch_does(made, recipe, kernel):
    folder, model = made(recipe)
    engine = Engine.load(folder, threads=2, kernel=kernel)
    for length in LENGTHS:
        compare(engine, model, recipe, token_ids(length, 1, length), what=f"of {length} tokens")


def test_one_layer_is_within_its_bound_on_the_same_levels(made):
    """A single Linear of int8 inputs, read out through the token head, against exact integer arithmetic."""
    recipe = Recipe(head="ForTokenClassification", layers=1, sparsity=0.5, labels=5)
    folder, model = made(recipe)
    output = Engine.load(folder, threads=1).run(token_ids(3, 1, 50), hidden_states=True)
    head = model.classifier
    scale, zero = float(head.input_quantizer.scale), int(head.input_quantizer.zero_point)
    weight_scale = head.weight_quantizer.scale.numpy().astype(np.float64)
    levels = np.rint(head.weight.detach().numpy() / weight_scale[:, None])
    inverse = np.float32(1) / np.float32(scale)
    # From the engine's own hidden states, so that nothing before the head counts.
    inputs = np.clip(np.rint(output.hidden_states * inverse) + zero, 0, 255).astype(np.int64) - zero
    exact = inputs @ levels.T.astype(np.int64) * (scale * weight_scale) + head.bias.detach().numpy()
    magnitude = np.abs(inputs) @ np.abs(levels.T) * (scale * weight_scale) + np.abs(head.bias.detach().numpy())
    unit = 2.0**-24
    assert np.all(np.abs(output.logits - exact) <= 4 * unit / (1 - 4 * unit) * magnitude)
    # PyTorch sums products of floats, N + 3 roundings (docs/quantization.md, the bound).
    with torch.no_grad():
        fake = head(torch.as_tensor(output.hidden_states)).numpy()
    rounded = recipe.hidden + 3 + 4
    assert np.all(np.abs(output.logits - fake) <= rounded * unit / (1 - rounded * unit) * magnitude)


def test_predictions_agree_on_many_texts(made):
    recipe = Recipe(attention_products=True, layers=3)
    folder, model = made(recipe)
    ids = token_ids(5, 400, 24)
    _, expected = reference_outputs(model, recipe, ids)
    found = Engine.load(folder).run(ids).logits
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.995


def test_bfloat16_is_close_to_float32(made):
    if "avx512_bf16" not in kernel_names():
        pytest.skip("this machine has no bfloat16 products")
    recipe = Recipe(int8=False)
    folder, model = made(recipe)
    hidden, _ = reference_outputs(model, recipe, token_ids(2, 2, 90))
    output = Engine.load(folder, kernel="avx512_bf16").run(token_ids(2, 2, 90), hidden_states=True)
    # Weights and activations have 8 bits: each product is off by 2^-8, a sum of n random ones by about 2^-8 / sqrt(n).
    assert np.abs(output.hidden_states - hidden).mean() < 0.01
    assert np.abs(output.hidden_states - hidden).max() < 0.1
