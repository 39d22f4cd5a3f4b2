-- The write side: one schema a processor, the same tables in each.
-- state is JSON text and never queried by content: it is a cache of the fold.

create schema engine;
create schema scheduler;

create table engine.positions (
    topic text not null,
    partition int not null,
    next_offset bigint not null,
    primary key (topic, partition)
);
create table engine.inbox (
    id uuid primary key,
    at timestamptz not null default now()
);
create index inbox_at on engine.inbox (at);
create table engine.aggregates (
    kind text not null,
    id text not null,
    version bigint not null,
    previous bigint not null,
    state bytea not null,
    due_at timestamptz,
    due_id text not null default '',
    primary key (kind, id)
);
create index aggregates_due on engine.aggregates (due_at) where due_at is not null;
create table engine.outbox (
    id bigint generated always as identity primary key,
    records bytea not null,
    at timestamptz not null default now()
);
create table engine.parked (
    kind text not null,
    id text not null,
    why text not null,
    at timestamptz not null default now(),
    primary key (kind, id)
);

create table scheduler.positions (like engine.positions including all);
create table scheduler.inbox (like engine.inbox including all);
create table scheduler.aggregates (like engine.aggregates including all);
create table scheduler.outbox (like engine.outbox including all);
create table scheduler.parked (like engine.parked including all);

-- Secrets never enter the log: it holds a row's id. The row goes when the instance has what is in it.
create table secrets (
    id text primary key,
    instance_id text not null,
    sealed bytea not null,
    at timestamptz not null default now()
);
create index secrets_instance on secrets (instance_id);

create sequence network_segments minvalue 1 maxvalue 16777214 start 1;
