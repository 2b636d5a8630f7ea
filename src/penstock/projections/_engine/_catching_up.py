"""Running one projection to the end, here and once: for tests, cron, and the command line."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from penstock.errors import ProjectionHaltedError
from penstock.projections._engine import _resetting
from penstock.projections._engine._keeper import Keeper
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import CaughtUp, ProjectionRun, Supervised, Waiting
from penstock.projections._engine._threads import OwnThread
from penstock.projections.abc import LIVE, Deed, Handlers, ProjectionPlan
from penstock.store.abc import Horizon, StoreBackend
from penstock.store.database import Database

__all__ = ["catch_up", "reset_now"]


async def catch_up(
    plan: ProjectionPlan,
    handlers: Handlers,
    *,
    source: StoreBackend,
    target: StoreBackend,
    generation: str = LIVE,
    lease: timedelta = timedelta(seconds=10),
    database: Database | None = None,
    terms: LeaseTerms | None = None,
    begun: Callable[[ProjectionRun], None] | None = None,
    is_far: Callable[[ProjectionRun, Horizon], bool] | None = None,
    most: int = 0,
    is_made: bool = False,
) -> int:
    """Handle everything that is in the store at this moment; how many events that were.

    Failures that somebody wants to have tried again are tried first. An event that fails is treated as the policy says;
    one before which the projection stands is raised.

    Args:
        plan: What is run.
        handlers: Its handlers.
        source: The store that is read.
        target: The store in whose database effects and checkpoint are.
        generation: Which copy of the read model.
        lease: How long the lease lasts that is not renewed.
        database: Where the effects and the checkpoint of a generation are that is not live.
        terms: Of the caller, who has the lease, renews it, and gives it back; else one is taken for this.
        begun: Called with the run when it has the lease.
        is_far: Asked at the end, with how far the store can be read by then: whether to go on up to there.
        most: How many events a page may grow to while they are small, should that be more than the plan says.
        is_made: Whether others make the checkpoint of the generation, so that without one it is gone.

    Raises:
        ProjectionBusyError: Another process runs it.
        StaleRunnerError: The generation is gone.
        ProjectionHaltedError: An event failed, and by the policy it goes no further.
        ProjectionChangedError, RenamedProjectionError, StoreWentBackError: The declaration or the store is another one.
        StoreUnavailableError: A database went away; what is committed stays.
    """
    supervised = Supervised(plan, handlers, generation, database, is_made)
    effects = database or target.database
    is_ours = terms is None
    terms = terms or LeaseTerms(lease)
    stopping = False
    keeper = Keeper(effects, terms, poll=lease, looked=lambda: None)
    keeper.held.add(supervised.key)
    thread = OwnThread(f"penstock {plan.kind} {plan.name}")
    run = ProjectionRun(supervised, effects, source.reader, terms, lambda: stopping, (plan.name,), most=most)
    await source.open()
    await target.open()
    renewing = [asyncio.create_task(keeper.run(), name=f"lease of {plan.name}")] if is_ours else []
    try:
        await thread.call(run.open)
        if begun is not None:
            begun(run)
        horizon = await thread.call(run.horizon)
        while True:
            match await thread.call(partial(run.advance, horizon)):
                case CaughtUp():
                    horizon = await thread.call(run.horizon)
                    if is_far is None or not is_far(run, horizon):
                        return run.handled
                case Waiting(after, failure, event):
                    if after is None or plan.on_failure == "halt":
                        raise ProjectionHaltedError(
                            plan.name,
                            position=event.position if event is not None else run.checkpoint.position,
                            event_id=event.id if event is not None else "",
                            reason=str(failure or "it failed before, and is left alone for a while"),
                        ) from failure
                    await asyncio.sleep(after.total_seconds())
                case _:
                    return run.handled
    finally:
        stopping = True
        for task in renewing:
            task.cancel()
        await asyncio.gather(*renewing, return_exceptions=True)
        await asyncio.shield(thread.call(partial(run.close, release=is_ours)))
        thread.end()


async def reset_now(
    plan: ProjectionPlan,
    handlers: Handlers,
    *,
    target: StoreBackend,
    generation: str = LIVE,
    delete: bool = False,
    read_model: bool = True,
    emitted: bool = False,
    deed: Deed | None = None,
) -> None:
    """Empty the read model and put the checkpoint to 0, here and now; *delete*: remove them.

    Raises `ProjectionBusyError` when another process runs it: then ask that one (`ProjectionControl.reset`).
    """
    await target.open()
    await asyncio.to_thread(
        _resetting.reset,
        Supervised(plan, handlers, generation),
        target.database,
        LeaseTerms(),
        delete=delete,
        read_model=read_model,
        emitted=emitted,
        deed=deed,
    )
