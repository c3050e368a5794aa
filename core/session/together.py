"""One run on several processes: the first runs the experiment, and the others follow it run by run."""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from core.config.derived import dataset_settings
from core.config.run_config import RunConfig, rebuilt
from core.data.windows import Dataset, load_dataset
from core.errors import CorpusError, LostProcessError, PartedError, StoppedError
from core.events import Event
from core.parallel.launch import launch
from core.parallel.world import Together, require_devices, world
from core.protocol.memory import StageMemory
from core.protocol.train import train


@dataclass(frozen=True)
class Job:
    """A run that all processes are to train.

    Attributes:
        config: resolved, as JSON.
        fingerprint: of its dataset.
        threads: number of threads of each process.
    """

    config: str
    fingerprint: str
    threads: int


def led(job: Job, training: Callable[[], Iterator[Event]]) -> Generator[Event, None, None]:
    """Yield the events of a run that the other processes train as well, and tell them of its end, however it comes."""
    together = world()
    if not isinstance(together, Together):
        yield from training()
        return
    together.send(job)
    try:
        yield from training()
    except (PartedError, StoppedError, LostProcessError):  # they know, or are gone
        raise
    except GeneratorExit:  # the run was stopped, or its events can't be stored
        together.leave(stopped=True)
        raise
    except BaseException as error:
        together.leave(failed=f"{type(error).__name__}: {error}")
        raise
    together.leave()


def follow(together: Together, should_stop: Callable[[], bool], known: Mapping[str, Dataset] | None = None) -> None:
    """Train with the first process whatever it trains, until there is no more.

    Args:
        known: datasets that need not be read, by their fingerprints.

    Raises:
        LostProcessError: it is gone.
    """
    memory, datasets = StageMemory(), dict(known or {})
    while (job := together.receive()) is not None:
        try:
            config, dataset = _read(job, datasets)
            for _ in train(config, dataset, memory, threads=job.threads):
                if should_stop():
                    raise KeyboardInterrupt
        except (PartedError, StoppedError):
            continue
        except LostProcessError:
            raise
        except KeyboardInterrupt:
            together.leave(stopped=True)
        except Exception as error:
            together.leave(failed=f"{type(error).__name__}: {error}")
        else:
            together.leave()


def _read(job: Job, datasets: dict[str, Dataset]) -> tuple[RunConfig, Dataset]:
    """Return a job's config and its dataset, which is read once.

    Raises:
        CorpusError: the text is another one here.
        ConfigError: there is no device for this process.
    """
    config = rebuilt(json.loads(job.config), "the first process")
    require_devices(config.machine.device, launch())
    if job.fingerprint not in datasets:
        dataset = load_dataset(*dataset_settings(config))
        if dataset.fingerprint != job.fingerprint:
            raise CorpusError(f"the corpus {config.data.corpus} is another text than that of the first process")
        datasets[job.fingerprint] = dataset
    return config, datasets[job.fingerprint]
