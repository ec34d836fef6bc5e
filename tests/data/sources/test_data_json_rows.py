"""JSON files in the forms that people have: lines, arrays, indented, concatenated, under `data`, SQuAD's articles."""

import json

import pytest

from pruneofa.data.sources import json_text
from pruneofa.data.sources.reading import read_rows
from pruneofa.errors import DataError

ROWS = [{"text": f"Zoë {number} \u2028 😀", "label": number, "more": {"a": [1, None]}} for number in range(7)]
FORMS = {
    "lines": "\n".join(map(json.dumps, ROWS)),
    "lines of windows": "\r\n\r\n".join(map(json.dumps, ROWS)) + "\r\n",
    "array": json.dumps(ROWS),
    "array, indented": json.dumps(ROWS, indent=2, ensure_ascii=False),
    "concatenated": "".join(map(json.dumps, ROWS)),
    "concatenated, indented": "\n".join(json.dumps(row, indent=1) for row in ROWS),
    "data": json.dumps({"version": "1", "data": ROWS, "license": {"name": [1]}}),
    "data, indented": "\n" + json.dumps({"data": ROWS}, indent=4) + "\n",
}


@pytest.mark.parametrize("chunk", [1, 7, 2**16])
@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same_rows(form, chunk, write, monkeypatch):
    monkeypatch.setattr(json_text, "_CHUNK", chunk)
    for name in ("a.json", "a.jsonl", "a.ndjson"):
        assert list(read_rows(write(name, FORMS[form]))) == ROWS
    assert list(read_rows(write("b.json", "\ufeff" + FORMS[form]))) == ROWS
    assert list(read_rows(write("c.json", FORMS[form].encode("utf-16")))) == ROWS


def test_one_row_alone_may_be_on_several_lines(write):
    assert list(read_rows(write("a.json", json.dumps(ROWS[0], indent=1)))) == ROWS[:1]
    assert list(read_rows(write("a.json", json.dumps(ROWS[0])))) == ROWS[:1]


def test_origins_lead_to_the_place(write):
    path = write("a.json", FORMS["concatenated, indented"])
    assert [row.origin for row in read_rows(path)][:2] == [f"{path}:1", f"{path}:11"]
    path = write("a.json", FORMS["data"])
    assert [row.origin for row in read_rows(path)][:2] == [f"{path}: data[0]", f"{path}: data[1]"]
    path = write("a.json", FORMS["lines of windows"])
    assert [row.origin for row in read_rows(path)][:2] == [f"{path}:1", f"{path}:3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"a\.json:1: broken JSON \(.*needed: one JSON object a line"),
        ('{\n"a": 1\n"b": 2}', r"a\.json:3: broken JSON"),
        ("[" * 100_000, r"a\.json:1: broken JSON \(maximum recursion"),
        ('{"a":' * 100_000, r"a\.json:1: broken JSON"),
        ('[{"a": 1},', r"a\.json:1: broken JSON \("),
        ('[{"a": 1}\n{"a": 2}]', r"a\.json:2: broken JSON: no ',' or '\]' after \[0\]"),
        ('[{"a": 1}] x', r"a\.json:1: more text after the array has ended"),
        ('{"data": [{"a": 1}]', r"a\.json:1: broken JSON: the object that began the file does not end"),
        ('{"data": [{"a": 1}]} [', 'more text after the object with "data" has ended'),
        (
            '{"text": ["a"], "label": [1]}',
            r"a\.json:1: one JSON object with the members 'text', 'label', which hold li",
        ),
        ('{"train": [{"a": 1}], "test": []}', "one JSON object with the members 'train', 'test'.*a file for each"),
        ("[1]", r"a\.json: \[0\]: a JSON int, not an object"),
        ("[[1]]", r"a\.json: \[0\]: a JSON array, not an object"),
        ("[]", r"a\.json is empty: it holds no row"),
        ('{"data": []}', r"a\.json is empty: it holds no row"),
        ('{"text": "\\ud83d"}', r"a\.json:1: half a surrogate pair \(U\+D83D\)"),
    ],
)
def test_faults_name_place_and_form(text, message, write):
    with pytest.raises(DataError, match=message):
        list(read_rows(write("a.json", text)))


