import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pruneofa.data.pretraining import corpus as corpus_module
from pruneofa.data.pretraining.building.tokenizing import text_hash
from pruneofa.data.pretraining.corpus import CorpusConfig, build_corpus, load_corpus
from pruneofa.data.tokenization import tokenizer_hash
from pruneofa.errors import ConfigurationError, DataError

FORMS = ("blocks", "pairs", "sentences")
WORDS = ["good", "bad", "film", "plot", "the", "was", "is", "very", "not", "of", "and", "one", "two", "three"]


def sentence(random, words=None):
    chosen = random.choice(words or WORDS, random.integers(2, 12))
    return " ".join(chosen).capitalize() + "."


@pytest.fixture
def source(write):
    random = np.random.default_rng(3)
    documents = [" ".join(sentence(random) for _ in range(random.integers(1, 7))) for _ in range(400)]
    lines = [json.dumps({"text": text}) for text in [*documents, "", None, "  ", "é☃ good"]]
    return write("docs.jsonl", "\n".join(lines))


def files_of(folder):
    """Every file that must not depend on how the corpus was built, with its bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "times.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def texts_of(source):
    return [json.loads(line)["text"] or "" for line in Path(source).read_text().splitlines()]


def test_a_corpus_is_written_and_read_back(source, bert_tokenizer, tmp_path):
    config = CorpusConfig(source=source, max_length=32, validation_fraction=0.1, shard_characters=4000)
    statistics = build_corpus(config, bert_tokenizer, tmp_path / "out", model_max_length=32, processes=1)
    loaded = load_corpus(tmp_path / "out", bert_tokenizer)
    assert statistics["documents"] == 401 and statistics["dropped_empty"] == 3
    assert 20 < statistics["validation"]["documents"] < 65
    tokens: Counter[int] = Counter()
    for name, split in loaded.items():
        assert len(split) == statistics[name]["examples"]
        assert split["length"][:] == [len(ids) for ids in split["input_ids"]]
        assert max(split["length"]) <= 32
        assert statistics[name]["mean_length"] == pytest.approx(np.mean(split["length"][:]))
        counts = statistics[name]["histograms"]["example_lengths"]
        assert counts == np.bincount(split["length"][:], minlength=33).tolist()
        inner = [token for ids in split["input_ids"] for token in ids if token not in (2, 3)]
        assert len(inner) == statistics[name]["tokens"]
        tokens.update(inner)
    encoded = bert_tokenizer(texts_of(source), add_special_tokens=False)["input_ids"]
    assert tokens == Counter(token for ids in encoded for token in ids)
    unknown = tokens[bert_tokenizer.unk_token_id]
    assert unknown and sum(statistics[name]["unknown_tokens"] for name in loaded) == unknown
    record = json.loads((tmp_path / "out" / "corpus.json").read_text())
    assert record["statistics"] == statistics and record["settings"] == config.model_dump()
    assert record["source"][0]["file"] == source and record["source"][0]["bytes"] == Path(source).stat().st_size
    assert len(record["shards"]["train"]) > 5 and record["origins"][0]["origin"] == f"{source}:1"
    assert not (tmp_path / ".out.building").exists()


@pytest.mark.parametrize("form", FORMS)
def test_the_columns_and_the_documents_of_each_example(form, source, bert_tokenizer, tmp_path):
    config = CorpusConfig(source=source, form=form, max_length=32, validation_fraction=0.1, shard_characters=4000)
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    texts = texts_of(source)
    encoded = bert_tokenizer([text.strip() for text in texts], add_special_tokens=False)["input_ids"]
    numbers = {name: set() for name in ("train", "validation")}
    for name, split in load_corpus(tmp_path / "out", bert_tokenizer).items():
        features = {
            key: str(feature.feature if hasattr(feature, "feature") else feature)
            for key, feature in split.features.items()
        }
        assert features["input_ids"] == "Value('int32')" and features["length"] == "Value('int32')"
        assert features["documents"] == "Value('int64')"
        if form == "pairs":
            assert features["second_segment"] == "Value('int32')" and features["next_sentence_label"] == "Value('int8')"
        for example in split:
            numbers[name] |= set(example["documents"])
            allowed = Counter(token for number in example["documents"] for token in encoded[number])
            assert Counter(token for token in example["input_ids"] if token not in (2, 3)) <= allowed
    # Numbers count every row of the source; the three empty ones are in no example.
    assert numbers["train"] | numbers["validation"] == {*range(400), 403}
    assert not numbers["train"] & numbers["validation"]
    for name, found in numbers.items():
        sides = {text_hash(texts[number].strip(), 0) < int(0.1 * 2**63) for number in found}
        assert sides == {name == "validation"}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["blocks", "pairs"])
def test_the_files_are_the_same_for_any_number_of_processes(form, source, bert_tokenizer, tmp_path):
    config = CorpusConfig(source=source, form=form, max_length=32, shard_characters=5000)
    built = []
    for processes in (1, 2, 3) if form == "pairs" else (1, 2):
        statistics = build_corpus(config, bert_tokenizer, tmp_path / str(processes), processes=processes)
        built.append((statistics, files_of(tmp_path / str(processes))))
        assert json.loads((tmp_path / str(processes) / "times.json").read_text())["processes"] == processes
    assert all(other == built[0] for other in built[1:])
    assert sum(name.startswith("train/") for name in built[0][1]) > 3
    other = config.model_copy(update={"seed": 1})
    build_corpus(other, bert_tokenizer, tmp_path / "other", processes=1)
    assert files_of(tmp_path / "other").keys() != built[0][1].keys() or files_of(tmp_path / "other") != built[0][1]


@pytest.mark.parametrize(("step", "after"), [("tokenize_shard", 0), ("tokenize_shard", 3), ("make_examples", 2)])
def test_a_broken_off_build_goes_on_with_its_finished_shards(
    step, after, source, bert_tokenizer, tmp_path, monkeypatch
):
    config = CorpusConfig(source=source, form="pairs", max_length=32, shard_characters=5000)
    build_corpus(config, bert_tokenizer, tmp_path / "whole", processes=1)
    function, calls = getattr(corpus_module, step), []

    def counted(task):
        calls.append(task)
        return function(task)

    def killed(task):
        if len(calls) == after:
            raise KeyboardInterrupt
        counted(task)

    monkeypatch.setattr(corpus_module, step, killed)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.building").exists() == bool(after)
    monkeypatch.setattr(corpus_module, step, counted)
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    shards = len(json.loads((tmp_path / "out" / "corpus.json").read_text())["origins"])
    assert len(calls) == shards  # none was made twice
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert not (tmp_path / ".out.building").exists()


def test_progress_tells_the_time_left(write, bert_tokenizer, tmp_path, monkeypatch, caplog):
    """By the bytes of the files that are read, then by the shards; of the first file nothing can be told."""
    monkeypatch.setattr(corpus_module, "_LOG_SECONDS", 0.0)
    caplog.set_level("INFO", logger="pruneofa")
    files = [str(write(f"{name}.txt", "\n\n".join(f"{name} text number {i}" for i in range(12)))) for name in "abcd"]
    config = CorpusConfig(source=files, max_length=16, validation_fraction=0.0, shard_characters=500)
    build_corpus(config, bert_tokenizer, tmp_path / "corpus", processes=1)
    reading = [message for message in caplog.messages if "documents read" in message]
    making = [message for message in caplog.messages if message.startswith("examples: ")]
    assert len(reading) > 2 and len(making) == len(reading)
    assert reading[0].endswith("shards") and all(re.search(r", \d+:\d\d:\d\d left$", line) for line in reading[1:])
    assert making[-1].startswith(f"examples: {len(making)} of {len(making)} shards, 0:00:00 left")


def test_unfinished_shards_of_another_corpus_are_not_used(source, bert_tokenizer, tmp_path, monkeypatch):
    config = CorpusConfig(source=source, max_length=32, shard_characters=5000)
    with monkeypatch.context() as patched:
        patched.setattr(corpus_module, "make_examples", lambda task: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    damaged = next((tmp_path / ".out.building" / "tokens").glob("*.bin"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    for changed in (config, config.model_copy(update={"seed": 1})):
        build_corpus(changed, bert_tokenizer, tmp_path / "out", processes=1)
        build_corpus(changed, bert_tokenizer, tmp_path / "fresh", processes=1)
        assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")


def test_shards_built_before_a_line_was_mended_stay_valid(write, bert_tokenizer, tmp_path, monkeypatch):
    random = np.random.default_rng(7)
    texts = [" ".join(sentence(random) for _ in range(3)) for _ in range(300)]
    lines = [json.dumps({"text": text}) for text in texts]
    files = [write(f"{name}.jsonl", "\n".join(lines[begin : begin + 100])) for begin, name in ((0, "a"), (100, "b"))]
    config = CorpusConfig(source=[*files, str(tmp_path / "c.jsonl")], max_length=32, shard_characters=3000)
    write("c.jsonl", "\n".join([*lines[200:270], '{"text": "cut', *lines[271:]]))
    with pytest.raises(DataError, match=r"c\.jsonl:71: broken JSON"):
        build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    done: list[int] = []
    tokenize = corpus_module.tokenize_shard
    monkeypatch.setattr(corpus_module, "tokenize_shard", lambda task: (done.append(task.batch.shard), tokenize(task)))
    kept = len(list((tmp_path / ".out.building" / "tokens").glob("*.json")))
    write("c.jsonl", "\n".join(lines[200:]))
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    shards = len(json.loads((tmp_path / "out" / "corpus.json").read_text())["origins"])
    assert kept > 5 and done == list(range(kept, shards))
    build_corpus(config, bert_tokenizer, tmp_path / "whole", processes=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_change_before_finished_shards_makes_those_anew_that_it_reaches(write, bert_tokenizer, tmp_path, monkeypatch):
    lines = [json.dumps({"text": f"good film number {number}"}) for number in range(205)]
    source = write("a.jsonl", "\n".join(lines) + "\nbroken")
    config = CorpusConfig(source=source, max_length=32, shard_characters=500)
    with pytest.raises(DataError, match=r"a\.jsonl:206: broken JSON"):
        build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    lines[100] = lines[100].replace("good", "evil")  # of the same length: the shards are cut as before
    write("a.jsonl", "\n".join(lines))
    done: list[int] = []
    tokenize = corpus_module.tokenize_shard
    monkeypatch.setattr(corpus_module, "tokenize_shard", lambda task: (done.append(task.batch.shard), tokenize(task)))
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
    shards = len(json.loads((tmp_path / "out" / "corpus.json").read_text())["origins"])
    assert len(done) == 2 < shards and done[-1] == shards - 1
    build_corpus(config, bert_tokenizer, tmp_path / "whole", processes=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


_KILLED = """
import sys
from transformers import PreTrainedTokenizerFast
from pruneofa.data.pretraining.corpus import CorpusConfig, build_corpus
if __name__ == "__main__":
    tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[1])
    build_corpus(CorpusConfig.model_validate_json(sys.argv[2]), tokenizer, sys.argv[3], processes=2)
