"""`Engine` without torch: loading, batches, threads, tasks, and what is refused."""

import json
import shutil
import threading

import numpy as np
import pytest
from engine_models import POSITIONS, WORDS, Recipe, token_ids, write_model, write_tokenizer
from safetensors.numpy import load_file, save_file

from pruneofa.architectures.families import families
from pruneofa.engine.engine import Classification, Engine
from pruneofa.engine.native import kernel_names
from pruneofa.errors import CheckpointError, ConfigurationError, DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = write_model(tmp_path_factory.mktemp("model"), Recipe(attention_products=True))
    write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def engine(folder):
    return Engine.load(folder, threads=2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A question-answering engine."""
    path = write_model(tmp_path_factory.mktemp("reader"), Recipe(head="ForQuestionAnswering"))
    write_tokenizer(path)
    return Engine.load(path)


def ragged(lengths, seed=0):
    """Padded ids and their mask."""
    ids = token_ids(seed, len(lengths), max(lengths))
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return ids * mask, mask.astype(np.int64)


def test_a_batch_equals_its_sequences_bit_for_bit(engine):
    lengths = [1, 30, 64, 65, 5, 128, 200, 31, 33, 2]
    ids, mask = ragged(lengths)
    together = engine.run(ids, mask, hidden_states=True)
    for row, length in enumerate(lengths):
        alone = engine.run(ids[row : row + 1, :length], hidden_states=True)
        assert np.array_equal(alone.hidden_states[0], together.hidden_states[row, :length])
        assert np.array_equal(alone.logits[0], together.logits[row])
        assert not together.hidden_states[row, length:].any()


def test_any_number_of_threads_gives_the_same_bits(folder):
    ids, mask = ragged([1, 30, 64, 65, 5, 128, 200, 31, 33, 2])
    expected = Engine.load(folder, threads=1).run(ids, mask, hidden_states=True)
    for threads in (2, 3, 7):
        engine = Engine.load(folder, threads=threads)
        assert engine.threads == threads
        for rows in (slice(None), slice(6, 7), slice(0, 2)):
            found = engine.run(ids[rows], mask[rows], hidden_states=True)
            assert np.array_equal(found.hidden_states, expected.hidden_states[rows])
            assert np.array_equal(found.logits, expected.logits[rows])


@pytest.mark.parametrize("family", sorted(name for name, family in families().items() if family.in_engine))
def test_every_kernel_gives_the_same_bits_where_products_are_integers(tmp_path, family):
    # With embeddings of the layers' size: a projection in between is a product of floats.
    folder = write_model(tmp_path, Recipe(family=family, attention_products=True, embedding=48))
    ids, mask = ragged([70, 3, 40, 18])
    expected = Engine.load(folder, kernel="portable").run(ids, mask, hidden_states=True)
    assert len(kernel_names()) >= 1
    for kernel in kernel_names():
        engine = Engine.load(folder, kernel=kernel)
        assert engine.kernel == kernel
        found = engine.run(ids, mask, hidden_states=True)
        assert np.array_equal(found.hidden_states, expected.hidden_states), kernel
        assert np.array_equal(found.logits, expected.logits), kernel


def test_hidden_tokens_change_nothing(engine):
    ids = token_ids(1, 1, 20)
    mask = np.ones_like(ids)
    mask[0, [5, 6, 15]] = 0
    other = ids.copy()
    other[0, [5, 6, 15]] = 59
    first, second = (engine.run(each, mask, hidden_states=True) for each in (ids, other))
    assert np.array_equal(first.hidden_states, second.hidden_states)


def test_several_threads_may_call_one_engine(engine):
    requests = [ragged([3 + i, 60, 10 * i + 1], seed=i) for i in range(6)]
    expected = [engine.run(*request).logits for request in requests]
    wrong = []

    def call(start):
        for turn in range(20):
            index = (start + turn) % len(requests)
            if not np.array_equal(engine.run(*requests[index]).logits, expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=call, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_for_activations_is_kept_and_does_not_grow(engine):
    ids, mask = ragged([200, 30, 7])
    engine.run(ids, mask)
    kept = engine.workspace_bytes
    for _ in range(20):
        engine.run(ids, mask)
    assert engine.workspace_bytes == kept > 0


def test_an_engine_works_in_a_forked_process(engine):
    import multiprocessing

    ids = token_ids(0, 4, 50)
    expected = engine.run(ids).logits

    def child(queue):
        queue.put(engine.run(ids).logits)

    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    found = queue.get(timeout=60)
    process.join(timeout=60)
    assert np.array_equal(found, expected)
    assert process.exitcode == 0


def test_classify(engine):
    single = engine.classify("w1 w2 w3")
    assert isinstance(single, Classification)
    assert set(single.scores) == {"label 0", "label 1", "label 2"} == set(engine.labels)
    assert sum(single.scores.values()) == pytest.approx(1.0)
    assert single.score == max(single.scores.values()) == single.scores[single.label]
    several = engine.classify(["w1 w2 w3", ("w4", "w5 w6")])
    assert several[0] == single
    assert engine.classify([]) == []
    ids = [[2, 8, 3, 9, 10, 3]]
    logits = engine.run(ids, token_type_ids=[[0, 0, 0, 1, 1, 1]]).logits[0].astype(float)
    exponentials = np.exp(logits - logits.max())
    assert list(several[1].scores.values()) == pytest.approx(list(exponentials / exponentials.sum()))


def test_text_beyond_the_length_is_cut(engine):
    words = " ".join(f"w{i % 50}" for i in range(600))
    encoding = engine.tokenizer.encode([words])
    assert encoding.input_ids.shape == (1, POSITIONS)
    assert engine.classify(words).label in engine.labels


def test_embed(engine):
    texts = ["w1 w2", "w3 w4 w5 w6 w7"]
    batch = engine.tokenizer.encode(texts)
    assert batch.input_ids.shape == (2, 7)  # the file's own padding to 40 is not followed
    states = engine.run(batch.input_ids, batch.attention_mask, hidden_states=True, logits=False)
    assert states.logits is None
    mean = np.stack([states.hidden_states[0, :4].mean(axis=0), states.hidden_states[1].mean(axis=0)])
    np.testing.assert_allclose(engine.embed(texts), mean, rtol=1e-5, atol=1e-6)
    assert np.array_equal(engine.embed(texts, pooling="cls"), states.hidden_states[:, 0])
    assert engine.embed("w1").shape == (engine.hidden_size,)
    np.testing.assert_allclose(np.linalg.norm(engine.embed(texts, normalize=True), axis=1), 1, rtol=1e-6)
    with pytest.raises(DataError, match="pooling is 'sum', allowed are cls, max, mean"):
        engine.embed("w1", pooling="sum")


def test_answer(reader):
    context = "w1 w2 w3 w4 w5 w6 w7 w8"
    found = reader.answer("w9 w10", context)
    assert context[found.start : found.end] == found.text != ""
    assert 0 < found.score <= 1
    assert reader.answer("w9", context, max_answer_tokens=1).text in context.split()


def test_answer_over_windows(reader):
    context = " ".join(f"w{i % 50}" for i in range(100))
    batch = reader.tokenizer.encode_windows("w9", context, 40, 10, 8)
    assert len(batch.encodings) > 2
    found = reader.answer("w9", context, max_tokens=40, stride=10)
    assert context[found.start : found.end] == found.text
    with pytest.raises(ConfigurationError, match="stride is 20, but max_length = 10 leaves 4 tokens"):
        reader.answer("w9", context, max_tokens=10, stride=20)
    long = " ".join(["w1"] * 30)  # cut, so that the context has its half of each window
    assert reader.answer(long, context, max_tokens=20, stride=5) == reader.answer(
        " ".join(["w1"] * 8), context, max_tokens=20, stride=5
    )
    with pytest.raises(DataError, match="the context holds no token"):
        reader.answer("w9", "")


def test_a_task_that_the_model_was_not_trained_for(engine, reader):
    with pytest.raises(ConfigurationError, match="has no head for question answering"):
        engine.answer("w1", "w2")
    with pytest.raises(ConfigurationError, match="has no head for sequence classification"):
        reader.classify("w1")


HOSTILE = [
    ({"input_ids": [[WORDS]]}, r"input_ids holds 60, allowed is 0 to 59"),
    ({"input_ids": [[-1]]}, r"input_ids holds -1 to -1, allowed is 0 to"),
    ({"input_ids": [[2**40]]}, r"input_ids holds 1099511627776"),
    ({"input_ids": [[2**70]]}, r"input_ids has the type object"),
    ({"input_ids": [[1.5]]}, r"input_ids has the type float64, whole numbers are needed"),
    ({"input_ids": [["a"]]}, r"input_ids has the type <U1"),
    ({"input_ids": [1, 2]}, r"input_ids has the shape \[2\], \[sequences, tokens\] is needed"),
    ({"input_ids": [[1, 2], [3]]}, r"rows of different lengths"),
    ({"input_ids": np.zeros((1, POSITIONS + 1), dtype=int)}, r"input_ids has 521 columns, this model takes 520"),
    ({"input_ids": np.zeros((2, 0), dtype=int)}, r"hides every token of sequence 0|has the shape"),
    ({"input_ids": [[4, 5]], "attention_mask": [[0, 0]]}, r"attention_mask hides every token of sequence 0"),
    ({"input_ids": [[4, 5]], "attention_mask": [[0, 1]]}, r"hides the first token of sequence 0, which the head reads"),
    ({"input_ids": [[4, 5]], "attention_mask": [[1, 2]]}, r"attention_mask holds a value other than 0 and 1"),
    ({"input_ids": [[4, 5]], "attention_mask": [[1]]}, r"attention_mask has the shape \[1, 1\], input_ids \[1, 2\]"),
    ({"input_ids": [[4, 5]], "token_type_ids": [[0, 2]]}, r"token_type_ids holds 2, allowed is 0 to 1"),
]


@pytest.mark.parametrize(("arrays", "message"), HOSTILE)
def test_hostile_arrays_are_refused(engine, arrays, message):
    with pytest.raises(DataError, match=message):
        engine.run(**arrays)
    assert np.isfinite(engine.run([[4, 5]]).logits).all()


def test_arrays_of_any_layout_and_type(engine):
    ids = token_ids(0, 4, 6)
    expected = engine.run(ids).logits
    for same in (
        ids.astype(np.int16),
        ids.astype(np.uint64),
        np.asfortranarray(ids),
        np.repeat(ids, 2, axis=1)[:, ::2],
    ):
        assert np.array_equal(engine.run(same).logits, expected)
    assert np.array_equal(engine.run(ids.tolist(), np.ones_like(ids, dtype=bool)).logits, expected)
    assert engine.run(np.zeros((0, 5), dtype=int)).logits.shape == (0, 3)


def test_texts_that_are_none(engine):
    with pytest.raises(DataError, match=r"text 1 is int \(2\), not a text"):
        engine.classify(["w1", 2])
    with pytest.raises(DataError, match="text 0 is a tuple of 3; a text"):
        engine.classify([("w1", "w2", "w3")])
    for call in (engine.classify, engine.embed, engine.tokenizer.encode):
        with pytest.raises(DataError, match="text 300 is None, a missing value, not a text"):
            call(["w1"] * 300 + [None])
    for call in (engine.classify, engine.embed):
        with pytest.raises(DataError, match="the argument is dict, not a list of texts"):
            call({"text": "w1"})


def test_pairs_in_lists_tuples_and_arrays_are_the_same(engine):
    pairs = [("w1 w2", "w3"), ("w1 w2", "w4 w5")]
    expected = engine.embed(pairs)
    for same in ([list(pair) for pair in pairs], np.array(pairs), np.array(pairs, dtype=object), tuple(pairs)):
        assert np.array_equal(engine.embed(same), expected)
        assert [found.scores for found in engine.classify(same)] == [found.scores for found in engine.classify(pairs)]


def changed(folder, tmp_path, *, config=None, tensors=None, grids=None):
    """A copy of the folder whose parts went through the given functions."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    if config is not None:
        value = json.loads((copy / "config.json").read_text())
        config(value)
        (copy / "config.json").write_text(json.dumps(value))
    for name, change in (("model.safetensors", tensors), ("quantization.safetensors", grids)):
        if change is not None:
            from safetensors import safe_open

            with safe_open(copy / name, "np") as file:
                metadata = file.metadata()
            content = load_file(copy / name)
            metadata = change(content, metadata) or metadata
            save_file(content, copy / name, metadata=metadata)
    return copy


QUERY = "bert.encoder.layer.0.attention.self.query"


def drop(name):
    return lambda content, metadata: content.pop(name) is None or None


def put(name, value):
    return lambda content, metadata: content.__setitem__(name, value)


DAMAGED = [
    (
        {"config": lambda c: c.update(model_type="gpt2")},
        r"model_type is 'gpt2', the engine runs bert, camembert, distilbert",
    ),
    ({"config": lambda c: c.update(hidden_size=50)}, r"hidden_size 50 is no multiple of num_attention_heads 4"),
    ({"config": lambda c: c.update(hidden_size=-4)}, r"hidden_size is -4, allowed is a whole number from 1 to 65535"),
    ({"config": lambda c: c.update(hidden_size=True)}, r"hidden_size is True, allowed"),
    ({"config": lambda c: c.update(hidden_size=64)}, r"shape \[60, 48\], \[any, 64\] is needed"),
    ({"config": lambda c: c.update(hidden_act={})}, r"hidden_act is \{\}, the engine knows"),
    ({"config": lambda c: c.update(model_type=[])}, r"model_type is \[\], the engine runs"),
    ({"config": lambda c: c.update(num_hidden_layers=3)}, r"holds no tensor 'bert.encoder.layer.2"),
    ({"config": lambda c: c.update(num_hidden_layers=10**9)}, r"num_hidden_layers is 1000000000"),
    ({"config": lambda c: c.update(intermediate_size=81)}, r"intermediate.dense.weight' has the shape \[80, 48\]"),
    ({"config": lambda c: c.update(hidden_act="mish")}, r"hidden_act is 'mish', the engine knows"),
    ({"config": lambda c: c.update(layer_norm_eps=0)}, r"layer_norm_eps is 0"),
    (
        {"config": lambda c: c.update(position_embedding_type="relative_key")},
        r"position_embedding_type is 'relative_key'",
    ),
    ({"config": lambda c: c.update(is_decoder=True)}, r"is_decoder is True, the engine runs False"),
    ({"tensors": drop(f"{QUERY}.weight")}, rf"holds no tensor '{QUERY}.weight', which a bert model"),
    ({"tensors": put(f"{QUERY}.bias", np.zeros(7, np.float32))}, r"query.bias' has the shape \[7\], \[48\] is needed"),
    ({"tensors": put(f"{QUERY}.bias", np.full(48, np.nan, np.float32))}, r"a bias holds a value that is not finite"),
    ({"tensors": put(f"{QUERY}.weight", np.ones((48, 48), np.float32))}, r"not on the integer grid of its scale"),
    ({"tensors": put(f"{QUERY}.weight", np.ones((48, 48), np.int64))}, r"not on the integer grid|int64"),
    (
        {"tensors": put("bert.embeddings.word_embeddings.weight", np.full((60, 48), np.inf, np.float32))},
        r"an embedding table holds a value that is not finite, in row 0",
    ),
    (
        {"tensors": put("bert.embeddings.LayerNorm.weight", np.full(48, np.nan, np.float32))},
        r"a LayerNorm weight holds a value that is not finite",
    ),
    ({"grids": drop(f"{QUERY}.weight_scale")}, r"has no weight_scale"),
    ({"grids": drop(f"{QUERY}.input_zero_point")}, r"needs input_scale \[1\] and input_zero_point \[1\]"),
    ({"grids": drop(f"{QUERY}.output_scale")}, r"needs output_scale"),
    ({"grids": put(f"{QUERY}.weight_scale", np.ones(5, np.float32))}, r"weight_scale has the shape \[5\]"),
    ({"grids": put(f"{QUERY}.input_scale", np.zeros(1, np.float32))}, r"not finite and above 0"),
    ({"grids": put(f"{QUERY}.input_scale", np.full(1, 1e-30, np.float32))}, r"allowed is 2\^-60 and more"),
    ({"grids": put(f"{QUERY}.input_scale", np.ones(1, np.float64))}, r"is float64 \[1\], float32 of one dimension"),
    ({"grids": put(f"{QUERY}.input_zero_point", np.zeros(1, np.int32))}, r"is int32 \[1\], uint8 \[1\] is needed"),
    ({"grids": put(f"{QUERY}.surprise", np.zeros(1, np.float32))}, r"unknown tensor"),
    ({"grids": lambda c, m: {**m, "format_version": "9"}}, r"version '9', this release reads"),
    (
        {"grids": lambda c, m: {**m, "config": '{"attention_products": 1}'}},
        r"attention_products is 1, allowed is true or",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED)
def test_damaged_models_are_refused(folder, tmp_path, damage, message):
    with pytest.raises(CheckpointError, match=message):
        Engine.load(changed(folder, tmp_path, **damage))


def test_attention_products_need_their_grids(folder, tmp_path):
    value = "bert.encoder.layer.1.attention.self.value"

    def without_output(content, metadata):
        del content[f"{value}.output_scale"], content[f"{value}.output_zero_point"]

    with pytest.raises(CheckpointError, match="layer 1: attention_products needs output grids"):
        Engine.load(changed(folder, tmp_path, grids=without_output))


def test_missing_parts(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"nothing.pofa"):
        Engine.load(tmp_path / "nothing.pofa")
    with pytest.raises(CheckpointError, match=r"holds neither model.safetensors"):
        Engine.load(tmp_path)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    engine = Engine.load(copy)
    assert engine.run([[4, 5]]).logits.shape == (1, 3)
    with pytest.raises(
        CheckpointError, match=r"holds neither tokenizer.json nor vocab.txt, so it takes arrays of token ids"
    ):
        engine.classify("w1")
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer.json is no tokenizer"):
        Engine.load(copy).classify("w1")
    (copy / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no config.json"):
        Engine.load(copy)


@pytest.mark.parametrize("threads", [0, -1, 257, 1.0, True])
def test_threads_out_of_range(folder, threads):
    with pytest.raises(ConfigurationError, match="threads is"):
        Engine.load(folder, threads=threads)


def test_the_kernel_is_chosen_by_argument_or_variable(folder, monkeypatch):
    monkeypatch.setenv("PRUNEOFA_KERNEL", "portable")
    assert Engine.load(folder).kernel == "portable"
    assert Engine.load(folder, kernel="").kernel == kernel_names()[0]
    monkeypatch.setenv("PRUNEOFA_KERNEL", "avx9")
    with pytest.raises(
        ConfigurationError, match=r"PRUNEOFA_KERNEL: kernel 'avx9' is unknown; this build has .*portable"
    ):
        Engine.load(folder)
    with pytest.raises(ConfigurationError, match="kernel 'sse' is unknown"):
        Engine.load(folder, kernel="sse")
