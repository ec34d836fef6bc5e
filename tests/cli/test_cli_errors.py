"""Wrong use and bad input: one clear message on standard error, the right exit code, nothing half-written."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from pruneofa.cli import main as cli_main


@pytest.fixture
def finetune(cli, small_world, tmp_path):
    """`pruneofa finetune` on the small world, two steps, with changes."""

    def call(*flags, **changes):
        values = {
            "model_name_or_path": small_world.model,
            "train_file": small_world.train,
            "validation_file": small_world.evaluation,
            "max_length": 16,
            "max_steps": 2,
            "output_dir": tmp_path / "out",
        } | changes
        return cli("finetune", *(word for name, value in values.items() for word in (f"--{name}", value)), *flags)

    return call


def assert_failed(outcome, code, *texts):
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert outcome.err.count("error: ") == 1
    for text in texts:
        assert text in outcome.err


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("prune.sparsty=1", ["prune.sparsty: unknown key; did you mean 'sparsity'?"]),
        ("prune.sparsity.target_sparsity=1.0", ["prune.sparsity.target_sparsity: is 1.0; allowed: less than 1"]),
        ("prune.sparsity.target_sparsity=-0.1", ["is -0.1; allowed: greater than or equal to 0"]),
        ("prune.sparsity.begin_step=5", ["prune.sparsity.end_step: 4 lies before begin_step = 5", "allowed: end_step"]),
        ("prune.sparsity.targets=['*.quary']", ["'*.quary' matches no module", "nearest modules", "query"]),
        ("nonsense", ["--set 'nonsense': allowed: key.path=value"]),
    ],
)
def test_a_wrong_recipe_is_wrong_use(cli, small_world, tmp_path, override, texts):
    outcome = cli("run", small_world.recipe, "--output_dir", tmp_path / "run", "--set", override)
    assert_failed(outcome, 2, *texts)
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_recipe(cli):
    assert_failed(cli("run", "demo-tini"), 2, "'demo-tini' is neither a file nor a shipped recipe", "demo-tiny?")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is empty: it holds no row"),
        ("text,label\n", "is empty: it holds no row"),
        ("text,label\nthe film,up\n", "every training example has the label 'up'"),
        ("text,label\nthe film\n", "1 fields where the header has 2"),
        ("words,label\nthe film,up\n", "no column 'text'; columns found: 'words', 'label'"),
    ],
)
def test_bad_training_data(finetune, tmp_path, content, text):
    (tmp_path / "train.csv").write_text(content)
    assert_failed(finetune(train_file=tmp_path / "train.csv"), 1, "train.csv", text)
    assert not (tmp_path / "out").exists()


def test_a_label_unseen_in_training(finetune, tmp_path):
    (tmp_path / "dev.csv").write_text("text,label\nthe film,sideways\n")
    outcome = finetune(validation_file=tmp_path / "dev.csv")
    assert_failed(outcome, 1, "dev.csv:2: the label 'sideways'", "is not among the labels of training (down, up)")
    assert not (tmp_path / "out").exists()


def test_a_sequence_longer_than_the_model_takes(finetune, cli, small_world, tmp_path):
    assert_failed(finetune(max_length=33), 1, "max_length is 33, but the model takes at most 32 tokens")
    corpus = cli(
        "corpus", "--model_name_or_path", small_world.model, "--train_file", small_world.corpus,
        "--max_length", 33, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert_failed(corpus, 1, "max_length is 33, but the model takes at most 32 tokens")
    assert not (tmp_path / "out").exists()


def test_a_flag_out_of_range_is_named_with_its_value(finetune, tmp_path):
    outcome = finetune(learning_rate=-1, max_length=3)
    assert_failed(
        outcome,
        2,
        "--learning_rate (finetune.training.learning_rate): is -1.0; allowed: greater than 0",
        "--max_length (task.max_length): is 3; allowed: greater than or equal to 8",
    )
    assert not (tmp_path / "out").exists()


def test_what_is_missing_names_the_flag(cli, small_world, tmp_path):
    out = ("--output_dir", tmp_path / "out")
    assert_failed(cli("finetune", *out), 2, "model: is required and missing; give --model_name_or_path")
    model = ("--model_name_or_path", small_world.model)
    assert_failed(cli("finetune", *model, *out), 2, "task: is missing; give --train_file and --validation_file")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_that_holds_another_run(finetune, tmp_path):
    assert finetune().code == 0
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    outcome = finetune(learning_rate=1e-3)
    assert_failed(
        outcome,
        2,
        "holds another run of finetune (different: finetune.training.learning_rate)",
        "--overwrite_output_dir",
    )
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    assert finetune("--overwrite_output_dir", learning_rate=1e-3).code == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != weights


def test_a_folder_with_other_files(finetune, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter").touch()
    assert_failed(finetune("--overwrite_output_dir"), 2, "holds files that no stage wrote", "another --output_dir")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter"]


def test_a_teacher_or_a_task_model_that_never_learned_the_task(cli, finished_run, small_world, tmp_path):
    data = ("--train_file", small_world.train, "--validation_file", small_world.evaluation, "--max_length", 16)
    out = ("--output_dir", tmp_path / "out")
    sparse = ("--model_name_or_path", finished_run / "prune")
    assert_failed(cli("transfer", *sparse, *data, *out), 2, "there is no task teacher", "--teacher_name_or_path")
    outcome = cli("transfer", *sparse, "--teacher_name_or_path", small_world.model, *data, *out)
    assert_failed(outcome, 1, "has no trained BertForSequenceClassification head")
    assert_failed(cli("quantize", *sparse, *data, *out), 1, "has no trained BertForSequenceClassification head")
    dense = ("--model_name_or_path", finished_run / "finetune")
    assert_failed(cli("transfer", *dense, *data, *out), 2, "no Linear layer of the encoder has a zero weight")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_stage_is_no_input(cli, finished_run, small_world, tmp_path):
    from pruneofa.workflow.record import StageRecord

    StageRecord("prune", "x", {}).write(tmp_path / "prune")
    outcome = cli(
        "transfer", "--model_name_or_path", tmp_path / "prune", "--train_file", small_world.train,
        "--validation_file", small_world.evaluation, "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert_failed(outcome, 2, "holds a prune stage that was broken off; run that to its end first")


@pytest.mark.parametrize("command", ["inspect", "decompress", "evaluate"])
def test_a_truncated_file_is_refused(cli, finished_run, small_world, tmp_path, command):
    path = tmp_path / "m.pofa"
    path.write_bytes((finished_run / "model.pofa").read_bytes()[:-7])
    rest = {
        "inspect": (),
        "decompress": (tmp_path / "out",),
        "evaluate": ("--validation_file", small_world.evaluation, "--output_dir", tmp_path / "out"),
    }[command]
    assert_failed(cli(command, path, *rest), 1, str(path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["inspect", "compress"])
def test_a_truncated_model_folder_is_refused(cli, run_copy, tmp_path, command):
    weights = run_copy / "transfer" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    rest = (tmp_path / "m.pofa",) if command == "compress" else ()
    assert_failed(cli(command, run_copy / "transfer", *rest), 1, "model.safetensors", "truncated")
    assert not (tmp_path / "m.pofa").exists()


def test_decompress_does_not_write_into_a_full_folder(cli, run_copy):
    before = sorted(path.name for path in run_copy.iterdir())
    assert_failed(cli("decompress", run_copy / "model.pofa", run_copy), 1, "is there already and is no empty folder")
    assert sorted(path.name for path in run_copy.iterdir()) == before


@pytest.mark.slow
def test_a_full_disk_while_saving_is_told_and_the_stage_goes_on_from_its_checkpoint(finetune, tmp_path, monkeypatch):
    save = PreTrainedModel.save_pretrained

    def full(self, folder, **options):
        if Path(folder) == tmp_path / "out":
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        save(self, folder, **options)

    with monkeypatch.context() as patched:
        patched.setattr(PreTrainedModel, "save_pretrained", full)
        outcome = finetune()
    assert_failed(outcome, 1, f"the disk is full: {tmp_path / 'out'}; free some space and run the same command again")
    again = finetune()
    assert again.code == 0
    assert "finetune: was interrupted, continuing" in again.err
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_full_disk_while_writing_a_checkpoint(finetune, tmp_path, monkeypatch):
    def full(self, folder, **_):
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    assert_failed(finetune(), 1, "the checkpoint of step 2 can't be written to", "No space left on device", "make room")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_while_building_a_corpus(cli, small_world, tmp_path, monkeypatch):
    from pruneofa.data.pretraining.building import example_shards

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(example_shards, "write_examples", full)
    outcome = cli(
        "corpus", "--model_name_or_path", small_world.model, "--train_file", small_world.corpus, "--max_length", 16,
        "--output_dir", tmp_path / "out",
    )  # fmt: skip
    assert_failed(outcome, 1, "the disk is full")
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/somewhere"), 1, "Permission denied: /somewhere"),
        (OSError(errno.EDQUOT, "Quota exceeded"), 1, "the disk is full"),
        (RuntimeError("write failed: No space left on device (os error 28)"), 1, "the disk is full"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            1,
            "'torch' is missing; this command needs: pip",
        ),
    ],
)
def test_what_the_system_refuses_is_told_without_a_traceback(cli, monkeypatch, error, code, text):
    def failing():
        raise error

    monkeypatch.setattr(cli_main, "app", failing)
    assert_failed(cli("doctor"), code, text)


@pytest.mark.parametrize(
    "error", [RuntimeError("a fault of ours"), ModuleNotFoundError("no", name="pruneofa.lost"), KeyError("x")]
)
def test_our_own_faults_are_not_dressed_up(cli, monkeypatch, error):
    def failing():
        raise error

    monkeypatch.setattr(cli_main, "app", failing)
    with pytest.raises(type(error)):
        cli("doctor")


@pytest.mark.parametrize("arguments", [["--nope"], ["nope"], ["run"], ["run", "demo", "--nope"], ["--verbose"], []])
def test_wrong_use_ends_with_two(cli, arguments):
    assert cli(*arguments).code == 2


def test_an_interrupt_says_how_to_go_on(tmp_path):
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored, where a shell started us behind it
        "from pruneofa.cli import main, system\n"
        "from pruneofa import machine\n"
        "def wait():\n    print('ready', flush=True)\n    signal.pause()\n"
        "machine.describe = wait\n"
        "sys.argv = ['pruneofa', 'doctor']\n"
        "main.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        130,
        "error: interrupted; run the same command again to go on where it stopped\n",
    )
