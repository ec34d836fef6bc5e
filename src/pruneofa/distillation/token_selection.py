"""Run a model's token head only where its predictions are needed, and no further than they are."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pruneofa.distillation.inputs import model_inputs, pooling_each_sequence
from pruneofa.distillation.vocabulary import ROW_MULTIPLE, VocabularyRows
from pruneofa.errors import ConfigurationError

TOKEN_LOGITS = ("logits", "prediction_logits")
"""Names of the token predictions in the outputs of transformers' models."""

# Whether a model's last product can be left to us; found out once.
_ENDS_IN_PRODUCT: "weakref.WeakKeyDictionary[nn.Module, bool]" = weakref.WeakKeyDictionary()


@contextmanager
def head_on_tokens(model: nn.Module, selection: Tensor, padding: int = 0) -> Iterator[None]:
    """Within the block, heads of `model` see only the selected tokens' hidden states, as one sequence.

    The vocabulary's product outweighs a small encoder, so logits for tokens that no loss looks at are waste. Works for
    any model of transformers whose head treats each token on its own (masked language models); a sequence-level head
    fed by the pooler (next sentence) is unaffected.

    Args:
        model: a model with a head; its forward pass must be called without `labels`.
        selection: boolean `[batch, length]`; the logits come out as `[1, selected + padding, vocabulary]`.
        padding: rows of zeros behind the selected ones.
    """

    def gather(_module: nn.Module, _args: Any, output: Any) -> Any:
        output.last_hidden_state = F.pad(output.last_hidden_state[selection], (0, 0, 0, padding)).unsqueeze(0)
        return output

    handle = model.base_model.register_forward_hook(gather)  # type: ignore[union-attr]
    try:
        yield
    finally:
        handle.remove()


def select_tokens(batch: Mapping[str, Tensor], tokens: str) -> Tensor:
    """Which tokens' predictions count: boolean `[batch, length]`.

    Args:
        batch: with `labels` `[batch, length]` (-100 where there is none) and, for padded batches, `attention_mask`.
        tokens: "masked", or "all" for all but padding.

    Raises:
        ConfigurationError: masked tokens are asked for, and the batch doesn't say which these are.
    """
    if tokens == "masked":
        if "labels" not in batch:
            raise ConfigurationError(
                "tokens is 'masked', but the batch has no `labels` to tell which tokens are; pass them, or set tokens "
                "to 'all'"
            )
        return batch["labels"] != -100
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    return torch.ones_like(batch["input_ids"], dtype=torch.bool)


def run_to_vocabulary(
    model: nn.Module, inner: nn.Module, batch: Mapping[str, Any], selection: Tensor, **arguments: Any
) -> tuple[Any, VocabularyRows]:
    """A forward pass whose token head stops before the vocabulary's product, on the selected tokens alone.

    Args:
        model: what is called, perhaps wrapped (DDP).
        inner: the model of transformers inside.
        batch: see `model_inputs`.
        selection: boolean, of the shape of `input_ids`.
        **arguments: further ones of the forward pass.

    Returns:
        The model's output, whose token logits have no row, and what these rows would be computed from. Where a head
        does more than one product at its end (or none), the rows are the logits themselves. Rows are padded to a
        multiple of `ROW_MULTIPLE`.
    """
    padding = -int(selection.sum()) % ROW_MULTIPLE
    decoder = _last_product(inner, batch["input_ids"])
    caught: list[Tensor] = []

    def catch(_module: nn.Module, args: Any) -> Any:
        caught.append(args[0])
        return (args[0][:, :0], *args[1:])

    with ExitStack() as stack:
        stack.enter_context(pooling_each_sequence(inner, batch))
        stack.enter_context(head_on_tokens(inner, selection, padding))
        if decoder is not None:
            stack.callback(decoder.register_forward_pre_hook(catch).remove)
        output = model(**model_inputs(batch), **arguments)
    if decoder is None:
        return output, VocabularyRows(token_logits(output).flatten(0, 1), padding=padding)
    return output, VocabularyRows(caught[0].flatten(0, 1), decoder.weight, decoder.bias, padding)


def token_logits(output: Any) -> Tensor:
    """The token predictions of a model's output.

    Raises:
        ConfigurationError: it has none.
    """
    for name in TOKEN_LOGITS:
        if name in output:
            return output[name]  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"the model's output has none of {', '.join(TOKEN_LOGITS)}; masked language modelling needs a model with a "
        "token head, such as one of AutoModelForMaskedLM"
    )


def _last_product(model: nn.Module, input_ids: Tensor) -> nn.Linear | None:
    """The Linear whose output is what `model` predicts for its tokens, unchanged; None where there is none.

    Structure alone doesn't tell (some heads add their bias afterwards), so it is tried on two tokens, once.
    """
    get_decoder = getattr(model, "get_output_embeddings", None)
    decoder = get_decoder() if get_decoder is not None else None
    if type(decoder) is not nn.Linear:
        return None
    if model not in _ENDS_IN_PRODUCT:
        products: list[Tensor] = []
        handle = decoder.register_forward_hook(lambda _module, _args, output: products.append(output))
        devices = [input_ids.device] if input_ids.device.type == "cuda" else []
        try:
            # A trial in training mode draws random numbers; the run's own go on as if there had been none. Autocast is
            # off, since it would keep the weights' copies that have no gradient and use them in the real pass.
            with (
                torch.no_grad(),
                torch.random.fork_rng(devices=devices),
                torch.autocast(input_ids.device.type, enabled=False),
            ):
                predicted = token_logits(model(input_ids=input_ids[:1, :2]))
        finally:
            handle.remove()
        _ENDS_IN_PRODUCT[model] = len(products) == 1 and torch.equal(products[0], predicted)
    return decoder if _ENDS_IN_PRODUCT[model] else None
