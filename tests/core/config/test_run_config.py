"""A config: built from layers, refused with reasons."""

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.config.run_config import (
    PRESETS,
    Layer,
    RunConfig,
    build,
    fields,
    file_layer,
    flatten,
    method_names,
    preset_layer,
    preset_names,
    set_layer,
)
from core.config.sections import OWN_FIELDS
from core.errors import ConfigError

METHODS = ", ".join(method_names())


def problems(*assignments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build([set_layer(assignment) for assignment in assignments])
    return str(caught.value).splitlines()


def test_without_layers_the_defaults_hold() -> None:
    assert build([]) == RunConfig()


def test_later_layers_win_and_leave_the_rest_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nlr = 0.5\npatience = 9\n[model]\ndim = 32\n")
    config = build([preset_layer("seed"), file_layer(file), set_layer("train.lr=0.25"), Layer("--seed", {"seed": 7})])
    assert (config.train.lr, config.train.patience, config.model.dim, config.seed) == (0.25, 9, 32, 7)
    assert config.train.max_epochs == 50
    assert build([set_layer("lr=0.25"), file_layer(file)]).train.lr == 0.5


def test_a_leaf_name_and_its_full_name_are_the_same_field() -> None:
    assert build([set_layer("lr=0.25")]) == build([set_layer("train.lr=0.25")])
    assert build([set_layer("train.lr=0.5"), set_layer("lr=0.25")]).train.lr == 0.25


def test_leaf_names_are_unique() -> None:
    leaves = [name.rpartition(".")[2] for name in fields()]
    assert len(leaves) == len(set(leaves))


def test_every_field_says_what_it_means() -> None:
    assert [name for name, (description, _) in fields().items() if not description] == []


@pytest.mark.parametrize("text", ["2,3,1", "(2, 3, 1)", "[2, 3, 1]"])
def test_block_layers_can_be_written_in_several_ways(text: str) -> None:
    assert build([set_layer(f"block_layers={text}")]).model.block_layers == (2, 3, 1)


def test_a_single_number_is_one_block() -> None:
    assert build([set_layer("block_layers=4")]).model.block_layers == (4,)


def test_set_takes_plain_text_where_toml_would_want_quotes() -> None:
    assert build([set_layer("corpus=~/my texts/*.txt")]).data.corpus == "~/my texts/*.txt"


def test_set_without_a_value_is_refused() -> None:
    for assignment in ("train.lr", "=3", ""):
        with pytest.raises(ConfigError, match="--set takes name=value"):
            set_layer(assignment)


def test_a_rejected_value_names_field_reason_value_and_origin() -> None:
    assert problems("train.lr=-1") == ["train.lr must be > 0, got -1 (from --set train.lr=-1)"]


def test_a_rejected_value_is_named_in_full_where_it_was_written_short() -> None:
    assert problems("lr=-1") == ["train.lr must be > 0, got -1 (from --set lr=-1)"]


def test_a_rejected_value_of_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nlr = -1\n")
    with pytest.raises(ConfigError) as caught:
        build([file_layer(file)])
    assert str(caught.value) == f"train.lr must be > 0, got -1 (from config file {file})"


def test_the_origin_is_that_of_the_value_that_counted() -> None:
    assert problems("train.lr=-2", "train.lr=-1") == ["train.lr must be > 0, got -1 (from --set train.lr=-1)"]
    assert build([set_layer("lr=-2"), set_layer("lr=1.0")]).train.lr == 1.0


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("seed=-1", "seed must be >= 0, got -1"),
        ("batch_size=2.5", "train.batch_size must be a valid integer, got 2.5"),
        ("causal=1", "model.causal must be a valid boolean, got 1"),
        ("lr=nan", "train.lr must be a finite number, got nan"),
        ("val_ratio=1", "train.val_ratio must be < 1, got 1"),
        ("tokenizer=chars", "data.tokenizer must be 'auto', 'word', 'bpe' or 'model', got 'chars'"),
        ("block_layers=2,0", "model.block_layers must be > 0, got 0"),
        ("method=zzz", f"method must be one of {METHODS}, or the path of your own file (docs/exits.md), got 'zzz'"),
    ],
)
def test_values_are_checked_without_conversion(assignment: str, expected: str) -> None:
    assert problems(assignment) == [f"{expected} (from --set {assignment})"]