"""


@pytest.mark.slow
def test_a_build_of_two_processes_killed_and_resumed_ends_the_same(write, bert_tokenizer, tmp_path):
    random = np.random.default_rng(5)
    texts = [" ".join(sentence(random) for _ in range(20)) for _ in range(500)]
    config = CorpusConfig(
        source=write("big.txt", "\n\n".join(texts)), form="pairs", max_length=32, shard_characters=10_000
    )
    bert_tokenizer.save_pretrained(tmp_path / "tokenizer")
    script = write("build.py", _KILLED)
    command = [sys.executable, script, str(tmp_path / "tokenizer"), config.model_dump_json(), str(tmp_path / "out")]
    process = subprocess.Popen(command, start_new_session=True)
    finished = tmp_path / ".out.building" / "tokens"
    while len(list(finished.glob("*.json"))) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    with pytest.raises(ProcessLookupError):  # the workers end with their parent
        for _ in range(400):
            os.killpg(process.pid, 0)
            time.sleep(0.025)
        os.killpg(process.pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in finished.glob("*.json")}
    assert 3 <= len(kept) < 40
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=2)
    build_corpus(config, bert_tokenizer, tmp_path / "whole", processes=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_memory_of_a_build_does_not_depend_on_the_number_of_shards(write, bert_tokenizer, tmp_path, monkeypatch):
    """At most `processes` + 1 shards are read ahead of the one that is waited for."""
    from pruneofa.data.pretraining.building import documents, pool

    alive, most = 0, 0

    class Counted(documents.DocumentBatch):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def batch(*arguments):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return Counted(*arguments)

    monkeypatch.setattr(documents, "DocumentBatch", batch)
    monkeypatch.setattr(pool, "ProcessPoolExecutor", _SameProcess)
    text = "\n\n".join(f"good film {'very ' * 50}" + WORDS[i % 14] for i in range(200))
    config = CorpusConfig(source=write("a.txt", text), max_length=32, shard_characters=500)
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=2)
    assert len(json.loads((tmp_path / "out" / "corpus.json").read_text())["origins"]) > 50
    assert most <= 5


class _SameProcess:
    """Stands for a pool of processes; its tasks are done when their results are asked for."""

    def __init__(self, *_):
        pass

    def submit(self, function, task):
        return _Late(function, task)

    def shutdown(self, **_):
        pass


class _Late:
    def __init__(self, function, task):
        self.function, self.task = function, task

    def result(self):
        return self.function(self.task)


def test_bos_and_eos_frame_the_blocks_of_a_roberta_like_tokenizer(source, roberta_tokenizer, tmp_path):
    build_corpus(CorpusConfig(source=source, max_length=16), roberta_tokenizer, tmp_path / "out")
    train = load_corpus(tmp_path / "out", roberta_tokenizer)["train"]
    start, end = roberta_tokenizer.convert_tokens_to_ids(["<s>", "</s>"])
    assert all(ids[0] == start and ids[-1] == end for ids in train["input_ids"])


def test_a_tokenizer_s_own_truncation_and_padding_are_not_applied(source, bert_tokenizer, tmp_path):
    import copy

    config = CorpusConfig(source=source, max_length=32)
    build_corpus(config, bert_tokenizer, tmp_path / "out")
    tokenizer = copy.deepcopy(bert_tokenizer)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    build_corpus(config, tokenizer, tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out")


def test_long_documents_are_tokenised_in_pieces(source, bert_tokenizer, tmp_path, monkeypatch):
    for form in ("blocks", "sentences"):
        config = CorpusConfig(source=source, form=form, max_length=32)
        build_corpus(config, bert_tokenizer, tmp_path / "out", processes=1)
        with monkeypatch.context() as patched:
            patched.setattr("pruneofa.data.pretraining.building.text_encoder._PIECE_CHARACTERS", 23)
            patched.setattr("pruneofa.data.pretraining.building.text_encoder._BATCH_CHARACTERS", 100)
            build_corpus(config, bert_tokenizer, tmp_path / "again", processes=1)
        assert files_of(tmp_path / "again") == files_of(tmp_path / "out")


def test_copies_of_a_document_are_on_one_side(write, bert_tokenizer, tmp_path):
    path = write("docs.jsonl", "\n".join(json.dumps({"text": text}) for text in ["good film", "bad plot"] * 50))
    statistics = build_corpus(CorpusConfig(source=path, max_length=8), bert_tokenizer, tmp_path / "out")
    assert statistics["validation"]["documents"] == 50  # the fraction asks for 2, but copies stay together
    sides = [
        {i for ids in split["input_ids"] for i in ids}
        for split in load_corpus(tmp_path / "out", bert_tokenizer).values()
    ]
    assert sides[0] & sides[1] == {2, 3}


def test_without_validation(source, bert_tokenizer, tmp_path):
    for form in FORMS:
        build_corpus(CorpusConfig(source=source, form=form, validation_fraction=0), bert_tokenizer, tmp_path / form)
        assert list(load_corpus(tmp_path / form, bert_tokenizer)) == ["train"]


def test_errors_of_building(write, source, bert_tokenizer, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        DataError, match="max_length is 64, but the model takes at most 32 tokens; set max_length to 32"
    ):
        build_corpus(CorpusConfig(source=source, max_length=64), bert_tokenizer, out, model_max_length=32)
    with pytest.raises(DataError, match=r"docs\.jsonl:1: no column 'txt'; columns found: 'text'; did you mean 'text'"):
        build_corpus(CorpusConfig(source=source, text_column="txt"), bert_tokenizer, out)
    with pytest.raises(DataError, match=r"holds no text in column 'text' \(dropped: 2 empty\); check the source"):
        build_corpus(CorpusConfig(source=write("e.jsonl", '{"text": ""}\n{"text": "\\u0001"}')), bert_tokenizer, out)
    with pytest.raises(DataError, match="1 document, none of which is left for training"):
        build_corpus(CorpusConfig(source=write("one.txt", "good film")), bert_tokenizer, out)
    three = write("three.txt", "good film\n\nbad film\n\ngood plot\n\ngood plot")
    with pytest.raises(DataError, match="4 documents, too few for form pairs: training, and validation"):
        build_corpus(CorpusConfig(source=three, form="pairs"), bert_tokenizer, out)
    assert not out.exists()
    shutil.rmtree(tmp_path / ".out.building")  # of the last ones, whose text was tokenised
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.slow
def test_a_fault_in_a_worker_or_in_the_reader_is_one_error_and_leaves_the_old_corpus(source, bert_tokenizer, tmp_path):
    config = CorpusConfig(source=source, max_length=32, shard_characters=3000)
    build_corpus(config, bert_tokenizer, tmp_path / "out", processes=2)
    before = files_of(tmp_path / "out")
    with Path(source).open("a") as file:
        file.write('\n{"text": "good"}\n{"text": 5}\n')
    with pytest.raises(DataError, match=r"docs\.jsonl:406: column 'text' is int \(5\), not a text; correct the row"):
        build_corpus(config, bert_tokenizer, tmp_path / "out", processes=2)
    assert files_of(tmp_path / "out") == before


def test_a_failed_write_leaves_the_old_corpus(source, bert_tokenizer, tmp_path, monkeypatch):
    build_corpus(CorpusConfig(source=source, max_length=32), bert_tokenizer, tmp_path / "out")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(corpus_module, "write_json", full_disk)
        with pytest.raises(OSError, match="No space left"):
            build_corpus(CorpusConfig(source=source, max_length=16), bert_tokenizer, tmp_path / "out")
    assert max(load_corpus(tmp_path / "out", bert_tokenizer)["train"]["length"]) > 16
    build_corpus(CorpusConfig(source=source, max_length=16), bert_tokenizer, tmp_path / "out")
    assert max(load_corpus(tmp_path / "out", bert_tokenizer)["train"]["length"]) == 16
    assert not list(tmp_path.glob(".out*"))


def test_another_tokenizers_corpus_is_refused(source, bert_tokenizer, roberta_tokenizer, tmp_path):
    build_corpus(CorpusConfig(source=source), bert_tokenizer, tmp_path / "out")
    with pytest.raises(DataError, match=r"was made with another tokenizer .*build the corpus again"):
        load_corpus(tmp_path / "out", roberta_tokenizer)


def test_the_hash_ignores_truncation_and_padding_and_survives_saving(bert_tokenizer, tmp_path):
    before = tokenizer_hash(bert_tokenizer)
    bert_tokenizer(["good film", "a"], truncation=True, max_length=3, padding="max_length")
    assert bert_tokenizer.backend_tokenizer.truncation is not None
    assert tokenizer_hash(bert_tokenizer) == before
    bert_tokenizer.save_pretrained(tmp_path)
    assert tokenizer_hash(type(bert_tokenizer).from_pretrained(tmp_path)) == before


def test_damaged_corpora(source, bert_tokenizer, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"is no corpus folder: corpus\.json can't be read"):
        load_corpus(out, bert_tokenizer)
    build_corpus(CorpusConfig(source=source), bert_tokenizer, out)
    good = (out / "corpus.json").read_text()
    for bad, message in [
        ("{", "is damaged"),
        ("[]", "is not of the form"),
        (good.replace("pruneofa-corpus-2", "pruneofa-corpus-1"), "is not of the form 'pruneofa-corpus-2'"),
        (good.replace('"examples":', '"example":'), "is not of the form"),
        (good.replace('"00000.arrow"', '"../train/00000.arrow"'), "is not of the form"),
        (good.replace('"examples": ', '"examples": 9'), r"00000\.arrow is not what corpus\.json says"),
        (good.replace('"bytes": ', '"bytes": 9'), r"00000\.arrow is not what corpus\.json says"),
        (good.replace('"form": "blocks"', '"form": "pairs"'), r"00000\.arrow is not what corpus\.json says"),
    ]:
        (out / "corpus.json").write_text(bad)
        with pytest.raises(DataError, match=message):
            load_corpus(out, bert_tokenizer)
    (out / "corpus.json").write_text(good)
    arrow = next((out / "train").glob("*.arrow"))
    held = arrow.read_bytes()
    arrow.write_bytes(held[:50])
    with pytest.raises(DataError, match=r"train/00000\.arrow is not what corpus\.json says"):
        load_corpus(out, bert_tokenizer)
    arrow.write_bytes(bytes(len(held)))
    with pytest.raises(DataError, match=r"train/00000\.arrow is (damaged|not what)"):
        load_corpus(out, bert_tokenizer)
    shutil.rmtree(out / "train")
    with pytest.raises(DataError, match=r"train/00000\.arrow is damaged"):
        load_corpus(out, bert_tokenizer)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"source": ""}, "source"),
        ({"source": []}, "source"),
        ({"source": "a", "max_length": 7}, "max_length"),
        ({"source": "a", "validation_fraction": 0.6}, "validation_fraction"),
        ({"source": "a", "seed": -1}, "seed"),
        ({"source": "a", "sead": 1}, "sead"),
        ({"source": "a", "form": "triples"}, "form"),
        ({"source": "a", "language": "English"}, "language"),
        ({"source": "a", "short_sequence_probability": 1.1}, "short_sequence_probability"),
        ({"source": "a", "shard_characters": 0}, "shard_characters"),
    ],
)
def test_settings_are_checked(values, field):
    with pytest.raises(ConfigurationError) as caught:
        CorpusConfig(**values)
    assert str(caught.value).startswith(f"CorpusConfig: {field}: ")
