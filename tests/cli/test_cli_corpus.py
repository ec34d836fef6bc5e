"""The command `corpus`: builds one, says what is in it, and what is wrong with its source."""

import bz2
import json

import pytest


@pytest.fixture
def build(cli, small_world, tmp_path):
    def call(*arguments, train_file=small_world.corpus, folder="out"):
        return cli(
            "corpus", "--model_name_or_path", small_world.model, "--train_file", train_file, "--max_length", 16,
            "--output_dir", tmp_path / folder, *arguments,
        )  # fmt: skip

    return call


@pytest.mark.parametrize("form", ["blocks", "pairs", "sentences", "passages"])
def test_every_form_is_built_and_described(form, build, cli, small_world, tmp_path):
    documents = small_world.corpus.read_text().strip().split("\n\n")
    texts = tmp_path / "texts.txt"  # of two sentences each, which pairs need
    texts.write_text("\n\n".join(f"{text}. The {text}." for text in documents))
    built = build("--form", form, "--num_proc", 1, "--set", "corpus.validation_fraction=0.1", train_file=texts)
    assert built.code == 0, built.err
    assert "documents: 60" in built.out and f"corpus: {tmp_path / 'out'}" in built.out
    shown = cli("corpus", "--output_dir", tmp_path / "out", "--stats")
    assert shown.code == 0, shown.err
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.out.splitlines()]
    cells = {line[0]: line[1:] for line in lines if len(line) == 3}
    assert cells[""] == ["train", "validation"]
    assert sum(int(cell) for cell in cells["documents"]) == 60
    assert f"form {form}, up to 16 tokens" in shown.out and "built in" in shown.out
    assert ("sentences split by sentencex" in shown.out) == (form != "blocks")
    picture = tmp_path / "out" / "corpus.png"
    assert f"picture: {picture}" in shown.out and picture.read_bytes().startswith(b"\x89PNG")
    as_json = cli("corpus", "--output_dir", tmp_path / "out", "--stats", "--json")
    said = json.loads(as_json.out)
    assert said["settings"]["form"] == form and said["statistics"]["documents"] == 60
    assert said["times"]["processes"] == 1


def test_stats_builds_what_is_not_there(build):
    first = build("--stats")
    assert first.code == 0 and "| documents" in first.out
    again = build("--stats")
    assert again.code == 0 and again.out == first.out
    changed = build("--stats", "--seed", 5)
    assert changed.code == 2 and "holds another run of corpus (different: seed" in changed.err


def test_stats_without_a_corpus_or_a_source(cli, small_world, tmp_path):
    outcome = cli("corpus", "--output_dir", tmp_path / "none", "--stats")
    assert outcome.code == 2 and "--model_name_or_path" in outcome.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--form", "triples"),
            "--form (corpus.form): is 'triples'; allowed: 'blocks', 'pairs', 'sentences' or 'passages'",
        ),
        (("--num_proc", 0), "should be greater than or equal to 1"),
        (("--set", "corpus.language=English"), "corpus.language: is 'English'"),
    ],
)
def test_wrong_use(arguments, message, build):
    outcome = build(*arguments)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.replace("\u2502", " ").split())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.bz2", bz2.compress(b'{"text": "good film"}\n' * 99)[:-9], "a.jsonl.bz2: can't be read after line"),
        ("a.xml", b"<mediawiki><siteinfo/>", "a.xml: broken XML after page 0"),
        ("a.txt", b"", "a.txt is empty: it holds no row"),
        ("a.jsonl", b'{"body": "good"}', "a.jsonl:1: no column 'text'; columns found: 'body'"),
    ],
)
def test_a_faulty_source_is_one_error_that_names_the_file(name, content, message, build, tmp_path):
    (tmp_path / name).write_bytes(content)
    outcome = build(train_file=tmp_path / name)
    assert outcome.code == 1 and message in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err and not (tmp_path / "out").exists()


def test_a_build_that_failed_goes_on_with_its_shards(build, small_world, tmp_path, monkeypatch):
    """The stage keeps the finished shards after an error, and takes them away when it is done."""
    from pruneofa.data.pretraining import corpus as corpus_module

    good, calls = corpus_module.make_examples, []
    options = ("--num_proc", 1, "--set", "corpus.shard_characters=500")
    with monkeypatch.context() as patched:
        patched.setattr(corpus_module, "make_examples", lambda task: calls.append(task) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(*options)
    tokens = tmp_path / "out" / ".stage" / "checkpoints" / "shards" / "tokens"
    kept = {path: path.stat().st_mtime_ns for path in tokens.glob("*.bin")}
    assert len(kept) > 2 and len(calls) == 1

    def seen(task):
        assert {path: path.stat().st_mtime_ns for path in tokens.glob("*.bin")} == kept
        return good(task)

    with monkeypatch.context() as patched:
        patched.setattr(corpus_module, "make_examples", seen)
        assert build(*options).code == 0
    assert not (tmp_path / "out" / ".stage" / "checkpoints").exists()
    assert build(*options, folder="whole").code == 0
    for path in (tmp_path / "whole" / "data").rglob("*.arrow"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes()
