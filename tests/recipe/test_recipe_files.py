"""Reading recipes: names and paths, `extends`, overrides, and faults that are told all at once."""

import re
import shlex

import pytest
import typer
import yaml

from pruneofa.cli.main import app
from pruneofa.errors import ConfigurationError
from pruneofa.recipe.files import load_recipe, recipe_with, save_recipe, shipped_recipes

MINIMAL = "name: mine\nmodel: {name_or_path: some/model}\n"


@pytest.fixture
def recipe_file(tmp_path):
    def write(text, name="recipe.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def faults_of(path, *overrides):
    with pytest.raises(ConfigurationError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_starts_with_its_launch_command(name):
    assert load_recipe(name).name == name
    first = shipped_recipes()[name].splitlines()[0]
    assert first.startswith("# pruneofa ")
    words = shlex.split(first.removeprefix("# "))
    group = typer.main.get_command(app)
    context = group.make_context("pruneofa", words[1:])
    command_name, command, rest = group.resolve_command(context, words[1:])
    # Parsing alone: unknown flags and missing arguments raise here, nothing runs.
    parsed = command.make_context(command_name, rest, parent=context)
    assert (command_name, parsed.params["recipe"]) == ("run", name)
    assert str(parsed.params["output_dir"]) == f"runs/{name}"


def test_a_saved_recipe_reads_back_equal(tmp_path):
    for name in shipped_recipes():
        recipe = load_recipe(name, ["seed=7", "prune.sparsity.targets=['*.query', 're:.*key']"])
        save_recipe(recipe, tmp_path / "recipe.yaml")
        assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe


def test_extends_takes_over_what_is_not_said(recipe_file):
    path = recipe_file("extends: demo-tiny\nname: mine\nprune: {sparsity: {target_sparsity: 0.5}}\nquantize: null\n")
    recipe, base = load_recipe(path), load_recipe("demo-tiny")
    assert recipe.name == "mine"
    assert recipe.quantize is None
    assert recipe.teach == base.teach
    assert recipe.prune is not None and base.prune is not None
    assert recipe.prune.sparsity.target_sparsity == 0.5
    assert recipe.prune.sparsity.end_step == base.prune.sparsity.end_step


def test_extends_finds_files_beside_the_recipe(recipe_file):
    recipe_file(MINIMAL + "seed: 3\n", "base/base.yaml")
    recipe_file("extends: base.yaml\nseed: 4\n", "base/middle.yaml")
    top = load_recipe(recipe_file("extends: base/middle.yaml\nname: top\n", "top.yaml"))
    assert (top.name, top.seed, top.model.name_or_path) == ("top", 4, "some/model")


def test_a_circle_is_refused_by_whatever_names_it_goes(recipe_file, tmp_path):
    path = recipe_file(f"extends: ../{tmp_path.name}/recipe.yaml\n")
    assert "extends itself" in faults_of(path)


def test_extends_is_one_name(recipe_file):
    assert "extends: is ['a', 'b']; allowed: one name or path" in faults_of(recipe_file("extends: [a, b]\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "holds list; allowed: keys and values"),
        ("", "holds NoneType"),
        ("name: [", "no valid YAML"),
        (MINIMAL + "seed: 1\nseed: 2\n", "the key 'seed' stands twice"),
        (MINIMAL + "teach: {training: {max_steps: 1, max_steps: 2}}\n", "the key 'max_steps' stands twice"),
        ("[" * 3000, "no valid YAML"),
    ],
)
def test_text_that_is_no_recipe(recipe_file, text, message):
    assert message in faults_of(recipe_file(text))


def test_a_misspelt_recipe_name_gets_the_nearest():
    message = faults_of("demo-tini")
    assert "'demo-tini' is neither a file nor a shipped recipe" in message
    assert "did you mean demo-tiny?" in message


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    assert "can't be read" in faults_of(str(tmp_path / "r.yaml"))


def test_all_faults_are_reported_at_once_with_key_value_and_what_is_allowed(recipe_file):
    text = MINIMAL + (
        "teech: {}\n"
        "corpus: {source: []}\n"
        "prune: {sparsity: {target_sparsity: 1.0, begin_step: 9, end_step: 5, targts: [a]}, mask_probability: 2}\n"
        "task: {train: 3}\n"
        "finetune: 7\n"
    )
    lines = faults_of(recipe_file(text)).splitlines()
    assert lines[0].endswith(": 9 faults")
    assert sorted(lines[1:]) == sorted(
        [
            "  teech: unknown key; did you mean 'teach'?",
            "  corpus.source: is []; allowed: at least 1 item (File, folder, glob, built-in data set or hub:NAME, or a "
            "list of them)",
            "  prune.sparsity.target_sparsity: is 1.0; allowed: less than 1 (share of zeros in the end, below 1)",
            "  prune.sparsity.end_step: 5 lies before begin_step = 9; allowed: end_step >= begin_step",
            "  prune.sparsity.targts: unknown key; did you mean 'targets'?",
            "  prune.mask_probability: is 2; allowed: less than 1 (share of tokens to be predicted)",
            "  task.train: is 3; allowed: a valid string or a valid list (Source of the training examples)",
            "  task.evaluation: is required and missing",
            "  finetune: is 7; allowed: a section with training, seeds, unlock",
        ]
    )


@pytest.mark.parametrize(("value", "allowed"), [("1.0", "1"), ("-0.1", "0"), (".nan", "finite")])
def test_sparsity_outside_its_range(value, allowed):
    message = faults_of("demo-tiny", f"prune.sparsity.target_sparsity={value}")
    assert re.search(rf"prune\.sparsity\.target_sparsity: is \S+; allowed: .*{allowed}", message)


def test_a_key_unlike_any_other_lists_what_is_allowed():
    assert "prune.zzzz: unknown key; allowed here: training, sparsity" in faults_of("demo-tiny", "prune.zzzz=1")


def test_a_hostile_value_is_shown_short(recipe_file):
    bomb = "a: &a [x, x]\nb: &b [*a, *a, *a]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, after in zip("bcdefghi", "cdefghij", strict=True)
    )
    message = faults_of(recipe_file(bomb + "name: *j\nmodel: {name_or_path: m}\n"))
    assert "name: is [" in message
    assert len(message) < 5000


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=1", ".seed=1", ""])
def test_an_override_without_key_and_value(override):
    message = faults_of("demo-tiny", override)
    assert f"--set {override!r}: allowed: key.path=value, for example" in message


def test_an_override_into_a_value():
    assert "--set 'name.x=1': name is a value, not a section" in faults_of("demo-tiny", "name.x=1")


def test_an_override_with_broken_yaml():
    assert "--set 'seed=[1': the value is no valid YAML" in faults_of("demo-tiny", "seed=[1")


def test_overrides_set_values_sections_and_nothing_else():
    base = load_recipe("demo-tiny")
    recipe = load_recipe(
        "demo-tiny", ["prune.sparsity.scope=global", "teach=null", "transfer.sparsity={end_step: 5}", "seed=3"]
    )
    assert recipe.teach is None
    assert recipe.seed == 3
    assert recipe.prune is not None and base.prune is not None
    assert recipe.prune.sparsity == base.prune.sparsity.model_copy(update={"scope": "global"})
    assert recipe.transfer is not None and recipe.transfer.sparsity is not None
    assert recipe.transfer.sparsity.end_step == 5
    assert recipe.finetune == base.finetune


def test_an_override_does_not_reach_sections_that_share_a_yaml_anchor(recipe_file):
    text = MINIMAL + "teach: {training: &t {max_steps: 5}}\nfinetune: {training: *t}\n"
    recipe = load_recipe(recipe_file(text), ["teach.training.max_steps=9"])
    assert recipe.teach is not None and recipe.finetune is not None
    assert (recipe.teach.training.max_steps, recipe.finetune.training.max_steps) == (9, 5)


def test_flags_are_named_where_they_are_wrong_or_missing():
    flags = {"task.train": "--train_file", "task.max_length": "--max_length", "model.name_or_path": "--model"}
    with pytest.raises(ConfigurationError) as caught:
        recipe_with(None, {"task.max_length": 3}, default_name="finetune", flags=flags)
    message = str(caught.value)
    assert message.startswith("settings of finetune: 4 faults")
    assert "--max_length (task.max_length): is 3; allowed: " in message
    assert "task.train: is required and missing; give --train_file" in message
    assert "model: is required and missing; give --model" in message


def test_flags_override_a_recipe_and_overrides_the_flags():
    recipe = recipe_with("demo-tiny", {"seed": 5, "task.max_length": 32}, ["seed=6"], default_name="x")
    assert (recipe.name, recipe.seed) == ("demo-tiny", 6)
    assert recipe.task is not None and recipe.task.max_length == 32


def test_a_saved_recipe_names_every_default(tmp_path):
    save_recipe(load_recipe("demo-tiny"), tmp_path / "recipe.yaml")
    document = yaml.safe_load((tmp_path / "recipe.yaml").read_text(encoding="utf-8"))
    assert document["prune"]["sparsity"]["scope"] == "uniform"
    assert document["teach"]["training"]["weight_decay"] == 0.01


def test_a_recipe_on_a_task_is_the_recipe_its_overlay_and_its_own_sections():
    base, alone = load_recipe("bert-base-85-int8-mnli"), load_recipe("bert-base-85-int8")
    assert alone.task is alone.transfer is alone.quantize is None
    assert (base.corpus, base.teach, base.prune, base.model) == (alone.corpus, alone.teach, alone.prune, alone.model)
    assert base.task is not None and base.task.also_evaluate
    assert base.transfer is not None and base.transfer == load_recipe("bert-base-90-mnli").transfer
    assert base.quantize is not None and load_recipe("bert-base-85-mnli").quantize is None


def test_a_users_recipe_extends_one_on_a_task_but_has_no_tasks_of_its_own(recipe_file):
    path = recipe_file("extends: distilbert-90-squad\nname: mine\ntask: {data_dir: somewhere}\n")
    recipe = load_recipe(path)
    assert recipe.task is not None and (recipe.task.data_dir, recipe.task.train) == ("somewhere", None)
    assert recipe.transfer is not None and recipe.transfer.training.learning_rate == 1.8e-4
    assert "tasks: unknown key; did you mean 'task'?" in faults_of(recipe_file(MINIMAL + "tasks: {squad: {}}\n"))
