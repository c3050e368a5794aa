"""The curves of a stage."""

from eetui.drawing.axes import (
    PPL,
)
from eetui.drawing.series import Curve
from eetui.live.stage_charts import stage_charts
from tests.scripted_runs import scripted, state_of

FINISHED = state_of(scripted())


def test_a_language_model_has_train_and_early_stop_curves_and_its_best_epoch() -> None:
    curve = Curve()
    curve.append(0.5, 5.0)
    (chart,) = stage_charts(FINISHED.stages[0], curve, {}, as_ppl=False)
    assert [one.name for one in chart.series] == ["", "train", "early-stop", "best, epoch 3"]
    assert chart.title == "loss in nats, all tokens"


def test_a_reused_stage_without_steps_draws_its_epochs() -> None:
    (chart,) = stage_charts(FINISHED.stages[0], None, {}, as_ppl=True)
    assert len(chart.series[0].x) == 4
    assert chart.y_axis is PPL


def test_an_exit_classifier_has_two_charts_and_other_stages_none() -> None:
    by_kind = {stage.kind: stage for stage in FINISHED.stages}
    charts = stage_charts(by_kind["exit classifier"], None, {"loss-2": by_kind["exit classifier"]}, as_ppl=False)
    assert [chart.series[-1].name for chart in charts] == ["exit loss", "avg_label"]
    assert all(chart.series[0].style == "behind" for chart in charts)
    assert stage_charts(by_kind["hard tokens"], None, {}, as_ppl=False) == ()