def test_a_broken_line_is_one_row_and_the_next_ones_are_read(write):
    lines = ['{"a": 1}', "broken", '{"a": "\\ud800"}', "[2]", '{"a": ', '{"a": 2}', "1" * 5000, '\ufeff{"a": 3}']
    path = write("a.jsonl", "\n".join(lines).encode() + b'\n{"a": "na\xefve"}\n{"a": 4}')
    rows = list(read_rows(path, keep_broken=True))
    assert [row.get("a") for row in rows] == [1, None, None, None, None, 2, None, 3, None, 4]
    assert [row.fault.reason for row in rows if row.fault] == [
        "broken JSON", "half a surrogate pair", "no JSON object", "broken JSON", "broken JSON", "not UTF-8",
    ]  # fmt: skip
    assert rows[1].fault.message.startswith(f"{path}:2: broken JSON (")
    first = write("b.jsonl", '{"a": \n{"a": 1\n{"a": 2}'.replace(": \n", ' "\n'))
    assert [row.get("a") for row in read_rows(first, keep_broken=True)] == [None, None, 2]


def test_a_value_is_bounded_and_the_file_is_not(write, monkeypatch):
    monkeypatch.setattr(json_text, "MAX_RECORD_BYTES", 2000)
    monkeypatch.setattr(json_text, "_CHUNK", 100)
    many = [{"text": "x" * 500}] * 50
    for form in (json.dumps(many), json.dumps({"data": many}, indent=1), "\n".join(map(json.dumps, many))):
        assert list(read_rows(write("a.json", form))) == many
    for form in ('{"text": "' + "x" * 9000, '["' + "x" * 9000, '{"text": "a"}\n"' + "x" * 9000):
        with pytest.raises(DataError, match=r"a\.json:\d: a value of more than 2000 characters; split it"):
            list(read_rows(write("a.json", form)))


class TestSquad:
    CONTEXT = "The cat sat."
    ANSWERS = ({"text": "cat", "answer_start": 4},)

    def article(self, *questions, title="Cats"):
        return {"title": title, "paragraphs": [{"context": self.CONTEXT, "qas": list(questions)}]}

    def questions(self):
        return (
            {"id": "a", "question": "Who?", "answers": list(self.ANSWERS)},
            {"id": 7, "question": "What?", "answers": list(self.ANSWERS), "is_impossible": True},
            {"question": "Where?"},
        )

    def test_questions_are_rows(self, write):
        for name, title in (("a.json", "Cats"), ("b.json", "x" * 6000)):
            path = write(name, json.dumps({"version": "1.1", "data": [self.article(*self.questions(), title=title)]}))
            same = {"title": title, "context": self.CONTEXT}
            rows = list(read_rows(path))
            assert rows == [
                {"id": "a", **same, "question": "Who?", "answers": list(self.ANSWERS)},
                {"id": "7", **same, "question": "What?", "answers": []},
                {"id": None, **same, "question": "Where?"},
            ]
            assert rows[1].origin == f"{path}: data[0].paragraphs[0].qas[1]"

    def test_what_is_no_question_is_one_faulty_row(self, write):
        article = self.article(self.questions()[0], 3)
        article["paragraphs"] += [7, {"context": "c"}]
        rows = list(read_rows(write("a.json", json.dumps({"data": [article]}, indent=1)), keep_broken=True))
        assert [row.fault and row.fault.reason for row in rows] == [None, *["not SQuAD's layout"] * 3]
        assert "data[0].paragraphs[0].qas[1] is int ('3'), must be an object; needed" in rows[1].fault.message
        assert "data[0].paragraphs[2].qas is missing, must be an array" in rows[3].fault.message

    def test_a_column_of_that_name_stays_a_column(self, write):
        row = {"text": "a", "paragraphs": ["one", "two"]}
        assert list(read_rows(write("a.jsonl", json.dumps(row)))) == [row]
