"""`eetui import`: the page's own lines write a file that becomes a run, and its commands are understood."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from core.errors import EetuiError, UsageError
from core.session.logged import LoggedRun
from core.store.reader import Reader
from eetui.cli.main import app
from eetui.inspection import study

PAGE = (Path(__file__).parents[3] / "docs" / "importing.md").read_text()
NEED_THE_MODEL = ("resume --no-ui", "generate --prompt a", "speculate", "export --adapter folder")
LOOKED_AT = ("show", "quality", "diagnose", "compare", "calibrate --max-ppl-increase 50%")


def test_the_page_s_lines_write_a_file_that_becomes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), "docs/importing.md", "exec"), {})
    (command,) = re.findall(r"^\$ eetui (import .*)$", PAGE, re.MULTILINE)
    done = CliRunner().invoke(app, ["--db", "runs.db", *shlex.split(command)])
    assert done.exit_code == 0, done.output
    assert "imported ours as run 1: 1,024 tokens, 3 exits, its exits set on 256 others" in done.output
    for words in LOOKED_AT:
        name, *options = words.split()
        result = CliRunner().invoke(app, [name, "ours", *options, "--db", "runs.db"])
        assert result.exit_code == 0, result.output
    shown = json.loads(CliRunner().invoke(app, ["show", "ours", "--json", "--db", "runs.db"]).output)
    assert shown["record"]["imported"]["costs"] == [4.5, 9.0, 13.0]
    for words in NEED_THE_MODEL:
        name, *options = words.split()
        refused = CliRunner().invoke(app, [name, "ours", *options, "--db", "runs.db"])
        assert isinstance(refused.exception, EetuiError), words
        assert "its numbers were imported" in str(refused.exception)


def test_options_stand_for_arrays_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    targets, loss = draw.integers(0, 9, 64), draw.random((2, 64))
    arrays = {"loss": loss, "max_prob": np.exp(-loss), "prediction": np.stack([targets] * 2), "targets": targets}
    np.savez(tmp_path / "t.npz", lable=targets, **arrays)
    words = ["import", str(tmp_path / "t.npz"), "--db", str(tmp_path / "runs.db"), "--seq-len", "8", "--costs", "1,3"]
    done = CliRunner().invoke(app, [*words, "--method", "mine", "--savings", "20%"])
    assert done.exit_code == 0, done.output
    assert "not used: lable" in done.output
    assert CliRunner().invoke(app, ["ls", "method:mine", "--db", str(tmp_path / "runs.db")]).output.count("t ") >= 1
    wrong = CliRunner().invoke(app, [*words[:-1], "1,x"])
    assert "--costs takes numbers separated by commas" in str(wrong.exception)


def test_a_logged_run_is_shown_compared_and_reported_and_the_rest_says_what_is_missing(tmp_path: Path) -> None:
    db = str(tmp_path / "runs.db")
    for name in ("ours", "theirs"):
        with LoggedRun(name, {"lr": 0.1}, db=Path(db)) as run:
            run.log(step=1, loss=2.0, tokens=8)
            run.log(val_loss=2.5)
            run.log(eval_loss=2.25)
    for words in ("show 1", "compare 1 2", f"report 1 2 -o {tmp_path / 'r.html'}", "plot 1 2 -k curves -o", "ls"):
        more = [str(tmp_path / "figures")] if words.endswith("-o") else []
        done = CliRunner().invoke(app, [*shlex.split(words), *more, "--db", db])
        assert done.exit_code == 0, (words, done.output, done.exception)
    for words in (
        "quality 1",
        "calibrate 1 --max-ppl-increase 1%",
        "diagnose 1",
        f"export 1 --tokens {tmp_path}/t.csv",
    ):
        refused = CliRunner().invoke(app, [*shlex.split(words), "--db", db])
        assert "ours was logged (eetui.log), without its tokens" in str(refused.exception), words
    with Reader(Path(db)) as reader, pytest.raises(UsageError, match=r"was logged \(eetui.log\), without its tokens"):
        study.load(reader, reader.run(1))
    for words in NEED_THE_MODEL:
        name, *options = words.split()
        refused = CliRunner().invoke(app, [name, "ours", *options, "--db", db])
        assert "imported (eetui import, or eetui.log)" in str(refused.exception), words
