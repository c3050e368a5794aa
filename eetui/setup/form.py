"""The form: a line for each field, with its editor, its meaning and its problem."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ItemGrid, VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Checkbox, Input, Select, Static, Switch

from eetui.drawing.word_switch import WordSwitch
from eetui.setup.fields import Field, Raw, written
from eetui.setup.form_text import Look, field_lines

NONE = "none"


class Choice(Select[str], inherit_bindings=False):
    """A select without bindings for up and down, which belong to the form."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Choose", show=False, id="form.choose", tooltip="Show what to choose"),
    ]


EDITOR_LEFT, TICK_WIDTH = 23, 16


class Tick(Checkbox):
    """A checkbox that shows its tick without colour."""

    @property
    def _button(self) -> Content:
        style = self.get_visual_style("toggle--button")
        return Content.assemble(("[x]" if self.value else "[ ]", style))


class FieldRow(Widget):
    """A field: name, unit, meaning and problem drawn around its editor."""

    DEFAULT_CSS = """
    FieldRow { layout: horizontal; height: auto; padding: 0 1; }
    FieldRow > * { height: 1; width: 22; margin-left: 23; }
    FieldRow > .wide { width: 1fr; max-width: 37; }
    FieldRow > ItemGrid { width: 1fr; height: auto; }
    FieldRow Choice > SelectCurrent { padding: 0 1 0 0; background: $surface; }
    FieldRow Choice:focus > SelectCurrent { background: $primary 30%; }
    FieldRow Input:focus { background: $primary 30%; }
    FieldRow Switch { border: none; padding: 0; background: $background; }
    FieldRow Switch:focus { border: none; background: $primary 30%; }
    FieldRow Tick { width: auto; margin-right: 2; background: $background; }
    FieldRow Tick:focus { border: none; background: $primary 30%; }
    FieldRow Tick > .toggle--button, FieldRow Tick.-on > .toggle--button { color: $foreground; background: $surface; }
    """

    @dataclass
    class Edited(Message):
        """The user changed the value."""

        row: "FieldRow"
        raw: Raw

    def __init__(self, field: Field, raw: Raw) -> None:
        super().__init__()
        self.field, self.raw = field, raw
        self.changed, self.problem, self.unused = False, "", ""

    def compose(self) -> ComposeResult:
        match self.field.kind:
            case "choice":
                texts = [str(written(value)) for value in self.field.choices]
                options = [(text or NONE, text) for text in texts]
                yield Choice(options, allow_blank=False, value=str(self.raw), compact=True)
            case "switch":
                yield WordSwitch(bool(self.raw), animate=False)
            case "several":
                names = [
                    (name, isinstance(self.raw, tuple) and name in self.raw) for name in map(str, self.field.choices)
                ]
                labels = self.field.labels
                ticks = (Tick(labels.get(name, name), ticked, name=name, compact=True) for name, ticked in names)
                yield ItemGrid(*ticks, min_column_width=TICK_WIDTH, regular=False)
            case "text":
                yield Input(str(self.raw), compact=True, select_on_focus=False, classes="wide")
            case _:
                yield Input(str(self.raw), compact=True, select_on_focus=False)

    @property
    def editor(self) -> Widget:
        """The widget that takes the focus; the first if there are several."""
        return self.query("Input, Choice, Switch, Tick").first()

    def show(self, raw: Raw, *, changed: bool, problem: str = "", unused: str = "") -> None:
        """Show a value, whether it differs from the preset, its problem, and whether it has no effect."""
        if raw != self.raw:
            self.raw = raw
            if self.is_mounted:
                self._fill(raw)
        if (changed, problem, unused) != (self.changed, self.problem, self.unused):
            moves = bool(problem) != bool(self.problem)
            self.changed, self.problem, self.unused = changed, problem, unused
            self.refresh(layout=moves)

    def _fill(self, raw: Raw) -> None:
        with self.prevent(Input.Changed, Select.Changed, Switch.Changed, Checkbox.Changed):
            match self.editor:
                case Input() | Choice() as editor:
                    editor.value = str(raw)
                case Switch() as editor:
                    editor.value = bool(raw)
                case _:
                    for tick in self.query(Tick):
                        tick.value = isinstance(raw, tuple) and tick.name in raw
        self.refresh()

    def render(self) -> Text:
        return self._drawn(self.content_size.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        columns = max((width - EDITOR_LEFT) // TICK_WIDTH, 1)
        ticks = -(-len(self.field.choices) // columns) if self.field.kind == "several" else 0
        return max(len(self._drawn(width).plain.splitlines()), ticks)

    def _drawn(self, width: int) -> Text:
        theme, focused = self.app.current_theme, self.has_focus_within
        look = Look(self.changed, focused, self.problem, self.unused, theme.primary, theme.error or "red")
        return field_lines(self.field, self.raw, look, width)

    def on_descendant_focus(self) -> None:
        self.refresh()

    def on_descendant_blur(self) -> None:
        self.refresh()

    def on_click(self) -> None:
        if not self.has_focus_within:
            self.editor.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._edited(event, event.value)

    def on_select_changed(self, event: Select.Changed) -> None:
        self._edited(event, str(event.value))

    def on_switch_changed(self, event: Switch.Changed) -> None:
        self._edited(event, event.value)

    def on_checkbox_changed(self, event: Checkbox.Changed) -> None:
        self._edited(event, tuple(str(tick.name) for tick in self.query(Tick) if tick.value))

    def _edited(self, event: Message, raw: Raw) -> None:
        event.stop()
        if raw != self.raw:  # editors also report the value they start with
            self.raw = raw
            self.refresh()
            self.post_message(self.Edited(self, raw))


class Form(VerticalScroll, can_focus=False, inherit_bindings=False):
    """All fields, the experiment's first, then those of each section."""

    DEFAULT_CSS = """
    Form { scrollbar-size-vertical: 1; }
    Form .section { padding: 1 1 0 1; text-style: bold; color: $text-muted; }
    """

    def __init__(self, fields: Sequence[Field], values: Mapping[str, Raw]) -> None:
        super().__init__()
        self.rows = {field.name: FieldRow(field, values[field.name]) for field in fields}

    def compose(self) -> ComposeResult:
        yield from (row for row in self.rows.values() if not row.field.heading)

    def on_mount(self) -> None:
        self.call_after_refresh(self._mount_sections)  # after the first frame: mounting them takes a while

    def _mount_sections(self) -> None:
        widgets: list[Widget] = []
        for heading, rows in groupby(self.rows.values(), key=lambda row: row.field.heading):
            if heading:
                widgets += [Static(heading, classes="section", markup=False), *rows]
        self.mount_all(widgets)

    @property
    def complete(self) -> bool:
        """Whether all fields are mounted."""
        return all(row.is_mounted for row in self.rows.values())

    @property
    def focused_row(self) -> FieldRow | None:
        """The field that has the focus."""
        focused = self.screen.focused
        return (
            next((node for node in focused.ancestors_with_self if isinstance(node, FieldRow)), None)
            if focused
            else None
        )

    def show(
        self, values: Mapping[str, Raw], changed: Container[str], problems: Mapping[str, str], unused: Mapping[str, str]
    ) -> None:
        """Show each field's value, whether it was changed, its problem, and why it has no effect."""
        for name, row in self.rows.items():
            why = unused.get(name, "")
            row.show(values[name], changed=name in changed, problem=problems.get(name, ""), unused=why)

    def go_to(self, name: str) -> None:
        """Focus a field."""
        self.rows[name].editor.focus()

    def go_to_section(self, direction: int) -> None:
        """Focus the first field of the next section; backwards, of this section or, from there, of the one before."""
        names, row = list(self.rows), self.focused_row
        firsts = [next(rows).field.name for _, rows in groupby(self.rows.values(), key=lambda row: row.field.heading)]
        here = names.index(row.field.name) if row else 0
        places = [place for place in map(names.index, firsts) if (place > here if direction > 0 else place < here)]
        if places:
            self.go_to(names[places[0] if direction > 0 else places[-1]])
