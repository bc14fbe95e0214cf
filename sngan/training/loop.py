"""A whole run: from a config to checkpoints, samples and scores."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch

from sngan import devices, distributed
from sngan.config import Config, due
from sngan.data.batches import Batches
from sngan.data.images import Source, game_spec
from sngan.errors import DivergedError, Interrupted, UserError, naming_memory
from sngan.evaluation.protocol import check_protocol
from sngan.evaluation.score import Scorer
from sngan.layers.batch_norm import takes_groups
from sngan.losses.loss import RelativisticLoss
from sngan.networks import build_networks
from sngan.precision import check_precision, precision
from sngan.registry import build
from sngan.runs import checkpoint
from sngan.runs.folder import RunFolder
from sngan.runs.result import Result, finished
from sngan.runs.start import Start, open_start, start_from
from sngan.signals import StopRequest
from sngan.state import TrainState, initial_state
from sngan.training import engine
from sngan.training.agreement import check_ranks
from sngan.training.auto_precision import settled
from sngan.training.combinations import check_combination
from sngan.training.inputs import InputStream
from sngan.training.log import described
from sngan.training.memory import check_memory, does_not_fit, free_on, need_of
from sngan.training.recorder import Recorder
from sngan.training.schedule import learning_rate, set_learning_rate
from sngan.training.step import Game

log = logging.getLogger(__name__)

Scores = dict[str, float]


def train(config: Config) -> dict[str, Scores]:
    """Trains or continues the run that the config describes; returns the full scores of its 'last' and 'best' checkpoints ({} if unscored).

    Everything is checked before the first step and before anything is written. A finished run is left as it is, with a
    message. SIGINT, SIGTERM and a cluster's signals save and raise `Interrupted`. Raises `UserError` for what cannot be done, for a loss
    that is not finite, and where several ranks train for one that has ended or come apart from the others.
    """
    device = devices.resolve(config.device)
    with distributed.process_group(device), StopRequest() as stop, ExitStack() as opened:
        config = settled(config, device)
        check_precision(config.precision, device)
        result = distributed.from_first_rank(finished(config))
        if result:
            return _already(config, result)
        with stop.at_once():
            prepared = _prepare(config, device, opened, stop)
        with naming_memory(
            f"{device} has no memory for samples or scores beside the training; give sample_every=0 or protocol=none"
        ):
            return _train(config, *prepared, stop)


def _already(config: Config, result: Result) -> dict[str, Scores]:
    """Says that there is nothing to do, and returns the recorded scores."""
    scores = {which: record["scores"] for which, record in result["scores"].items()}
    if distributed.rank() == 0:
        done = f"{config.run_dir} is finished"
        print(described(done, scores["last"]) if scores else f"{done}: {config.steps} steps", flush=True)
    return scores


def _prepare(
    config: Config, device: torch.device, opened: ExitStack, stop: StopRequest
) -> tuple[TrainState, Callable[[], engine.Engine], InputStream, Recorder | None]:
    """Checks everything, the cheapest first, and then begins or continues the run. Gives also what builds the training step."""
    first = distributed.rank() == 0

    # What is known without reading an image
    for key in ("batch", "g_batch"):
        distributed.share(getattr(config, key), key, accumulate=config.accumulate)
    if config.on_nan == "rollback" and distributed.world_size() > 1:
        raise UserError("on_nan=rollback is for one process; give on_nan=stop, after which the same command goes on")
    source: Source = build("data", config.data)
    spec = game_spec(source.spec, conditional=config.conditional)
    for warning in check_combination(config):
        if first:
            log.warning(warning)
    game = Game(
        loss=build("loss", config.loss),
        regularizer=build("regularizer", config.regularizer),
        weight_clip=config.weight_clip,
        ema_decay=config.ema.decay,
        sync_batch_norm=config.sync_batch_norm,
        g_orthogonal=config.g_orthogonal,
        augment=build("augment", config.augment, spec, config.batch),
        accumulate=config.accumulate,
    )
    how = engine.choose(config, device)
    G, D = build_networks(config, spec)
    for key, network in (("generator", G), ("discriminator", D)):
        if config.sync_batch_norm and not takes_groups(network):
            raise UserError(
                f"sync_batch_norm=true does not reach the batch norms of {key}={getattr(config, key).name}, which are torch's own; "
                "build it with those of sngan.layers.batch_norm, or use sync_batch_norm=false"
            )
    free = free_on(device)
    if free is not None:
        n, m = distributed.share(config.batch, "batch"), distributed.share(config.g_batch, "g_batch")
        check_memory(need_of(config, G, D, spec, device, n=n, m=m), free, config, device, n=n, m=m)
    for key, protocol in (("protocol", config.protocol), ("quick", config.quick)):
        if protocol:
            check_protocol(protocol, n_available=source.count(protocol.reference), key=key)
    run = opened.enter_context(RunFolder(config)) if first else None
    if run:
        run.check_data(source, spec)
    origin = open_start(config.init) if run and config.init and not run.checkpoint else None

    # What may have to be downloaded
    scorer = None
    if first and config.protocol:
        options = config.data.described
        scorer = Scorer(config.extractor, source, device, options=options, workers=config.data.workers)
        for protocol in (config.quick, config.protocol):
            if protocol:
                scorer.check_metrics(protocol)
    with distributed.first_rank_first():
        images = scorer.images("train") if scorer else source.load("train")
    if scorer:
        for split in {protocol.reference: None for protocol in (config.quick, config.protocol) if protocol}:
            scorer.trial(split)

    # Begin, or continue
    state = initial_state(config, G, D, device)
    if run:
        run.check_space(checkpoint.size_of(state))
    start = distributed.from_first_rank(run.checkpoint.path if run and run.checkpoint else None)
    if start:  # the first rank has compared the files' hashes
        checkpoint.restore(state, run.checkpoint if run and run.checkpoint else checkpoint.open_checkpoint(start))
    begun: Start | None = None
    if config.init and not start:
        begun = start_from(state, origin, config.init_networks) if origin else None
        for filled in state.networks().values():
            distributed.broadcast(filled)
    ranks = {"rank": distributed.rank(), "world": distributed.world_size()}
    batches = Batches(
        images, spec, batch=config.batch, d_steps=config.d_steps, seed=config.seed, data=config.data, device=device, **ranks
    )
    real_for_G = isinstance(game.loss, RelativisticLoss)
    inputs = InputStream(
        config,
        state.G.network,
        opened.enter_context(batches),
        device,
        real_for_G=real_for_G,
        n_augment=game.augment.numbers if game.augment else 0,
    )
    recorder = (
        opened.enter_context(Recorder(config, spec, run, scorer, state, stop, images, engine=how, begun=begun)) if run else None
    )
    opened.enter_context(distributed.naming_the_rank())  # so that the recorder's result does
    inputs.attempt = distributed.from_first_rank(len(run.rollbacks()) if run else 0)
    return state, partial(engine.build, how.kind, state, game), inputs, recorder


def _train(
    config: Config,
    state: TrainState,
    build_step: Callable[[], engine.Engine],
    inputs: InputStream,
    recorder: Recorder | None,
    stop: StopRequest,
) -> dict[str, Scores]:
    """Trains to the end or to a request to stop; a loss that is not finite ends the run, or lets it go back to its last checkpoint."""
    while True:
        try:
            _train_on(config, state, build_step(), inputs, recorder, stop)
            return _finish(config, state, recorder, stop)
        except DivergedError as error:
            if recorder is None or config.on_nan == "stop":
                raise
            inputs.attempt = recorder.roll_back(error)


def _train_on(
    config: Config, state: TrainState, step: engine.Engine, inputs: InputStream, recorder: Recorder | None, stop: StopRequest
) -> None:
    """Trains, and does what is due between two steps. What is due after a step is done before the next, also when a run continues there.

    The last step is sampled and quickly scored in any case, so that what is shown, and what is compared for the best, is what was trained;
    step 0 is not scored.
    """
    too_large = does_not_fit(config, inputs.device, n=inputs.n, m=inputs.m)
    G_options, D_options = config.optimizer.of("g"), config.optimizer.of("d")

    def comes(every: int) -> bool:
        return due(state.step, every) or (every > 0 and state.step >= config.steps)

    while True:
        is_saved = state.step > 0 and due(state.step, config.save_every)
        is_scored = state.step > 0 and comes(config.evaluate_every) and config.quick is not None
        if is_saved or is_scored:
            check_ranks(state, sync_batch_norm=config.sync_batch_norm)
        if recorder:
            with recorder.log.paused():
                if comes(config.sample_every):
                    recorder.samples()
                if is_saved:
                    recorder.save()
                if is_scored and not stop.signum:
                    recorder.quick_score()
        if state.step >= config.steps or stop.requested(state.step):
            break

        lr, D_lr = (learning_rate(state.step, config.steps, options) for options in (G_options, D_options))
        set_learning_rate(state.G_optimizer, lr)
        set_learning_rate(state.D_optimizer, D_lr)
        with precision(config.precision, inputs.device), naming_memory(too_large):
            stats = step(inputs(state.step))
        state.step += 1

        if recorder:
            recorder.stepped(stats)
            if due(state.step, config.log_every):
                recorder.scalars({"lr": lr} if D_lr == lr else {"lr": lr, "D_lr": D_lr})


def _finish(config: Config, state: TrainState, recorder: Recorder | None, stop: StopRequest) -> dict[str, Scores]:
    """Saves the run, and scores it if it reached its last step. Raises `Interrupted` for a run that was asked to stop."""
    scores: dict[str, Scores] = {}
    check_ranks(state, sync_batch_norm=config.sync_batch_norm)
    if recorder:
        recorder.save()
        if state.step >= config.steps and config.protocol and not stop.signum:
            scores = recorder.full_scores()
        recorder.say_goodbye(scores)
    distributed.wait_for_all()  # or a rank that has ended would have the first one ended while it saves
    if stop.signum or state.step < config.steps:
        raise Interrupted(stop.signum or signal.SIGTERM)
    return scores
