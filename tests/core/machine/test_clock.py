"""Where the time goes: what is timed, that FLOPs are those torch counts, and that no number depends on it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from core.config.run_config import RunConfig
from core.data.windows import Dataset
from core.events import Epoch, Event, Profiled, RunFinished, RunStarted, Savings, StageEnded, StageStarted, Step
from core.machine import clock as profile
from core.machine.clock import PAUSED, UNPROFILED, Stopwatch
from core.machine.device import peak_flops, waiter
from core.model import new_model
from core.protocol.memory import StageMemory
from core.protocol.train import train
from core.session import run as session
from core.session.plan import Plan
from core.session.prepare import Prepared, prepare, prepare_resume
from core.session.run import run_experiment
from core.stages.block_data import from_states, from_words
from core.stages.trainer import Trainer
from core.store.reader import Reader
from core.store.writer import Writer
from tests.core.training import stage_names

MakeConfig = Callable[..., RunConfig]
WORDS = 30
CONFIGS: list[dict[str, Any]] = [
    {},
    {"method": "softmax", "hard_tokens": "mask", "head": "frozen", "norm": "pre"},
    {"method": "distill", "protocol": "joint", "train_embedding": True},
    {"exit_classifier_mode": "joint"},
    {"protocol": "full_depth"},
    {"method": "gain", "calibration": "heldout", "classifier_fit": "lbfgs", "exited_state": "copy"},
]


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still; call it to let so many seconds pass."""
    now = [100.0]
    monkeypatch.setattr(profile.time, "perf_counter", lambda: now[0])

    def pass_by(count: float) -> None:
        now[0] += count

    return pass_by