@pytest.mark.parametrize(
    ("value", "reason"), [("0", "> 0"), ("0.0", "> 0"), ("1", "< 1"), ("1.5", "< 1"), ("-1", "> 0")]
)
def test_a_hard_ratio_that_leaves_nothing_to_do_is_refused(value: str, reason: str) -> None:
    (line,) = problems(f"hard_ratio={value}")
    assert line.startswith(f"exit.hard_ratio must be {reason}: ")
    assert line.endswith(f"got {value} (from --set hard_ratio={value})")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.lrr", "train.lr"),
        ("batchsize", "train.batch_size"),
        ("model.patience", "train.patience"),
        ("hard_ration", "exit.hard_ratio"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(key: str, meant: str) -> None:
    assert problems(f"{key}=1") == [f"unknown config key {key!r} (from --set {key}=1); did you mean {meant}?"]


def test_an_unknown_key_like_no_other_points_to_the_list() -> None:
    (line,) = problems("zzzzzz=1")
    assert "did you mean" not in line
    assert "lists them all" in line


def test_several_problems_give_several_lines() -> None:
    lines = problems("train.lr=-1", "nonsense=3", "dim=0", "train.patience=0")
    assert len(lines) == 4
    assert all(any(name in line for line in lines) for name in ("train.lr", "nonsense", "model.dim", "train.patience"))


def test_heads_that_do_not_divide_dim_are_refused_with_their_origins() -> None:
    (line,) = problems("dim=12", "num_heads=4")
    assert "got dim=12 and num_heads=4" in line
    assert "--set dim=12" in line
    assert "--set num_heads=4" in line


def test_windows_longer_than_the_positions_are_refused() -> None:
    (line,) = problems("seq_len=64", "max_seq_len=32")
    assert line.startswith("data.seq_len must be at most model.max_seq_len, got 64 and 32")


def test_a_tied_embedding_must_be_trained() -> None:
    (line,) = problems("tie_embedding=true")
    assert line.startswith("model.tie_embedding needs train.train_embedding: ")
    assert "--set tie_embedding=true" in line
    assert build([set_layer("tie_embedding=true"), set_layer("train_embedding=true")]).model.tie_embedding


def test_full_depth_has_no_head_for_each_block() -> None:
    (line,) = problems("protocol=full_depth", "head=per_block")
    assert line.startswith("train.head must be shared or frozen where protocol is full_depth: ")
    assert "--set head=per_block" in line


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        (["protocol=staged"], "train.exits_from must be 0 where protocol is staged: "),
        (["protocol=full_depth"], "train.exits_from must be 0 where protocol is full_depth: "),
        (["protocol=joint"], "train.exits_from must be 0 where exit.exited_state is input: "),
        (
            ["protocol=joint", "exited_state=drop", "max_epochs=1"],
            "train.exits_from must be at most train.max_epochs, ",
        ),
    ],
)
def test_exits_in_training_need_blocks_that_train_together_and_tokens_that_go(
    assignments: list[str], reason: str
) -> None:
    (line,) = problems("exits_from=2", *assignments)
    assert line.startswith(reason)
    assert "--set exits_from=2" in line
    assert build(map(set_layer, ["exits_from=2", "protocol=joint", "exited_state=copy"])).train.exits_from == 2


@pytest.mark.parametrize("exited_state", ["input", "deferred"])
def test_flops_are_no_price_where_leaving_saves_none_by_itself(exited_state: str) -> None:
    (line,) = problems("cost=flops", f"exited_state={exited_state}")
    assert line.startswith(f"exit.cost must be layers where exit.exited_state is {exited_state}: ")
    assert build(map(set_layer, ["cost=flops", "exited_state=drop"])).exit.cost == "flops"


def test_the_defaults_of_all_switches_are_the_seed_preset_s() -> None:
    """A config that was stored before a switch existed keeps its meaning."""
    assert build([preset_layer("seed")]) == RunConfig()


def test_every_preset_builds() -> None:
    assert {"quick", "seed", "sound"} <= set(preset_names())
    for name in preset_names():
        assert isinstance(build([preset_layer(name)]), RunConfig)


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"--preset must be one of .*, got 'sed'.*did you mean seed\?"):
        preset_layer("sed")


