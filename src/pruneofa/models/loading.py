"""Load models and tokenizers by their name or path, with clear errors; `models.opened` does the work."""

from typing import Any

from pruneofa.models.opened import open_model

__all__ = ["load_any", "load_config", "load_model", "load_tokenizer", "model_class"]


def load_tokenizer(name_or_path: str) -> Any:
    """The fast tokenizer of a model.

    Raises:
        CheckpointError: there is none.
    """
    return open_model(name_or_path).tokenizer()


def load_config(name_or_path: str) -> Any:
    """The config of a model.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    return open_model(name_or_path).config()


def model_class(config: Any) -> Any:
    """The class of transformers that a saved model is of, by its config; the bare encoder where it names none."""
    import transformers

    name = (getattr(config, "architectures", None) or [""])[0]
    found = getattr(transformers, str(name), None)
    known = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)
    return found if known else transformers.AutoModel


def load_model(auto_class: Any, name_or_path: str, *, head_is_trained: bool = False, **settings: Any) -> Any:
    """A model in float32, as `OpenedModel.float_model`.

    Raises:
        CheckpointError: the model is missing, truncated or damaged, or lacks weights that it must have.
    """
    return open_model(name_or_path).float_model(auto_class, head_is_trained=head_is_trained, **settings)


def load_any(auto_class: Any, name_or_path: str, *, head_is_trained: bool = False) -> Any:
    """A model as it computes, in float or fake-quantized, as `OpenedModel.model`.

    Raises:
        CheckpointError: as `load_model`, or weights and grids do not belong together.
    """
    return open_model(name_or_path).model(auto_class, head_is_trained=head_is_trained)