def numbers(events: Iterable[Event]) -> list[Event]:
    """All that was found, without clocks."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, RunStarted):
            found.append(replace(event, peak_flops=None))
        elif isinstance(event, StageEnded | Epoch | Step):
            found.append(replace(event, seconds=0.0))
        elif isinstance(event, Savings):
            found.append(replace(event, time=None, time_low=None, time_high=None))
        elif not isinstance(event, Profiled | RunFinished):
            found.append(event)
    return found


def profiles(events: Iterable[Event]) -> dict[str, Profiled]:
    return {event.stage: event for event in events if isinstance(event, Profiled)}


# The clock


def test_a_part_within_a_part_counts_for_itself_alone(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch()
    with clock.part("optimizer", 10):
        seconds(1)
        with clock.part("forward", 5):
            seconds(2)
            with clock.part("data"):
                seconds(4)
        with clock.part("forward", 5):
            seconds(8)
        seconds(16)
    clock.count("forward", 3)
    seconds(32)
    (found,) = clock.read("stage")
    assert (found.stage, found.seconds) == ("stage", 63)
    assert dict(zip(found.parts, found.part_seconds, strict=True)) == {"data": 4, "forward": 10, "optimizer": 17}
    assert dict(zip(found.parts, found.part_flops, strict=True)) == {"data": 0, "forward": 13, "optimizer": 10}


def test_pauses_are_not_part_of_a_stage(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch()
    with clock.part(PAUSED):
        seconds(1000)
    seconds(2)
    (found,) = clock.read("stage")
    assert (found.seconds, found.parts) == (2, ())


def test_each_stage_begins_anew(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch()
    with clock.part("data", 7):
        seconds(1)
    clock.begin()
    seconds(2)
    (found,) = clock.read("next")
    assert found == Profiled("next", 2, (), (), ())


def test_the_device_is_waited_for_at_the_end_of_every_part(seconds: Callable[[float], None]) -> None:
    clock = Stopwatch(wait=lambda: seconds(5))
    with clock.part("head"):
        seconds(1)
    (found,) = clock.read("stage")
    assert found.part_seconds == (6,)


def test_without_a_profile_the_clock_says_nothing() -> None:
    UNPROFILED.begin()
    with UNPROFILED.part("data", 1), UNPROFILED.part("forward", 2):
        UNPROFILED.count("data", 3)
    assert list(UNPROFILED.read("stage")) == []


# The run


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_a_profiled_run_gives_the_same_numbers_and_times_every_stage(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config = tiny_config(**values)
    plain = list(train(config, tiny_dataset))
    profiled = list(train(config, tiny_dataset, clock=Stopwatch()))
    assert numbers(profiled) == numbers(plain)
    assert profiles(plain) == {}
    found = profiles(profiled)
    assert tuple(found) == stage_names(config)
    for one in found.values():
        assert 0 < sum(one.part_seconds) <= one.seconds
        assert all(part >= 0 for part in one.part_seconds)
    places = [index for index, event in enumerate(profiled) if isinstance(event, Profiled)]
    assert all(isinstance(profiled[index + 1], StageEnded) for index in places)


@pytest.mark.parametrize("values", CONFIGS, ids=str)
def test_flops_announced_for_steps_are_those_of_the_parts(
    values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    """So that what the Live screen shows without a profile agrees with the profile."""
    events = list(train(tiny_config(**values), tiny_dataset, clock=Stopwatch()))
    found = profiles(events)
    announced = [event for event in events if isinstance(event, StageStarted) and event.flops]
    assert {event.kind for event in announced} >= {"lm"}
    for event in announced:
        one = found[event.stage]
        flops = dict(zip(one.parts, one.part_flops, strict=True))
        steps = [step for step in events if isinstance(step, Step) and step.stage == event.stage]
        tokens = sum(step.tokens for step in steps)
        measured = sum(flops.values()) - flops.get("validation", 0) - flops.get("evaluation", 0)
        assert measured == pytest.approx(event.flops * tokens), event.stage


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"norm": "pre", "head": "frozen"},
        {"train_embedding": True},
        {"train_embedding": True, "tie_embedding": True, "norm": "pre"},
        {"hard_tokens": "mask", "exited_state": "copy"},
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [0, 1])
def test_the_parts_of_a_step_cost_what_torch_counts(
    block: int, values: dict[str, Any], tiny_config: MakeConfig, tiny_dataset: Dataset
) -> None:
    config, windows = tiny_config(**values), tiny_dataset.train
    model, clock = new_model(config, WORDS), Stopwatch()
    data = from_words(model, windows.inputs, windows.targets)
    if block:
        active = torch.arange(windows.targets.numel()).view_as(windows.targets) % 3 > 0
        data = from_states(model.embedding(windows.inputs).detach(), windows.targets, active)
    trainer = Trainer(model, {block: 1.0}, data, config, "any", 1, clock)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:
        trainer.step(torch.arange(8))
    (found,) = clock.read("any")
    assert sum(found.part_flops) == counter.get_total_flops()


def _addmm_flops(own: Any, left: Any, right: Any, *, out_shape: Any = None, **options: Any) -> int:
    return int(2 * left[0] * left[1] * right[1])


IN_PLACE = {torch.ops.aten.addmm_: _addmm_flops}


def test_the_reads_of_heads_are_counted_where_the_head_decides(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    """All tokens go through the head at block 0, and those that stay once more."""
    config = tiny_config("softmax")
    events = list(train(config, tiny_dataset, clock=Stopwatch()))
    early = next(event for event in events if getattr(event, "name", "") == "early exit")
    one = profiles(events)["evaluation"]
    each, left = (one.part_flops[one.parts.index(part)] for part in ("each block", "early exit"))
    head = 2 * 8 * WORDS
    assert each - left == pytest.approx(early.tokens * (2 - (1 + early.exit_shares[1])) * head)


def test_a_reused_stage_tells_what_it_took_when_it_was_computed(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    memory = StageMemory()
    first = profiles(train(tiny_config("loss"), tiny_dataset, memory, clock=Stopwatch()))
    second = profiles(train(tiny_config("softmax"), tiny_dataset, memory, clock=Stopwatch()))
    assert second["block0.lm"] == first["block0.lm"]
    assert second["block1.lm"] != first["block1.lm"]


# The peak


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_peak_is_measured_without_drawing_anything(dtype: str, tiny_config: MakeConfig) -> None:
    before = torch.get_rng_state()
    assert peak_flops(tiny_config(dtype=dtype)) > 1e6
    assert torch.equal(torch.get_rng_state(), before)


def test_the_peak_is_that_of_the_fastest_product(tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, *(time for took in (4.0, 2.0) for time in (10.0, 10.0 + took)), 99.0])
    monkeypatch.setattr("core.machine.device.time.perf_counter", lambda: next(ticks))
    assert peak_flops(tiny_config()) == 2 * 384**3 / 2.0


def test_the_cpu_needs_no_waiting_for() -> None:
    assert waiter(torch.device("cpu"))() is None  # type: ignore[func-returns-value]


def test_every_run_says_what_its_machine_reaches(tiny_config: MakeConfig, tiny_dataset: Dataset) -> None:
    started = next(train(tiny_config(), tiny_dataset))
    assert isinstance(started, RunStarted)
    assert started.peak_flops is not None


# The session


@pytest.fixture
def corpus(tmp_path: Any) -> str:
    file = tmp_path / "words.txt"
    file.write_text("\n".join(" ".join(f"w{line * word % 23}" for word in range(10)) for line in range(100)))
    return str(file)


@pytest.fixture
def prepared(writer: Writer, corpus: str, tiny_config: MakeConfig) -> Prepared:
    configs = tuple(tiny_config(method, corpus=corpus, max_epochs=2) for method in ("loss", "softmax"))
    return prepare(Plan(configs, (None, None), profile=True), writer)


def ignore(run: int, events: object) -> None:
    """Publish to nobody."""


def test_the_profile_is_stored_with_its_runs_and_what_storing_takes_is_in_it(
    writer: Writer, reader: Reader, prepared: Prepared
) -> None:
    assert run_experiment(prepared, writer, ignore) == ["finished", "finished"]
    for run in prepared.runs:
        state = reader.state(run)
        assert all(stage.profile is not None for stage in state.stages)
        assert all("events" in stage.profile.parts for stage in state.stages if stage.profile)
        assert all(PAUSED not in stage.profile.parts for stage in state.stages if stage.profile)
        assert reader.run(run)["record"]["profile"] is True


def test_time_spent_paused_is_nobodys(
    writer: Writer, reader: Reader, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, held_for = profile.time.perf_counter, [0.0]
    monkeypatch.setattr(profile.time, "perf_counter", lambda: real() + held_for[0])

    def held() -> bool:
        held_for[0] += 1000.0
        return False

    run_experiment(prepared, writer, ignore, held)
    (stage, *_) = reader.state(1).stages
    assert stage.profile is not None
    assert stage.seconds is not None
    assert stage.profile.seconds < 1000.0 < stage.seconds


def test_a_resumed_run_is_profiled_if_it_was(writer: Writer, reader: Reader, prepared: Prepared) -> None:
    asked = iter(range(10**9))
    run_experiment(prepared, writer, ignore, lambda: next(asked) >= 40)
    resumed = prepare_resume(prepared.runs, writer)
    assert resumed.profile
    assert run_experiment(resumed, writer, ignore) == ["finished", "finished"]
    assert all(stage.profile is not None for stage in reader.state(1).stages)


def test_without_the_request_nothing_is_timed(
    writer: Writer, reader: Reader, corpus: str, tiny_config: MakeConfig
) -> None:
    plain = prepare(Plan((tiny_config(corpus=corpus, max_epochs=1),), (None,)), writer)
    assert not plain.profile
    run_experiment(plain, writer, ignore)
    assert all(stage.profile is None for stage in reader.state(1).stages)
    assert session.new_clock(plain.configs[0], profile=False) is UNPROFILED
