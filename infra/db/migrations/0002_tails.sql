-- A large aggregate is not written whole at each step: its row keeps the state of some versions ago, and the events
-- since then lie beside it. `tail` is how many versions that is.

alter table engine.aggregates add column tail int not null default 0;
alter table scheduler.aggregates add column tail int not null default 0;

create table engine.tails (
    kind text not null,
    id text not null,
    version bigint not null,
    records bytea not null,
    primary key (kind, id, version)
);
create table scheduler.tails (like engine.tails including all);
