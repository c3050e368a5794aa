"""Tasks of lm-evaluation-harness at chosen exits, on tasks written here; nothing is downloaded."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'eetui[lm-eval]'")
pytest.importorskip("transformers")

from core.analysis.adapter import load_adapter
from core.analysis.harness import ExitsLM
from core.analysis.text_generator import TextGenerator
from core.errors import UsageError
from core.protocol import checkpoint
from eetui.cli.harness import blocks_of
from eetui.cli.main import app
from tests.conftest import Eetui
from tests.core.analysis.test_adapter import CASES, exported

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{label}}}}"
{more}
metric_list:
  - metric: {metric}
"""
DOCUMENTS = [("w1 w2 w3", 0), ("w4 w5", 1), ("w6", 0), ("w7 w8 w9 w1", 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """Train a run, and write two tasks on the same four documents: a choice, and a text to generate."""
    folder = tmp_path_factory.mktemp("harness")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EETUI_CACHE", str(folder / "cache"))
        exported(folder, text, *CASES[0])
    tasks = folder / "tasks"
    tasks.mkdir()
    data = tasks / "documents.jsonl"
    data.write_text("\n".join(json.dumps({"text": words, "label": label}) for words, label in DOCUMENTS))
    choice, answer = 'doc_to_choice: ["w2", "w3 w4"]', "generation_kwargs: {until: ['w5'], max_gen_toks: 3}"
    for name, kind, more, metric in (
        ("choice", "multiple_choice", choice, "acc"),
        ("answer", "generate_until", answer, "exact_match"),
    ):
        (tasks / f"{name}.yaml").write_text(TASK.format(name=name, data=data, kind=kind, more=more, metric=metric))
    return folder


@pytest.fixture
def generator(folder: Path) -> TextGenerator:
    return load_adapter(folder / "exits")


def by_hand(generator: TextGenerator, block: int, context: str, wanted: str) -> float:
    """Score a continuation with one block, from the whole model's states."""
    before, after = (list(generator.vocabulary.encode(part)) for part in (context, wanted))
    tokens, model = torch.tensor([before + after]), generator.model
    states = model.embed(tokens[:, :-1])
    for number in range(block + 1):
        states = model.blocks[number](states)
    logits = F.linear(model.readout(block, states[0]), model.head_weight(block))[-len(after) :]
    return float(logits.detach().log_softmax(-1)[range(len(after)), after].sum())


class Instance:
    def __init__(self, *args: Any) -> None:
        self.args = args


def test_a_fixed_depth_scores_as_its_block_does_and_longer_neighbours_do_not_matter(generator: TextGenerator) -> None:
    pairs = [("w1 w2 w3", " w4 w5"), ("w6", " w7"), ("w1 w2 w3 w4 w5 w6", " w7 w8 w9")]
    for block in range(3):
        model = ExitsLM(generator, block)
        found = model.loglikelihood([Instance(*pair) for pair in pairs], disable_tqdm=True)
        assert [loss for loss, _ in found] == pytest.approx(
            [by_hand(generator, block, *pair) for pair in pairs], abs=1e-4
        )
        (rolling,) = model.loglikelihood_rolling([Instance("w1 w2 w3 w4")])
        assert rolling == pytest.approx(by_hand(generator, block, "<unk>", "w1 w2 w3 w4"), abs=1e-4)
        assert model.layers_saved == pytest.approx((2 - block) / 3)


def test_texts_begin_as_the_run_s_did(generator: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator.vocabulary, "beginning", 3)
    plain = ExitsLM(generator, 2)
    assert (plain.beginning, plain.tok_encode("w1")) == ((), [2])
    data = generator.config.data.model_copy(update={"bos_token": True})
    begun = ExitsLM(replace(generator, config=generator.config.model_copy(update={"data": data})), 2)
    assert (begun.tok_encode("w1"), begun.tok_encode("w1", add_special_tokens=False)) == ([3, 2], [2])
    assert begun.prefix_token_id == 3
    long = list(range(5, 5 + begun.max_length + 1))
    assert begun._window([3, *long]) == begun._window(long) == [3, *long[1:]]
    pair = ("w1 w2", " w4 w5")
    ((found, _),) = begun.loglikelihood([Instance(*pair)], disable_tqdm=True)
    assert found == pytest.approx(by_hand(generator, 2, "w2 w1 w2", " w4 w5"), abs=1e-4)  # w2 is token 3
    (rolling,) = begun.loglikelihood_rolling([Instance("w1 w2 w3 w4")])
    assert rolling == pytest.approx(by_hand(generator, 2, "w2", "w1 w2 w3 w4"), abs=1e-4)


def test_early_exit_is_a_depth_where_its_thresholds_say_so(generator: TextGenerator) -> None:
    pair = Instance("w1 w2 w3", " w4 w5")
    for thresholds, block in (((0.0, 2.0), 0), ((2.0, 0.0), 1), ((2.0, 2.0), 2)):
        early = ExitsLM(replace(generator, thresholds=thresholds)).loglikelihood([pair], disable_tqdm=True)
        fixed = ExitsLM(generator, block).loglikelihood([pair], disable_tqdm=True)
        assert early[0][0] == pytest.approx(fixed[0][0], abs=1e-5)
        assert early[0][1] == fixed[0][1]


def test_deferred_layers_are_saved_where_no_later_token_needed_them(generator: TextGenerator) -> None:
    saved = []
    for state in ("copy", "deferred"):
        own = generator.config
        config = own.model_copy(update={"exit": own.exit.model_copy(update={"exited_state": state})})
        model = ExitsLM(replace(generator, config=config))
        for text in ((0, 2, 0), (), (1, 0)):
            model._count(text)
        assert model.left_at == [3, 1, 1]
        saved.append(model.layers_saved)
    assert saved == pytest.approx([7 / 15, 5 / 15])


def test_a_task_runs_at_each_exit_from_the_command_line(eetui: Eetui, folder: Path, generator: TextGenerator) -> None:
    where = {"EETUI_DB": str(folder / "runs.db"), "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_OFFLINE": "1"}
    options = ["--task", "choice", "--task", "answer", "--include", str(folder / "tasks")]
    done = eetui("lm-eval", "1", *options, "--exit", "early", "--exit", "0", "--exit", "all", "--json", **where)
    assert (done.returncode, "git" in done.stderr) == (0, False), done.stderr
    found = json.loads(done.stdout)["exits"]
    assert [found[name]["layers_saved"] for name in ("0", "all")] == pytest.approx([2 / 3, 0])
    for name, block in (("0", 0), ("all", 2)):
        right = [
            (by_hand(generator, block, words, "w2") < by_hand(generator, block, words, "w3 w4")) == bool(label)
            for words, label in DOCUMENTS
        ]
        assert found[name]["tasks"]["choice"]["acc"] == sum(right) / len(right)
    assert set(found["early"]["tasks"]) == {"choice", "answer"}
    shown = eetui("lm-eval", "1", *options[2:], "--limit", "2", **where)
    assert "exact_match" in shown.stdout
    assert "layers saved" in shown.stdout


def test_odd_requests_are_refused(eetui: Eetui, folder: Path, generator: TextGenerator, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has blocks 0 to 2, and none with number 3"):
        ExitsLM(generator, 3)
    odd = TASK.format(name="odd", data="none.jsonl", kind="generate_until", more="", metric="exact_match")
    (tmp_path / "odd.yaml").write_text(odd)
    data = folder / "tasks" / "documents.jsonl"
    (tmp_path / "field.yaml").write_text(
        odd.replace("odd", "field").replace("none.jsonl", str(data)).replace("{{text}}", "{{title}}")
    )
    theirs = ("--include", str(tmp_path), "--exit", "all")
    for words, message in (
        ((*theirs, "--task", "odd"), "the tasks can't be run: FileNotFoundError: Unable to find"),
        (
            (*theirs, "--task", "field"),
            "the tasks can't be run: UndefinedError: 'title' is undefined; check the task's",
        ),
        (("--task", "none"), "there is no task none"),
        (("--task", "odd", "--include", str(tmp_path / "gone")), "--include takes a folder, and"),
        (
            ("--task", "choice", "--include", str(folder / "tasks"), "--exit", "all", "--exit", "x"),
            "--exit must be early",
        ),
    ):
        done = eetui("lm-eval", "1", *words, EETUI_DB=str(folder / "runs.db"))
        assert (done.returncode, message in done.stderr.splitlines()[-1]) == (2, True)


def test_every_exit_is_checked_before_the_model_is_loaded(
    folder: Path, generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert blocks_of(("early", "0", "all"), generator.config) == {"early": None, "0": 0, "all": 2}
    monkeypatch.setattr(checkpoint, "build_model", lambda *_: pytest.fail("nothing may be loaded"))
    words = ["lm-eval", "1", "--task", "choice", "--include", str(folder / "tasks"), "--exit", "all", "--exit", "3"]
    result = CliRunner().invoke(app, [*words, "--db", str(folder / "runs.db")])
    assert "has blocks 0 to 2, and none with number 3" in str(result.exception)
