"""The form as data: its fields follow from the config."""

from typing import Annotated, Literal

import pytest
from pydantic import Field as ConfigField

from core.config.run_config import (
    DataConfig,
    FieldUnit,
    RunConfig,
    leaves,
    method_names,
    preset_names,
)
from eetui.setup.fields import (
    FIELDS,
    METHOD_FILES,
    METHODS,
    NAME,
    PRESET,
    SEEDS,
    TAGS,
    Field,
    Raw,
    form_fields,
    parse,
    written,
)


class MoreData(DataConfig):
    shuffle: Literal["words", "lines", 3] | None = ConfigField("words", description="what is shuffled")
    overlap: Annotated[int, FieldUnit("tokens")] = ConfigField(0, ge=0, lt=10, description="of neighbouring windows")


class MoreConfig(RunConfig):
    data: MoreData = MoreData()
    careful: bool = ConfigField(False, description="check everything twice")


def test_every_field_of_the_config_is_there_with_its_meaning() -> None:
    own = {PRESET, METHODS, SEEDS, NAME, TAGS, METHOD_FILES}
    assert {name for name, _ in leaves()} - {"method"} == set(FIELDS) - own
    assert all(field.meaning for field in FIELDS.values())


def test_fields_stand_by_section_those_of_the_experiment_first() -> None:
    headings = [field.heading for field in FIELDS.values()]
    assert list(dict.fromkeys(headings)) == ["", "data", "model", "train", "exit", "machine"]
    assert headings == sorted(headings, key=headings.index)
    assert list(FIELDS)[:6] == [PRESET, METHODS, "data.corpus", "protocol", "seed", SEEDS]


def test_a_new_field_of_the_config_shows_up_by_itself() -> None:
    fields = {field.name: field for field in form_fields(MoreConfig)}
    assert fields["data.overlap"] == Field(
        "data.overlap", "integer", "of neighbouring windows", "tokens", "whole number ≥ 0, < 10"
    )
    assert (fields["data.shuffle"].kind, fields["data.shuffle"].choices) == ("choice", ("words", "lines", 3, None))
    assert (fields["careful"].kind, fields["careful"].heading) == ("switch", "")
    assert set(fields) == {*FIELDS, "data.overlap", "data.shuffle", "careful"}


def test_editors_fit_the_type() -> None:
    kinds = {name: field.kind for name, field in FIELDS.items()}
    assert kinds["train.lr"] == "number"
    assert kinds["train.batch_size"] == "integer"
    assert kinds["data.tokenizer"] == kinds[PRESET] == "choice"
    assert kinds["model.causal"] == "switch"
    assert kinds["model.block_layers"] == "list"
    assert kinds["data.eval_corpus"] == "text"
    assert kinds[METHODS] == "several"
    assert FIELDS[METHODS].choices == method_names()
    assert FIELDS[PRESET].choices == preset_names()
    assert FIELDS["data.eval_corpus"].optional


def test_units_and_limits_are_those_of_the_config() -> None:
    assert FIELDS["data.seq_len"].unit == "tokens"
    assert FIELDS["data.vocab_size"].limits == "whole number ≥ 257, ≤ 1,000,000"
    assert FIELDS["data.eval_corpus"].limits == "may be empty"


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("train.lr", " 3e-4 ", 3e-4),
        ("train.batch_size", "32", 32),
        ("train.batch_size", "2.5", 2.5),
        ("train.batch_size", "many", "many"),
        ("data.corpus", "123", "123"),
        ("data.eval_corpus", " ", None),
        ("model.causal", False, False),
        ("data.tokenizer", "bpe", "bpe"),
    ],
)
def test_text_is_parsed_by_the_kind_of_the_field(name: str, raw: Raw, value: object) -> None:
    assert parse(FIELDS[name], raw) == value


def test_choices_that_are_not_text_keep_their_type() -> None:
    shuffle = next(field for field in form_fields(MoreConfig) if field.name == "data.shuffle")
    assert [parse(shuffle, written(choice)) for choice in shuffle.choices] == ["words", "lines", 3, None]
