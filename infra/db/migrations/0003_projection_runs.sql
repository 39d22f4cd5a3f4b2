-- Rebuilds, rollbacks and comparisons of the read models that were asked for. They outlive every generation of these.

create table projection_runs (
    id text primary key,
    kind text not null,
    status text not null,
    actor text not null,
    asked timestamptz not null,
    started timestamptz,
    seen timestamptz,
    finished timestamptz,
    done bigint not null default 0,
    total bigint not null default 0,
    problems text[] not null default '{}',
    error text not null default ''
);
create unique index projection_runs_under_way on projection_runs ((true)) where status in ('asked', 'running');
create index projection_runs_asked on projection_runs (asked desc, id desc);
