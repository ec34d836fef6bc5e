"""Settings of a corpus."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from pruneofa.settings.base import Settings

__all__ = ["CorpusConfig", "Form", "LineEnd"]

Form = Literal["blocks", "pairs", "sentences", "passages"]
LineEnd = Literal["space", "sentence", "document"]


class CorpusConfig(Settings):
    """Which text to pre-train on and how it is cut."""

    source: str | list[str] = Field(
        min_length=1, description="File, folder, glob, built-in data set or hub:NAME, or a list of them"
    )
    text_column: str = Field(default="text", min_length=1, description="Column that holds the text")
    line_end: LineEnd = Field(
        default="space",
        description="What a line's end means: space: nothing, text runs on; sentence: it ends a sentence (BERT's own "
        "files, one sentence a line); document: each line of a text file is a document",
    )
    on_error: Literal["stop", "drop"] = Field(
        default="stop",
        description="A row that can't be read or holds no text: stop: an error; drop: left out, counted and listed",
    )
    form: Form = Field(
        default="blocks",
        validate_default=True,
        description="blocks: documents packed without gaps; pairs: BERT's segment pairs with next-sentence labels; "
        "sentences: whole sentences, packed; passages: one or more sentences that follow each other, unpacked, for "
        "sentence encoders",
    )
    max_length: int = Field(default=128, ge=8, description="Longest example in tokens, special tokens counted")
    short_sequence_probability: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="Chance of an example of pairs or sentences to be made shorter, to a random length",
    )
    language: str = Field(
        default="en", pattern=r"^[a-z]{2,3}$", description="Language code that decides how sentences are split"
    )
    validation_fraction: float = Field(
        default=0.02, ge=0.0, le=0.5, description="Share of the documents that is kept for validation"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Decides the split and how examples are put together")
    shard_characters: int = Field(
        default=8_000_000,
        ge=1,
        le=2**28,
        description="Characters of text in a shard, the unit of parallel work, of memory and of resuming",
    )

    @field_validator("form")
    @classmethod
    def _splits_sentences(cls, value: Form, info: ValidationInfo) -> Form:
        if value == "blocks" and info.data.get("line_end") == "sentence":
            raise ValueError(
                "is blocks, which splits no sentences, but line_end is sentence; set form to pairs, sentences or "
                "passages"
            )
        return value
