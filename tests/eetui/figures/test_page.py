"""The page on figures: every command of it is understood."""

from tests.commands import commands_of, understood


def test_every_command_of_the_page_is_understood() -> None:
    commands = commands_of("figures.md")
    assert {words[0] for words in commands} == {"plot", "compare", "report", "sweep"}
    for words in commands:
        understood(words)
