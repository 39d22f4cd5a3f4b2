"""All of GoStack in one thread and on one clock, driven by one seed: the same code, on a log, a database, hypervisors
and a clock that break, halt and jump when the seed says so."""
