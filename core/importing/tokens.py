"""The tokens of a file: its arrays, checked, and what is left out of it worked out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config.sections import MOST_BLOCKS, MOST_LAYERS
from core.errors import UsageError
from core.exits._facts import Claim
from core.importing.checks import MOST_WORDS, numbers, probabilities, require, require_shape, rising, token_ids, vector
from core.importing.files import GUIDE, Arrays
from core.importing.names import ALIASES, NEEDED

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
CLAIMS: tuple[Claim, ...] = ("rank", "max_prob", "correct", "p(target)", "agrees")
"""What an imported signal may claim to be: what can be compared with the arrays of a file."""
SIMPLE_NAME = re.compile(r"[A-Za-z][\w.+-]{0,39}")
DISAGREE = 0.02
"""Distance of a right prediction's probability from that of its target, and share of tokens, up to which it is rounding
(of bfloat16 and the like)."""


@dataclass(frozen=True, eq=False)
class ImportedTokens:
    """What a file says of its tokens.

    Attributes:
        loss, max_prob, prediction: `[K, W, T]`.
        signal: `[K - 1, W, T]`.
        targets: `[W, T]`.
        vocabulary: text of every token; `#17` for one whose text is not known.
        has_text: whether any text is known.
        costs, signal_costs: cost of a token that leaves at each exit, and of the signal of one that arrives there.
        has_costs: whether they were given, and do not just count layers.
        thresholds: as they were given; empty: they are to be set.
        calibration: whether each window is for calibration, `[W]`; None where nothing is said of it.
        notes: on the data, for readers of the numbers.
    """

    loss: Floats
    signal: Floats
    max_prob: Floats
    prediction: Ids
    targets: Ids
    vocabulary: list[str]
    has_text: bool
    layers: tuple[int, ...]
    costs: tuple[float, ...]
    signal_costs: tuple[float, ...]
    has_costs: bool
    thresholds: tuple[float, ...]
    calibration: NDArray[np.bool_] | None
    claims: Claim
    method: str
    corpus: str | None
    notes: tuple[str, ...] = ()

    @property
    def exits(self) -> int:
        """Number of exits, the last one included, K."""
        return len(self.loss)

    @property
    def windows(self) -> int:
        return len(self.targets)

    @property
    def seq_len(self) -> int:
        return int(self.targets.shape[1])


def imported_tokens(arrays: Arrays, given: Mapping[str, Any] | None = None) -> ImportedTokens:
    """Check the arrays of a file.

    Args:
        given: values that stand for arrays of these names, whatever the file has.

    Raises:
        UsageError: an array is missing or wrong: which, where, and what to do.
    """
    named = dict[str, NDArray[Any]]()
    for name, values in arrays.items():
        if (plain := ALIASES.get(name, name)) in named:
            raise UsageError(f"{plain} is there twice, once as {name}: leave one out")
        named[plain] = values
    named |= {name: np.array(value) for name, value in (given or {}).items() if value is not None}
    missing = [f"{name} ({what})" for name, what in NEEDED.items() if name not in named]
    if missing:
        raise UsageError(f"missing: {'; '.join(missing)}: {GUIDE}")
    shape = _shape(named)
    exits, windows, seq_len = shape
    loss = numbers("loss", _of_tokens("loss", named, shape))
    require(loss >= 0, "loss", loss, "a cross-entropy is 0 or above: give -log p of each target")
    max_prob = probabilities("max_prob", _of_tokens("max_prob", named, shape))
    prediction = token_ids("prediction", _of_tokens("prediction", named, shape))
    targets = token_ids("targets", _of_tokens("targets", named, (windows, seq_len)))
    if "signal" in named:
        signal = _of_tokens("signal", named, (exits - 1, windows, seq_len))
        signal = probabilities("signal", signal, ": map a score to it in its order, such as by 1 / (1 + exp(-score))")
    else:
        signal = max_prob[:-1]
    layers = _layers(named, exits)
    vocabulary, has_text = _vocabulary(named, prediction, targets)
    return ImportedTokens(
        loss=loss,
        signal=signal,
        max_prob=max_prob,
        prediction=prediction,
        targets=targets,
        vocabulary=vocabulary,
        has_text=has_text,
        layers=layers,
        costs=rising("costs", named.get("costs", np.cumsum(layers)), exits),
        signal_costs=_signal_costs(named, exits),
        has_costs="costs" in named,
        thresholds=_thresholds(named, exits),
        calibration=_calibration(named, windows, seq_len),
        claims=_claims(named),
        method=_method(named),
        corpus=_word(named, "corpus"),
        notes=tuple(_doubts(loss, max_prob, prediction == targets)),
    )


def _shape(named: Arrays) -> tuple[int, int, int]:
    """Return K, W and T, from the losses, and the length of windows where they do not have it."""
    loss = named["loss"]
    if loss.ndim not in (2, 3):
        raise UsageError(f"loss has shape {list(loss.shape)}: it must be [exits, windows, tokens], or [exits, tokens]")
    if not loss.size:
        raise UsageError(f"loss has shape {list(loss.shape)}: there is not one token")
    exits, tokens = len(loss), loss[0].size
    seq_len = _seq_len(named, tokens)
    if tokens % seq_len:
        raise UsageError(
            f"loss has {tokens} tokens, which are no windows of seq_len = {seq_len}: leave the last "
            f"{tokens % seq_len} out of all arrays"
        )
    windows = tokens // seq_len
    if not 2 <= exits <= MOST_BLOCKS:
        raise UsageError(f"loss has {exits} exits: give 2 to {MOST_BLOCKS}, of which the last is the whole model")
    if windows < 2:
        raise UsageError(f"loss has {windows} windows of {seq_len} tokens: at least 2 are needed")
    return exits, windows, seq_len


def _seq_len(named: Arrays, tokens: int) -> int:
    """Return the tokens of a window: as the losses have them, as given, or as the windows' numbers change."""
    found = dict[str, int]()
    if named["loss"].ndim == 3:
        found["the shape of loss"] = named["loss"].shape[2]
    if "seq_len" in named:
        found["seq_len"] = _count(named, "seq_len")
    if "window" in named:
        found["window"] = _window_length(named["window"].ravel(), tokens)
    if not found:
        raise UsageError(
            "loss is [exits, tokens]: say how many tokens, one after the other, make a window that no token looks "
            "beyond, as seq_len or --seq-len; windows are what intervals are estimated from"
        )
    if len(set(found.values())) > 1:
        said = ", ".join(f"{length} by {source}" for source, length in found.items())
        raise UsageError(f"the tokens of a window are {said}: leave out what is wrong")
    return next(iter(found.values()))


