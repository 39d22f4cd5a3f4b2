-- Secrets that are kept for a time: what an answer told once, for the same request again.
alter table secrets add column if not exists until timestamptz;
create index if not exists secrets_until on secrets (until) where until is not null;
