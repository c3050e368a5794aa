"""The estimate of the form's experiment, measured shortly after the last change."""

from collections.abc import Callable
from functools import partial

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import Worker, WorkerState, get_current_worker

from core.config.run_config import build
from core.errors import EetuiError
from core.estimate.estimate import Estimate
from core.estimate.process import Estimator
from eetui.setup.draft import Draft
from eetui.setup.estimate_text import Forecast, forecast_lines, forecast_table, headline

REST_SECONDS = 0.5
"""Time without a change before a measurement starts."""
MEASURING, SOON, INVALID, TYPING = "measuring…", "…", "waits for a valid form", "follows when you leave the field"
"""States in which the figures are not those of the form as it is."""


class EstimatePanel(Vertical):
    """Shows the newest estimate, and says so while the form is newer."""

    DEFAULT_CSS = """
    EstimatePanel { height: auto; padding: 0 1; }
    EstimatePanel .lines { height: 2; }
    EstimatePanel .table { height: auto; display: none; }
    """

    def __init__(self, busy: Callable[[], bool]) -> None:
        """Create the panel; `busy` returns whether something trains on this machine."""
        super().__init__()
        self.forecast = Forecast()
        self._busy = busy
        self._beside = False
        self._asked: object = None
        self._rest: Timer | None = None
        self._worker: Worker[Estimate | None] | None = None
        self._estimator = Estimator()

    def compose(self) -> ComposeResult:
        yield Static(classes="headline", markup=False)
        yield Static(classes="lines", markup=False)
        yield Static(classes="table", markup=False)

    def on_mount(self) -> None:
        self._show(self.forecast)

    @property
    def speed(self) -> float | None:
        """Estimated tokens per second of the form's first training stage; None while unknown."""
        return self.forecast.estimate.speed if self.forecast.estimate and not self.forecast.state else None

    def ask(self, draft: Draft) -> None:
        """Estimate a valid form, unless its estimate is shown or in progress."""
        if draft.subject != self._asked:
            self.forget(SOON)
            self._asked = draft.subject
            self._rest = self.set_timer(REST_SECONDS, partial(self._start, draft))

    def forget(self, state: str) -> None:
        """Cancel the measurement, if any, and show `state` as the reason."""
        self._asked = None
        if self._rest is not None:
            self._rest.stop()
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self._show(Forecast(self.forecast.estimate, state, "", self.forecast.beside_training))

    def _start(self, draft: Draft) -> None:
        self._beside = self._busy()
        self._show(Forecast(self.forecast.estimate, MEASURING, "", self._beside))
        work = partial(self._estimate, draft)
        self._worker = self.run_worker(work, thread=True, exclusive=True, group="estimate", exit_on_error=False)

    def _estimate(self, draft: Draft) -> Estimate | None:
        worker = get_current_worker()
        config = build(draft.layers())
        return self._estimator.estimate(config, draft.methods, draft.seeds, lambda: worker.is_cancelled)

    def on_unmount(self) -> None:
        self._estimator.close()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        event.stop()
        if event.worker is not self._worker:
            return
        if event.state is WorkerState.SUCCESS:
            self._show(Forecast(event.worker.result, beside_training=self._beside))
        elif event.state is WorkerState.ERROR:
            error = event.worker.error
            name = "" if isinstance(error, EetuiError) else f"{type(error).__name__}: "
            self._show(Forecast(problem=f"× {name}{error}"))

    def _show(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.query_one(".headline", Static).update(headline(forecast), layout=False)
        self.query_one(".lines", Static).update(forecast_lines(forecast), layout=False)
        self.query_one(".table", Static).update(forecast_table(forecast))