def _window_length(numbers_: NDArray[Any], tokens: int) -> int:
    """Return the tokens of a window by the number of each token's window."""
    require_shape("window", numbers_, (tokens,), "the number of each token's window")
    starts = np.flatnonzero(np.append(True, numbers_[1:] != numbers_[:-1]))
    lengths = np.diff(np.append(starts, tokens))
    if (lengths != lengths[0]).any():
        other = int((lengths != lengths[0]).argmax())
        raise UsageError(
            f"window {numbers_[starts[other]]} has {lengths[other]} tokens (from row {starts[other]}), and the first "
            f"{lengths[0]}: windows must be equally long, cut or leave out those that are not"
        )
    return int(lengths[0])


def _of_tokens(name: str, named: Arrays, wanted: tuple[int, ...]) -> NDArray[Any]:
    """Return an array with its tokens in windows; they may be in a row in the file."""
    values = named[name]
    *first, windows, seq_len = wanted
    if values.shape == (*first, windows * seq_len):
        return values.reshape(wanted)
    require_shape(name, values, wanted, "as loss has it" if name != "signal" else "for every exit but the last")
    return values


def _count(named: Arrays, name: str) -> int:
    value = named[name]
    if value.size != 1 or not np.issubdtype(value.dtype, np.integer) or not 1 <= value.item() <= MOST_WORDS:
        what = f"one whole number from 1 to {MOST_WORDS:,}"
        raise UsageError(f"{name} must be {what}, got {value.tolist()!r:.80}")
    return int(value.item())


def _word(named: Arrays, name: str) -> str | None:
    if name not in named:
        return None
    value = named[name]
    if value.size != 1 or value.dtype.kind != "U":
        raise UsageError(f"{name} must be one text, got {value.tolist()!r:.80}")
    return str(value.item())


def _claims(named: Arrays) -> Claim:
    default = "rank" if "signal" in named else "correct"  # the largest probability is itself by definition
    found = _word(named, "claims") or default
    for claim in CLAIMS:
        if claim == found:
            return claim
    raise UsageError(f"claims must be one of {', '.join(CLAIMS)}: what the signal claims to be, got {found!r:.80}")


def _method(named: Arrays) -> str:
    name = _word(named, "method") or ("signal" if "signal" in named else "max_prob")
    if not SIMPLE_NAME.fullmatch(name):
        raise UsageError(f"method must be a short name of letters, digits and _.+-, got {name!r:.80}")
    return name


