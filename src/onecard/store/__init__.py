"""Records that outlive everything: an append-only SQLite file with numbered migrations, filled from journals."""
