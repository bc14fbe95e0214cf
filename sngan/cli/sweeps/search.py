"""`hydra/sweeper=optuna`: a search by Optuna for the overrides that give the best quick score.

The released Hydra plugin of this name (1.3) needs Optuna 2 and cannot continue an interrupted search. That of Hydra 1.4 is for Optuna 4 and
5. The keys here are those that both plugins have, so that it can replace this one.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from sngan.cli.compose import takes_no_score, to_dict
from sngan.cli.hydra_app import needs_extra
from sngan.cli.sweeps.outcomes import Outcome
from sngan.errors import UserError
from sngan.files import read_json
from sngan.runs.folder import RESULT

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage

    Space = dict[str, BaseDistribution]

SMALLER_IS_BETTER = {"fid", "kid"}
"""Metrics that are distances, where smaller is better."""


def register_sweeper() -> None:
    """Makes the sweeper known to Hydra, which takes plugins from the namespace `hydra_plugins` alone."""
    Plugins.instance().class_name_to_class["hydra_plugins.sngan.OptunaSweeper"] = OptunaSweeper


class OptunaSweeper(Sweeper):
    """Asks Optuna for overrides, runs them as jobs, and tells it their best quick scores.

    The search ends when `n_trials` trials have a score. The same command continues a study in `storage`; it begins with interrupted
    trials, whose runs resume. `n_jobs` trials run at a time if the launcher runs several jobs.
    """

    def __init__(
        self, n_trials: int, n_jobs: int, storage: str | None, study_name: str | None, seed: int, params: DictConfig | None
    ):
        self.n_trials, self.n_jobs, self.storage, self.study_name, self.seed = n_trials, n_jobs, storage, study_name, seed
        self.params: Mapping[Any, Any] = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what Hydra gives to every sweeper."""
        self._config = config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Runs the search; `arguments` are the overrides of the command, some of them to be searched over."""
        self._check()
        space, fixed = self._space(arguments)
        with self._opened() as storage:
            self._search(self._study(storage, space, fixed), space, fixed)

    def _check(self) -> None:
        """Raises `UserError`, before anything is run, for options that Hydra does not check."""
        if find_spec("optuna") is None:
            raise UserError(needs_extra("hydra/sweeper=optuna"))
        for key in ("n_trials", "n_jobs", "seed"):
            if not isinstance(getattr(self, key), int):
                raise UserError(f"hydra.sweeper.{key}={getattr(self, key)}: input should be a whole number")
        if self.n_jobs < 1:  # joblib's way to say all cores
            self.n_jobs = os.cpu_count() or 1
        nothing = [key for key in ("protocol", "quick") if takes_no_score(to_dict(self._config[key]))]
        if nothing or not self._config.evaluate_every:
            what = f"{nothing[0]}=none" if nothing else "evaluate_every=0"
            raise UserError(f"hydra/sweeper=optuna looks for the best quick score, and with {what} there is none")

    def _space(self, arguments: Sequence[str]) -> tuple[Space, list[str]]:
        """The search space, by key, and the other overrides. Those of the command replace those of the config."""
        words = [f"{key}={value}" for key, value in self.params.items()]
        parsed = OverridesParser.create().parse_overrides([*words, *arguments])
        overrides = {override.get_key_element(): override for override in parsed}
        space = {key: distribution(each) for key, each in overrides.items() if each.is_sweep_override()}
        if not space:
            raise UserError(
                "hydra/sweeper=optuna: nothing to search over; give 'optimizer.lr=tag(log, interval(1e-4, 1e-2))' d_steps=1,2,5, or sweep=search"
            )
        return space, [str(each.input_line) for each in overrides.values() if not each.is_sweep_override()]

    @contextmanager
    def _opened(self) -> Iterator[RDBStorage | None]:
        """Inside, the database of studies; None for a study in memory."""
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self.storage is None:
            yield None
            return
        try:
            if self.storage.startswith("sqlite:///"):
                Path(self.storage.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            storage = optuna.storages.RDBStorage(self.storage)
        except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError) as error:
            raise UserError(
                f"hydra.sweeper.storage={self.storage}: {str(error).splitlines()[0]}; give a database, as in sqlite:///runs/search.db"
            ) from None
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def _study(self, storage: RDBStorage | None, space: Space, fixed: list[str]) -> Study:
        """The study of this search, of which the space and the fixed overrides are the identity."""
        import optuna

        what = hashlib.sha256(repr((sorted(map(str, space.items())), sorted(fixed))).encode()).hexdigest()[:8]
        return optuna.create_study(
            study_name=self.study_name or f"{self._config.name}-{what}",
            storage=storage,
            direction="minimize" if self._config.quick.metrics[0] in SMALLER_IS_BETTER else "maximize",
            load_if_exists=True,
        )

    def _search(self, study: Study, space: Space, fixed: list[str]) -> None:
        done = sum(trial.state.name == "COMPLETE" for trial in study.trials)
        interrupted = [trial for trial in study.trials if trial.state.name == "RUNNING" and "overrides" in trial.user_attrs]
        print(f"study {study.study_name}: {done} of {self.n_trials} trials have a score", flush=True)
        job, left = 0, self.n_trials - done
        while left > 0:
            batch = []
            for _ in range(min(left, self.n_jobs)):
                if interrupted:
                    trial = interrupted.pop(0)
                    batch.append((trial.number, trial.user_attrs["overrides"]))
                else:
                    batch.append(self._ask(study, space, fixed))
            returned = self._launcher.launch([overrides for _, overrides in batch], initial_job_idx=job)
            job, left = job + len(batch), left - len(batch)
            outcomes = [ret.return_value for ret in returned]
            for (number, _), outcome in zip(batch, outcomes, strict=True):
                self._tell(study, number, outcome)
            if any(outcome.status in ("interrupted", "not begun") for outcome in outcomes):
                return
        self._say_best(study)

    def _ask(self, study: Study, space: Space, fixed: list[str]) -> tuple[int, list[str]]:
        """A new trial: its number, and the overrides of its job."""
        from optuna.samplers import TPESampler

        # suggestions are a function of the seed and the trials so far, so they do not depend on how often the search was stopped
        study.sampler = TPESampler(seed=self.seed + len(study.trials), constant_liar=self.n_jobs > 1)
        trial = study.ask(space)
        overrides = [*fixed, *(f"{key}={_word(value)}" for key, value in trial.params.items())]
        trial.set_user_attr("overrides", overrides)
        return trial.number, overrides

    def _tell(self, study: Study, number: int, outcome: Outcome) -> None:
        """Tells Optuna the outcome of a trial; an interrupted one stays open, and the same command continues it."""
        from optuna.trial import TrialState

        if outcome.status == "finished" and outcome.value is not None and math.isfinite(outcome.value):
            study.tell(number, outcome.value)
            assert outcome.folder is not None
            study.set_user_attr("score", next(iter(read_json(Path(outcome.folder, RESULT))["quick"]["scores"])))
        elif outcome.status in ("finished", "failed"):
            study.tell(number, state=TrialState.FAIL)

    def _say_best(self, study: Study) -> None:
        scored = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
        if not scored:
            print("no trial has a score", flush=True)
            return
        found = " ".join(f"{key}={_word(value)}" for key, value in study.best_params.items())
        print(f"best of {len(scored)} trials: {study.user_attrs['score']} {study.best_value:.4g} with {found}", flush=True)


def distribution(override: Override) -> BaseDistribution:
    """The distribution of an override such as `a=1,2`, `a=range(3)`, `a=interval(0.1, 1)` or `a=tag(log, interval(1e-4, 1e-2))`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None and high is not None
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    assert isinstance(value, ChoiceSweep | RangeSweep)
    return CategoricalDistribution([str(choice) for choice in override.sweep_iterator(transformer=Transformer.encode)])


def _word(value: Any) -> str:
    """A value as in an override; a float has four digits, because it becomes part of a folder name."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
