"""Early exit at one price against the line of static depths, on a model of eight layers.

    python -m benchmarks.price [--corpus FILE --eval-corpus FILE] [--seeds 3] [--set key=value …] [--json FILE]

For each seed the blocks of preset `deep` are trained once. Then each way of setting exits is fitted on its calibration
windows, given a target of savings, and run over the evaluation windows, really skipping. The difference is that of its
loss and the loss of the static depths, or their best mixture, with the same savings as it realised: below 0 is better.
Intervals (95%) are over seeds and windows.
"""

import argparse
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks._report import Figure, Report
from core.analysis.tradeoff import depth_savings
from core.config.derived import classifier_outputs, classifier_width, loss_shares
from core.config.run_config import RunConfig, build, preset_layer, set_layer
from core.data.windows import Dataset, load_dataset
from core.evaluation.passes import Pass, early_exit, flop_savings
from core.evaluation.savings import exit_costs
from core.events import Epoch, Event
from core.exits import exit_method
from core.formulas import share_of_layers_saved
from core.generators import Returning
from core.intervals import over_all
from core.machine.device import prepare
from core.model import ExitClassifier, new_model
from core.pricing.thresholds import quantile_thresholds
from core.protocol.resolve import resolve
from core.protocol.train import first_data
from core.stages.block_data import from_tokens
from core.stages.gain_fit import fit_gains, held_out_signal
from core.stages.hard_tokens import exit_signal
from core.stages.lm import train_blocks
from core.stages.price import find_price
from core.stages.statistics import BlockOutput, foreseen_outputs
from core.static_line import static_mixture

TARGETS = {"layers": (0.25, 0.4, 0.55, 0.65), "flops": (0.2, 0.3, 0.4, 0.5)}
WAYS = {
    "gain": {"method": "gain"},
    "gain, mlp": {"method": "gain", "classifier": "mlp"},
    "softmax": {"method": "softmax"},
    "random": {"method": "random"},
    "gain, one exit rate": {"method": "gain", "policy": "quantile"},
    "softmax, one exit rate": {"method": "softmax", "policy": "quantile"},
}
"""Ways of setting exits, with what they change in the config."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """One way at one target.

    Attributes:
        savings: realised, as a share of the layers or of the FLOPs.
        above: loss of each window above that of the static depths, nats.
    """

    savings: float
    above: list[float]


def carried_out(stage: Generator[Event, None, Result], *, shown: bool = False) -> Result:
    """Return a stage's result, showing its epochs if asked to."""
    running = Returning(stage)
    for event in running:
        if shown and isinstance(event, Epoch):
            print(f"  epoch {event.epoch}  loss {event.loss:.4f}  early-stop {event.val_loss:.4f}", flush=True)
    return running.result


