"""A switch that says whether it is on."""

from textual.app import App, ComposeResult

from eetui.drawing.word_switch import WordSwitch


async def test_its_words_follow_its_value_and_fit() -> None:
    class Bare(App[None]):
        def compose(self) -> ComposeResult:
            yield WordSwitch(animate=False)

    app = Bare()
    async with app.run_test() as pilot:
        switch = app.query_one(WordSwitch)
        assert str(switch.render()).strip() == "[ ] off"
        await pilot.press("enter")
        assert str(switch.render()).strip() == "[x] on"
        assert switch.content_size.width == len("[ ] off")
