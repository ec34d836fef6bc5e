"""Which tokenizer class of transformers a folder's files are read by, and what that class takes from them.

As `AutoTokenizer` of transformers 5: the classes of BERT and MPNet take nothing but the vocabulary from tokenizer.json
and make everything else anew from tokenizer_config.json; any other class takes tokenizer.json as it is written.
"""

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["TokenizerClass", "tokenizer_class"]

Form = Literal["bert", "mpnet", "as_written"]

_REGISTERED = {"bert": "BertTokenizer", "distilbert": "BertTokenizer", "mpnet": "MPNetTokenizer"}
_REGISTERED |= {"electra": "BertTokenizer", "roberta": "RobertaTokenizer", "xlm-roberta": "XLMRobertaTokenizer"}
_BERT = {
    *("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "ConvBertTokenizer"),
    *("SqueezeBertTokenizer", "LayoutLMTokenizer", "DPRQuestionEncoderTokenizer", "DPRContextEncoderTokenizer"),
    "DPRReaderTokenizer",
}
_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_MPNET_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "[UNK]",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}


@dataclass(frozen=True)
class TokenizerClass:
    """A class of tokenizers.

    Attributes:
        name: As transformers calls it.
        form: How it makes its tokenizer.
        special_tokens: Its special tokens, where the folder names no others.
        token_types: Whether it gives token type ids, where the folder does not say.
    """

    name: str
    form: Form
    special_tokens: dict[str, str]
    token_types: bool


def tokenizer_class(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> TokenizerClass:
    """The class that `AutoTokenizer` takes.

    Args:
        config: The model's config.json.
        tokenizer_config: tokenizer_config.json, empty where there is none.
    """
    registered = _REGISTERED.get(str(config.get("model_type")))
    named = tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class") or registered
    name = str(named).removesuffix("Fast")
    if name in _BERT:
        return TokenizerClass(name, "bert", _BERT_TOKENS, name != "DistilBertTokenizer")
    if name == "MPNetTokenizer":
        return TokenizerClass(name, "mpnet", _MPNET_TOKENS, False)
    return TokenizerClass(name, "as_written", {}, False)