class Bench:
    """One seed's trained blocks, on which all ways are tried."""

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self.dataset, self.windows = dataset, dataset.evaluation
        self.model = new_model(config, dataset.vocabulary.size)
        data = first_data(self.model, dataset.train, config)
        carried_out(train_blocks(self.model, loss_shares(config), data.train, config, "joint.lm"), shown=True)
        self.calibration = data.calibration
        evaluated = from_tokens(self.model, self.windows.inputs, self.windows.targets)
        full = carried_out(foreseen_outputs(self.model, evaluated, config, "static", exit_method("random")))
        width = self.windows.targets.shape[1]
        losses = [output.statistics.cross_entropy.double().view(-1, width).mean(1) for output in full]
        self.static = torch.stack(losses)  # [K, W]
        print("  fixed depths " + ", ".join(f"{loss:.4f}" for loss in self.static.mean(1)), flush=True)

    def outputs(self, config: RunConfig) -> Sequence[BlockOutput]:
        """Each block's output on the calibration windows, with no token gone."""
        method = exit_method(config.method)
        return carried_out(foreseen_outputs(self.model, self.calibration, config, "ahead", method))

    def outcomes(self, config: RunConfig, cost: str, targets: Sequence[float]) -> Iterator[tuple[float, Outcome]]:
        """Yield the outcome of each target."""
        outputs, exits, signals = self.outputs(config), range(len(self.model.blocks) - 1), dict[int, Tensor]()
        for block in reversed(exits):
            signals[block] = self._signal(config, block, outputs[block], signals)
        for target in targets:
            thresholds = self._thresholds(config, outputs, signals, target)
            yield target, self._outcome(config, thresholds, cost)

    def _signal(self, config: RunConfig, block: int, output: BlockOutput, later: Mapping[int, Tensor]) -> Tensor:
        method = exit_method(config.method)
        if not method.predicts_gains:
            return exit_signal(self.model, block, output, method, config)
        own = ExitClassifier(config.model.dim, classifier_outputs(config)[block], classifier_width(config))
        self.model.classifiers[block] = own
        known = [later[exit_block] for exit_block in sorted(later)]
        weights = carried_out(fit_gains(self.model, block, output, known, config, f"block{block}.refit"))
        return held_out_signal(weights, block)

    def _thresholds(
        self, config: RunConfig, outputs: Sequence[BlockOutput], signals: Mapping[int, Tensor], target: float
    ) -> tuple[float, ...]:
        if config.exit.policy != "quantile":
            asked = config.model_copy(update={"exit": config.exit.model_copy(update={"savings": target})})
            vocab_size = self.model.embedding.num_embeddings
            return carried_out(find_price(outputs, signals, asked, vocab_size, "price")).thresholds
        every = torch.stack([signals[block] for block in sorted(signals)]).numpy()
        low, high = 0.0, 1.0
        for _ in range(12):  # one exit rate that saves so many layers
            rate = (low + high) / 2
            thresholds, staying, shares = quantile_thresholds(every, rate), 1.0, list[float]()
            for _ in thresholds:
                shares.append(staying * rate)
                staying -= shares[-1]
            saved = share_of_layers_saved((*shares, staying), config.model.block_layers)
            low, high = (rate, high) if saved < target else (low, rate)
        return thresholds

    def _outcome(self, config: RunConfig, thresholds: tuple[float, ...], cost: str) -> Outcome:
        result, count = Pass.empty(self.windows.targets), len(self.windows.inputs)
        for start in range(0, count, 256):
            early_exit(self.model, thresholds, self.windows, slice(start, min(start + 256, count)), result, config)
        shares = [float((result.left_at == block).double().mean()) for block in range(len(self.model.blocks))]
        costs = exit_costs(self.model.embedding.num_embeddings, config, thresholds)
        savings = share_of_layers_saved(shares, config.model.block_layers)
        depths = depth_savings(costs)
        static = depths.layers if cost == "layers" else depths.static_flops
        savings = savings if cost == "layers" else fmean(flop_savings(result, costs, config))
        mixture = static_mixture(static, self.static.mean(1).tolist(), savings)
        weights = torch.tensor(mixture.weights, dtype=self.static.dtype)
        return Outcome(savings, (result.cross_entropy.mean(1) - weights @ self.static).tolist())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus")
    parser.add_argument("--eval-corpus")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of preset deep")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    corpora = {"corpus": options.corpus, "eval_corpus": options.eval_corpus}
    layers = [preset_layer("deep"), *map(set_layer, [f"{k}={v}" for k, v in corpora.items() if v] + options.set)]
    kept = Report("Early exit at one price: nats above the static depths", vars(options) | {"json": None})
    found: dict[tuple[str, str, float], list[Outcome]] = {}
    for seed in range(42, 42 + options.seeds):
        config = resolve(build([*layers, set_layer(f"seed={seed}")]))
        prepare(config)
        print(f"seed {seed}: training", flush=True)
        bench = Bench(config, load_dataset(config.data, config.train.batch_size))
        for way in options.ways:
            for cost in TARGETS:
                changed = [set_layer(f"{key}={value}") for key, value in WAYS[way].items()]
                own = resolve(build([*layers, set_layer(f"seed={seed}"), *changed, set_layer(f"cost={cost}")]))
                for target, outcome in bench.outcomes(own, cost, TARGETS[cost]):
                    found.setdefault((way, cost, target), []).append(outcome)
                    print(
                        f"  {way:24} {target:.0%} of the {cost:6}  saved {outcome.savings:.1%}  "
                        f"{fmean(outcome.above):+.4f}",
                        flush=True,
                    )
    print("\nnats above the static depths at the savings that were realised [95% interval]")
    for (way, cost, target), outcomes in found.items():
        across = over_all([outcome.above for outcome in outcomes])
        mean = fmean(fmean(outcome.above) for outcome in outcomes)
        low, high = (across.low, across.high) if across else (mean, mean)
        name = f"{way}, {target:.0%} of the {cost}"
        print(f"  {name:44} saved {fmean(o.savings for o in outcomes):6.1%}  {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
        kept.figures.append(Figure(name, "nats", mean, low, high, len(outcomes)))
    kept.write(options.json)


if __name__ == "__main__":
    main()
