"""The Live screen follows a run, whichever process trains it, and shows its stages."""

from pathlib import Path

import pytest
from textual.app import ComposeResult
from textual.widget import Widget

from core.events import Step
from core.store.writer import Writer
from eetui.console.terminal import StrayOutput
from eetui.drawing.axes import PPL, View
from eetui.drawing.chart import Chart
from eetui.drawing.plot import Plot
from eetui.live.log_pane import LogPane
from eetui.live.screen import LiveScreen
from eetui.live.stage_view import Picture, StageView
from eetui.live.timeline import Timeline
from tests.eetui.driving import messages, until_true
from tests.eetui.live.watched import FAILURE, HALF, STOPPED, experiment, log, selected, shown, timeline, watching, words
from tests.scripted_runs import STAGES, add, append, scripted, until

# Following


async def test_it_follows_a_run_that_another_process_trains(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run) as (pilot, _, screen):
        assert words(screen, "title").startswith("▶ training  loss-1  loss · seed 42 · quick")
        assert "epoch  2/10" in timeline(screen)[0]
        assert words(screen, "facts").startswith("early-stop PPL    149.31 · ●●● 3 of 3 left")
        assert words(screen, "line").startswith("trained by process")
        later = until(scripted(), "block0.exit", 1)
        append(writer, run, later[len(HALF) :], HALF)
        await until_true(pilot, lambda: selected(screen) == "block0.exit")
        assert "✓ done    block0.lm" in timeline(screen)[0]
        assert "avg_label 0.1236" in words(screen, "facts")
        append(writer, run, list(scripted())[len(later) :], later)
        await until_true(pilot, lambda: words(screen, "title").startswith("✓ finished"))
        assert selected(screen) == "evaluation"
        await until_true(pilot, lambda: "early exit" in shown(screen.query_one(Picture)))


async def test_a_finished_run_shows_every_stage(database: Path, writer: Writer) -> None:
    run = add(writer, list(scripted()))
    async with watching(database, run) as (pilot, _, screen):
        seen = {}
        for _ in STAGES:
            seen[selected(screen)] = [content.title for content in screen.query_one(StageView).charts]
            await pilot.press("k")
        assert list(seen) == list(reversed(STAGES))
        assert seen["block0.lm"] == ["loss in nats, all tokens"]
        assert seen["block1.lm"] == ["loss in nats, hard tokens"]
        assert len(seen["block0.exit"]) == 2
        assert seen["evaluation"] == []


async def test_the_histogram_has_its_threshold_and_hard_share(database: Path, writer: Writer) -> None:
    run = add(writer, list(scripted()))
    async with watching(database, run) as (pilot, _, screen):
        await pilot.press("k")
        await until_true(pilot, lambda: "░" in shown(screen.query_one(Picture)))
        picture = shown(screen.query_one(Picture))
        assert "threshold 0.1300" in picture
        assert "│" in picture
        assert "hard" in picture


async def test_a_queued_run_says_that_it_waits(database: Path, writer: Writer) -> None:
    run = add(writer, [])
    async with watching(database, run) as (pilot, _, screen):
        assert words(screen, "title").startswith("… queued")
        assert "appear here" in timeline(screen)[0]
        append(writer, run, HALF)
        await until_true(pilot, lambda: selected(screen) == "block0.lm")


async def test_a_resumed_run_starts_over(database: Path, writer: Writer) -> None:
    run = add(writer, [*HALF, STOPPED])
    async with watching(database, run) as (pilot, _, screen):
        assert words(screen, "title").startswith("■ interrupted  loss-1")
        assert "stopped by the user" in words(screen, "title")
        assert timeline(screen)[0].startswith("› ■ stopped")
        assert screen.watching.following.curves
        append(writer, run, HALF[:2], [*HALF, STOPPED])
        await until_true(pilot, lambda: words(screen, "title").startswith("▶ training"))
        assert not screen.watching.following.curves
        assert "epoch  1/10" in timeline(screen)[0]


