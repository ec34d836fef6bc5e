"""A folder's tokenizer and how it is to be used, as transformers would load it, without transformers."""

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from pruneofa.errors import CheckpointError
from pruneofa.folder.files import CONFIG_NAME, ModelFiles, read_object
from pruneofa.folder.tokenizer_class import TokenizerClass, tokenizer_class

__all__ = ["TextRules", "gives_token_types", "read_text_rules"]

TOKENIZER_NAME = "tokenizer.json"
VOCABULARY_NAME = "vocab.txt"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
SPECIAL_TOKENS_NAME = "special_tokens_map.json"
ADDED_TOKENS_NAME = "added_tokens.json"

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_NO_LIMIT = 10**20
_TOKEN_KEYS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class TextRules:
    """How texts become token ids.

    Attributes:
        tokenizer: Without truncation and padding.
        truncation_side: "right" or "left": where a text that is too long is cut.
        max_length: Tokens that the tokenizer's files allow; None where they set no limit.
        token_types: Whether the model is given token type ids.
        special_tokens: The named special tokens, such as `pad_token`.
    """

    tokenizer: Tokenizer
    truncation_side: str
    max_length: int | None
    token_types: bool
    special_tokens: dict[str, str]


def read_text_rules(files: ModelFiles, folder: str = "") -> TextRules:
    """The tokenizer of a model and the rules beside it.

    Args:
        files: The model's files.
        folder: Where they lie, as of `encoder_folder`.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    config = read_object(files, folder + CONFIG_NAME) or {}
    settings = read_object(files, folder + TOKENIZER_CONFIG_NAME) or {}
    kind = tokenizer_class(config, settings)
    written = _written(files, folder)
    named, added = _tokens(files, folder, settings, kind, written)
    if kind.form == "as_written":
        if written is None:
            raise _none(files, folder, kind)
        tokenizer = written
        if tokenizer.post_processor is None:
            tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    else:
        tokenizer = _rebuilt(files, folder, settings, kind, written, named)
    truncation = None if written is None else written.truncation
    _add_tokens(tokenizer, named, added)
    if kind.form != "as_written":
        tokenizer.post_processor = _template(tokenizer, kind, named, f"{files.path}: {folder}")
    if settings.get("split_special_tokens"):
        tokenizer.encode_special_tokens = True
    tokenizer.no_padding()
    tokenizer.no_truncation()
    where = f"{files.path}: {folder}{TOKENIZER_CONFIG_NAME}"
    return TextRules(
        tokenizer=tokenizer,
        truncation_side=_side(settings, truncation, where),
        max_length=_length(settings, where),
        token_types=_token_types(settings, kind),
        special_tokens={name: str(token) for name, token in named.items()},
    )


def gives_token_types(files: ModelFiles, folder: str = "") -> bool:
    """Whether the model is given token type ids; True for one without a tokenizer, whose arrays somebody else makes.

    Raises:
        CheckpointError: A file is damaged.
    """
    if files.file(folder + TOKENIZER_NAME) is None and files.file(folder + VOCABULARY_NAME) is None:
        return True
    settings = read_object(files, folder + TOKENIZER_CONFIG_NAME) or {}
    return _token_types(settings, tokenizer_class(read_object(files, folder + CONFIG_NAME) or {}, settings))


def _token_types(settings: dict[str, Any], kind: TokenizerClass) -> bool:
    inputs = settings.get("model_input_names")
    return "token_type_ids" in inputs if isinstance(inputs, list) else kind.token_types


def _written(files: ModelFiles, folder: str) -> Tokenizer | None:
    """tokenizer.json as it is written."""
    content = files.file(folder + TOKENIZER_NAME)
    if content is None:
        return None
    try:
        return Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the library raises nothing more specific
        raise CheckpointError(
            f"{files.path}: {folder}{TOKENIZER_NAME} is no tokenizer ({error}); save it again"
        ) from None


def _rebuilt(
    files: ModelFiles,
    folder: str,
    settings: dict[str, Any],
    kind: TokenizerClass,
    written: Tokenizer | None,
    named: dict[str, AddedToken],
) -> Tokenizer:
    """A WordPiece tokenizer on the folder's vocabulary, with what tokenizer_config.json says of casing and accents."""
    if written is not None:
        vocabulary = written.get_vocab(with_added_tokens=False)
    else:
        content = files.file(folder + VOCABULARY_NAME)
        if content is None:
            raise _none(files, folder, kind)
        try:
            lines = content.decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{files.path}: {folder}{VOCABULARY_NAME} is not UTF-8 ({error})") from None
        vocabulary = {line.rstrip(): number for number, line in enumerate(lines[:-1] if not lines[-1] else lines)}
    unknown = str(named.get("unk_token", "[UNK]"))
    if unknown not in vocabulary:
        raise CheckpointError(
            f"{files.path}: {folder}: the unknown token {unknown!r:.80} is not in the vocabulary of {len(vocabulary)} "
            "tokens; save the tokenizer again"
        )
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=unknown))
    accents = settings.get("strip_accents")
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=None if accents is None else bool(accents),
        lowercase=bool(settings.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _tokens(
    files: ModelFiles, folder: str, settings: dict[str, Any], kind: TokenizerClass, written: Tokenizer | None
) -> tuple[dict[str, AddedToken], dict[int, AddedToken]]:
    """The named special tokens, and the added ones by their number."""
    added: dict[int, AddedToken] = {}
    given = dict(settings)
    where = f"{files.path}: {folder}{TOKENIZER_CONFIG_NAME}"
    decoder = settings.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        added = {int(number): _token(token, where) for number, token in decoder.items() if str(number).isdecimal()}
    else:
        given |= read_object(files, folder + SPECIAL_TOKENS_NAME) or {}
        older = read_object(files, folder + ADDED_TOKENS_NAME) or {}
        names = {_content(given.get(key)) for key in _NAMED}
        for text, number in older.items():
            special = text in names
            added[int(number)] = AddedToken(text, lstrip=False, rstrip=False, normalized=not special, special=special)
        if written is not None:
            added |= written.get_added_tokens_decoder()
    by_text = {token.content: token for token in added.values()}
    named: dict[str, AddedToken] = {}
    for key in _NAMED:
        value = given.get(key, kind.special_tokens.get(key))
        if value is not None:
            token = _token(value, where, strip=kind.form == "mpnet" and key == "mask_token")
            named[key] = by_text.get(token.content, token)
    extra = given.get("extra_special_tokens") or given.get("additional_special_tokens") or []
    for number, value in enumerate(extra.values() if isinstance(extra, dict) else extra):
        token = _token(value, where)
        named[f"extra_{number}"] = by_text.get(token.content, token)
    return named, added


def _add_tokens(tokenizer: Tokenizer, named: dict[str, AddedToken], added: dict[int, AddedToken]) -> None:
    """Add what the tokenizer does not have yet, in the order of its numbers, then the named ones."""
    present = {repr(token) for token in tokenizer.get_added_tokens_decoder().values()}
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    wanted = [token for _, token in sorted(added.items()) if repr(token) not in present]
    known |= {token.content for token in wanted}
    names = {token.content for token in named.values()}
    for token in named.values():
        if token.content not in known:
            wanted.append(token)
            known.add(token.content)
    for token in wanted:
        if token.content in names:
            token.special = True
    if wanted:
        tokenizer.add_tokens(wanted)


def _template(
    tokenizer: Tokenizer, kind: TokenizerClass, named: dict[str, AddedToken], where: str
) -> processors.PostProcessor:
    """The special tokens around a text and a pair, as the class has them."""
    opening, closing = str(named["cls_token"]), str(named["sep_token"])
    first, last = tokenizer.token_to_id(opening), tokenizer.token_to_id(closing)
    if first is None or last is None:
        raise CheckpointError(f"{where}: {opening} and {closing} are not in the vocabulary; save the tokenizer again")
    if kind.form == "mpnet":
        return processors.RobertaProcessing((closing, last), (opening, first), True, False)
    return processors.TemplateProcessing(
        single=f"{opening}:0 $A:0 {closing}:0",
        pair=f"{opening}:0 $A:0 {closing}:0 $B:1 {closing}:1",
        special_tokens=[(opening, first), (closing, last)],
    )


def _token(value: Any, where: str, strip: bool = False) -> AddedToken:
    text = _content(value)
    if text is None:
        raise CheckpointError(f"{where}: the special token {value!r:.80} is no text; save the tokenizer again")
    if isinstance(value, dict):
        facts = {key: bool(value[key]) for key in _TOKEN_KEYS if key in value}
        return AddedToken(text, **{"special": True, **facts})
    return AddedToken(text, special=True, lstrip=strip)


def _content(value: Any) -> str | None:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _side(settings: dict[str, Any], truncation: dict[str, Any] | None, where: str) -> str:
    side = settings.get("truncation_side", (truncation or {}).get("direction", "right"))
    if side not in ("right", "left"):
        raise CheckpointError(f"{where}: truncation_side is {side!r:.80}, allowed are 'right' and 'left'")
    return str(side)


def _length(settings: dict[str, Any], where: str) -> int | None:
    length = settings.get("model_max_length", settings.get("max_len"))
    if length is None:
        return None
    if isinstance(length, bool) or not isinstance(length, int | float) or length < 1:
        raise CheckpointError(f"{where}: model_max_length is {length!r:.80}, allowed is a whole number from 1")
    return None if length > _NO_LIMIT else int(length)


def _none(files: ModelFiles, folder: str, kind: TokenizerClass) -> CheckpointError:
    allowed = TOKENIZER_NAME if kind.form == "as_written" else f"neither {TOKENIZER_NAME} nor {VOCABULARY_NAME}"
    holds = f"holds no {allowed}" if kind.form == "as_written" else f"holds {allowed}"
    return CheckpointError(
        f"{files.path}: {folder and folder + ' '}{holds}, so it takes arrays of token ids alone; save the model "
        "together with its (fast) tokenizer"
    )
