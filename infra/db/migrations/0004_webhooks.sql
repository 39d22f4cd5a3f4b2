-- How far each webhook has been told, who tells it just now, and what came of the last attempt. What was decided about
-- a webhook is on the log; this moves with every event.

create table webhook_deliveries (
    id text primary key,
    offsets bigint[] not null,
    turn int not null default 0,
    delivered bigint not null default 0,
    failures int not null default 0,
    failing text not null default '',
    next_at timestamptz,
    last_event text not null default '',
    last_at timestamptz,
    last_status int not null default 0,
    last_error text not null default '',
    holder text not null default '',
    held_until timestamptz
);
