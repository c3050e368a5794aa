"""What makes two runs comparable: the windows they were evaluated on."""

from pathlib import Path

from core.metrics import ACCURACY, FINAL_PPL, FLOP_SAVINGS, LAYER_SAVINGS, way_ppl
from core.store.reader import Reader
from eetui.compare.comparison import compare
from eetui.compare.run_view import stored_view
from tests.trained_run import train_run


def test_all_windows_are_evaluated_whatever_the_batch_and_full_batches_are_other_windows(
    tmp_path: Path, text: Path
) -> None:
    path = tmp_path / "runs.db"
    for batch_size, full_batches in ((5, False), (7, False), (7, True)):
        train_run(path, text, max_epochs=1, method="softmax", batch_size=batch_size, full_batches=full_batches)
    with Reader(path) as reader:
        views = [stored_view(reader, number) for number in (1, 2, 3)]
        tokens = [reader.state(number).started.eval_tokens for number in (1, 2, 3)]  # type: ignore[union-attr]
    assert tokens[0] == tokens[1] > tokens[2]
    assert views[0].fingerprint == views[1].fingerprint != views[2].fingerprint
    assert views[0].training_windows == views[1].training_windows != views[2].training_windows
    shown = compare(views, baseline=views[0].name)
    final = shown.final[0]
    assert final.key == "final_ppl"
    assert [change is None for change in final.deltas] == [True, False, True]
    assert 2 not in final.best
    assert not any(views[2].name in line for line in shown.differences)
    assert any("different windows" in note for note in shown.notes)


def test_the_figures_of_windows_are_those_of_the_run(tmp_path: Path, text: Path) -> None:
    number = train_run(tmp_path / "runs.db", text, max_epochs=1, exited_state="copy")
    with Reader(tmp_path / "runs.db") as reader:
        view, state = stored_view(reader, number), reader.state(number)
    assert state.final is not None
    for metric in (ACCURACY, LAYER_SAVINGS, FLOP_SAVINGS):
        windows = view.windows[metric]
        assert abs(sum(windows) / len(windows) - view.metrics[metric]) < 1e-6
    for metric, measured in ((FINAL_PPL, state.final), (way_ppl("alone", 0), state.measure("alone", 0))):
        windows = view.windows[metric]
        assert measured is not None
        assert abs(sum(windows) / len(windows) - measured.loss) < 1e-6