def test_the_seed_preset_is_the_report_s_configuration_in_full() -> None:
    written = set(flatten(tomllib.loads((PRESETS / "seed.toml").read_text())))
    left_out = {
        name for name in fields() if name in ("method", "seed", "data.eval_corpus") or name.startswith("machine.")
    }
    assert written == set(fields()) - left_out
    config = build([preset_layer("seed")])
    assert config.model.model_dump() == {
        "source": "own",
        "num_kv_heads": 0,
        "head_dim": 0,
        "ffn": "gated",
        "every": 0,
        "readout": "final",
        "last_readout": False,
        "dim": 64,
        "num_heads": 4,
        "ffn_dim": 256,
        "block_layers": (2, 2),
        "max_seq_len": 1024,
        "causal": True,
        "eps": 1e-6,
        "norm": "post",
        "dropout": 0.0,
        "tie_embedding": False,
    }
    assert config.train.model_dump() == {
        "lr": 1e-3,
        "later_lr_scale": 0.1,
        "batch_size": 64,
        "max_epochs": 50,
        "patience": 3,
        "grad_clip": 1.0,
        "val_ratio": 0.2,
        "train_embedding": False,
        "head": "shared",
        "split": "random_windows",
        "later_init": "random",
        "warmup_steps": 0,
        "decay": "constant",
        "weight_decay": 0.01,
        "label_smoothing": 0.0,
        "readout_target": "text",
        "exits_from": 0,
        "backbone": "frozen",
        "layer_dropout": 0.1,
        "dropout_schedule": "constant",
        "exit_loss_scale": 0.2,
        "exit_curriculum": "rotational",
        "exit_rotation": 0,
    }
    assert config.exit.model_dump() == {
        "hard_ratio": 0.5,
        "policy": "quantile",
        "price": 0.05,
        "savings": 0.4,
        "loss_budget": 0.01,
        "cost": "layers",
        "classifier": "linear",
        "exit_classifier_mode": "post",
        "exit_epochs": 10,
        "last_exit": True,
        "hard_tokens": "repack",
        "calibration": "train",
        "calibration_ratio": 0.1,
        "exited_state": "input",
        "classifier_fit": "adam",
    }
    assert config.protocol == "staged"
    assert (config.data.seq_len, config.data.num_samples) == (32, 10_000)


def test_a_config_is_frozen() -> None:
    config = RunConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0


def test_a_config_survives_json() -> None:
    config = build([set_layer("block_layers=1,2,3"), set_layer("lr=0.1")])
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_what_a_pretrained_model_has_itself_is_refused_even_where_it_is_the_default(name: str) -> None:
    _, default = fields()[name]
    given = [preset_layer("pretrained"), set_layer("model.source=hf:some"), Layer("--set it", {name: default})]
    with pytest.raises(ConfigError, match=rf"^{name} must be left out where model.source .*; {name} from --set it\)$"):
        build(given)


@pytest.mark.parametrize("content", [b"lr = ", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML"):
        file_layer(file)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml can't be read: No such file"):
        file_layer(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("block_layers=2,x", "model.block_layers must be the layers of each block, such as 2,2, or every=N of a "
         "pretrained model, got '2,x' (from --set block_layers=2,x)"),
        ("block_layers=every=2", "model.block_layers=every=N (model.every) is for pretrained models: write the layers "
         "of each block, such as 2,2, or name a pretrained model in model.source (model.block_layers from --set "
         "block_layers=every=2)"),
    ],
)  # fmt: skip
def test_blocks_that_can_not_be_cut_so_say_how_they_are_written(assignment: str, expected: str) -> None:
    assert problems(assignment) == [expected]


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("method=sofmax", "softmax"),
        ("exited_state=coppy", "copy"),
        ("policy=quantle", "quantile"),
        ("norm=pree", "pre"),
    ],
)
def test_a_choice_that_is_mistyped_suggests_the_nearest(assignment: str, meant: str) -> None:
    (line,) = problems(assignment)
    assert line.endswith(f"(from --set {assignment}); did you mean {meant}?")
