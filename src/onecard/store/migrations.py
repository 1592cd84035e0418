"""The steps that lead from an empty file to the present schema. Append only: a step that was released never changes."""

MIGRATIONS: tuple[tuple[int, str], ...] = (
    (
        1,
        """
        create table records (
            id text primary key,
            kind text not null,
            workload text not null,
            device text not null,
            plan_id text not null,
            outcome text not null,
            started text not null,
            seconds real not null,
            schema integer not null,
            json text not null
        ) strict;
        create index records_by_device on records (device, workload, started);
        create index records_by_workload on records (workload, started);
        create trigger records_never_change before update on records
        begin select raise(abort, 'Records are append-only'); end;
        create trigger records_never_vanish before delete on records
        begin select raise(abort, 'Records are append-only'); end;
        """,
    ),
)
"""number, SQL"""

LATEST = MIGRATIONS[-1][0]
