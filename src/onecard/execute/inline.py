"""Runs a Job in this very process: for tests, debuggers and notebooks. The same events, journal and Ending."""

from typing import Any

import msgspec

from onecard.execute.job import Job
from onecard.execute.journal import Journal
from onecard.execute.launch import OnEvent
from onecard.execute.outcome import Ending
from onecard.execute.perform import perform
from onecard.execute.session import RunSession


def run_inline(
    job: Job, journal: Journal, on_event: OnEvent | None = None, *, commands: tuple[dict[str, Any], ...] = ()
) -> Ending:
    """Do the job here. `commands` are what a parent would send; after them a chat is told to stop."""

    def send(event: dict[str, Any]) -> None:
        journal.write(event)
        # as a parent would see it: read back from JSON
        answer = on_event(msgspec.json.decode(msgspec.json.encode(event, enc_hook=str))) if on_event else None
        if answer is not None:
            session.commands.put(answer)

    session = RunSession(job, send)
    for command in commands:
        session.commands.put(command)
    if commands:
        session.commands.put(None)
    ending = perform(job, session)
    session.emit("result", **msgspec.to_builtins(ending))
    return ending