def _layers(named: Arrays, exits: int) -> tuple[int, ...]:
    """Return the layers of each exit's block; one each where they are not given."""
    if "layers" not in named:
        return (1,) * exits
    found = vector("layers", named["layers"], exits)
    fine = (found == np.rint(found)) & (found >= 1) & (found <= MOST_LAYERS)
    require(fine, "layers", found, f"it must be the number of layers between an exit and the next, 1 to {MOST_LAYERS}")
    return tuple(int(layers) for layers in found)


def _signal_costs(named: Arrays, exits: int) -> tuple[float, ...]:
    if "signal_costs" not in named:
        return (0.0,) * (exits - 1)
    if "costs" not in named:
        raise UsageError("signal_costs are in the unit of costs, which are missing: give both")
    found = vector("signal_costs", named["signal_costs"], exits - 1)
    require(found >= 0, "signal_costs", found, "a cost is 0 or above")
    return tuple(found.tolist())


def _thresholds(named: Arrays, exits: int) -> tuple[float, ...]:
    if "thresholds" not in named:
        return ()
    found = vector("thresholds", named["thresholds"], exits - 1)
    require(found >= 0, "thresholds", found, "it must be in [0, 1], as signals are, or above 1 for an exit that is off")
    return tuple(found.tolist())


def _calibration(named: Arrays, windows: int, seq_len: int) -> NDArray[np.bool_] | None:
    """Return whether each window is for calibration; it may be said of each token."""
    if "calibration" not in named:
        return None
    values = named["calibration"]
    if values.dtype.kind not in "bui":
        raise UsageError(f"calibration has dtype {values.dtype}: it must be true for windows that set the exits")
    require((values == 0) | (values == 1), "calibration", values, "it must be true (1) or false (0) for each window")
    found = values.astype(bool)
    if found.size == windows * seq_len and found.ndim < 3 and seq_len > 1:
        of_tokens = found.reshape(windows, seq_len)
        same = of_tokens == of_tokens[:, :1]
        require(same, "calibration", of_tokens, "it must be the same for all tokens of a window")
        found = of_tokens[:, 0]
    require_shape("calibration", found, (windows,), "true or false for each window")
    if found.all() or not found.any():
        which = "every" if found.all() else "no"
        raise UsageError(f"calibration is true for {which} window: some set the exits, the others evaluate them")
    return found


def _vocabulary(named: Arrays, prediction: Ids, targets: Ids) -> tuple[list[str], bool]:
    """Return the text of every token id, and whether any is known."""
    used = 1 + max(int(prediction.max()), int(targets.max()))
    size = _count(named, "vocab_size") if "vocab_size" in named else used
    words = named.get("vocabulary")
    if words is not None:
        if words.ndim != 1 or words.dtype.kind != "U":
            raise UsageError(
                f"vocabulary has dtype {words.dtype}, shape {list(words.shape)}: a list of texts is needed"
            )
        size = len(words)
    for name, ids in (("prediction", prediction), ("targets", targets)):
        source = "vocabulary" if words is not None else "vocab_size"
        require(ids < size, name, ids, f"{source} ends before it, at {size}")
    if words is not None:
        return [_plain(word) for word in words.tolist()], True
    found = [f"#{number}" for number in range(size)]
    if "text" in named:
        text = named["text"]
        if text.dtype.kind != "U":
            raise UsageError(f"text has dtype {text.dtype}: it must be the text of each target")
        text = _of_tokens("text", named, targets.shape)
        ids, first = np.unique(targets, return_index=True)
        for number, word in zip(ids.tolist(), text.ravel()[first].tolist(), strict=True):
            found[number] = _plain(word)
    return found, "text" in named


def _plain(word: str) -> str:
    """Return a text that can be stored: halves of surrogate pairs, which bytes decode to in some ways, are �."""
    return word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _doubts(loss: Floats, max_prob: Floats, correct: NDArray[np.bool_]) -> list[str]:
    """Return what makes one doubt the arrays: where a prediction is right, its probability is its target's."""
    if not correct.any():
        return ["not one prediction is its target: are targets shifted by one place?"]
    apart = float((np.abs(np.exp(-loss[correct]) - max_prob[correct]) > DISAGREE).mean())
    if apart <= DISAGREE:
        return []
    return [
        f"where predictions are right, max_prob is not exp(-loss) for {apart:.0%} of them: are losses in nats, one for "
        f"each token, and of the same targets?"
    ]
