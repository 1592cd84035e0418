"""Runs a job in a child process, measures it, and loses nothing.

The parent (`launch`) starts `python -m onecard.execute.child`, hands it a `Job` as one line of JSON and reads events,
one line of JSON each; it appends every line to the run's journal before anybody looks at it. Events are dicts with the
key "event" and a time "t" in seconds since the start:

    begin       parent: id, kind, plan, requested, environment, started, pid      (first line of a journal)
    ready       child: pid, rss after imports, context bytes, threads
    effective   child: settings that an engine really used
    budget      child or parent: how the budget is kept, bytes
    phase       child: name, the first time that it begins
    phase_end   child: name, seconds, peak (rss, allocated, reserved, driver: bytes)
    progress    child: done, of, unit and figures to show
    measured    child: name, value, unit, note
    text        child: a piece of generated text
    turn        child: ready for {"say": ...}
    log         child: a line for people
    sample      parent: values of the sampler
    rung        parent: one step of the out-of-memory ladder
    result      child: outcome, quality, error as what/why/next
    end         parent: outcome, error, seconds                                   (last line of a journal)

Commands go the other way on the child's stdin: {"say": "..."}, {"stop": true}. A child whose parent is gone sees the
end of its stdin, saves, stops, and writes its last events to the journal itself.
"""