async def test_a_log_that_is_long_is_caught_up_with(
    database: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eetui.live.following.Following.pull.__defaults__", (3,))
    run = add(writer, list(scripted()))
    async with watching(database, run) as (pilot, _, screen):
        await until_true(pilot, lambda: screen.watching.state.status == "finished")
        await until_true(pilot, lambda: selected(screen) == "evaluation")


async def test_a_run_that_is_deleted_meanwhile_closes_the_screen(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run) as (pilot, bench, screen):
        writer.delete(run)
        await until_true(pilot, lambda: bench.screen is not screen)
        assert any("there is no run 1" in message for message in messages(bench))


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_nothing_moves_while_it_updates(database: Path, writer: Writer, size: tuple[int, int]) -> None:
    run = add(writer, HALF)
    async with watching(database, run, size) as (pilot, _, screen):

        def places() -> dict[str, object]:
            return {str(widget): widget.region for widget in screen.walk_children(Widget) if widget.region.area}

        before, bar = places(), timeline(screen)[0].index("epoch") if size[0] == 80 else 0
        steps = [Step("block0.lm", 3, step, 4.0, 10_240, 0.5) for step in range(1, 4)]
        append(writer, run, steps, HALF)
        await until_true(pilot, lambda: screen.watching.state.stages[0].step == 3)
        await pilot.pause(0.3)
        assert places() == before
        assert size[0] > 80 or timeline(screen)[0].index("epoch") == bar


async def test_every_size_shows_timeline_facts_and_curves_or_words(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run, (200, 60)) as (pilot, _, screen):
        for size in ((200, 60), (160, 50), (110, 30), (80, 24), (60, 16), (40, 10)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.3)
            chart = screen.query(Chart).first()
            assert timeline(screen)[0].startswith("› ▶ active  block0.lm")
            assert words(screen, "facts")
            assert chart.size.width > 0
            assert chart.query_one(Plot).display == (size != (40, 10))


# Keys of the view


async def test_selecting_a_stage_keeps_it_until_following_again(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run) as (pilot, _, screen):
        await pilot.press("down", "j", "up")
        assert selected(screen) == "block0.statistics"
        assert "block0.statistics is waiting" in words(screen, "facts")
        later = until(scripted(), "block0.exit", 1)
        append(writer, run, later[len(HALF) :], HALF)
        await until_true(pilot, lambda: len(screen.watching.state.stages) == 3)
        assert selected(screen) == "block0.statistics"
        await pilot.press("f")
        assert selected(screen) == "block0.exit"


async def test_a_stage_is_selected_by_mouse(database: Path, writer: Writer) -> None:
    run = add(writer, list(scripted()))
    async with watching(database, run) as (pilot, _, screen):
        await pilot.click(Timeline, offset=(20, 3))
        await pilot.pause()
        assert selected(screen) == "block0.hard"


async def test_curves_switch_between_nats_and_ppl(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run) as (pilot, _, screen):
        chart = screen.query(Chart).first()
        await pilot.press("v")
        assert (chart.title, chart.y_axis) == ("PPL, all tokens", PPL)
        await pilot.press("v")
        assert chart.title == "loss in nats, all tokens"


async def test_the_chart_has_the_keys_without_being_clicked(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run) as (pilot, _, screen):
        chart = screen.query(Chart).first()
        await pilot.press("plus", "shift+left")
        assert not chart.view.follows
        await pilot.press("f")
        assert chart.view.follows
        await pilot.press("0")
        assert chart.view == View()


async def test_siblings_are_shown_behind(database: Path, writer: Writer) -> None:
    runs = experiment(writer, HALF, list(scripted("distill")), [])
    async with watching(database, runs[0]) as (pilot, _, screen):
        chart = screen.query(Chart).first()
        assert not any(one.style == "behind" for one in chart.series)
        await pilot.press("b")
        assert [one.name for one in chart.series if one.style == "behind"] == ["loss-2"]
        await pilot.press("b")
        assert not any(one.style == "behind" for one in chart.series)


async def test_marked_runs_of_any_experiment_stay_behind(database: Path, writer: Writer) -> None:
    run, other = add(writer, list(HALF)), add(writer, list(scripted("softmax")))
    async with watching(database, run) as (pilot, bench, screen):
        chart = screen.query(Chart).first()
        bench.marked.update({run: None, other: None})
        await pilot.press("v")
        assert [one.name for one in chart.series if one.style == "behind"] == [bench.reader.run(other)["name"]]


async def test_the_log_opens_and_closes(database: Path, writer: Writer) -> None:
    run = add(writer, list(scripted()))
    async with watching(database, run) as (pilot, _, screen):
        assert not screen.query_one(LogPane).display
        await pilot.press("l")
        await until_true(pilot, lambda: "finished in 12.5s" in log(screen))
        assert "! early exit loses to block 0 as trained" in log(screen)
        await pilot.press("l")
        await pilot.pause()
        assert not screen.query_one(LogPane).display


async def test_the_log_grows_and_repeats_nothing(database: Path, writer: Writer) -> None:
    run = add(writer, HALF)
    async with watching(database, run, (160, 50)) as (pilot, _, screen):
        await until_true(pilot, lambda: "epoch 2/10" in log(screen))
        append(writer, run, until(scripted(), "block0.lm", 3)[len(HALF) :], HALF)
        await until_true(pilot, lambda: "epoch 3/10" in log(screen))
        assert log(screen).count("epoch 2/10") == 1


async def test_a_failed_run_opens_its_log_with_the_traceback(database: Path, writer: Writer) -> None:
    run = add(writer, [*HALF, FAILURE])
    async with watching(database, run) as (pilot, _, screen):
        assert words(screen, "title").startswith("✗ failed")
        await until_true(pilot, lambda: 'File "x.py", line 3' in log(screen))
        assert "✗ failed: ValueError: shapes differ" in log(screen)


async def test_brackets_go_through_the_runs_of_the_experiment(database: Path, writer: Writer) -> None:
    runs = experiment(writer, HALF, list(scripted()), [*HALF, FAILURE])
    async with watching(database, runs[0]) as (pilot, bench, screen):
        await pilot.press("right_square_bracket")
        assert words(screen, "title").startswith("✓ finished  loss-2")
        assert selected(screen) == "evaluation"
        await pilot.press("right_square_bracket")
        assert words(screen, "title").startswith("✗ failed  loss-3")
        await pilot.press("right_square_bracket")
        assert any("no further run" in message for message in messages(bench))
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert words(screen, "title").startswith("▶ training  loss-1")


async def test_stray_output_of_this_process_is_in_the_log_of_its_run(
    database: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add(writer, HALF)
    monkeypatch.setattr(StrayOutput, "text", lambda _: "OMP: a warning\n")
    async with watching(database, run, (160, 50)) as (pilot, bench, screen):
        assert "OMP" not in log(screen)
        bench.trainer._set(phase="training", run=run)
        await until_true(pilot, lambda: "» OMP: a warning" in log(screen))
        await pilot.pause(0.6)
        assert log(screen).count("OMP") == 1
        bench.trainer._set(phase="idle", run=None)


async def test_news_that_come_while_the_screen_is_being_built_wait_until_it_is(
    database: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, compose, early = add(writer, HALF), StageView.compose, list[bool]()

    def composed_late(view: StageView) -> ComposeResult:
        assert isinstance(view.screen, LiveScreen)
        view.screen.update()
        early.append(not view.children)
        yield from compose(view)

    monkeypatch.setattr(StageView, "compose", composed_late)
    async with watching(database, run) as (pilot, _, screen):
        await until_true(pilot, lambda: "of 3 left" in words(screen, "facts"))
        assert screen.query_one(StageView).charts
    assert early == [True]
