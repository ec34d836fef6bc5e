"""Names of an encoder's weights: by the family's table as by the architecture that transformers builds."""

import pytest
import transformers

from pruneofa.checkpoint.model_folder import ModelFolder
from pruneofa.models.folder_compression import _by_architecture, _by_family, weight_names

SIZES = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    **{"vocab_size": 50, "max_position_embeddings": 40, "embedding_size": 16},
}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "vocab_size": 50}


def save(folder, family, head, **settings):
    sizes = DISTILBERT if family == "DistilBert" else SIZES
    config = getattr(transformers, f"{family}Config")(**sizes, **settings)
    getattr(transformers, family + head)(config).save_pretrained(folder)
    return ModelFolder(folder)


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "MPNet", "Roberta", "XLMRoberta", "Camembert", "Electra"])
@pytest.mark.parametrize("head", ["Model", "ForMaskedLM", "ForSequenceClassification", "ForQuestionAnswering"])
def test_the_table_names_what_the_architecture_has(tmp_path, family, head):
    folder = save(tmp_path, family, head)
    found = _by_family(folder)
    assert found is not None
    assert found == _by_architecture(str(tmp_path), folder)


def test_what_differs_from_its_family_is_built(tmp_path):
    folder = save(tmp_path, "Bert", "LMHeadModel", is_decoder=True, add_cross_attention=True)
    assert _by_family(folder) is None
    assert any("crossattention" in name for name in weight_names(str(tmp_path))[0])
